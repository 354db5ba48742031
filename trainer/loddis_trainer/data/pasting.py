"""More targets in a training frame: real ones of the same domain, or synthetic ones, boxed as the domain boxes its own.

Legend: T frames of the window, oldest first; H W pixels of the frame; M ground truths; h w pixels of a patch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.scenes import inject_target
from loddis_runtime.scenes.config import TargetKind

__all__ = ["PLACES_TRIED", "Cutout", "Window", "add_synthetic_target", "cut_out", "is_free", "paste"]

MARGIN_PX = 3  # around a box: its ring tells the background, and the paste fades out in it
CONTRAST = (0.3, 1.0)  # of what was cut out; real sets have fewer dim targets than the sky has
SNR = (2.0, 20.0)  # of synthetic targets, drawn evenly in their logarithm; below the least no target is labelled
SIZES_PX = (2.0, 8.0)  # of those with a shape
SPEED_PX = 4.0  # a frame, at most
KINDS: tuple[TargetKind, ...] = ("point", "blob", "aircraft", "drone", "bird")
PLACES_TRIED = 8

Window = list[NDArray[np.float32]]


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
) -> tuple[Window, NDArray[np.float32], NDArray[np.int64]]:
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
    for _ in range(PLACES_TRIED):
        left = int(generator.integers(0, width - patch_width + 1))
        top = int(generator.integers(0, height - patch_height + 1))
        place = np.array([left, top, left + patch_width, top + patch_height])
        if is_free(place, boxes_xyxy):
            break
    else:
        return frames, boxes_xyxy, labels
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
    least = max(SNR[0] * noise, float(np.abs(contrast * cutout.levels[-1]).max()) / 2)
    if float(np.abs(added).max()) < least:
        return frames, boxes_xyxy, labels
    box = cutout.box_xyxy + np.array([left, top, left, top], dtype=np.float32)
    return result, np.vstack((boxes_xyxy, box)).astype(np.float32), np.append(labels, cutout.label)


def add_synthetic_target(
    frames: Window,
    boxes_xyxy: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    box_size_px: tuple[float, float],
    box_offset_px: tuple[float, float],
    generator: np.random.Generator,
) -> tuple[Window, NDArray[np.float32], NDArray[np.int64]]:
    """Put a point, blob, aircraft, drone or bird of SNR 2 to 20 into a window, on a straight course through it.

    Args:
        frames: T arrays ``(H, W)`` float32 in [0, 1]; left as they are.
        boxes_xyxy: ``(M, 4)`` of the last of them.
        labels: ``(M,)`` class ids; the new one's is that of a target there, else 0.
        box_size_px: Width and height of its box: how large the domain would draw it.
        box_offset_px: How far right of and below its target the domain's boxes lie.
        generator: Where chance comes from.

    Returns:
        Frames, boxes and labels with the target; as they came where eight random places were all taken, or where
        the range ends before the target shows.
    """
    height, width = frames[-1].shape
    half = np.array(box_size_px) / 2
    for _ in range(PLACES_TRIED):
        centre = generator.uniform((0.0, 0.0), (width, height))
        box = np.concatenate((centre - half, centre + half)) + np.tile(box_offset_px, 2)
        inside = box[0] >= 0 and box[1] >= 0 and box[2] <= width and box[3] <= height
        if inside and is_free(box, boxes_xyxy):
            break
    else:
        return frames, boxes_xyxy, labels
    kind = KINDS[generator.integers(len(KINDS))]
    size = 0.0 if kind == "point" else float(generator.uniform(SIZES_PX[0], min(SIZES_PX[1], *box_size_px)))
    snr = float(np.exp(generator.uniform(*np.log(SNR))))
    heading = float(generator.uniform(0, 2 * np.pi))
    step = generator.uniform(0, SPEED_PX) * np.array([np.cos(heading), np.sin(heading)])
    result = []
    for back, frame in zip(range(len(frames) - 1, -1, -1), frames, strict=True):
        x, y = np.clip(centre - back * step, 0, (width, height))
        injection = inject_target(
            frame, centre_xy=(x, y), snr=snr, kind=kind, size_px=size, heading_deg=float(np.degrees(heading))
        )
        result.append(np.asarray(injection.frame, dtype=np.float32))
    if injection.snr < SNR[0]:  # of the last frame
        return frames, boxes_xyxy, labels
    label = labels[generator.integers(len(labels))] if len(labels) else 0
    return result, np.vstack((boxes_xyxy, box)).astype(np.float32), np.append(labels, label)


def _fade(length: int) -> NDArray[np.float32]:
    """Give weights of 1 that fall to 0 over the margin at both ends, ``(length,)``."""
    from_end = np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5
    return np.clip(from_end / MARGIN_PX, 0, 1).astype(np.float32)


def is_free(place_xyxy: NDArray[np.floating], boxes_xyxy: NDArray[np.float32]) -> bool:
    """Tell whether a place touches no box."""
    apart = (boxes_xyxy[:, :2] >= place_xyxy[2:]).any(axis=1) | (boxes_xyxy[:, 2:] <= place_xyxy[:2]).any(axis=1)
    return bool(apart.all())
