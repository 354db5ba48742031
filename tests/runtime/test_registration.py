"""Past frames come to stand on the newest one; where nothing shows the motion, nothing is moved."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from loddis_runtime import registration
from loddis_runtime.errors import FrameError
from loddis_runtime.registration import camera_shift, register, shift_between, shifted, structure_of
from loddis_runtime.scenes import CameraMotion, Scene, SceneConfig


def clip(background: str, pan_xy: tuple[float, float], *, frames: int = 3) -> list[NDArray[np.float32]]:
    camera = CameraMotion(pan_px_per_frame=pan_xy)
    config = SceneConfig.model_validate(
        {"size_hw": (256, 320), "frames": frames, "background": background, "camera": camera, "bit_depth": 8, "seed": 3}
    )
    return [frame.image.astype(np.float32) / 255 for frame in Scene(config)]


@pytest.mark.parametrize("background", ["sky", "sea", "ground", "city"])
@pytest.mark.parametrize("pan_xy", [(0.0, 0.0), (1.3, -0.7), (4.6, 2.2)])
def test_the_cameras_motion_is_found(background: str, pan_xy: tuple[float, float]) -> None:
    first, second, third = clip(background, pan_xy)
    # The camera pans over the scene, so the scene moves the other way.
    np.testing.assert_allclose(camera_shift(first, second), np.negative(pan_xy), atol=0.15)
    np.testing.assert_allclose(camera_shift(first, third), -2 * np.array(pan_xy), atol=0.2)


@pytest.mark.parametrize("background", ["ground", "city"])
def test_shifts_are_not_drawn_towards_whole_pixels(background: str) -> None:
    """The centroid of a correlation's peak is: by up to 0.3 of these pixels, 0.13 on the mean."""
    errors = []
    for x in np.arange(0.0, 1.6, 0.2).tolist():  # a frame of 320 is reduced to 192: 1.6 are a pixel there
        first, second = clip(background, (x, -x), frames=2)
        errors.append(np.array(camera_shift(first, second)) - (-x, x))
    assert np.sqrt(np.mean(np.square(errors))) < 0.04


@pytest.mark.parametrize("amplitude", [20.0, 200.0])
@pytest.mark.parametrize("noise", [0.0, 0.1, 1.0, 5.0])
def test_targets_in_a_clear_sky_are_not_taken_for_the_scene(noise: float, amplitude: float) -> None:
    """Noise shares nothing between frames, so that a bright target is all that does."""
    generator = np.random.default_rng(1)
    rows, columns = np.mgrid[:256, :320]
    for places in (((160.0, 120.0),), ((60.0, 60.0), (250.0, 90.0), (150.0, 200.0))):
        frames = []
        for step in range(2):
            levels = 100 + noise * generator.standard_normal((256, 320))
            for x, y in places:  # a flock: they move alike
                levels += amplitude * np.exp(-((columns - x - 5.4 * step) ** 2 + (rows - y) ** 2) / (2 * 1.5**2))
            frames.append((levels / 255).astype(np.float32))
        assert camera_shift(*frames) == (0.0, 0.0)


def test_a_target_that_outshines_the_scene_does_not_pass_for_it() -> None:
    """It goes 2 px a frame one way, and the scene 1.4 px the other."""
    camera = CameraMotion(pan_px_per_frame=(1.4, -0.6))
    scene = Scene(SceneConfig(size_hw=(80, 100), frames=4, seed=4, background="ground", camera=camera))
    rows, columns = np.mgrid[:80, :100] + 0.5
    frames = []
    for step, frame in enumerate(scene):
        spot = 30_000 * np.exp(-((columns - 30 - 2 * step) ** 2 + (rows - 40) ** 2) / (2 * 1.5**2))
        frames.append(((frame.image + spot) / 65_535).astype(np.float32))
    for first in range(3):
        apart = 3 - first
        np.testing.assert_allclose(camera_shift(frames[first], frames[3]), (-1.4 * apart, 0.6 * apart), atol=0.5)


@pytest.mark.parametrize(("noise", "largest_error"), [(0.5, 0.12), (1.0, 0.25)])
def test_a_skyline_under_an_empty_sky_tells_the_motion(noise: float, largest_error: float) -> None:
    errors = []
    for seed in range(8):
        generator = np.random.default_rng(seed)
        steps = cv2.GaussianBlur(generator.standard_normal((1, 400), dtype=np.float32), (0, 0), 6.0).ravel()
        ridge = 170 + 25 * steps / steps.std()  # row of the skyline, by column
        frames = []
        for x, y in ((0.0, 0.0), (4.2, 3.3)):
            rows, columns = np.mgrid[:256, :320].astype(np.float64)
            below = rows - y - np.interp(columns - x + 40, np.arange(400), ridge)
            levels = 100 + 40 / (1 + np.exp(-2 * below)) + noise * generator.standard_normal((256, 320))
            frames.append((levels / 255).astype(np.float32))
        errors.append(np.array(camera_shift(*frames)) - (4.2, 3.3))
    assert np.sqrt(np.mean(np.square(errors), axis=0)).max() < largest_error


@pytest.mark.parametrize("pan_xy", [(24.4, -12.7), (-31.5, 20.3)])
def test_far_shifts_are_found_as_well(pan_xy: tuple[float, float]) -> None:
    first, second = clip("ground", pan_xy, frames=2)
    np.testing.assert_allclose(camera_shift(first, second), np.negative(pan_xy), atol=0.2)


@pytest.mark.parametrize("noise", [0.4, 0.8, 1.0])  # at 1.3 no shift is clear any more
def test_in_noise_refined_shifts_are_nearer_than_what_the_correlation_found(
    noise: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(4)
    errors: dict[int, list[NDArray[np.float64]]] = {0: [], registration.REFINING_STEPS: []}
    for shift in generator.uniform(-6, 6, (20, 2)):
        scene = 8 * cv2.GaussianBlur(generator.standard_normal((154, 192), dtype=np.float32), (0, 0), 3.0)
        frames = [
            part + np.float32(noise) * generator.standard_normal(part.shape, dtype=np.float32)
            for part in (scene, shifted(scene, *shift))
        ]
        for steps, found in errors.items():
            monkeypatch.setattr(registration, "REFINING_STEPS", steps)
            found.append(np.array(camera_shift(*frames)) - shift)
    coarse, refined = (np.sqrt(np.mean(np.square(found))) for found in errors.values())
    assert refined < 0.9 * coarse


def test_along_edges_nothing_is_made_up() -> None:
    rows = np.random.default_rng(0).standard_normal((154, 1)).astype(np.float32)
    scene = 8 * cv2.GaussianBlur(np.repeat(rows, 192, axis=1), (0, 0), 3.0)
    np.testing.assert_allclose(camera_shift(scene, shifted(scene, 0.0, 1.4)), (0.0, 1.4), atol=0.02)


@pytest.mark.parametrize("background", ["ground", "city"])
def test_registered_frames_differ_by_less(background: str) -> None:
    frames = clip(background, (3.4, 1.6))
    aligned = register(frames)
    inner = np.s_[16:-16, 16:-16]
    for before, after in zip(frames[:-1], aligned[:-1], strict=True):
        left = np.abs(after[inner] - frames[-1][inner]).mean()
        assert left < 0.6 * np.abs(before[inner] - frames[-1][inner]).mean()
    assert aligned[-1] is frames[-1]


@pytest.mark.parametrize("size_hw", [(16, 16), (24, 32), (48, 64), (64, 96), (240, 320)])
def test_noise_alone_moves_nothing(size_hw: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    for _ in range(40):
        frames = [
            np.float32(0.5) + np.float32(0.02) * generator.standard_normal(size_hw, dtype=np.float32) for _ in "ab"
        ]
        assert camera_shift(frames[0], frames[1]) == (0.0, 0.0)
    flat = np.full((240, 320), 0.5, dtype=np.float32)
    assert camera_shift(flat, flat.copy()) == (0.0, 0.0)


def test_small_frames_of_a_scene_are_registered() -> None:
    config = SceneConfig(
        size_hw=(48, 64), frames=2, background="ground", camera=CameraMotion(pan_px_per_frame=(1.3, -0.7)), seed=3
    )
    first, second = (frame.image.astype(np.float32) for frame in Scene(config))
    np.testing.assert_allclose(camera_shift(first, second), (-1.3, 0.7), atol=0.15)


def test_a_moving_target_stays_where_it_was_seen() -> None:
    """A still camera: a bright target that moves must not drag the scene along."""
    base, *_ = clip("ground", (0.0, 0.0))
    frames = []
    for step in range(2):
        frame = base.copy()
        frame[100:104, 100 + 9 * step : 104 + 9 * step] = 1.0
        frames.append(frame)
    np.testing.assert_allclose(camera_shift(*frames), (0, 0), atol=0.05)


def test_frames_of_several_sizes_are_refused() -> None:
    with pytest.raises(FrameError, match="of one size"):
        register([np.zeros((64, 64), dtype=np.float32), np.zeros((64, 65), dtype=np.float32)])


def test_tiny_frames_are_left_alone() -> None:
    frames = [np.random.default_rng(seed).random((8, 9), dtype=np.float32) for seed in range(2)]
    assert camera_shift(frames[0], frames[1]) == (0.0, 0.0)


def test_structure_is_compared_any_number_of_times() -> None:
    first, second, third = clip("ground", (4.6, 2.2))
    old, middle, new = structure_of(first), structure_of(second), structure_of(third)
    shifts = [shift_between(old, new), shift_between(middle, new), shift_between(old, new)]
    assert shifts == [camera_shift(first, third), camera_shift(second, third), camera_shift(first, third)]


def test_long_and_narrow_frames_are_left_alone() -> None:
    frames = [np.random.default_rng(seed).random((16, 4000), dtype=np.float32) for seed in range(2)]
    assert camera_shift(frames[0], frames[1]) == (0.0, 0.0)


def test_shifted_frames_are_interpolated_and_repeat_their_border() -> None:
    ramp = np.add.outer(10 * np.arange(20), np.arange(30)).astype(np.float32)
    moved = shifted(ramp, 2.25, -1.5)
    np.testing.assert_allclose(moved[:-2, 3:], (ramp - 2.25 + 15)[:-2, 3:], atol=1e-3)
    np.testing.assert_allclose(moved[:-2, :2], np.repeat(ramp[:-2, :1] + 15, 2, axis=1), atol=1e-3)
    assert shifted(ramp, 0.0, 0.0) is ramp
