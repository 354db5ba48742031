"""Physically plausible infrared scenes with exact truth, and real frames with targets put into them.

    SceneConfig -> Scene -> SceneFrame(image, boxes_xyxy, centres, snr, ...)

A frame is made as a camera makes it: a background in kelvin (sky, sea, ground or city) and targets; the blur of lens
and pixels, the camera's motion part of it; noise, stripes and bad pixels; a converter; and what the camera's processing
makes of the counts, in 8 or 16 bit.

>>> from loddis_runtime.scenes import SceneConfig, TargetConfig, render
>>> config = SceneConfig(background="sea", frames=3, targets=(TargetConfig(snr=8),), seed=1)
>>> [frame.image.shape for frame in render(config)]
[(256, 320), (256, 320), (256, 320)]
"""

from loddis_runtime.scenes.config import (
    CameraMotion,
    Optics,
    Readout,
    SceneConfig,
    SensorNoise,
    TargetConfig,
    Weather,
)
from loddis_runtime.scenes.injection import Injection, inject_target
from loddis_runtime.scenes.scene import Scene, SceneFrame, render

__all__ = [
    "CameraMotion",
    "Injection",
    "Optics",
    "Readout",
    "Scene",
    "SceneConfig",
    "SceneFrame",
    "SensorNoise",
    "TargetConfig",
    "Weather",
    "inject_target",
    "render",
]
