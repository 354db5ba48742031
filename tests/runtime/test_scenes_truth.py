"""What a scene says about its targets is what its frames show."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from loddis_runtime.photometry import measure_targets
from loddis_runtime.scenes import Scene, SceneConfig
from loddis_runtime.scenes.config import TargetKind
from loddis_runtime.scenes.shapes import shape_of

EVEN: dict[str, Any] = {"size_hw": (64, 96), "background": "ground", "contrast": 0.0, "frames": 40, "seed": 5}
NO_SHADING = {"shading_mk": 0.0}
STILL = {
    "row_flicker_mk": 0.0,
    "column_stripe_mk": 0.0,
    "row_stripe_mk": 0.0,
    "pixel_pattern_mk": 0.0,
    "shading_mk": 0.0,
}
SILENT = {"temporal_mk": 0.0, **STILL}
FINE = {"converter_bits": 16, "counts_per_kelvin": 3000.0}


def added_levels(fields: dict[str, Any], index: int) -> NDArray[np.float64]:
    """Give what the targets of a configuration add to a frame, levels."""
    config = SceneConfig.model_validate(fields)
    without = Scene(config.model_copy(update={"targets": ()}))
    with_targets = Scene(config)
    return with_targets.frame(index).image.astype(np.float64) - without.frame(index).image.astype(np.float64)


def centroid(levels: NDArray[np.float64]) -> tuple[float, float]:
    rows, columns = np.mgrid[: levels.shape[0], : levels.shape[1]] + 0.5
    return float((levels * columns).sum() / levels.sum()), float((levels * rows).sum() / levels.sum())


@pytest.mark.parametrize(
    ("bit_depth", "processing"), [(16, "raw"), (16, "linear"), (16, "enhanced"), (8, "linear"), (8, "enhanced")]
)
def test_the_noise_of_an_even_scene_is_the_stated_one(bit_depth: int, processing: str) -> None:
    config = SceneConfig.model_validate(
        {**EVEN, "noise": NO_SHADING, "bit_depth": bit_depth, "readout": {"processing": processing}}
    )
    scene = Scene(config)
    frames = np.stack([frame.image for frame in scene]).astype(np.float64)
    # A fixed pattern of 96 columns and 64 rows is one draw; its own deviation differs from sigma by some percent.
    assert frames.std() / scene.levels_per_kelvin == pytest.approx(scene.noise_k, rel=0.05)


@pytest.mark.parametrize("polarity", ["hot", "cold"])
@pytest.mark.parametrize("background", ["sky", "sea", "ground", "city"])
def test_the_snr_measured_in_frames_is_the_stated_one(background: str, polarity: str) -> None:
    stated = 20.0
    target = {"snr": stated, "start_xy": (20.5, 10.5), "heading_deg": 0.0, "speed_px_per_frame": 1.0}
    fields = {
        **EVEN,
        "background": background,
        "contrast": 1.0,
        "horizon": 0.9,
        "targets": [{**target, "polarity": polarity}],
    }
    config = SceneConfig.model_validate(fields)
    scene, without = Scene(config), Scene(config.model_copy(update={"targets": ()}))
    sign = 1 if polarity == "hot" else -1
    # Moving from pixel to pixel, the target shows its peak in each frame; the mean takes the rounding away.
    peaks = [
        sign * (float(scene.frame(i).image[10, 20 + i]) - float(without.frame(i).image[10, 20 + i])) for i in range(40)
    ]
    assert np.mean(peaks) / (scene.noise_k * scene.levels_per_kelvin) == pytest.approx(stated, rel=0.01)
    assert scene.frame(7).snr.tolist() == pytest.approx([stated], rel=1e-5)


@pytest.mark.parametrize("kind", ["point", "blob", "aircraft", "drone", "bird"])
def test_the_snr_of_every_frame_is_what_its_brightest_pixel_gets(kind: str) -> None:
    target = {"snr": 40.0, "kind": kind, "size_px": 0.0 if kind == "point" else 8.0, "speed_px_per_frame": 0.37}
    fields = {**EVEN, "noise": {**SILENT, "temporal_mk": 20.0}, "readout": FINE, "targets": [target]}
    scene = Scene(SceneConfig.model_validate(fields))
    for index in (0, 9, 23):
        peak = np.abs(added_levels(fields, index)).max()
        assert scene.frame(index).snr[0] == pytest.approx(peak / (scene.noise_k * scene.levels_per_kelvin), rel=5e-3)


def test_the_snr_agrees_with_the_photometry_of_the_runtime() -> None:
    targets = [
        {"snr": 8.0 + 4 * k, "start_xy": (12.5 + 12 * k, 20.5 + 20 * (k % 2)), "speed_px_per_frame": 0.0}
        for k in range(6)
    ]
    scene = Scene(SceneConfig.model_validate({**EVEN, "noise": {"temporal_mk": 50.0, **STILL}, "targets": targets}))
    measured = np.mean([measure_targets(frame.image, frame.boxes_xyxy)[1] for frame in scene], axis=0)
    # The ring's tails beyond three deviations are cut off, and of 9 pixels one other may pass for the peak.
    assert measured == pytest.approx(scene.frame(0).snr, rel=0.08)


def test_a_local_ratio_makes_targets_stronger_where_the_scene_is_busy() -> None:
    fields = {
        **EVEN,
        "contrast": 3.0,
        "snr_reference": "local",
        "noise": {"temporal_mk": 10.0},
        "targets": [{"snr": 5.0, "start_xy": (10.5, 30.5), "heading_deg": 0.0, "speed_px_per_frame": 2.0}],
    }
    scene = Scene(SceneConfig.model_validate(fields))
    peaks = np.array([added_levels(fields, index).max() for index in (0, 10, 20, 30)])
    assert peaks.min() >= 5 * scene.noise_k * scene.levels_per_kelvin - 1
    assert peaks.max() > 1.2 * peaks.min()
    assert [scene.frame(index).snr[0] for index in (0, 10, 20, 30)] == pytest.approx([5.0] * 4, rel=1e-5)


KINDS: tuple[TargetKind, ...] = ("blob", "aircraft", "contrail", "drone", "bird")


@given(
    st.sampled_from(KINDS),
    st.floats(0.5, 25),
    st.floats(0.51, 2),
    st.floats(-4, 4),
    st.floats(0, 20),
    st.tuples(st.floats(-3, 30), st.floats(-3, 30)),
)
def test_the_centre_of_any_shape_is_the_centre_of_what_pixels_get(
    kind: TargetKind, size_px: float, sigma_px: float, heading: float, phase: float, centre: tuple[float, float]
) -> None:
    shape = shape_of(kind, size_px=size_px, lens_sigma_px=sigma_px, heading_rad=heading, phase=phase)
    patch = shape.draw(np.array(centre))
    x, y = centroid(patch.values.astype(np.float64))
    assert patch.values.sum() == pytest.approx(1.0, abs=2e-4)
    assert (patch.left + x, patch.top + y) == pytest.approx(centre, abs=2e-3)


@given(st.floats(0.51, 3), st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_point_is_a_gaussian_averaged_over_pixels(sigma_px: float, centre: tuple[float, float]) -> None:
    patch = shape_of("point", size_px=0, lens_sigma_px=sigma_px).draw(np.array(centre))

    def share(first: int, count: int, middle: float) -> NDArray[np.float64]:
        edges = [math.erf((first + k - middle) / (sigma_px * math.sqrt(2))) / 2 for k in range(count + 1)]
        return np.diff(edges)

    height, width = patch.values.shape
    expected = np.outer(share(patch.top, height, centre[1]), share(patch.left, width, centre[0]))
    assert np.abs(patch.values - expected).max() < 3e-5 * expected.max()


def test_the_centre_in_frames_is_the_stated_one() -> None:
    fields = {
        **EVEN,
        "noise": SILENT,
        "readout": FINE,
        "camera": {"jitter_px": 0.8},
        "targets": [{"snr": 5e4, "kind": "drone", "size_px": 7.0, "start_xy": (40.2, 30.9), "heading_deg": 30.0}],
    }
    scene = Scene(SceneConfig.model_validate(fields))
    for index in (0, 11, 39):
        assert centroid(added_levels(fields, index)) == pytest.approx(scene.frame(index).centres[0].tolist(), abs=0.01)


@pytest.mark.parametrize(("speed", "heading", "turn"), [(0.4, 25.0, 0.0), (1.5, -130.0, 0.0), (1.1, 80.0, 3.0)])
def test_the_speed_in_frames_is_the_stated_one_less_the_camera(speed: float, heading: float, turn: float) -> None:
    target = {"snr": 50.0, "speed_px_per_frame": speed, "heading_deg": heading, "turn_deg_per_frame": turn}
    scene = Scene(
        SceneConfig.model_validate(
            {
                **EVEN,
                "targets": [{**target, "start_xy": (48.0, 32.0)}],
                "camera": {"pan_px_per_frame": (0.3, -0.2), "jitter_px": 0.5},
            }
        )
    )
    frames = [scene.frame(index) for index in range(20)]
    measured = [measure_targets(frame.image, frame.boxes_xyxy)[0][0] + frame.camera_xy for frame in frames]
    steps = np.diff(np.array([frame.centres[0] + frame.camera_xy for frame in frames]), axis=0)
    assert np.hypot(*steps.T) == pytest.approx(speed, rel=1e-3)
    assert np.hypot(*(measured[12] - measured[2])) == pytest.approx(np.hypot(*steps[2:12].sum(axis=0)), abs=0.15)
    angles = np.rad2deg(np.unwrap(np.arctan2(steps[:, 1], steps[:, 0])))
    assert np.diff(angles) == pytest.approx(turn, abs=1e-2)
    assert angles[0] == pytest.approx(heading + turn / 2, abs=1e-2)


def test_what_leaves_the_frame_is_cut_and_then_gone() -> None:
    target = {"snr": 30.0, "start_xy": (80.5, 20.5), "heading_deg": 0.0, "speed_px_per_frame": 1.0}
    scene = Scene(SceneConfig.model_validate({**EVEN, "targets": [target], "min_visibility": 0.4}))
    inside, border, outside = scene.frame(0), scene.frame(15), scene.frame(17)
    assert inside.visibility.tolist() == pytest.approx([1.0], abs=1e-3)
    assert border.visibility[0] == pytest.approx(0.75, abs=0.05)  # half of the last pixel's column is beyond
    assert border.boxes_xyxy[0, 2] == 96
    assert len(outside.target_ids) == 0


def test_a_target_comes_out_from_behind_the_trees() -> None:
    target = {"snr": 60.0, "start_xy": (48.0, 60.0), "heading_deg": -90.0, "speed_px_per_frame": 1.5}
    scene = Scene(
        SceneConfig.model_validate({**EVEN, "background": "sky", "horizon": 0.8, "contrast": 1.0, "targets": [target]})
    )
    seen = [dict(zip(frame.target_ids.tolist(), frame.visibility.tolist(), strict=True)) for frame in scene]
    shares = [frame.get(0, 0.0) for frame in seen]
    assert shares[0] == 0.0
    assert shares[30] == pytest.approx(1.0, abs=1e-3)
    assert any(0.25 <= share < 0.95 for share in shares)
    hidden = added_levels({**EVEN, "background": "sky", "horizon": 0.8, "contrast": 1.0, "targets": [target]}, 0)
    assert (hidden == 0).all()


def test_boxes_hold_their_targets_and_take_a_margin() -> None:
    target = {"snr": 5e4, "kind": "aircraft", "size_px": 14.0, "start_xy": (48.0, 32.0), "heading_deg": 20.0}
    fields = {**EVEN, "noise": SILENT, "readout": FINE, "targets": [target]}
    tight = Scene(SceneConfig.model_validate(fields)).frame(0).boxes_xyxy[0]
    loose = Scene(SceneConfig.model_validate({**fields, "box_margin_px": 4.0})).frame(0).boxes_xyxy[0]
    assert (loose - tight).tolist() == pytest.approx([-4, -4, 4, 4], abs=1e-4)
    added = added_levels(fields, 0)
    x1, y1, x2, y2 = (round(float(side)) for side in tight)
    assert added[y1:y2, x1:x2].sum() > 0.93 * added.sum()
    assert x2 - x1 > y2 - y1


def test_targets_without_a_place_start_in_view_and_apart() -> None:
    targets = [{"snr": 10.0, "speed_px_per_frame": 0.5} for _ in range(5)]
    for seed in range(4):
        scene = Scene(SceneConfig.model_validate({"background": "sky", "frames": 60, "seed": seed, "targets": targets}))
        frame = scene.frame(30)
        assert len(frame.target_ids) == 5
        assert frame.visibility.min() > 0.99
        distances = np.linalg.norm(frame.centres[:, None] - frame.centres[None], axis=2) + 1e3 * np.eye(5)
        assert distances.min() > 20
