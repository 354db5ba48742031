"""One real server for all tests that do not need one of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.live_server import LiveServer, settings_for


@pytest.fixture(scope="session")
def repository(spot_bundle: Path) -> Path:
    """Give a model repository with one model, `spot:1`."""
    return spot_bundle.parents[1]


@pytest.fixture(scope="session")
def live(repository: Path) -> Iterator[LiveServer]:
    with LiveServer(settings_for(repository, max_frame_pixels=2**20, max_body_bytes=2**21)) as server:
        yield server


@pytest.fixture(scope="session")
def http(live: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live.url, timeout=30, trust_env=False) as client:
        yield client
