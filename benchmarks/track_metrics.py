"""How well tracks follow their targets: recall, precision, identity switches, IDF1.

Legend: G targets and N tracks of a frame; I identities of targets, J of tracks, over a sequence.

References:
    Bernardin and Stiefelhagen 2008, Evaluating Multiple Object Tracking Performance: The CLEAR MOT Metrics.
    Ristani et al. 2016, Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking (IDF1).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

__all__ = ["FramePlaces", "TrackScores", "score_sequence"]

NEVER = 1e9  # px: farther than any pair that may be


@dataclass(frozen=True)
class FramePlaces:
    """Who is where in one frame.

    Attributes:
        target_ids: ``(G,)``.
        targets_xy: ``(G, 2)`` pixels.
        track_ids: ``(N,)``.
        tracks_xy: ``(N, 2)`` pixels.
    """

    target_ids: NDArray[np.int64]
    targets_xy: NDArray[np.float64]
    track_ids: NDArray[np.int64]
    tracks_xy: NDArray[np.float64]


@dataclass(frozen=True)
class TrackScores:
    """Counts over sequences; they add up.

    Attributes:
        hits: Targets of frames that a track was matched to.
        misses: Those that none was.
        false_alarms: Tracks of frames that were matched to no target.
        switches: Times that a target was matched to another track than the last time.
        identity_hits: Of the one-to-one pairing of targets and tracks over a whole sequence that has the most.
    """

    hits: int = 0
    misses: int = 0
    false_alarms: int = 0
    switches: int = 0
    identity_hits: int = 0

    def __add__(self, other: TrackScores) -> TrackScores:
        return TrackScores(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    @property
    def recall(self) -> float:
        """hits / (hits + misses), in [0, 1]; NaN without targets."""
        return _ratio(self.hits, self.hits + self.misses)

    @property
    def precision(self) -> float:
        """hits / (hits + false alarms), in [0, 1]; NaN without tracks."""
        return _ratio(self.hits, self.hits + self.false_alarms)

    @property
    def idf1(self) -> float:
        """2 · identity hits / (targets of frames + tracks of frames), in [0, 1]; NaN without either."""
        return _ratio(2 * self.identity_hits, 2 * self.hits + self.misses + self.false_alarms)


def score_sequence(frames: Iterable[FramePlaces], *, distance_px: float) -> TrackScores:
    """Count over the frames of one sequence, in order.

    A target keeps its track as long as that is near enough; the rest is matched one to one, as many as can be, at the
    smallest sum of distances.

    Args:
        frames: Of one sequence.
        distance_px: From the centre of a target, for a track to be near enough, pixels.
    """
    hits = misses = false_alarms = switches = 0
    last: dict[int, int] = {}  # track of each target, the last time it had one
    shared: dict[tuple[int, int], int] = {}  # frames in which a target and a track are near each other
    for frame in frames:
        away = np.linalg.norm(frame.targets_xy[:, None] - frame.tracks_xy, axis=2)  # (G, N)
        near = away <= distance_px
        targets, tracks = frame.target_ids.tolist(), frame.track_ids.tolist()
        for row, column in np.argwhere(near).tolist():
            pair = targets[row], tracks[column]
            shared[pair] = shared.get(pair, 0) + 1
        cost = np.where(near, away, NEVER)
        for row, target in enumerate(targets):
            if last.get(target) in tracks and near[row, column := tracks.index(last[target])]:
                cost[row], cost[:, column] = NEVER, NEVER
                cost[row, column] = -NEVER  # it keeps it
        pairs = [
            (targets[row], tracks[column])
            for row, column in zip(*linear_sum_assignment(cost), strict=True)
            if cost[row, column] < NEVER
        ]
        hits += len(pairs)
        misses += len(targets) - len(pairs)
        false_alarms += len(tracks) - len(pairs)
        switches += sum(last.get(target, track) != track for target, track in pairs)
        last.update(pairs)
    return TrackScores(hits, misses, false_alarms, switches, _identity_hits(shared))


def _identity_hits(shared: dict[tuple[int, int], int]) -> int:
    """Give the frames of the best one-to-one pairing of identities."""
    targets = {target: row for row, target in enumerate(dict.fromkeys(target for target, _ in shared))}
    tracks = {track: column for column, track in enumerate(dict.fromkeys(track for _, track in shared))}
    frames = np.zeros((len(targets), len(tracks)))  # (I, J)
    for (target, track), count in shared.items():
        frames[targets[target], tracks[track]] = count
    return int(frames[linear_sum_assignment(frames, maximize=True)].sum())


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
