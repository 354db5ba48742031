"""Fixtures that tests of every part share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from support.bundles import write_spot_bundle

ROOT = Path(__file__).resolve().parents[1]

# Machines under load make single examples slow; what hangs is caught by pytest-timeout.
hypothesis.settings.register_profile("loddis", deadline=None)
hypothesis.settings.load_profile("loddis")


@pytest.fixture(scope="session", autouse=True)
def _state_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what servers leave behind, their events, out of the home of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("STATE_DIRECTORY", raising=False)
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def loddis_data() -> Path:
    """Give the folder of the three real domains: `LODDIS_DATA`, or `shared/data` beside the repository."""
    data = Path(os.environ.get("LODDIS_DATA", ROOT.parent / "shared" / "data"))
    if not (data / "sky").is_dir():
        missing = f"no real data in {data}: set LODDIS_DATA to the folder of the domains sky, ground and city"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return data


@pytest.fixture(scope="session")
def spot_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a real bundle, an analytic spot detector of 64 x 96 pixels; leave it as it is."""
    return write_spot_bundle(tmp_path_factory.mktemp("models"))
