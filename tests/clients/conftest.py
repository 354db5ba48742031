"""A real server with the spot detector, shared by the client's tests."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from support.bundles import write_spot_bundle
from support.domains import spot_frame
from support.live_server import LiveServer, settings_for


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    root = tmp_path_factory.mktemp("client-models")
    write_spot_bundle(root)
    with LiveServer(settings_for(root)) as live:
        yield live


@pytest.fixture
def frame() -> NDArray[np.uint8]:
    """A spot at (40.5, 30.5) in 64 x 96 pixels."""
    return spot_frame((40.5, 30.5), seed=1)
