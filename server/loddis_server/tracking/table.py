"""Everything that is known of the tracks of a stream, in arrays over all of them.

Legend: T tracks, N detections, K classes; F frames of the confirmation's window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.detections import Detections
from loddis_server.tracking.confirmation import confirming_scores, remembered
from loddis_server.tracking.motion import MotionState, corrected, predicted
from loddis_server.tracking.settings import TrackerSettings
from loddis_server.tracking.track import Track, TrackState

__all__ = ["TrackTable"]

SIZE_GAIN = 0.3  # weight of the newest box in a track's size: boxes of a network shake more than targets grow
SMALLEST_SCORE = float(np.finfo(np.float32).tiny)  # of a hit: 0 says that there was none


@dataclass(slots=True, eq=False)
class TrackTable:
    """Tracks, one a row, by rising id.

    Attributes:
        ids: ``(T,)`` int64.
        places_xy: ``(T, 2)`` float64, pixels.
        velocities_xy: ``(T, 2)`` float64, pixels per frame.
        covariances: ``(T, 3)`` float64, as `MotionState`.
        extents: ``(T, 4)`` float64; from the place to x1, y1, x2, y2 of the box, pixels.
        history: ``(T, F)`` float32; scores of the newest frames' hits, newest first.
        confirming: ``(T,)`` float32; the highest threshold that would have confirmed the track, 0 where none would.
        is_confirmed: ``(T,)`` bool.
        hits: ``(T,)`` int64.
        frames_seen: ``(T,)`` int64; since the first hit, without missing ones.
        coasted: ``(T,)`` int64; frames since the last hit, missing ones included.
        first: ``(T,)`` int64; index of the first hit's frame.
        last: ``(T,)`` int64; index of the last hit's frame.
        scores: ``(T,)`` float32 of the last hit.
        snr: ``(T,)`` float32 of the last hit.
        votes: ``(T, K)`` float64; sum of the scores by class.
    """

    ids: NDArray[np.int64]
    places_xy: NDArray[np.float64]
    velocities_xy: NDArray[np.float64]
    covariances: NDArray[np.float64]
    extents: NDArray[np.float64]
    history: NDArray[np.float32]
    confirming: NDArray[np.float32]
    is_confirmed: NDArray[np.bool_]
    hits: NDArray[np.int64]
    frames_seen: NDArray[np.int64]
    coasted: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    scores: NDArray[np.float32]
    snr: NDArray[np.float32]
    votes: NDArray[np.float64]

    @classmethod
    def begun(
        cls, found: Detections, chosen: NDArray[np.intp], *, first_id: int, frame_index: int, settings: TrackerSettings
    ) -> TrackTable:
        """Begin a track with each of the chosen detections."""
        places = found.centroids[chosen].astype(np.float64)
        scores = np.maximum(found.scores[chosen], SMALLEST_SCORE)
        motion = MotionState.first_seen(
            places, place_sigma_px=settings.position_noise_px, speed_sigma_px=settings.initial_speed_px
        )
        count = len(chosen)
        history = np.zeros((count, settings.confirm_frames), dtype=np.float32)
        history[:, 0] = scores
        index = np.full(count, frame_index, dtype=np.int64)
        votes = np.zeros((count, len(found.class_names)))
        votes[np.arange(count), found.class_ids[chosen]] = scores
        return cls(
            ids=first_id + np.arange(count, dtype=np.int64),
            places_xy=motion.places_xy,
            velocities_xy=motion.velocities_xy,
            covariances=motion.covariances,
            extents=found.boxes_xyxy[chosen].astype(np.float64) - np.tile(places, 2),
            history=history,
            confirming=confirming_scores(history, hits=settings.confirm_hits),
            is_confirmed=np.zeros(count, dtype=np.bool_),
            hits=np.ones(count, dtype=np.int64),
            frames_seen=np.ones(count, dtype=np.int64),
            coasted=np.zeros(count, dtype=np.int64),
            first=index,
            last=index.copy(),
            scores=scores,
            snr=found.snr[chosen],
            votes=votes,
        )

    def __len__(self) -> int:
        return len(self.ids)

    def motion(self, chosen: NDArray[Any] | slice = slice(None)) -> MotionState:
        """Give the Kalman filter's part of some tracks, by mask or by number; of all if none are named."""
        return MotionState(self.places_xy[chosen], self.velocities_xy[chosen], self.covariances[chosen])

    @property
    def boxes_xyxy(self) -> NDArray[np.float64]:
        """Boxes ``(T, 4)``, pixels."""
        return np.tile(self.places_xy, 2) + self.extents

    def rows(self, chosen: NDArray[Any] | slice) -> TrackTable:
        """Give some of the tracks, by mask or by number, as a table of their own."""
        return TrackTable(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def followed_by(self, other: TrackTable) -> TrackTable:
        """Give these tracks and then those of another table."""
        if not len(other):
            return self
        pairs = ((getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return TrackTable(*(np.concatenate(pair) for pair in pairs))

    def advance(self, *, steps: int, shift_xy: tuple[float, float], settings: TrackerSettings) -> None:
        """Predict all tracks some frames on, in a scene that has moved over the frame by a shift."""
        moved = predicted(self.motion(), steps=steps, acceleration_px=settings.acceleration_px)
        self.places_xy = moved.places_xy + np.array(shift_xy)
        self.covariances = moved.covariances
        self.frames_seen = self.frames_seen + 1
        self.coasted = self.coasted + steps

    def take(
        self,
        rows: NDArray[np.intp],
        found: Detections,
        columns: NDArray[np.intp],
        *,
        frame_index: int,
        settings: TrackerSettings,
    ) -> None:
        """Give detections to the tracks that they belong to, and note for all tracks whether they had one."""
        scores = np.maximum(found.scores[columns], SMALLEST_SCORE)
        places = found.centroids[columns].astype(np.float64)
        after = corrected(self.motion(rows), places, place_sigma_px=settings.position_noise_px)
        self.places_xy[rows], self.velocities_xy[rows] = after.places_xy, after.velocities_xy
        self.covariances[rows] = after.covariances
        extents = found.boxes_xyxy[columns] - np.tile(places, 2)
        self.extents[rows] += SIZE_GAIN * (extents - self.extents[rows])
        self.hits[rows] += 1
        self.coasted[rows] = 0
        self.last[rows] = frame_index
        self.scores[rows], self.snr[rows] = scores, found.snr[columns]
        self.votes[rows, found.class_ids[columns]] += scores
        newest = np.zeros(len(self), dtype=np.float32)
        newest[rows] = scores
        self.history = remembered(self.history, newest)
        self.confirming = np.maximum(self.confirming, confirming_scores(self.history, hits=settings.confirm_hits))

    def as_tracks(
        self, *, frame_index: int, class_names: Sequence[str], state: TrackState | None = None
    ) -> tuple[Track, ...]:
        """Give the rows as tracks, in a state of their own unless one is given for all."""
        if not len(self):
            return ()
        columns = zip(
            self.ids.tolist(),
            self.is_confirmed.tolist(),
            self.boxes_xyxy.tolist(),
            self.places_xy.tolist(),
            self.velocities_xy.tolist(),
            self.covariances[:, 0].tolist(),
            self.hits.tolist(),
            self.coasted.tolist(),
            self.first.tolist(),
            self.last.tolist(),
            self.scores.tolist(),
            self.snr.tolist(),
            self.confirming.tolist(),
            self.votes.argmax(axis=1).tolist(),
            strict=True,
        )
        return tuple(
            Track(
                track_id=track_id,
                state=state or (("coasting" if coasted else "confirmed") if is_confirmed else "tentative"),
                box_xyxy=(box[0], box[1], box[2], box[3]),
                centroid_xy=(place[0], place[1]),
                velocity_xy=(velocity[0], velocity[1]),
                covariance=((variance, 0.0), (0.0, variance)),
                age_frames=frame_index - first + 1,
                hits=hits,
                coasted_frames=coasted,
                score=score,
                snr=snr,
                class_id=class_id,
                class_name=class_names[class_id],
                first_frame_index=first,
                last_seen_frame_index=last,
                confirmation_score=confirming or None,
            )
            for (
                track_id,
                is_confirmed,
                box,
                place,
                velocity,
                variance,
                hits,
                coasted,
                first,
                last,
                score,
                snr,
                confirming,
                class_id,
            ) in columns
        )
