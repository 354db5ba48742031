"""A Kalman filter for all tracks at once: constant velocity, disturbed by a white acceleration.

Noise of measurement and motion is the same in x and y, and independent. Then both axes have one and the same covariance
of place p and velocity v, for good, and three numbers a track hold what would be a 4 x 4 matrix, without loss.

Legend: N tracks; p place, v velocity; pixels and frames.

References:
    Bar-Shalom, Li and Kirubarajan 2001, Estimation with Applications to Tracking and Navigation, 6.2.2: the noise of
    a continuous white acceleration. In contrast to a noise piece by piece, k steps at once are k single steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["MotionState", "corrected", "predicted", "squared_distances"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class MotionState:
    """Where tracks are, and how well that is known.

    Attributes:
        places_xy: ``(N, 2)`` pixels.
        velocities_xy: ``(N, 2)`` pixels per frame.
        covariances: ``(N, 3)`` of either axis: variance of p, covariance of p and v, variance of v; pixels and frames.
    """

    places_xy: Floats
    velocities_xy: Floats
    covariances: Floats

    @classmethod
    def first_seen(cls, places_xy: Floats, *, place_sigma_px: float, speed_sigma_px: float) -> MotionState:
        """Give the state of targets seen for the first time at places ``(N, 2)``, at rest as far as anyone knows."""
        covariances = np.tile([place_sigma_px**2, 0.0, speed_sigma_px**2], (len(places_xy), 1))
        return cls(places_xy, np.zeros_like(places_xy), covariances)


def predicted(state: MotionState, *, steps: int, acceleration_px: float) -> MotionState:
    """Give the state some frames later.

    Args:
        state: Of N tracks.
        steps: Frames to go on, at least 1.
        acceleration_px: Sigma of the change of velocity over one frame, in each axis, pixels per frame.
    """
    pp, pv, vv = state.covariances.T
    noise = acceleration_px**2
    covariances = np.stack(
        [
            pp + steps * (2 * pv + steps * vv) + noise * steps**3 / 3,
            pv + steps * vv + noise * steps**2 / 2,
            vv + noise * steps,
        ],
        axis=1,
    )
    return MotionState(state.places_xy + steps * state.velocities_xy, state.velocities_xy, covariances)


def corrected(state: MotionState, places_xy: Floats, *, place_sigma_px: float) -> MotionState:
    """Give the state after N tracks were seen at places ``(N, 2)``, each with an error of `place_sigma_px`."""
    pp, pv, vv = state.covariances.T
    total = pp + place_sigma_px**2
    place_gain, velocity_gain = pp / total, pv / total
    innovations = places_xy - state.places_xy
    return MotionState(
        state.places_xy + place_gain[:, None] * innovations,
        state.velocities_xy + velocity_gain[:, None] * innovations,
        np.stack([pp * (1 - place_gain), pv * (1 - place_gain), vv - velocity_gain * pv], axis=1),
    )


def squared_distances(state: MotionState, places_xy: Floats, *, place_sigma_px: float) -> Floats:
    """Give the squared Mahalanobis distances of places ``(M, 2)`` from where N tracks are expected, ``(N, M)``."""
    x = state.places_xy[:, 0, None] - places_xy[:, 0]
    y = state.places_xy[:, 1, None] - places_xy[:, 1]
    return np.asarray((x * x + y * y) / (state.covariances[:, 0, None] + place_sigma_px**2), dtype=np.float64)
