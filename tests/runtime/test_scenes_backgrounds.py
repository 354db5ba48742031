"""Camera, optics and backgrounds behave as physics says."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from loddis_runtime.scenes import Scene, SceneConfig, Weather
from loddis_runtime.scenes.backgrounds.atmosphere import clear_sky_k, cloud_k, water_reflectance
from loddis_runtime.scenes.backgrounds.waves import STEP_M, Waves
from loddis_runtime.scenes.chance import Chance
from loddis_runtime.scenes.fields import power_law_field, smooth_profile
from loddis_runtime.scenes.optics import FWHM_PER_SIGMA, Blur

SILENT = {
    "temporal_mk": 0.0,
    "row_flicker_mk": 0.0,
    "column_stripe_mk": 0.0,
    "row_stripe_mk": 0.0,
    "pixel_pattern_mk": 0.0,
    "shading_mk": 0.0,
}


def scene_of(**fields: Any) -> Scene:
    return Scene(SceneConfig.model_validate(fields))


def pictures(scene: Scene) -> list[NDArray[np.float32]]:
    return [frame.image.astype(np.float32) for frame in scene]


def moved_xy(first: NDArray[np.float32], second: NDArray[np.float32]) -> list[float]:
    """Measure how far a picture moved: phase correlation to about a pixel, then registration to parts of one."""
    window = cv2.createHanningWindow(first.shape[::-1], cv2.CV_32F)
    # Of curvature: the long gradient of a sky says nothing about x.
    coarse, _ = cv2.phaseCorrelate(cv2.Laplacian(first, cv2.CV_32F), cv2.Laplacian(second, cv2.CV_32F), window)
    moved = np.array(coarse)
    before, after = (cv2.GaussianBlur(picture, (0, 0), 1.5) for picture in (first, second))
    inner = (slice(12, -12), slice(12, -12))
    for _ in range(12):
        motion = np.array([[1, 0, moved[0]], [0, 1, moved[1]]])
        warped = cv2.warpAffine(before, motion, first.shape[::-1], flags=cv2.INTER_CUBIC)
        slope_y, slope_x = np.gradient(warped)
        slopes = np.stack([slope_x[inner].ravel(), slope_y[inner].ravel()], axis=1)
        moved -= np.linalg.lstsq(slopes, (after - warped)[inner].ravel(), rcond=None)[0]
    return [float(moved[0]), float(moved[1])]


@pytest.mark.parametrize(
    "camera",
    [
        {"pan_px_per_frame": (1.3, -0.7)},
        {"jitter_px": 1.5},
        {"drift_px": 6.0, "drift_period_frames": 20.0},
        {"pan_px_per_frame": (-2.25, 0.4), "jitter_px": 0.6},
    ],
    ids=["pan", "jitter", "drift", "pan and jitter"],
)
@pytest.mark.parametrize("background", ["sky", "sea", "ground", "city"])
def test_the_background_moves_as_the_camera_says(background: str, camera: dict[str, Any]) -> None:
    scene = scene_of(
        background=background,
        camera=camera,
        noise=SILENT,
        frames=6,
        frame_rate_hz=10_000,  # clouds and waves stand still meanwhile
        readout={"converter_bits": 16, "counts_per_kelvin": 300},
        seed=3,
    )
    frames = pictures(scene)
    for index in range(1, 6):
        truth = scene.camera_path_xy[index - 1] - scene.camera_path_xy[index]
        assert moved_xy(frames[index - 1], frames[index]) == pytest.approx(truth.tolist(), abs=0.05)


def test_a_camera_that_stands_still_sees_the_same_ground() -> None:
    scene = scene_of(background="ground", noise=SILENT, frames=5, seed=1)
    assert (scene.camera_path_xy == 0).all()
    assert (scene.frame(0).image == scene.frame(4).image).all()


@pytest.mark.parametrize("background", ["sky", "sea"])
def test_clouds_and_waves_move_by_themselves(background: str) -> None:
    scene = scene_of(background=background, noise=SILENT, frames=61, seed=2, weather={"cloud_cover": 0.5})
    first, second, last = (scene.frame(index).image.astype(float) for index in (0, 1, 60))
    assert 0 < np.abs(second - first).mean() < np.abs(last - first).mean()


def test_an_hour_of_clouds_through_a_long_lens_fits_into_memory() -> None:
    scene = scene_of(
        size_hw=(64, 64),
        frames=100_000,
        weather={"cloud_cover": 0.5, "wind_m_s": 25.0},
        optics={"pixel_mrad": 0.05},
        horizon=2.0,
    )
    assert (scene.frame(99_999).image != scene.frame(0).image).mean() > 0.5


def test_clouds_cover_the_stated_share() -> None:
    frames = [
        scene_of(
            background="sky",
            noise=SILENT,
            frames=1,
            seed=seed,
            horizon=2.0,
            weather={"cloud_cover": cover},
        )
        .frame(0)
        .image.astype(float)
        for cover in (0.0, 0.3, 0.8)
        for seed in range(4)
    ]
    warmth = np.array([frame.mean() for frame in frames]).reshape(3, 4).mean(axis=1)
    assert warmth[0] < warmth[1] < warmth[2]
    assert all(np.diff(frame, axis=1).std() < 0.5 for frame in frames[:4])  # a clear sky is even along rows


def test_the_sky_is_as_warm_as_air_at_the_horizon_and_colder_above() -> None:
    weather = Weather(air_temperature_k=290, zenith_opacity=0.1)
    elevation = np.linspace(0, math.pi / 2, 50, dtype=np.float32)
    sky = clear_sky_k(elevation, weather)
    assert sky[0] == pytest.approx(290, abs=2)
    assert (np.diff(sky) < 0).all()
    assert 150 < sky[-1] < 200
    clouds = cloud_k(elevation, weather, base_k=278)
    assert (clouds[5:] > sky[5:]).all()
    humid = clear_sky_k(elevation, Weather(air_temperature_k=290, zenith_opacity=0.6))
    assert (humid[1:] > sky[1:]).all()


def test_water_mirrors_at_grazing_angles_only() -> None:
    reflectance = water_reflectance(np.array([0.0, 0.1, 0.5, math.pi / 2], dtype=np.float32))
    assert reflectance[0] == pytest.approx(1.0)
    assert (np.diff(reflectance) < 0).all()
    assert reflectance[-1] == pytest.approx(0.012, abs=1e-3)


def test_waves_obey_the_dispersion_of_deep_water() -> None:
    waves = Waves(8.0, wind_rad=0.4, rng=np.random.default_rng(0))
    times = np.arange(0, 4, 0.05)
    spectra = np.array([np.fft.fft2(waves.slopes(float(time))[..., 0]) for time in times])
    for row, column in ((3, 5), (7, 2), (0, 9)):
        k = 2 * math.pi * math.hypot(row, column) / (256 * STEP_M)
        omega = math.sqrt(9.81 * k)
        phases = np.exp(np.outer([-1j * omega, 1j * omega], times)).T  # the two ways a wave can run
        solution = np.linalg.lstsq(phases, spectra[:, row, column], rcond=None)[0]
        residual = spectra[:, row, column] - phases @ solution
        assert np.abs(residual).max() < 1e-2 * np.abs(spectra[:, row, column]).max()


def test_waves_are_as_steep_as_cox_and_munk_saw() -> None:
    total = np.mean(
        [
            (waves.slopes(1.0).astype(float) ** 2).sum(axis=2).mean()
            for waves in (Waves(7.0, wind_rad=0.3, rng=np.random.default_rng(seed)) for seed in range(6))
        ]
    )
    assert total == pytest.approx(0.6 * (0.003 + 0.00512 * 7.0), rel=0.15)


@pytest.mark.parametrize("exponent", [0.0, 2.0, 3.3])
def test_power_law_fields_have_their_power_law(exponent: float) -> None:
    field = power_law_field(np.random.default_rng(0), (256, 256), exponent=exponent)
    assert field.mean() == pytest.approx(0, abs=1e-4)
    assert field.std() == pytest.approx(1, abs=1e-4)
    windowed = field * np.outer(np.hanning(256), np.hanning(256))
    power = np.abs(np.fft.fft2(windowed)) ** 2
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256)))
    bands = [(0.03, 0.045), (0.2, 0.3)]
    low, high = (float(power[(radius > a) & (radius < b)].mean()) for a, b in bands)
    slope = math.log(low / high) / math.log(0.25 / 0.0375)
    assert slope == pytest.approx(exponent, abs=0.25)


def test_profiles_have_unit_deviation() -> None:
    profile = smooth_profile(np.random.default_rng(0), 20_000, scale_px=12)
    assert profile.std() == pytest.approx(1, abs=0.1)
    assert np.abs(np.diff(profile)).max() < 0.8


@given(st.floats(1.2, 4), st.floats(0, 1), st.floats(0, 1))
def test_the_blur_keeps_levels_and_shifts_by_parts_of_a_pixel(fwhm: float, shift_x: float, shift_y: float) -> None:
    blur = Blur(fwhm)
    size = 2 * blur.margin_px + 31
    dot = np.zeros((size, size), dtype=np.float32)
    dot[size // 2, size // 2] = 1
    spot = blur.apply(dot, shift_xy=(shift_x, shift_y)).astype(float)
    rows, columns = np.mgrid[:31, :31]
    assert spot.sum() == pytest.approx(1, abs=1e-4)
    assert (spot * columns).sum() == pytest.approx(15 - shift_x, abs=0.03)
    assert (spot * rows).sum() == pytest.approx(15 - shift_y, abs=0.03)
    variance = ((columns - 15 + shift_x) ** 2 * spot).sum()
    assert math.sqrt(variance) == pytest.approx(math.hypot(fwhm / FWHM_PER_SIGMA, 12**-0.5), rel=0.03)
    even = blur.apply(np.full((size, size), 283.0, dtype=np.float32), shift_xy=(shift_x, shift_y))
    assert np.abs(even - 283).max() < 1e-3


def test_parts_draw_from_streams_of_their_own() -> None:
    chance = Chance(4)
    assert chance.stream("sky").random() == chance.stream("sky").random()
    values = {chance.stream(name, index).random() for name in ("sky", "sea") for index in range(3)}
    assert len(values) == 6
