"""The one gate through which annotated boxes come in.

Legend: M ground truths of a frame.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from loddis_trainer.data.errors import BoxError, DataError

__all__ = ["boxes_from_xywh", "visible"]

SMALLEST_VISIBLE_SHARE = 0.5  # of a box's area; below it the target counts as gone


def boxes_from_xywh(
    boxes_xywh: Iterable[ArrayLike], *, size_hw: tuple[int, int] | None, where: str, as_annotated: bool = False
) -> tuple[NDArray[np.float32], int]:
    """Check annotated boxes and give them as corners, inside the frame.

    A box that leaves the frame in part is cut at the border; one that lies outside altogether is an error of the
    annotation and stops the reading.

    Args:
        boxes_xywh: M times left, top, width, height in frame pixels.
        size_hw: Of the frame; ``None`` skips the border.
        where: Names file and frame in errors.
        as_annotated: Take boxes wherever they lie and of whatever area, and leave them as they are: for who counts what
            is wrong with them.

    Returns:
        ``(M, 4)`` float32 x1, y1, x2, y2; how many were cut.

    Raises:
        DataError: Other than four numbers, or ones that are not finite or too large.
        BoxError: A side that is not positive, or a box outside the frame; not with `as_annotated`.
    """
    xywh = np.array([_four_numbers(box, where) for box in boxes_xywh], dtype=np.float64).reshape(-1, 4)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused
        xyxy = np.concatenate((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), axis=1)
        finite = np.isfinite(xyxy.astype(np.float32)).all(axis=1)
    if not finite.all():
        raise DataError(f"{where}: box {xywh[~finite][0].tolist()} (x, y, width, height) is not finite or too large")
    if as_annotated:
        return xyxy.astype(np.float32), 0
    flat = (xywh[:, 2:] <= 0).any(axis=1)
    if flat.any():
        raise BoxError(f"{where}: box {xywh[flat][0].tolist()} (x, y, width, height) has no area")
    cut = 0
    if size_hw is not None:
        limits = np.array([size_hw[1], size_hw[0]] * 2, dtype=np.float64)
        inside = np.clip(xyxy, 0, limits)
        outside = ((inside[:, 2:] - inside[:, :2]) <= 0).any(axis=1)
        if outside.any():
            raise BoxError(
                f"{where}: box {xywh[outside][0].tolist()} (x, y, width, height) lies outside the"
                f" {size_hw[1]} x {size_hw[0]} frame"
            )
        cut = int((inside != xyxy).any(axis=1).sum())
        xyxy = inside
    return xyxy.astype(np.float32), cut


def visible(
    boxes_xyxy: NDArray[np.floating], size_hw: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Cut boxes at the border of a frame, and leave out those of which less than half is inside, or that have no area.

    Args:
        boxes_xyxy: ``(M, 4)`` x1, y1, x2, y2 in the frame's pixels, of any float type.
        size_hw: Of the frame.

    Returns:
        ``(M', 4)`` float32; ``(M,)`` which are left.
    """
    boxes = boxes_xyxy.astype(np.float64)
    inside = np.clip(boxes, 0, [size_hw[1], size_hw[0]] * 2)
    whole = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    area = (inside[:, 2:] - inside[:, :2]).prod(axis=1)
    seen = (area > 0) & (area >= SMALLEST_VISIBLE_SHARE * whole)
    return inside[seen].astype(np.float32), seen


def _four_numbers(box: ArrayLike, where: str) -> NDArray[np.float64]:
    try:
        numbers = np.asarray(box, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        numbers = np.empty(0)
    if numbers.shape != (4,):
        raise DataError(f"{where}: a box must be 4 numbers (x, y, width, height), got {reprlib.repr(box)}")
    return numbers
