"""The one gate through which annotated boxes come in.

Legend: M ground truths of a frame.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from loddis_trainer.data.errors import DataError

__all__ = ["boxes_from_xywh"]


def boxes_from_xywh(
    boxes_xywh: ArrayLike, *, size_hw: tuple[int, int] | None, where: str
) -> tuple[NDArray[np.float32], int]:
    """Check annotated boxes and give them as corners, inside the frame.

    A box that leaves the frame in part is cut at the border; one that lies outside altogether is an error of the
    annotation and stops the reading.

    Args:
        boxes_xywh: ``(M, 4)`` left, top, width, height in frame pixels.
        size_hw: Of the frame; ``None`` skips the border.
        where: Names file and frame in errors.

    Returns:
        ``(M, 4)`` float32 x1, y1, x2, y2; how many were cut.

    Raises:
        DataError: Numbers that are not finite, a side that is not positive, or a box outside the frame.
    """
    xywh = np.asarray(boxes_xywh, dtype=np.float64).reshape(-1, 4)
    if not np.isfinite(xywh).all():
        raise DataError(f"{where}: box {xywh[~np.isfinite(xywh).all(axis=1)][0].tolist()} is not finite")
    flat = (xywh[:, 2:] <= 0).any(axis=1)
    if flat.any():
        raise DataError(f"{where}: box {xywh[flat][0].tolist()} (x, y, width, height) has no area")
    xyxy = np.concatenate((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), axis=1)
    cut = 0
    if size_hw is not None:
        limits = np.array([size_hw[1], size_hw[0]] * 2, dtype=np.float64)
        inside = np.clip(xyxy, 0, limits)
        outside = ((inside[:, 2:] - inside[:, :2]) <= 0).any(axis=1)
        if outside.any():
            raise DataError(
                f"{where}: box {xywh[outside][0].tolist()} (x, y, width, height) lies outside the"
                f" {size_hw[1]} x {size_hw[0]} frame"
            )
        cut = int((inside != xyxy).any(axis=1).sum())
        xyxy = inside
    return xyxy.astype(np.float32), cut
