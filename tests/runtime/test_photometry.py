"""Centroids and signal to noise ratios of synthetic spots whose truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from loddis_runtime.photometry import measure_batch, measure_noise, measure_targets

NOISE = 20.0
PITCH = 24
GRID_HW = (12, 14)


def spots(
    *, sigma_px: float, snr: float, polarity: int = 1, dtype: type[Any] = np.uint16, seed: int = 0
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Give a frame with a spot in each cell of a grid, and their centres ``(N, 2)``."""
    rng = np.random.default_rng(seed)
    height, width = GRID_HW[0] * PITCH, GRID_HW[1] * PITCH
    cells = np.stack(np.meshgrid(np.arange(GRID_HW[1]), np.arange(GRID_HW[0])), axis=-1).reshape(-1, 2)
    centres = (cells + 0.5) * PITCH + rng.uniform(-0.5, 0.5, (len(cells), 2))
    rows, columns = np.mgrid[:height, :width] + 0.5
    levels = 3_000 + NOISE * rng.standard_normal((height, width))
    for x, y in centres:
        levels += polarity * snr * NOISE * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma_px**2))
    if dtype == np.uint8:
        levels = (levels - 2_500) / 6
    if dtype == np.float32:
        return (levels / 65_535).astype(np.float32), centres
    return np.round(levels).clip(0, np.iinfo(dtype).max).astype(dtype), centres


def boxes_around(centres: NDArray[np.float64], side_px: float, *, shift_px: float = 0.0) -> NDArray[np.float64]:
    shift = np.random.default_rng(5).uniform(-shift_px, shift_px, centres.shape)
    return np.hstack([centres + shift - side_px / 2, centres + shift + side_px / 2])


def rms(errors: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(errors**2)))


@pytest.mark.parametrize("polarity", [1, -1])
@pytest.mark.parametrize("sigma_px", [0.8, 1.2, 2.0])
def test_centroids_are_within_a_tenth_of_a_pixel_at_snr_ten(sigma_px: float, polarity: int) -> None:
    frame, centres = spots(sigma_px=sigma_px, snr=10, polarity=polarity)
    centroids, _ = measure_targets(frame, boxes_around(centres, 9, shift_px=1.0))
    errors = centroids - centres
    assert rms(errors) < 0.1
    assert np.abs(errors.mean(axis=0)).max() < 0.02  # no bias


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_accuracy_grows_with_snr_in_every_dtype(dtype: type[Any]) -> None:
    frame, centres = spots(sigma_px=1.2, snr=30, dtype=dtype)
    centroids, _ = measure_targets(frame, boxes_around(centres, 9))
    assert rms(centroids - centres) < 0.04


def test_loose_boxes_do_no_harm() -> None:
    frame, centres = spots(sigma_px=1.2, snr=12)
    centroids, snr = measure_targets(frame, boxes_around(centres, 14, shift_px=3.0))
    assert rms(centroids - centres) < 0.1
    assert np.median(snr) == pytest.approx(12, rel=0.1)


@pytest.mark.parametrize("polarity", [1, -1])
@pytest.mark.parametrize("truth", [6.0, 15.0, 40.0])
def test_snr_is_what_was_put_in(truth: float, polarity: int) -> None:
    frame, centres = spots(sigma_px=1.5, snr=truth, polarity=polarity)
    _, snr = measure_targets(frame, boxes_around(centres, 9))
    assert np.median(snr) == pytest.approx(truth, rel=0.12)


def test_an_empty_box_has_the_snr_of_noise() -> None:
    frame, centres = spots(sigma_px=1.5, snr=0)
    _, snr = measure_targets(frame, boxes_around(centres, 7))
    assert np.median(snr) < 3
    assert snr.max() < 5.5


@pytest.mark.parametrize("sigma_px", [1.0, 2.0])
@pytest.mark.parametrize("edge", ["left", "right", "top", "bottom"])
def test_spots_that_the_border_cuts_are_found_where_they_are(edge: str, sigma_px: float) -> None:
    rng = np.random.default_rng(7)
    height, width = 40, 50
    errors = []
    for distance in np.linspace(0.5, 2.5, 21):
        x, y = {
            "left": (distance, 20.3),
            "right": (width - distance, 20.3),
            "top": (25.6, distance),
            "bottom": (25.6, height - distance),
        }[edge]
        rows, columns = np.mgrid[:height, :width] + 0.5
        levels = 3_000 + NOISE * rng.standard_normal((height, width))
        levels += 20 * NOISE * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma_px**2))
        box = np.clip([[x - 4, y - 4, x + 4, y + 4]], 0, [width, height, width, height])
        centroids, _ = measure_targets(np.round(levels).astype(np.uint16), box)
        errors.append(centroids[0] - (x, y))
    assert rms(np.array(errors)) < 0.1


def test_a_spot_in_a_corner_of_the_frame() -> None:
    rows, columns = np.mgrid[:30, :30] + 0.5
    levels = 1_000 + 2_000 * np.exp(-((columns - 0.8) ** 2 + (rows - 29.4) ** 2) / (2 * 1.3**2))
    centroids, _ = measure_targets(levels.astype(np.uint16), np.array([[0.0, 26, 4, 30]]))
    np.testing.assert_allclose(centroids, [[0.8, 29.4]], atol=0.1)


def test_other_targets_nearby_do_not_move_the_background() -> None:
    frame, centres = spots(sigma_px=1.2, snr=20)
    pair = frame.copy()
    rows, columns = np.mgrid[: frame.shape[0], : frame.shape[1]] + 0.5
    x, y = centres[30] + (8, 0)
    pair = (frame + 800 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 1.2**2))).astype(np.uint16)
    box = boxes_around(centres[30:31], 7)
    alone, together = measure_targets(frame, box), measure_targets(pair, box)
    np.testing.assert_allclose(together[0], alone[0], atol=0.1)
    assert together[1][0] > 0.5 * alone[1][0]


def test_all_at_once_is_each_alone() -> None:
    frame, centres = spots(sigma_px=1.2, snr=15)
    sides = np.resize([5.0, 9.0, 18.0, 40.0, 120.0], (len(centres), 1))
    boxes = np.hstack([centres - sides / 2, centres + sides / 2])[:40]
    centroids, snr = measure_targets(frame, boxes)
    for index in range(len(boxes)):
        alone = measure_targets(frame, boxes[index : index + 1])
        np.testing.assert_allclose(centroids[index], alone[0][0], atol=1e-4)
        np.testing.assert_allclose(snr[index], alone[1][0], rtol=1e-6)


def test_a_batch_is_each_frame_alone() -> None:
    frames, boxes = [], []
    for number, dtype in enumerate((np.uint16, np.uint8, np.float32, np.uint16, np.uint8)):
        frame, centres = spots(sigma_px=1.0 + 0.2 * number, snr=12, dtype=dtype, seed=number)
        sides = np.resize([5.0, 9.0, 18.0, 40.0], (len(centres), 1))
        frames.append(frame[: 280 - 30 * number, : 330 - 10 * number])
        boxes.append(np.hstack([centres - sides / 2, centres + sides / 2])[: 150 if number < 4 else 0])
    measured = measure_batch(frames, boxes)
    assert [len(snr) for _, snr in measured] == [150, 150, 150, 150, 0]
    for frame, found, (centroids, snr) in zip(frames, boxes, measured, strict=True):
        alone = measure_targets(frame, found)
        np.testing.assert_allclose(centroids, alone[0], atol=1e-4)
        np.testing.assert_allclose(snr, alone[1], rtol=1e-6)
    assert measure_batch([], []) == []


def test_large_targets_have_their_middle() -> None:
    rows, columns = np.mgrid[:300, :400] + 0.5
    disc = (columns - 180) ** 2 + (rows - 140) ** 2 < 30**2
    frame = np.where(disc, 9_000, 3_000).astype(np.uint16)
    centroids, snr = measure_targets(frame, np.array([[148.0, 108, 212, 172]]))
    assert snr[0] > 100
    assert np.all((centroids >= (148, 108)) & (centroids <= (212, 172)))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (3, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_frames_with_hardly_a_pixel(shape: tuple[int, int], dtype: type[Any]) -> None:
    frame = np.zeros(shape, dtype=dtype)
    centroids, snr = measure_targets(frame, np.array([[0, 0, shape[1], shape[0]]]))
    np.testing.assert_allclose(centroids, [[shape[1] / 2, shape[0] / 2]])
    assert snr.tolist() == [0.0]


@pytest.mark.parametrize("box", [[5, 5, 5, 5], [-20, -20, -10, -10], [900, 900, 950, 950], [0, 0, 336, 288]], ids=str)
def test_any_box_gives_finite_numbers_within_it(box: list[float]) -> None:
    frame, _ = spots(sigma_px=1.2, snr=15)
    centroids, snr = measure_targets(frame, np.array([box], dtype=np.float64))
    assert np.isfinite(centroids).all()
    assert np.isfinite(snr).all()
    assert np.all((centroids[0] >= box[:2]) & (centroids[0] <= box[2:]))


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    ),
    st.lists(st.tuples(*[st.floats(-5, 20)] * 4), max_size=3),
)
def test_any_frame_gives_finite_numbers(frame: NDArray[np.float32], corners: list[tuple[float, ...]]) -> None:
    boxes = np.array(corners, dtype=np.float64).reshape(-1, 2, 2)
    boxes.sort(axis=1)
    centroids, snr = measure_targets(frame, boxes.reshape(-1, 4))
    assert np.isfinite(centroids).all()
    assert np.isfinite(snr).all()
    assert np.all(snr >= 0)


def test_no_boxes() -> None:
    centroids, snr = measure_targets(np.zeros((5, 5), dtype=np.uint8), np.zeros((0, 4)))
    assert centroids.shape == (0, 2)
    assert snr.shape == (0,)
    assert centroids.dtype == snr.dtype == np.float32


def test_a_frame_without_noise_has_the_noise_of_rounding() -> None:
    frame = np.full((21, 21), 100, dtype=np.uint8)
    frame[10, 10] = 110
    _, snr = measure_targets(frame, np.array([[8.0, 8, 13, 13]]))
    assert snr[0] == pytest.approx(10 * 12**0.5)


@pytest.mark.parametrize(
    ("box", "pixel"),
    [
        ([19.6, 19.6, 20.4, 20.4], (20, 20)),
        ([20.1, 20.1, 20.2, 20.3], (20, 20)),
        ([16.0, 20.6, 25.0, 20.9], (22, 20)),  # flat: every pixel along it is looked at
        ([0.0, 18.0, 0.4, 23.0], (0, 20)),  # cut by the border
        ([18.0, 39.7, 23.0, 40.0], (20, 39)),
    ],
)
def test_a_box_that_holds_no_pixels_centre_has_the_pixel_of_its_own(box: list[float], pixel: tuple[int, int]) -> None:
    frame = (1_000 + NOISE * np.random.default_rng(3).standard_normal((40, 40))).astype(np.uint16)
    column, row = pixel
    frame[row, column] += 4_000
    centroids, snr = measure_targets(frame, np.array([box]))
    assert snr[0] == pytest.approx(4_000 / NOISE, rel=0.25)
    assert np.all((centroids[0] >= np.float32(box[:2])) & (centroids[0] <= np.float32(box[2:])))


def test_noise_is_what_the_snr_refers_to() -> None:
    frame, centres = spots(sigma_px=1.2, snr=12)
    sides = np.resize([0.5, 5.0, 18.0, 80.0], (len(centres), 1))
    boxes = np.hstack([centres - sides / 2, centres + sides / 2])
    noise = measure_noise(frame, boxes)
    assert noise.shape == (len(boxes),)
    flat = np.full((40, 40), 3_000, dtype=np.uint16)
    flat[20, 20] = 3_100
    (snr,) = measure_targets(flat, np.array([[18.0, 18.0, 23.0, 23.0]]))[1]
    assert snr == pytest.approx(100 / measure_noise(flat, np.array([[18.0, 18.0, 23.0, 23.0]]))[0])
    assert measure_noise(flat, np.empty((0, 4))).shape == (0,)
