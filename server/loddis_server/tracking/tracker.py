"""The tracker of one stream.

Legend: T tracks, N detections.

References:
    Zhang et al. 2022, ByteTrack: Multi-Object Tracking by Associating Every Detection Box. Detections of low score keep
    tracks alive that those of high score do not reach.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.detections import Detections
from loddis_runtime.frames import Frame
from loddis_server.tracking.association import Pairs, assign, buffered_iou
from loddis_server.tracking.camera import CameraMotion
from loddis_server.tracking.confirmation import confirming_scores, out_of_reach
from loddis_server.tracking.motion import squared_distances
from loddis_server.tracking.settings import TrackerSettings
from loddis_server.tracking.table import TrackTable
from loddis_server.tracking.track import Track, TrackUpdate

__all__ = ["Tracker"]

Indices = NDArray[np.intp]
Ended = tuple[tuple[Track, ...], tuple[Track, ...]]  # confirmed, tentative
NONE: Indices = np.empty(0, dtype=np.intp)
UNMATCHED = -1


class Tracker:
    """Links the detections of one stream's frames to tracks, frame by frame.

    For each frame, all tracks are predicted, moved along with the scene, and given detections in four rounds, each
    among what the round before left over:

    1. confirmed tracks, and detections of at least the score threshold, by the overlap of slightly enlarged boxes;
    2. confirmed tracks, and detections of any score, boxes enlarged more;
    3. tentative tracks whose last hit reached the threshold, and detections that do, boxes enlarged as much, since
       their speed is not known yet: weak clutter around a new target must not take its detections;
    4. tentative tracks, and detections of any score, likewise.

    A detection must also lie within the gate around the place where the track is expected. Each one that is left begins
    a tentative track, unless it lies in the box of a confirmed track that has another detection in this frame: that is
    the same target seen twice.

    A tentative track is confirmed once M of the newest N frames have hits of at least the threshold, and discarded once
    M hits of *any* score are out of reach. So the tracks that a lower threshold would confirm are followed, too, and
    their `confirmation_score` says which threshold that is: what alarms are controlled by, and what brings a track up
    at once when the threshold falls.

    A confirmed track without a detection coasts; after `coast_frames`, or once it has left the frame, it is lost. A
    hole in the stream that is longer than that ends all tracks. So does a frame of another size, or a model of other
    classes. Missing frames are neither hits nor misses.

    Not for several threads at once.

    Args:
        settings: Of the stream.
    """

    def __init__(self, settings: TrackerSettings | None = None) -> None:
        self.settings = settings or TrackerSettings()
        self._camera = CameraMotion()
        self._next_id = 1
        self._table: TrackTable | None = None
        self._class_names: tuple[str, ...] = ()
        self._size_hw: tuple[int, ...] | None = None
        self._last_index: int | None = None

    def update(
        self,
        detections: Detections,
        *,
        frame: Frame | None,
        frame_index: int,
        score_threshold: float | None = None,
    ) -> TrackUpdate:
        """Take the next frame.

        Args:
            detections: Of the frame, down to a low score; what they are cut at bounds what tracks are made of.
            frame: ``(H, W)``; without it the camera counts as standing still, and tracks end only by coasting.
            frame_index: Of the frame; those between it and the last one are missing.
            score_threshold: Score of the hits that confirm a track, in [0, 1]; that of the settings if none.

        Raises:
            ValueError: An index that does not come after the last one. The tracks are as they were.
        """
        if self._last_index is not None and frame_index <= self._last_index:
            raise ValueError(f"frame_index must come after {self._last_index}, got {frame_index}")
        threshold = self.settings.score_threshold if score_threshold is None else score_threshold
        steps = 1 if self._last_index is None else frame_index - self._last_index
        cut_off = self._ended(slice(None)) if self._breaks(detections, frame, steps) else None
        if cut_off is not None:
            self._table = None
        shift_xy = None
        if frame is not None and self.settings.compensate_motion:
            shift_xy = self._camera.update(frame, detections.boxes_xyxy)
        if self._table is None:
            taken, table = NONE, self._begun(detections, NONE, frame_index)
        else:
            table = self._table
            table.advance(steps=steps, shift_xy=shift_xy or (0.0, 0.0), settings=self.settings)
            rows, taken = self._associate(table, detections, threshold)
            table.take(rows, detections, taken, frame_index=frame_index, settings=self.settings)
        table = table.followed_by(self._begun(detections, _unclaimed(table, detections, taken), frame_index))
        self._last_index, self._class_names = frame_index, detections.class_names
        self._size_hw = self._size_hw if frame is None else frame.shape
        update = self._settled(table, frame, threshold, shift_xy)
        if cut_off is None:
            return update
        return replace(update, ended=cut_off[0], discarded=cut_off[1], restarted=True)  # new tracks do not end at once

    def reset(self) -> tuple[Track, ...]:
        """Forget all tracks; the next frame may have any index. Ids go on.

        Returns:
            The confirmed tracks that are lost by it.
        """
        ended, _ = self._ended(slice(None))
        self._camera.reset()
        self._table = self._size_hw = self._last_index = None
        return ended

    def _breaks(self, detections: Detections, frame: Frame | None, steps: int) -> bool:
        """Tell whether a frame does not go on from the last one."""
        if self._last_index is None:
            return False
        other_size = frame is not None and self._size_hw is not None and frame.shape != self._size_hw
        return other_size or detections.class_names != self._class_names or steps - 1 > self.settings.coast_frames

    def _begun(self, detections: Detections, chosen: Indices, frame_index: int) -> TrackTable:
        """Begin tracks with some detections; the ids count on."""
        begun = TrackTable.begun(
            detections, chosen, first_id=self._next_id, frame_index=frame_index, settings=self.settings
        )
        self._next_id += len(begun)
        return begun

    def _associate(self, table: TrackTable, detections: Detections, threshold: float) -> Pairs:
        """Give rows of tracks and the detections that belong to them."""
        near, far = self.settings.near_buffer_px, self.settings.far_buffer_px
        every, strong = np.ones(len(detections), dtype=np.bool_), detections.scores >= threshold
        rounds = (
            (table.is_confirmed, strong, near),
            (table.is_confirmed, every, far),
            (~table.is_confirmed & (table.scores >= threshold), strong, far),
            (~table.is_confirmed, every, far),
        )
        matched = np.full(len(table), UNMATCHED, dtype=np.intp)  # detection of each track
        free = every.copy()
        for tracks, candidates, buffer_px in rounds:
            waiting, open_ones = (tracks & (matched == UNMATCHED)).nonzero()[0], (candidates & free).nonzero()[0]
            if len(waiting) and len(open_ones):
                rows, columns = self._pairs(table, detections, waiting, open_ones, buffer_px)
                matched[rows] = columns
                free[columns] = False
        rows = (matched != UNMATCHED).nonzero()[0]
        return rows, matched[rows]

    def _pairs(
        self, table: TrackTable, detections: Detections, rows: Indices, columns: Indices, buffer_px: float
    ) -> Pairs:
        """Choose pairs among some tracks and some detections."""
        boxes = detections.boxes_xyxy[columns].astype(np.float64)
        overlap = buffered_iou(table.boxes_xyxy[rows], boxes, buffer_px=buffer_px)  # (T, N)
        away = squared_distances(
            table.motion(rows),
            detections.centroids[columns].astype(np.float64),
            place_sigma_px=self.settings.position_noise_px,
        )
        allowed = (overlap > self.settings.min_overlap) & (away <= self.settings.gate_sigmas**2)
        chosen_rows, chosen_columns = assign(overlap, allowed)
        return rows[chosen_rows], columns[chosen_columns]

    def _settled(
        self, table: TrackTable, frame: Frame | None, threshold: float, shift_xy: tuple[float, float] | None
    ) -> TrackUpdate:
        """Confirm and end tracks, keep the rest, and say what changed."""
        hits = self.settings.confirm_hits
        reached = confirming_scores(table.history, hits=hits)
        new = ~table.is_confirmed & (reached > 0) & (reached >= threshold)
        table.is_confirmed |= new
        lost = (table.coasted > self.settings.coast_frames) | ((table.coasted > 0) & _outside(table, frame))
        over = np.where(table.is_confirmed, lost, out_of_reach(table.history, table.frames_seen, hits=hits))
        self._table = table
        ended, discarded = self._ended(over) if over.any() else ((), ())
        if over.any():
            self._table, new = table.rows(~over), new[~over]
        tracks = self._table.as_tracks(frame_index=self._last_index or 0, class_names=self._class_names)
        confirmed = tuple(tracks[row] for row in np.flatnonzero(new).tolist())
        return TrackUpdate(tracks, confirmed, ended, discarded, shift_xy)

    def _ended(self, over: NDArray[np.bool_] | slice) -> Ended:
        """Give the confirmed and the tentative ones of the tracks that are over, as lost."""
        if self._table is None:
            return (), ()
        gone = self._table.rows(over)
        ended, discarded = (
            gone.rows(chosen).as_tracks(frame_index=self._last_index or 0, class_names=self._class_names, state="lost")
            for chosen in (gone.is_confirmed, ~gone.is_confirmed)
        )
        return ended, discarded


def _unclaimed(table: TrackTable, detections: Detections, taken: Indices) -> Indices:
    """Give the detections that belong to no track and are not a second sight of a confirmed one's target."""
    is_free = np.ones(len(detections), dtype=np.bool_)
    is_free[taken] = False
    free = is_free.nonzero()[0]
    seen = table.boxes_xyxy[table.is_confirmed & (table.coasted == 0)]  # (T, 4)
    if not len(free) or not len(seen):
        return free
    x, y = detections.centroids[free].astype(np.float64).T[:, :, None]  # (N, 1)
    again = ((x >= seen[:, 0]) & (y >= seen[:, 1]) & (x <= seen[:, 2]) & (y <= seen[:, 3])).any(axis=1)
    unclaimed: Indices = free[~again]
    return unclaimed


def _outside(table: TrackTable, frame: Frame | None) -> NDArray[np.bool_]:
    """Tell which tracks have left the frame, ``(T,)``; none where there is no frame."""
    if frame is None:
        return np.zeros(len(table), dtype=np.bool_)
    height, width = frame.shape
    inside = (table.places_xy >= 0) & (table.places_xy < (width, height))
    return np.asarray(~inside.all(axis=1), dtype=np.bool_)
