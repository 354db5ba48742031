"""Noise, stripes, bad pixels, bit depth and processing are what a configuration says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from loddis_runtime.scenes import Scene, SceneConfig
from loddis_runtime.scenes.readout import Processing

STILL: dict[str, Any] = {
    "temporal_mk": 0.0,
    "row_flicker_mk": 0.0,
    "column_stripe_mk": 0.0,
    "row_stripe_mk": 0.0,
    "pixel_pattern_mk": 0.0,
    "shading_mk": 0.0,
}
FINE = {"converter_bits": 16, "counts_per_kelvin": 1000.0}


def even_frames(noise: dict[str, Any], *, frames: int = 24, seed: int = 3) -> NDArray[np.float64]:
    """Give frames of an even scene, ``(N, H, W)`` mK."""
    config = SceneConfig.model_validate(
        {
            "size_hw": (96, 160),
            "frames": frames,
            "background": "ground",
            "contrast": 0.0,
            "noise": {**STILL, **noise},
            "readout": FINE,
            "seed": seed,
        }
    )
    return np.stack([frame.image for frame in Scene(config)]).astype(np.float64)


def test_temporal_noise_is_white_and_as_strong_as_stated() -> None:
    frames = even_frames({"temporal_mk": 50.0})
    assert frames.std(axis=0).mean() == pytest.approx(50.0, rel=0.03)
    residual = frames - frames.mean(axis=0)
    assert abs((residual[:, :, 1:] * residual[:, :, :-1]).mean()) < 0.02 * 50**2
    assert abs((residual[1:] * residual[:-1]).mean()) < 0.06 * 50**2  # the mean over 24 frames was taken away


@pytest.mark.parametrize(("part", "axis"), [("column_stripe_mk", 1), ("row_stripe_mk", 2)])
def test_stripes_stand_still_and_lie_along_their_axis(part: str, axis: int) -> None:
    frames = even_frames({part: 40.0, "temporal_mk": 5.0})
    profile = frames.mean(axis=(0, axis))  # of columns, or of rows
    across = frames.mean(axis=(0, 3 - axis))
    assert profile.std() == pytest.approx(40.0, rel=0.2)
    assert across.std() < 1.0
    assert np.corrcoef(frames[0].mean(axis=axis - 1), frames[-1].mean(axis=axis - 1))[0, 1] > 0.99


def test_row_flicker_is_new_in_each_frame() -> None:
    frames = even_frames({"row_flicker_mk": 40.0})
    rows = frames.mean(axis=2)  # (N, H)
    assert rows.std() == pytest.approx(40.0, rel=0.05)
    assert abs(np.corrcoef(rows[0], rows[1])[0, 1]) < 0.35
    assert frames.std(axis=2).max() == 0


def test_the_pattern_of_pixels_and_the_shading_stand_still() -> None:
    pattern = even_frames({"pixel_pattern_mk": 30.0}, frames=3)
    assert pattern.std(axis=0).max() == 0
    assert pattern[0].std() == pytest.approx(30.0, rel=0.03)
    shading = even_frames({"shading_mk": 100.0}, frames=3)[0]
    assert shading.std() == pytest.approx(100.0, rel=0.01)
    assert np.abs(np.diff(shading, axis=1)).mean() < 0.1 * 100


def test_exactly_the_stated_share_of_pixels_is_bad() -> None:
    frames = even_frames({"temporal_mk": 50.0, "bad_pixel_share": 0.01, "blinking_pixel_share": 0.005}, frames=30)
    deviation, mean = frames.std(axis=0), frames.mean(axis=0)
    stuck = deviation == 0
    assert stuck.sum() == round(0.01 * 96 * 160)
    assert set(np.unique(mean[stuck])) == {round(0.02 * 65535), round(0.98 * 65535)}
    blinking = deviation > 500
    assert blinking.sum() == round(0.005 * 96 * 160)
    assert not (stuck & blinking).any()


@pytest.mark.parametrize("background", ["sky", "sea", "ground", "city"])
def test_sixteen_bits_are_used(background: str) -> None:
    scene = Scene(SceneConfig.model_validate({"background": background, "seed": 2, "frames": 2}))
    image = scene.frame(1).image
    assert image.dtype == np.uint16
    assert len(np.unique(image)) > 256
    assert image.max() < 2**14  # raw counts of a converter of 14 bits
    stretched = Scene(
        SceneConfig.model_validate(
            {"background": background, "seed": 2, "frames": 2, "readout": {"processing": "linear"}}
        )
    )
    assert np.ptp(stretched.frame(1).image.astype(int)) > 2**15


@pytest.mark.parametrize("processing", ["linear", "enhanced"])
@pytest.mark.parametrize("background", ["sky", "sea", "ground", "city"])
def test_eight_bits_are_used(background: str, processing: str) -> None:
    fields = {"background": background, "bit_depth": 8, "readout": {"processing": processing}, "seed": 2, "frames": 2}
    image = Scene(SceneConfig.model_validate(fields)).frame(1).image
    assert image.dtype == np.uint8
    assert len(np.unique(image)) > 60
    assert ((image == 0) | (image == 255)).mean() < 0.1


def test_enhancement_takes_slopes_away_and_keeps_what_is_small() -> None:
    rng = np.random.default_rng(0)
    slope = np.linspace(0, 1000, 320, dtype=np.float32)[None, :] + 3 * rng.standard_normal((256, 320), dtype=np.float32)
    processing = Processing("enhanced", bit_depth=16, reference_counts=slope, noise_counts=3.0)
    with_spot = slope.copy()
    with_spot[128, 160] += 40
    before, after = (processing.apply(counts).astype(float) for counts in (slope, with_spot))
    middle = before[:, 80:240].mean(axis=0)
    assert np.ptp(middle) < 0.2 * processing.levels_per_count * np.ptp(slope[:, 80:240].mean(axis=0))
    assert (after - before)[128, 160] == pytest.approx(40 * processing.levels_per_count, rel=0.01)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.1, 50), st.floats(0, 5000), st.sampled_from(["linear", "enhanced"]))
def test_the_gain_stops_before_noise_fills_the_picture(noise: float, span: float, kind: Any) -> None:
    rng = np.random.default_rng(1)
    counts = np.linspace(0, span, 64 * 64, dtype=np.float32).reshape(64, 64)
    counts += np.float32(noise) * rng.standard_normal((64, 64), dtype=np.float32)
    processing = Processing(kind, bit_depth=8, reference_counts=counts, noise_counts=noise)
    frame = processing.apply(counts)
    noise_levels = processing.levels_per_count * noise
    assert noise_levels <= 0.012 * 255 * (1 + 1e-6)
    assert np.diff(frame.astype(float), axis=1).std() < 1.5 * noise_levels + 1
    assert ((frame == 0) | (frame == 255)).mean() < 0.1
