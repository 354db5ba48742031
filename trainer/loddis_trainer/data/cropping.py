"""Pieces of frames to train on: a small target needs its surroundings, not the whole sky.

A step on pieces costs what their area costs, so that the same time sees more targets; the network does not mind, since
it is convolutions from end to end.

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
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Cut a piece out of all frames of a window alike.

    Args:
        frames: ``(T, H, W)``.
        boxes_xyxy: ``(M, 4)``.
        crop_hw: h and w, at most H and W.
        generator: Where chance comes from.

    Returns:
        ``(T, h, w)``; ``(M', 4)`` boxes in its pixels, cut at its border; ``(M,)`` which targets are still seen.
    """
    size = np.array(crop_hw[::-1])  # width, height
    room = np.array(frames.shape[:0:-1]) - size
    lowest, highest = np.zeros_like(room), room
    if len(boxes_xyxy) and generator.random() < ON_TARGET:
        box = boxes_xyxy[generator.integers(len(boxes_xyxy))]
        lowest = np.clip(np.ceil(box[2:] - size), 0, room).astype(int)
        highest = np.clip(np.floor(box[:2]), lowest, room).astype(int)
    left, top = (int(side) for side in generator.integers(lowest, highest + 1))
    piece = frames[:, top : top + crop_hw[0], left : left + crop_hw[1]]
    boxes, seen = visible(boxes_xyxy - np.array([left, top] * 2), crop_hw)
    return np.ascontiguousarray(piece), boxes, seen
