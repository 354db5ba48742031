"""Pieces of frames to train on: a small target needs its surroundings, not the whole sky.

A step on pieces costs the network what their area costs, so that the same time sees more targets; the network does not
mind, since it is convolutions from end to end. Frames are still prepared whole: noise, levels and places are theirs.

Legend: T frames of the window, H W network pixels, h w pixels of the piece, M ground truths.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from loddis_trainer.data.boxes import visible

__all__ = ["crop"]

ON_TARGET = 0.75  # of the pieces hold a target, where a frame has one; the others are cut anywhere


def crop(
    frames: NDArray[np.float32],
    boxes_xyxy: NDArray[np.float32],
    crop_hw: tuple[int, int],
    generator: np.random.Generator,
    *,
    inside_xyxy: NDArray[np.floating] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Cut a piece out of all frames of a window alike.

    Args:
        frames: ``(T, H, W)`` float32.
        boxes_xyxy: ``(M, 4)`` float32 x1, y1, x2, y2 in their pixels, of the last frame.
        crop_hw: h and w, at most H and W.
        generator: Where chance comes from.
        inside_xyxy: ``(4,)`` the part of the frames that was seen by a camera, the rest being padding; a piece lies in
            it as far as it is large enough. All of them if none.

    Returns:
        ``(T, h, w)``; ``(M', 4)`` boxes in its pixels, cut at its border; ``(M,)`` which targets are still seen: those
        of which at least half is inside.

    Raises:
        ValueError: A piece larger than the frames.
    """
    size, whole = np.array(crop_hw[::-1]), np.array(frames.shape[:0:-1])  # width, height
    if (size > whole).any():
        raise ValueError(f"a piece of {crop_hw} cannot be cut out of frames of {frames.shape[1:]}")
    bounds = np.array([0, 0, *whole]) if inside_xyxy is None else np.round(inside_xyxy).astype(int)
    lowest = np.clip(bounds[:2], 0, whole - size)
    highest = np.clip(bounds[2:] - size, lowest, whole - size)
    if len(boxes_xyxy) and generator.random() < ON_TARGET:
        box = boxes_xyxy[generator.integers(len(boxes_xyxy))]
        lowest = np.clip(np.ceil(box[2:] - size), lowest, highest).astype(int)
        highest = np.clip(np.floor(box[:2]), lowest, highest).astype(int)
    left, top = (int(start) for start in generator.integers(lowest, highest + 1))
    piece = frames[:, top : top + crop_hw[0], left : left + crop_hw[1]]
    boxes, seen = visible(boxes_xyxy - np.array([left, top] * 2), crop_hw)
    return np.ascontiguousarray(piece), boxes, seen
