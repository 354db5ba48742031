"""The models that come with the package. The only tests here that need them."""

from __future__ import annotations

import os

import numpy as np
import pytest

import loddis_runtime
from loddis_runtime.bundle import GraphPrecision
from loddis_runtime.errors import ModelNotFoundError


@pytest.fixture(scope="module")
def shipped() -> str:
    try:
        loddis_runtime.shipped_repository().find("sky-nano")
    except ModelNotFoundError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    return "sky-nano"


def test_every_shipped_bundle_is_whole_and_runs(shipped: str) -> None:
    for entry in loddis_runtime.shipped_repository().list():
        with loddis_runtime.load(f"{entry.name}:{entry.version}", threads=1) as detector:
            height, width = detector.manifest.size_hw
            assert len(detector.detect(np.full((height, width), 90, dtype=np.uint8))) == 0
            assert detector.manifest.metrics
            assert (entry.path / "MODEL_CARD.md").is_file()


@pytest.mark.parametrize("name", ["sky-nano", "infrared-nano"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_all_targets_of_a_crowd_are_found(
    shipped: str, name: str, precision: GraphPrecision, caplog: pytest.LogCaptureFixture
) -> None:
    """Each of them takes about six candidates."""
    rows, columns = np.mgrid[:256, :320] + 0.5
    levels = np.random.default_rng(0).normal(70, 1.5, (256, 320))
    places = [(320 * (x + 0.5) / 7, 256 * (y + 0.5) / 7) for x in range(7) for y in range(7)]
    for x, y in places:
        levels += 140 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 1.6**2))
    with loddis_runtime.load(name, device="cpu", precision=precision, threads=1) as detector:
        found = detector.detect(np.clip(levels, 0, 255).astype(np.uint8))
    assert all(np.hypot(*(found.centroids - place).T).min() < 2 for place in places)
    assert not caplog.records


@pytest.mark.parametrize("name", ["sky-nano", "infrared-nano"])
def test_a_small_bright_target_is_found(shipped: str, name: str) -> None:
    rows, columns = np.mgrid[:256, :320] + 0.5
    spot = np.exp(-((columns - 200.3) ** 2 + (rows - 90.6) ** 2) / (2 * 1.6**2))
    noise = np.random.default_rng(0).normal(0, 1.5, (256, 320))
    frame = np.clip(70 + 140 * spot + noise, 0, 255).astype(np.uint8)
    with loddis_runtime.load(name, threads=1) as detector:
        found = detector.detect(frame)
    assert len(found) >= 1
    assert np.hypot(*(found.centroids[0] - (200.3, 90.6))) < 1
