"""Detections and tracks made by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from loddis_runtime.detections import Detections
from loddis_server.tracking import Track

__all__ = ["detections_at", "ended_track"]

Places = Sequence[tuple[float, float]]


def detections_at(
    places_xy: Places,
    scores: Sequence[float] | float = 0.8,
    *,
    size_px: float = 5.0,
    class_ids: Sequence[int] | None = None,
    class_names: tuple[str, ...] = ("target",),
) -> Detections:
    """Give detections of square boxes around places, in the order of their scores."""
    centres = np.array(places_xy, dtype=np.float32).reshape(-1, 2)
    all_scores = np.broadcast_to(np.array(scores, dtype=np.float32), len(centres))
    order = np.argsort(-all_scores, kind="stable")
    ids = np.zeros(len(centres), dtype=np.int32) if class_ids is None else np.array(class_ids, dtype=np.int32)
    centres = centres[order]
    return Detections(
        boxes_xyxy=np.hstack([centres - size_px / 2, centres + size_px / 2]).astype(np.float32),
        scores=all_scores[order].copy(),
        class_ids=ids[order],
        centroids=centres,
        snr=np.full(len(centres), 6.0, dtype=np.float32),
        class_names=class_names,
    )


def ended_track(confirmation_score: float | None, *, hits: int = 6) -> Track:
    """Give a track at its end."""
    return Track(
        track_id=1,
        state="lost",
        box_xyxy=(0.0, 0.0, 5.0, 5.0),
        centroid_xy=(2.5, 2.5),
        velocity_xy=(0.0, 0.0),
        covariance=((1.0, 0.0), (0.0, 1.0)),
        age_frames=hits + 3,
        hits=hits,
        coasted_frames=3,
        score=0.5,
        snr=4.0,
        class_id=0,
        class_name="target",
        first_frame_index=0,
        last_seen_frame_index=hits,
        confirmation_score=confirmation_score,
    )
