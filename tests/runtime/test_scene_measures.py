"""What scenes are like: each measure answers to what it is named for, and to little else."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from loddis_runtime.preparation import PreparedFrame, still_window
from loddis_runtime.scene_measures import MEASURES, measure_levels, measure_scene, white_noise
from support.bundles import manifest_of
from support.clips import rendered

Levels = NDArray[np.float32]


def measured(levels: Any) -> dict[str, float]:
    return dict(zip(MEASURES, measure_levels(np.asarray(levels, dtype=np.float32)).tolist(), strict=True))


@pytest.fixture(scope="module")
def scene() -> Levels:
    frame = rendered("ground", 8, frames=1)[0]
    return (frame / 255 * 0.8 + 0.1).astype(np.float32)


@pytest.mark.parametrize("sigma", [0.002, 0.01, 0.05])
def test_white_noise_is_measured_beside_stripes_and_slopes(sigma: float) -> None:
    rng = np.random.default_rng(0)
    even = np.linspace(0.3, 0.6, 320) + np.linspace(0, 0.1, 256)[:, None] + rng.normal(0, 0.05, (1, 320))
    assert white_noise((even + rng.normal(0, sigma, even.shape)).astype(np.float32)) == pytest.approx(sigma, rel=0.03)


def test_a_brighter_scene_has_another_median_and_the_rest_stays(scene: Levels) -> None:
    before, after = measured(scene * 0.9), measured(scene * 0.9 + 0.1)
    assert after["median"] == pytest.approx(before["median"] + 0.1, abs=0.01)
    for name in set(MEASURES) - {"median", "entropy"}:
        assert after[name] == pytest.approx(before[name], abs=0.06), name


def test_turned_upside_down_in_level(scene: Levels) -> None:
    before, after = measured(scene), measured(1 - scene)
    for name in ("skew", "ramp", "detail_skew"):
        assert after[name] == pytest.approx(-before[name], abs=0.02)
    assert abs(before["detail_skew"]) > 0.05
    for name in ("spread", "noise", "detail_fine", "flat_share"):
        assert after[name] == pytest.approx(before[name], abs=0.02)


def test_blur_takes_fine_detail_first(scene: Levels) -> None:
    before, after = measured(scene), measured(cv2.GaussianBlur(scene, (0, 0), 3))
    lost = {name: before[name] - after[name] for name in ("detail_fine", "detail_middle", "detail_coarse")}
    assert lost["detail_fine"] > lost["detail_middle"] > lost["detail_coarse"] > 0


@pytest.mark.parametrize(("axis", "name", "other"), [(0, "column", "row"), (1, "row", "column")])
def test_stripes_are_structure_of_their_own_direction(scene: Levels, axis: int, name: str, other: str) -> None:
    shape = [256, 320]
    shape[axis] = 1
    offsets = np.random.default_rng(0).normal(0, 0.05, shape)
    before, after = measured(scene), measured(scene + offsets)
    assert after[f"{name}_structure"] == pytest.approx(math.log(0.05), abs=0.15)
    assert after[f"{other}_structure"] == pytest.approx(before[f"{other}_structure"], abs=0.1)
    balance = after["row_column_balance"] - before["row_column_balance"]
    assert (balance > 0) == (name == "row")


def test_flat_share_counts_blocks_without_contrast() -> None:
    levels = np.full((64, 64), 0.5, dtype=np.float32)
    levels[:16] = np.random.default_rng(0).random((16, 64), dtype=np.float32)
    assert measured(levels)["flat_share"] == 0.75


@pytest.mark.parametrize("levels", [np.zeros((32, 32)), np.ones((256, 320)), np.full((33, 57), 0.5)])
def test_an_even_frame_has_finite_measures(levels: Any) -> None:
    assert all(math.isfinite(value) for value in measured(levels).values())


def test_padding_takes_no_part() -> None:
    frame = rendered("ground", 16, frames=1)[0]
    tall = manifest_of(size_hw=(512, 320))
    exact = manifest_of(size_hw=(256, 320))
    padded, plain = (
        measure_scene(PreparedFrame.of(frame, still_window(frame, manifest))) for manifest in (tall, exact)
    )
    assert padded is not None
    assert plain is not None
    assert padded == pytest.approx(plain)


def test_a_frame_of_a_few_pixels_is_not_measured() -> None:
    frame = np.zeros((4, 320), dtype=np.uint8)
    assert measure_scene(PreparedFrame.of(frame, still_window(frame, manifest_of(size_hw=(256, 320))))) is None
