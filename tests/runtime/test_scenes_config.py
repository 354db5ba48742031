"""Configurations that make no sense are refused with the reason; frames that are not there too."""

from __future__ import annotations

import doctest
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

import loddis_runtime.scenes
import loddis_runtime.scenes.scene
from loddis_runtime.scenes import Scene, SceneConfig, SceneFrame, render


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"size_hw": (0, 320)}, "size_hw.0.*greater than or equal to 32"),
        ({"frames": 0}, "frames.*greater than or equal to 1"),
        ({"background": "space"}, "'sky', 'sea', 'ground' or 'city'"),
        ({"bit_depth": 12}, "8 or 16"),
        (
            {"bit_depth": 8, "readout": {"processing": "raw"}},
            "must go with readout.processing linear, enhanced or auto",
        ),
        ({"targets": [{"snr": 0}]}, "targets.0.snr.*greater than 0"),
        ({"targets": [{"snr": float("nan")}]}, "targets.0.snr.*finite number"),
        ({"targets": [{"snr": 5, "size_px": 3}]}, "size_px of a target of kind 'point' must be 0, got 3"),
        ({"targets": [{"snr": 5, "kind": "bird"}]}, "size_px of a target of kind 'bird' must be above 0, got 0"),
        ({"targets": [{"snr": 5, "speed_px_per_frame": 1e300}]}, "speed_px_per_frame.*less than or equal to 4096"),
        ({"targets": [{"snr": 5, "start_xy": (0, -1e300)}]}, "start_xy.1.*greater than or equal to -1000000"),
        ({"noise": {"bad_pixel_share": 0.7, "blinking_pixel_share": 0.6}}, "not exceed 1 together, got 0.7 and 0.6"),
        ({"camera": {"pan_px_per_frame": (30.0, 40.0)}, "frames": 101}, "farther than 2048 px in a clip, got 5000 px"),
        ({"targets": [{"snr": 5, "kind": "blob", "size_px": 513}]}, "size_px.*less than or equal to 512"),
        ({"camera": {"drift_period_frames": 1e6}}, "drift_period_frames.*less than or equal to 100000"),
        ({"camera": {"drift_period_frames": float("inf")}}, "drift_period_frames.*less than or equal to 100000"),
        ({"optics": {"psf_fwhm_px": 0.5}}, "psf_fwhm_px.*greater than or equal to 1.2"),
        ({"seed": -1}, "seed.*greater than or equal to 0"),
        ({"wind": 3}, "wind.*Extra inputs"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=f"(?s){reason}"):
        SceneConfig.model_validate(fields)


def test_every_field_says_what_it_is() -> None:
    models: list[type[BaseModel]] = [
        SceneConfig,
        *(
            getattr(loddis_runtime.scenes, name)
            for name in ("TargetConfig", "Optics", "SensorNoise", "Readout", "CameraMotion", "Weather")
        ),
    ]
    for model in models:
        assert all(field.description for field in model.model_fields.values()), model.__name__


def test_a_configuration_survives_json() -> None:
    config = SceneConfig.model_validate({"background": "sea", "targets": [{"snr": 4, "start_xy": (3, 4.5)}], "seed": 9})
    assert SceneConfig.model_validate_json(config.model_dump_json()) == config


def test_a_scene_is_a_sequence() -> None:
    config = SceneConfig(size_hw=(32, 48), frames=4, background="ground")
    scene = Scene(config)
    assert len(scene) == 4
    assert [frame.index for frame in scene] == [0, 1, 2, 3]
    assert (scene[-1].image == scene.frame(3).image).all()
    rendered = render(config)
    assert isinstance(next(rendered), SceneFrame)
    assert sum(1 for _ in rendered) == 3
    for index in (4, -5):
        with pytest.raises(IndexError, match=f"index must be from -4 to 3, got {index}"):
            scene.frame(index)


@pytest.mark.parametrize("module", [loddis_runtime.scenes, loddis_runtime.scenes.scene])
def test_the_examples_run(module: Any) -> None:
    outcome = doctest.testmod(module)
    assert outcome.attempted >= 3
    assert outcome.failed == 0
