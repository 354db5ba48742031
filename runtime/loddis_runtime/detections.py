"""What a detector found in one frame.

Legend: N detections, best first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Detections"]


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Detections in pixels of the original frame; the origin is the top-left corner of the top-left pixel.

    Attributes:
        boxes_xyxy: ``(N, 4)`` float32; x1, y1, x2, y2 pixels, within the frame.
        scores: ``(N,)`` float32 in [0, 1], falling.
        class_ids: ``(N,)`` int32; index into `class_names`.
        centroids: ``(N, 2)`` float32; x, y of the target's own sub-pixel centre, pixels.
        snr: ``(N,)`` float32; local signal to noise ratio as `loddis_runtime.photometry` defines it.
        class_names: Every class of the model, found or not.

    Raises:
        ValueError: Arrays whose shapes or types do not belong together, or a class id without a name.
    """

    boxes_xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    centroids: NDArray[np.float32]
    snr: NDArray[np.float32]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        count = len(self.scores)
        expected: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
            "boxes_xyxy": ((count, 4), np.float32),
            "scores": ((count,), np.float32),
            "class_ids": ((count,), np.int32),
            "centroids": ((count, 2), np.float32),
            "snr": ((count,), np.float32),
        }
        for name, (shape, dtype) in expected.items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype != dtype:
                raise ValueError(f"{name} must be {shape} {dtype.__name__}, got {array.shape} {array.dtype}")
        if count and not 0 <= int(self.class_ids.min()) <= int(self.class_ids.max()) < len(self.class_names):
            raise ValueError(
                f"class_ids must be below {len(self.class_names)}, got {np.unique(self.class_ids).tolist()}"
            )

    @classmethod
    def empty(cls, class_names: tuple[str, ...]) -> Detections:
        """Give the answer for a frame in which nothing was found."""
        return cls(
            boxes_xyxy=np.empty((0, 4), dtype=np.float32),
            scores=np.empty(0, dtype=np.float32),
            class_ids=np.empty(0, dtype=np.int32),
            centroids=np.empty((0, 2), dtype=np.float32),
            snr=np.empty(0, dtype=np.float32),
            class_names=class_names,
        )

    def __len__(self) -> int:
        return len(self.scores)

    def to_records(self) -> list[dict[str, Any]]:
        """Give one JSON-ready dict a detection: box_xyxy, score, class_id, class_name, centroid_xy, snr."""
        return [
            {
                "box_xyxy": box,
                "score": score,
                "class_id": class_id,
                "class_name": self.class_names[class_id],
                "centroid_xy": centroid,
                "snr": snr,
            }
            for box, score, class_id, centroid, snr in zip(
                self.boxes_xyxy.tolist(),
                self.scores.tolist(),
                self.class_ids.tolist(),
                self.centroids.tolist(),
                self.snr.tolist(),
                strict=True,
            )
        ]
