"""Targets put into frames that are there already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from loddis_runtime.errors import ConfigError, FrameError
from loddis_runtime.frames import Frame
from loddis_runtime.photometry import measure_noise, measure_targets
from loddis_runtime.scenes import inject_target


def noise_frame(dtype: str, *, seed: int = 0) -> Frame:
    rng = np.random.default_rng(seed)
    white = rng.standard_normal((80, 100), dtype=np.float32)
    if dtype == "float32":
        return np.asarray(0.4 + 0.004 * white, dtype=np.float32)
    if dtype == "uint16":
        return np.rint(7000 + 25 * white).astype(np.uint16)
    return np.rint(90 + 3 * white).astype(np.uint8)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_dtype_and_frame_are_kept(dtype: str) -> None:
    frame = noise_frame(dtype)
    before = frame.copy()
    injection = inject_target(frame, centre_xy=(50.5, 40.5), snr=12)
    assert injection.frame.dtype == np.dtype(dtype)
    assert injection.frame is not frame
    assert (frame == before).all()
    added = injection.frame.astype(float) - before.astype(float)
    assert added[40, 50] == pytest.approx(12 * injection.noise, abs=0.51 if dtype != "float32" else 1e-6)
    assert injection.snr == pytest.approx(12)
    far = np.hypot(*(np.mgrid[:80, :100] - np.array([40, 50])[:, None, None])) > 8
    assert (added[far] == 0).all()


@given(
    snr=st.floats(5, 80),
    centre=st.tuples(st.floats(20, 80), st.floats(20, 60)),
    size=st.floats(0, 6),
    polarity=st.sampled_from(["hot", "cold"]),
    seed=st.integers(0, 100),
)
def test_photometry_finds_what_was_put_in(
    snr: float, centre: tuple[float, float], size: float, polarity: Any, seed: int
) -> None:
    kind: Any = "blob" if size > 0.5 else "point"
    frame = noise_frame("uint16", seed=seed)
    injection = inject_target(
        frame, centre_xy=centre, snr=snr, kind=kind, size_px=size if kind == "blob" else 0.0, polarity=polarity
    )
    centroids, found = measure_targets(injection.frame, injection.box_xyxy[None])
    # Noise adds a few deviations to the brightest pixel, and the noise itself is known to a tenth: both errors add. The
    # wings of a wide blob raise the ring's level and noise.
    assert abs(found[0] - snr) < max(4.5 + 0.1 * snr, 0.25 * snr)
    assert np.linalg.norm(centroids[0] - injection.centre_xy) < 0.05 + 6 / snr


def test_the_border_of_the_frame_cuts_target_and_box() -> None:
    frame = noise_frame("uint16")
    injection = inject_target(frame, centre_xy=(0.0, 40.0), snr=30, box_margin_px=3)
    x1, y1, x2, y2 = injection.box_xyxy.tolist()
    assert x1 == 0
    assert x2 > 3
    assert y2 - y1 > x2 - x1
    assert injection.snr == pytest.approx(30)


def test_levels_end_where_the_sensor_ends() -> None:
    frame = noise_frame("uint8")
    bright = inject_target(frame, centre_xy=(50.5, 40.5), snr=500)
    assert bright.frame.max() == 255
    assert bright.snr == pytest.approx((255 - frame[40, 50]) / bright.noise, rel=0.1)
    converter = inject_target(noise_frame("uint16"), centre_xy=(50.5, 40.5), snr=900, level_range=(0, 16383))
    assert converter.frame.max() == 16383
    over = noise_frame("uint16")
    over[40, 50] = 20_000  # a level beyond the range that is there already stays
    assert inject_target(over, centre_xy=(50.5, 40.5), snr=9, level_range=(0, 16383)).frame[40, 50] == 20_000


def test_the_noise_is_the_one_that_photometry_measures() -> None:
    frame = noise_frame("uint16")
    for x in (50.5, 50.1, 49.9):  # at each, another part of a pixel lies between box and ring
        injection = inject_target(frame, centre_xy=(x, 40.5), snr=12)
        assert injection.noise == pytest.approx(measure_noise(frame, injection.box_xyxy[None])[0])


def test_an_even_frame_has_the_noise_of_rounding() -> None:
    injection = inject_target(np.full((40, 40), 100, dtype=np.uint8), centre_xy=(20.5, 20.5), snr=20)
    assert injection.noise == pytest.approx(12**-0.5)
    assert injection.frame[20, 20] == 106


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"centre_xy": (101, 5)}, r"within the frame of 100 x 80 px, got \(101, 5\)"),
        ({"snr": 0}, "snr must be above 0, got 0"),
        ({"snr": float("inf")}, "snr must be above 0, got inf"),
        ({"snr": float("nan")}, "snr must be above 0, got nan"),
        ({"kind": "plane", "size_px": 4}, "kind must be one of point, blob, .*, got 'plane'"),
        ({"polarity": "bright"}, "polarity must be one of hot, cold, got 'bright'"),
        ({"psf_fwhm_px": -1}, "psf_fwhm_px must be from 1 to 8, got -1"),
        ({"psf_fwhm_px": 0.01}, "psf_fwhm_px must be from 1 to 8, got 0.01"),
        ({"size_px": 4}, "size_px of a target of kind 'point' must be 0, got 4"),
        ({"kind": "drone"}, "size_px of a target of kind 'drone' must be above 0 and up to 512, got 0"),
        ({"kind": "blob", "size_px": 1e4}, "size_px of a target of kind 'blob' must be .* up to 512, got 10000"),
        ({"heading_deg": float("nan")}, "heading_deg must be finite, got nan"),
        ({"box_margin_px": -9}, "box_margin_px must be from 0, got -9"),
        ({"box_margin_px": float("inf")}, "box_margin_px must be from 0, got inf"),
        ({"level_range": (100, 50)}, r"level_range must be a lower and a higher level, got \(100, 50\)"),
        ({"level_range": (0, float("nan"))}, r"level_range must be a lower and a higher level, got \(0, nan\)"),
        ({"centre_xy": (float("nan"), 5)}, r"within the frame of 100 x 80 px, got \(nan, 5\)"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        inject_target(noise_frame("uint16"), **{"centre_xy": (50, 40), "snr": 10, **options})


def test_bad_frames_are_refused() -> None:
    broken: NDArray[Any] = np.full((40, 40), np.nan, dtype=np.float32)
    with pytest.raises(FrameError):
        inject_target(broken, centre_xy=(20, 20), snr=5)


def test_a_target_in_a_real_frame(loddis_data: Path) -> None:
    frame = cv2.imread(str(loddis_data / "city" / "images" / "seq1_clip001" / "0001.png"), cv2.IMREAD_GRAYSCALE)
    assert frame is not None
    real = np.asarray(frame, dtype=np.uint8)
    injection = inject_target(real, centre_xy=(100.3, 120.8), snr=15, kind="drone", size_px=6)
    centroids, snr = measure_targets(injection.frame, injection.box_xyxy[None])
    assert snr[0] == pytest.approx(15, rel=0.35)
    assert np.linalg.norm(centroids[0] - injection.centre_xy) < 1


def test_a_frame_smaller_than_the_ring_gives_its_own_noise() -> None:
    frame = np.array([[10, 30, 13], [24, 16, 30], [20, 26, 14]], dtype=np.uint8)
    injection = inject_target(frame, centre_xy=(1.5, 1.5), snr=2, psf_fwhm_px=2)
    assert injection.noise == pytest.approx(frame.std(), rel=0.1)
    assert injection.frame[1, 1] == pytest.approx(16 + 2 * injection.noise, abs=0.51)
