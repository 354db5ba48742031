"""What metrics are computed from: the detections and the ground truth of one frame.

Legend: N detections, M ground truths of a frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["ImageResult"]


@dataclass(frozen=True, slots=True, eq=False)
class ImageResult:
    """Detections and ground truth of one frame, in frame pixels.

    Attributes:
        boxes_xyxy: ``(N, 4)`` detected boxes.
        scores: ``(N,)`` in [0, 1].
        class_ids: ``(N,)``.
        truth_boxes_xyxy: ``(M, 4)``.
        truth_class_ids: ``(M,)``.
        truth_snr: ``(M,)`` local signal-to-noise ratio of each target; NaN, or empty, where unknown.

    Raises:
        ValueError: Lengths that do not fit, or values that are not finite.
    """

    boxes_xyxy: NDArray[np.floating]
    scores: NDArray[np.floating]
    class_ids: NDArray[np.integer]
    truth_boxes_xyxy: NDArray[np.floating]
    truth_class_ids: NDArray[np.integer]
    truth_snr: NDArray[np.floating] = field(default_factory=lambda: np.empty(0, dtype=np.float32))

    def __post_init__(self) -> None:
        for name, boxes in (("boxes_xyxy", self.boxes_xyxy), ("truth_boxes_xyxy", self.truth_boxes_xyxy)):
            if boxes.ndim != 2 or boxes.shape[1] != 4:
                raise ValueError(f"{name} must be (N, 4), got {boxes.shape}")
            if not np.isfinite(boxes).all():
                raise ValueError(f"{name} must be finite")
        if not np.isfinite(self.scores).all():
            raise ValueError("scores must be finite")
        fits = len(self.scores) == len(self.class_ids) == len(self.boxes_xyxy)
        if not fits or len(self.truth_class_ids) != len(self.truth_boxes_xyxy):
            raise ValueError(
                f"scores, class_ids and truth_class_ids must fit their boxes, got {len(self.scores)}, "
                f"{len(self.class_ids)} for {len(self.boxes_xyxy)} and {len(self.truth_class_ids)} for "
                f"{len(self.truth_boxes_xyxy)}"
            )
        if len(self.truth_snr) not in (0, len(self.truth_boxes_xyxy)):
            raise ValueError(f"truth_snr must be empty or fit {len(self.truth_boxes_xyxy)}, got {len(self.truth_snr)}")
