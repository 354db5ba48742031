"""Targets of a domain copied into other frames of it, boxed as they were.

Legend: T frames of the window, oldest first; H W pixels of the frame; M ground truths; h w pixels of a patch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loddis_trainer.data.placing import LEAST_SNR, Labelled, Window, find_place, with_target

__all__ = ["Cutout", "cut_out", "paste"]

MARGIN_PX = 3  # around a box: its ring tells the background, and the paste fades out in it
CONTRAST = (0.3, 1.0)  # of what was cut out; real sets have fewer dim targets than the sky has


@dataclass(frozen=True, slots=True, eq=False)
class Cutout:
    """A target by itself, with its surroundings taken away.

    Attributes:
        levels: ``(T, h, w)`` float32: what the target adds to its background, fading to 0 at the border.
        box_xyxy: ``(4,)`` in the patch's pixels.
        label: Class id.
    """

    levels: NDArray[np.float32]
    box_xyxy: NDArray[np.float32]
    label: int


def cut_out(frames: Window, box_xyxy: NDArray[np.float32], label: int) -> Cutout | None:
    """Cut a target out of a window of frames.

    Args:
        frames: T arrays ``(H, W)`` float32 in [0, 1].
        box_xyxy: ``(4,)`` in the last of them. What moved is cut out where it was: the patch stands still.
        label: Class id.

    Returns:
        The target; none where box and margin reach over the frame's border.
    """
    height, width = frames[-1].shape
    left, top = (int(np.floor(side)) - MARGIN_PX for side in box_xyxy[:2])
    right, bottom = (int(np.ceil(side)) + MARGIN_PX for side in box_xyxy[2:])
    if left < 0 or top < 0 or right > width or bottom > height:
        return None
    patches = np.stack([frame[top:bottom, left:right] for frame in frames])  # (T, h, w)
    fade = np.outer(_fade(bottom - top), _fade(right - left))  # (h, w)
    ring = fade < 1
    background = np.median(patches[:, ring], axis=1)[:, None, None]
    levels = ((patches - background) * fade).astype(np.float32)
    return Cutout(levels, (box_xyxy - np.array([left, top, left, top])).astype(np.float32), label)


def paste(
    frames: Window,
    boxes_xyxy: NDArray[np.float32],
    labels: NDArray[np.int64],
    cutout: Cutout,
    generator: np.random.Generator,
) -> Labelled:
    """Put a target where there is none yet, at 30 to 100 % of its contrast.

    Args:
        frames: T arrays ``(H, W)`` float32 in [0, 1]; left as they are.
        boxes_xyxy: ``(M, 4)`` of the last of them.
        labels: ``(M,)`` class ids.
        cutout: From frames of the same number T.
        generator: Where chance comes from.

    Returns:
        Frames, boxes and labels with the target; as they came where eight random places were all taken, or where
        clutter or the end of the range would hide it.
    """
    height, width = frames[-1].shape
    _, patch_height, patch_width = cutout.levels.shape
    if patch_height > height or patch_width > width:
        return frames, boxes_xyxy, labels

    def somewhere() -> tuple[tuple[int, int], NDArray[np.floating]]:
        left = int(generator.integers(0, width - patch_width + 1))
        top = int(generator.integers(0, height - patch_height + 1))
        return (left, top), np.array([left, top, left + patch_width, top + patch_height])

    found = find_place(somewhere, boxes_xyxy, (height, width))
    if found is None:
        return frames, boxes_xyxy, labels
    (left, top), _ = found
    contrast = np.float32(generator.uniform(*CONTRAST))
    result = []
    for frame, levels in zip(frames, cutout.levels, strict=True):
        pasted = frame.copy()
        under = pasted[top : top + patch_height, left : left + patch_width]
        noise = float(under.std())
        added = np.clip(under + contrast * levels, 0, 1) - under
        under += added
        result.append(pasted)
    # Of the last frame, the one that has the label: is it seen above what is there, and did the range leave half of it?
    least = max(LEAST_SNR * noise, float(np.abs(contrast * cutout.levels[-1]).max()) / 2)
    if float(np.abs(added).max()) < least:
        return frames, boxes_xyxy, labels
    box = cutout.box_xyxy + np.array([left, top, left, top], dtype=np.float32)
    return with_target(result, boxes_xyxy, labels, box, cutout.label)


def _fade(length: int) -> NDArray[np.float32]:
    """Give weights of 1 that fall to 0 over the margin at both ends, ``(length,)``."""
    from_end = np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5
    return np.clip(from_end / MARGIN_PX, 0, 1).astype(np.float32)
