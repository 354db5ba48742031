"""What metrics are computed from: the detections and the ground truth of a frame, and of all frames end to end.

Legend: N detections, M ground truths of a frame; D detections, G ground truths of all frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FramePool", "ImageResult", "pool_frames"]

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]


def _none() -> NDArray[np.float32]:
    return np.empty(0, dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class ImageResult:
    """Detections and ground truth of one frame, in frame pixels.

    Attributes:
        boxes_xyxy: ``(N, 4)`` detected boxes.
        scores: ``(N,)`` in [0, 1], in any order.
        class_ids: ``(N,)``.
        truth_boxes_xyxy: ``(M, 4)``.
        truth_class_ids: ``(M,)``.
        truth_snr: ``(M,)`` local signal-to-noise ratio of each target; NaN, or all empty, where unknown.
        snr: ``(N,)`` that of each detection, likewise.
        sequence: Name of the clip that the frame belongs to; empty where it is of none.
        frame_index: The frame's number in its sequence.

    Raises:
        ValueError: Shapes or types that do not fit, values that are not finite, boxes turned inside out, scores outside
            [0, 1].
    """

    boxes_xyxy: Floats
    scores: Floats
    class_ids: Integers
    truth_boxes_xyxy: Floats
    truth_class_ids: Integers
    truth_snr: Floats = field(default_factory=_none)
    snr: Floats = field(default_factory=_none)
    sequence: str = ""
    frame_index: int = 0

    def __post_init__(self) -> None:
        for name, boxes in (("boxes_xyxy", self.boxes_xyxy), ("truth_boxes_xyxy", self.truth_boxes_xyxy)):
            if boxes.ndim != 2 or boxes.shape[1] != 4:
                raise ValueError(f"{name} must be (N, 4), got {boxes.shape}")
            if not np.isfinite(boxes).all():
                raise ValueError(f"{name} must be finite")
            if (boxes[:, 2:] < boxes[:, :2]).any():
                raise ValueError(f"{name} must have x1 ≤ x2 and y1 ≤ y2")
        count, truths = len(self.boxes_xyxy), len(self.truth_boxes_xyxy)
        expected = {"scores": count, "class_ids": count, "truth_class_ids": truths}
        for name, length in expected.items():
            if (got := getattr(self, name).shape) != (length,):
                raise ValueError(f"{name} must fit its boxes, ({length},), got {got}")
        if not ((self.scores >= 0) & (self.scores <= 1)).all():  # NaN is refused too
            raise ValueError("scores must be finite and in [0, 1]")
        for name in ("class_ids", "truth_class_ids"):
            if not np.issubdtype(dtype := getattr(self, name).dtype, np.integer):
                raise ValueError(f"{name} must be whole numbers, got {dtype}")
        for name, length in (("snr", count), ("truth_snr", truths)):
            values = getattr(self, name)
            if values.shape not in ((0,), (length,)):
                raise ValueError(f"{name} must be empty or fit {length}, got {values.shape}")
            if np.isinf(values).any():
                raise ValueError(f"{name} must be finite, or NaN where unknown")


@dataclass(frozen=True, slots=True, eq=False)
class FramePool:
    """Detections and ground truths of all frames, end to end: what lets a hundred thousand be matched at once.

    Attributes:
        frames: Number of frames, those that hold nothing too.
        sequences: Name of each frame's sequence.
        boxes_xyxy: ``(D, 4)``, in the order of frames.
        scores: ``(D,)``.
        class_ids: ``(D,)``.
        frame_ids: ``(D,)`` number of the frame in 0 … frames − 1.
        snr: ``(D,)``; NaN where unknown.
        truth_boxes_xyxy: ``(G, 4)``, in the order of frames.
        truth_class_ids: ``(G,)``.
        truth_frame_ids: ``(G,)``.
        truth_snr: ``(G,)``; NaN where unknown.
    """

    frames: int
    sequences: tuple[str, ...]
    boxes_xyxy: NDArray[np.float64]
    scores: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    frame_ids: NDArray[np.int64]
    snr: NDArray[np.float64]
    truth_boxes_xyxy: NDArray[np.float64]
    truth_class_ids: NDArray[np.int64]
    truth_frame_ids: NDArray[np.int64]
    truth_snr: NDArray[np.float64]

    def best(self, count: int) -> FramePool:
        """Keep the `count` best detections of every frame and class; of equal scores, those that come first."""
        order = np.lexsort((-self.scores, self.class_ids, self.frame_ids))
        frame, label = self.frame_ids[order], self.class_ids[order]
        starts = np.append(True, (np.diff(frame) != 0) | (np.diff(label) != 0))[: len(order)]
        places = np.arange(len(order))
        rank = places - np.maximum.accumulate(np.where(starts, places, 0))
        kept = np.sort(order[rank < count])
        return replace(
            self,
            boxes_xyxy=self.boxes_xyxy[kept],
            scores=self.scores[kept],
            class_ids=self.class_ids[kept],
            frame_ids=self.frame_ids[kept],
            snr=self.snr[kept],
        )


def pool_frames(results: Sequence[ImageResult]) -> FramePool:
    """Put frames end to end, in double precision."""
    numbers = np.arange(len(results))
    detected = [len(result.scores) for result in results]
    truths = [len(result.truth_class_ids) for result in results]
    return FramePool(
        frames=len(results),
        sequences=tuple(result.sequence for result in results),
        boxes_xyxy=_floats([result.boxes_xyxy for result in results], (0, 4)),
        scores=_floats([result.scores for result in results], (0,)),
        class_ids=_integers([result.class_ids for result in results]),
        frame_ids=np.repeat(numbers, detected),
        snr=_floats([_known(result.snr, len(result.scores)) for result in results], (0,)),
        truth_boxes_xyxy=_floats([result.truth_boxes_xyxy for result in results], (0, 4)),
        truth_class_ids=_integers([result.truth_class_ids for result in results]),
        truth_frame_ids=np.repeat(numbers, truths),
        truth_snr=_floats([_known(result.truth_snr, len(result.truth_class_ids)) for result in results], (0,)),
    )


def _known(values: Floats, count: int) -> Floats:
    return values if len(values) == count else np.full(count, np.nan)


def _floats(parts: list[Floats], shape: tuple[int, ...]) -> NDArray[np.float64]:
    return np.concatenate([np.empty(shape), *parts], dtype=np.float64)


def _integers(parts: list[Integers]) -> NDArray[np.int64]:
    return np.concatenate([np.empty(0, dtype=np.int64), *parts], dtype=np.int64, casting="same_kind")
