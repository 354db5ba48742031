"""Past frames come to stand on the newest one; where nothing shows the motion, nothing is moved."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from loddis_runtime.errors import FrameError
from loddis_runtime.registration import camera_shift, register, shift_between, structure_of
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
    np.testing.assert_allclose(camera_shift(first, second), np.negative(pan_xy), atol=0.6)
    np.testing.assert_allclose(camera_shift(first, third), -2 * np.array(pan_xy), atol=0.8)


@pytest.mark.parametrize("background", ["ground", "city"])
def test_registered_frames_differ_by_less(background: str) -> None:
    frames = clip(background, (3.4, 1.6))
    aligned = register(frames)
    inner = np.s_[16:-16, 16:-16]
    for before, after in zip(frames[:-1], aligned[:-1], strict=True):
        left = np.abs(after[inner] - frames[-1][inner]).mean()
        assert left < 0.6 * np.abs(before[inner] - frames[-1][inner]).mean()
    assert aligned[-1] is frames[-1]


def test_noise_alone_moves_nothing() -> None:
    generator = np.random.default_rng(0)
    frames = [
        np.float32(0.5) + np.float32(0.02) * generator.standard_normal((240, 320), dtype=np.float32) for _ in "ab"
    ]
    assert camera_shift(frames[0], frames[1]) == (0.0, 0.0)
    flat = np.full((240, 320), 0.5, dtype=np.float32)
    assert camera_shift(flat, flat.copy()) == (0.0, 0.0)


def test_a_moving_target_stays_where_it_was_seen() -> None:
    """A still camera: a bright target that moves must not drag the scene along."""
    base, *_ = clip("ground", (0.0, 0.0))
    frames = []
    for step in range(2):
        frame = base.copy()
        frame[100:104, 100 + 9 * step : 104 + 9 * step] = 1.0
        frames.append(frame)
    np.testing.assert_allclose(camera_shift(*frames), (0, 0), atol=0.3)


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
