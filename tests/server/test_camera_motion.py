"""The camera's motion is found where the scene shows it, and not made up where it does not."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from loddis_runtime.scenes import CameraMotion as Motion
from loddis_runtime.scenes import Scene, SceneConfig
from loddis_server.tracking.camera import CameraMotion


@pytest.mark.parametrize("background", ["ground", "city", "sea"])
@pytest.mark.parametrize("bits", [8, 16])
def test_pan_and_shake_are_measured(background: str, bits: int) -> None:
    config = {"background": background, "frames": 8, "bit_depth": bits, "seed": 2}
    scene = Scene(SceneConfig.model_validate(config | {"camera": Motion(pan_px_per_frame=(3, -1), jitter_px=1.5)}))
    shown = list(scene)
    camera = CameraMotion()
    assert camera.update(shown[0].image) is None
    errors = []
    for before, frame in pairwise(shown):
        shift = camera.update(frame.image)
        assert shift is not None
        errors.append(np.abs(shift - (before.camera_xy - frame.camera_xy)))
    assert np.max(errors) < 1.0
    assert np.mean(errors) < 0.4


def test_larger_frames_are_measured_in_their_own_pixels() -> None:
    scene = Scene(
        SceneConfig(background="ground", size_hw=(512, 640), frames=2, camera=Motion(pan_px_per_frame=(9, 4)), seed=1)
    )
    camera = CameraMotion()
    camera.update(scene[0].image.astype(np.float32))
    shift = camera.update(scene[1].image.astype(np.float32))
    assert shift is not None
    np.testing.assert_allclose(shift, (-9, -4), atol=1.0)


@pytest.mark.parametrize("noise", [0.0, 5.0])
def test_a_bland_scene_tells_nothing(noise: float) -> None:
    rng = np.random.default_rng(0)
    camera = CameraMotion()
    for _ in range(4):
        frame = np.clip(rng.normal(100, noise, (256, 320)), 0, 255).astype(np.uint8)
        assert camera.update(frame) is None


def test_levels_beyond_what_float32_can_add_up_tell_nothing() -> None:
    camera = CameraMotion()
    frame = np.full((256, 320), 3e38, dtype=np.float32)
    frame[::2, ::3] = -3e38
    assert camera.update(frame) is None
    assert camera.update(frame) is None


def test_a_frame_of_another_size_starts_afresh() -> None:
    ground = Scene(SceneConfig(background="ground", frames=1, seed=4))[0].image
    camera = CameraMotion()
    assert camera.update(ground) is None
    assert camera.update(ground[:, :300]) is None
    assert camera.update(ground[:, :300]) == pytest.approx((0, 0), abs=0.1)


def test_after_a_reset_the_last_frame_is_forgotten() -> None:
    ground = Scene(SceneConfig(background="ground", frames=1, seed=4))[0].image
    camera = CameraMotion()
    camera.update(ground)
    camera.reset()
    assert camera.update(ground) is None
