"""Whatever a valid configuration asks for is rendered, and the truth fits the frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loddis_runtime.scenes import Scene, SceneConfig
from loddis_runtime.scenes.config import BackgroundKind

KINDS = ("point", "blob", "aircraft", "drone", "bird")


@st.composite
def targets(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(KINDS))
    place = st.floats(-40, 120)
    return {
        "snr": draw(st.floats(0.5, 500)),
        "kind": kind,
        "size_px": 0.0 if kind == "point" else draw(st.floats(0.5, 40)),
        "speed_px_per_frame": draw(st.floats(0, 9)),
        "heading_deg": draw(st.none() | st.floats(-360, 360)),
        "turn_deg_per_frame": draw(st.floats(-20, 20)),
        "start_xy": draw(st.none() | st.tuples(place, place)),
        "polarity": draw(st.sampled_from(["hot", "cold"])),
    }


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    """Give what `SceneConfig` takes, small enough to be quick."""
    bit_depth = draw(st.sampled_from([8, 16]))
    processing = draw(st.sampled_from(["auto", "linear", "enhanced"] + (["raw"] if bit_depth == 16 else [])))
    share = st.floats(0, 0.5)
    return {
        "size_hw": draw(st.tuples(st.integers(32, 80), st.integers(32, 80))),
        "frames": draw(st.integers(1, 12)),
        "frame_rate_hz": draw(st.floats(1, 200)),
        "background": draw(st.sampled_from(["sky", "sea", "ground", "city"])),
        "horizon": draw(st.none() | st.floats(-1, 2)),
        "contrast": draw(st.floats(0, 4)),
        "weather": {
            "air_temperature_k": draw(st.floats(240, 320)),
            "zenith_opacity": draw(st.floats(0.02, 3)),
            "cloud_cover": draw(st.none() | st.floats(0, 1)),
            "wind_m_s": draw(st.floats(0.5, 25)),
            "glint_k": draw(st.floats(0, 20)),
        },
        "optics": {"psf_fwhm_px": draw(st.floats(1.2, 8)), "pixel_mrad": draw(st.floats(0.01, 20))},
        "noise": {
            "temporal_mk": draw(st.floats(0, 500)),
            "bad_pixel_share": draw(share),
            "blinking_pixel_share": draw(share),
        },
        "readout": {
            "processing": processing,
            "converter_bits": draw(st.integers(8, 16)),
            "counts_per_kelvin": draw(st.floats(0.5, 300)),
        },
        "bit_depth": bit_depth,
        "camera": {
            "pan_px_per_frame": draw(st.tuples(st.floats(-8, 8), st.floats(-8, 8))),
            "jitter_px": draw(st.floats(0, 4)),
            "drift_px": draw(st.floats(0, 20)),
            "drift_period_frames": draw(st.floats(4, 200)),
        },
        "targets": draw(st.lists(targets(), max_size=4)),
        "snr_reference": draw(st.sampled_from(["noise", "local"])),
        "box_margin_px": draw(st.floats(0, 8)),
        "min_visibility": draw(st.floats(0, 1)),
        "seed": draw(st.integers(0, 2**63 - 1)),
    }


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(configurations(), st.integers(0, 11))
def test_any_configuration_renders_and_its_truth_fits(fields: dict[str, Any], index: int) -> None:
    config = SceneConfig.model_validate(fields)
    scene = Scene(config)
    frame = scene.frame(index % config.frames)
    height, width = config.size_hw
    assert frame.image.shape == (height, width)
    assert frame.image.dtype == (np.uint8 if config.bit_depth == 8 else np.uint16)
    count = len(frame.target_ids)
    assert frame.boxes_xyxy.shape == (count, 4)
    assert frame.centres.shape == (count, 2)
    assert frame.snr.shape == frame.visibility.shape == (count,)
    assert np.isin(frame.target_ids, np.arange(len(config.targets))).all()
    assert (frame.boxes_xyxy >= 0).all()
    assert (frame.boxes_xyxy <= [width, height, width, height]).all()
    assert (frame.boxes_xyxy[:, :2] < frame.boxes_xyxy[:, 2:]).all()
    assert (frame.visibility >= np.float32(config.min_visibility) - 1e-6).all()
    assert (frame.visibility > 0).all()
    assert (frame.visibility <= 1 + 1e-4).all()
    assert np.isfinite(frame.snr).all()


@pytest.mark.parametrize("background", ["sky", "sea", "ground", "city"])
def test_equal_configurations_give_equal_frames_in_any_order(background: BackgroundKind) -> None:
    config = SceneConfig.model_validate(
        {
            "size_hw": (64, 96),
            "frames": 6,
            "background": background,
            "camera": {"jitter_px": 1.0, "drift_px": 3.0},
            "noise": {"blinking_pixel_share": 0.01},
            "targets": [{"snr": 20}, {"snr": 9, "kind": "bird", "size_px": 6}],
            "seed": 11,
        }
    )
    forwards = list(Scene(config))
    scene = Scene(config)
    for index in (5, 0, 3, 3, 1):
        again = scene.frame(index)
        assert (again.image == forwards[index].image).all()
        assert (again.centres == forwards[index].centres).all()
        assert (again.snr == forwards[index].snr).all()
    other = Scene(config.model_copy(update={"seed": 12}))
    assert (other.frame(3).image != forwards[3].image).mean() > 0.5
