"""Which of the network's candidates are detections, and where in the frame they are.

Legend: K candidates of the network, N detections; H W pixels of the frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.boxes import clip_boxes
from loddis_runtime.errors import EngineError
from loddis_runtime.manifest import Manifest
from loddis_runtime.preparation import PreparedFrame
from loddis_runtime.suppression import average_boxes, suppress

__all__ = ["Selection", "select"]


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """What was chosen for a frame, best first.

    Attributes:
        boxes_xyxy: ``(N, 4)`` float32; x1, y1, x2, y2 pixels, within the frame.
        scores: ``(N,)`` float32 in [0, 1], falling.
        class_ids: ``(N,)`` int32.
    """

    boxes_xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]


def select(
    prepared: PreparedFrame,
    raw: NDArray[np.float32],
    manifest: Manifest,
    *,
    score_threshold: float,
    max_detections: int,
) -> Selection:
    """Choose among a frame's candidates, one for each target, and map them to the frame.

    Args:
        prepared: The frame.
        raw: ``(K, 6)``: x1, y1, x2, y2 network pixels, score, class. Rows that are not finite count as no candidates.
        manifest: How duplicates are told, and which classes there are.
        score_threshold: Scores from here on count.
        max_detections: No more than this many.

    Raises:
        EngineError: The network named a class that the manifest does not have.
    """
    finite = raw[np.isfinite(raw).all(axis=1)]
    candidates = finite[finite[:, 4] >= score_threshold]  # (N, 6)
    seen = _within(prepared, candidates[:, :4])[1]  # the rest lies in the letterbox's padding
    candidates = candidates[seen]
    class_ids = candidates[:, 5].astype(np.int32)
    if not len(candidates):
        return Selection(candidates[:, :4], candidates[:, 4], class_ids)
    if not 0 <= class_ids.min() <= class_ids.max() < len(manifest.classes):
        raise EngineError(
            f"the network gives class ids up to {class_ids.max()}, "
            f"the manifest of {manifest.name} has {len(manifest.classes)} classes"
        )
    kept = suppress(
        candidates[:, :4],
        candidates[:, 4],
        class_ids,
        iou_threshold=manifest.nms_iou_threshold,
        centre_distance_px=manifest.nms_centre_distance_px,
        max_detections=max_detections,
    )
    network_boxes = candidates[kept, :4]
    if manifest.box_averaging_iou is not None:  # over those below the threshold too: it must not move boxes
        network_boxes = average_boxes(
            network_boxes,
            class_ids[kept],
            finite[:, :4],
            finite[:, 4],
            finite[:, 5],
            iou_threshold=manifest.box_averaging_iou,
        )
    return Selection(
        _within(prepared, network_boxes)[0].astype(np.float32), candidates[kept, 4].clip(0.0, 1.0), class_ids[kept]
    )


def _within(
    prepared: PreparedFrame, boxes_xyxy: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Map boxes ``(N, 4)`` of network pixels to the frame and cut them there; say which of them have area left."""
    height, width = prepared.frame.shape
    boxes = clip_boxes(prepared.transform.to_frame(boxes_xyxy), (height, width))
    return boxes, (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
