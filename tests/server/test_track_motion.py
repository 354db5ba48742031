"""The filter over all tracks is the textbook's, track by track."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from loddis_server.tracking.motion import MotionState, corrected, predicted, squared_distances

ACCELERATION_PX = 0.4
SIGMA_PX = 1.5


class TextbookFilter:
    """One target's Kalman filter with full matrices; state x, y, vx, vy."""

    def __init__(self, place_xy: NDArray[np.float64], speed_sigma_px: float) -> None:
        self.state = np.array([*place_xy, 0.0, 0.0])
        self.covariance = np.diag([SIGMA_PX**2] * 2 + [speed_sigma_px**2] * 2)
        self.observe = np.hstack([np.eye(2), np.zeros((2, 2))])
        self.noise = SIGMA_PX**2 * np.eye(2)

    def predict(self, steps: int) -> None:
        move = np.block([[np.eye(2), steps * np.eye(2)], [np.zeros((2, 2)), np.eye(2)]])
        of_axis = ACCELERATION_PX**2 * np.array([[steps**3 / 3, steps**2 / 2], [steps**2 / 2, steps]])
        self.state = move @ self.state
        self.covariance = move @ self.covariance @ move.T + np.kron(of_axis, np.eye(2))

    def innovation(self, place_xy: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        total = self.observe @ self.covariance @ self.observe.T + self.noise
        return place_xy - self.observe @ self.state, total

    def correct(self, place_xy: NDArray[np.float64]) -> None:
        difference, total = self.innovation(place_xy)
        gain = self.covariance @ self.observe.T @ np.linalg.inv(total)
        self.state = self.state + gain @ difference
        self.covariance = (np.eye(4) - gain @ self.observe) @ self.covariance


def test_all_tracks_at_once_are_the_textbooks_one_by_one() -> None:
    rng = np.random.default_rng(0)
    places = rng.uniform(0, 300, (5, 2))
    state = MotionState.first_seen(places, place_sigma_px=SIGMA_PX, speed_sigma_px=5.0)
    filters = [TextbookFilter(place, 5.0) for place in places]
    for _ in range(12):
        steps = int(rng.integers(1, 4))
        places = places + steps * rng.normal(0, 4, places.shape)
        state = predicted(state, steps=steps, acceleration_px=ACCELERATION_PX)
        away = squared_distances(state, places, place_sigma_px=SIGMA_PX)
        for row, one in enumerate(filters):
            one.predict(steps)
            for column, place in enumerate(places):
                difference, total = one.innovation(place)
                assert away[row, column] == pytest.approx(difference @ np.linalg.inv(total) @ difference)
        state = corrected(state, places, place_sigma_px=SIGMA_PX)
        for row, one in enumerate(filters):
            one.correct(places[row])
            np.testing.assert_allclose([*state.places_xy[row], *state.velocities_xy[row]], one.state)
            pp, pv, vv = state.covariances[row]
            np.testing.assert_allclose(one.covariance, np.kron([[pp, pv], [pv, vv]], np.eye(2)), atol=1e-9)


def test_a_hole_of_frames_is_the_same_as_its_frames_one_by_one() -> None:
    start = MotionState(np.array([[10.0, 20.0]]), np.array([[3.0, -1.0]]), np.array([[2.0, 0.5, 1.0]]))
    at_once = predicted(start, steps=7, acceleration_px=ACCELERATION_PX)
    singly = start
    for _ in range(7):
        singly = predicted(singly, steps=1, acceleration_px=ACCELERATION_PX)
    np.testing.assert_allclose(at_once.places_xy, singly.places_xy)
    np.testing.assert_allclose(at_once.covariances, singly.covariances)


def test_what_the_filter_says_of_its_error_is_the_error() -> None:
    rng = np.random.default_rng(1)
    places, speeds = rng.uniform(0, 300, (4000, 2)), rng.normal(0, 5, (4000, 2))
    state = MotionState.first_seen(
        places + rng.normal(0, SIGMA_PX, places.shape), place_sigma_px=SIGMA_PX, speed_sigma_px=5.0
    )
    for _ in range(10):
        before = speeds
        speeds = speeds + rng.normal(0, ACCELERATION_PX, speeds.shape)
        places = places + (before + speeds) / 2
        state = predicted(state, steps=1, acceleration_px=ACCELERATION_PX)
        state = corrected(state, places + rng.normal(0, SIGMA_PX, places.shape), place_sigma_px=SIGMA_PX)
    variance = float(((state.places_xy - places) ** 2).mean())
    assert variance == pytest.approx(state.covariances[0, 0], rel=0.1)
    assert float(((state.velocities_xy - speeds) ** 2).mean()) == pytest.approx(state.covariances[0, 2], rel=0.1)
