"""Random changes of a training frame that leave it a plausible infrared frame.

Legend: H W pixels of the frame, M ground truths. Pure functions of frame, boxes and a generator.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_trainer.augmentation import AugmentConfig
from loddis_trainer.data.boxes import visible

__all__ = ["augment"]

# Between pixels, a target of one to three of them is spread over its neighbours, as in no frame that the detector will
# be used on: frames move by whole pixels, and only a share of them is resized.
SCALED = 0.5


def augment(
    frames: list[NDArray[np.float32]],
    boxes_xyxy: NDArray[np.float32],
    config: AugmentConfig,
    generator: np.random.Generator,
    *,
    box_offset_x_px: float = 0.0,
) -> tuple[list[NDArray[np.float32]], NDArray[np.float32], NDArray[np.bool_]]:
    """Change the frames of a window alike, and their boxes with them.

    Args:
        frames: ``(H, W)`` float32 in [0, 1], all of one size.
        boxes_xyxy: ``(M, 4)`` of the last frame, in its pixels.
        config: What to change.
        generator: Where chance comes from.
        box_offset_x_px: How far right of its target a box lies by the domain's convention; a mirror image keeps it.

    Returns:
        New frames; ``(M', 4)`` boxes cut at the border; ``(M,)`` which targets are still seen.
    """
    height, width = frames[0].shape
    boxes = boxes_xyxy.astype(np.float64)
    if generator.random() < config.flip:
        frames = [np.ascontiguousarray(frame[:, ::-1]) for frame in frames]
        mirror = width + 2 * box_offset_x_px
        boxes = np.stack((mirror - boxes[:, 2], boxes[:, 1], mirror - boxes[:, 0], boxes[:, 3]), axis=1)
    if config.scale > 0 or config.aspect > 0 or config.shift > 0:
        factors = _factors(config, generator)
        move = np.rint(config.shift * generator.uniform(-1, 1, 2) * (width, height))
        centre = np.array([width, height]) / 2
        shift = centre * (1 - factors) + move  # new = old * factors + shift, in corner coordinates
        frames = [_move(frame, factors, shift) for frame in frames]
        boxes = boxes * np.tile(factors, 2) + np.tile(shift, 2)
    if config.gain > 0 or config.offset > 0:
        gain = np.float32(1 + config.gain * generator.uniform(-1, 1))
        offset = np.float32(config.offset * generator.uniform(-1, 1))
        level = np.float32(frames[-1].mean())
        frames = [np.clip((frame - level) * gain + (level + offset), 0, 1) for frame in frames]
    if config.noise > 0:
        sigma = config.noise * generator.random() ** 2  # half of the frames get less than a quarter
        frames = [_with_noise(frame, sigma, generator) for frame in frames]
    return frames, *visible(boxes, (height, width))


def _factors(config: AugmentConfig, generator: np.random.Generator) -> NDArray[np.float64]:
    """Give the factors of width and height."""
    if generator.random() >= SCALED:
        return np.ones(2)
    factor = 1 + config.scale * generator.uniform(-1, 1)
    if config.aspect == 0:
        return np.full(2, factor)
    wider = (1 + config.aspect) ** (generator.uniform(-1, 1) / 2)
    return np.array([factor * wider, factor / wider])


def _move(frame: NDArray[np.float32], factors: NDArray[np.float64], shift: NDArray[np.float64]) -> NDArray[np.float32]:
    """Scale and shift a frame; border pixels go on outside: a mirror image there would show targets without a box."""
    # Pixel centres lie half a pixel from corners: new = old * factor + (shift + (factor - 1) / 2).
    matrix = np.column_stack((np.diag(factors), shift + (factors - 1) / 2))
    moved = cv2.warpAffine(
        frame, matrix, (frame.shape[1], frame.shape[0]), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(moved, dtype=np.float32)


def _with_noise(frame: NDArray[np.float32], sigma: float, generator: np.random.Generator) -> NDArray[np.float32]:
    """Add normal noise. OpenCV draws it four times as fast as NumPy, from a state that each thread has of its own."""
    cv2.setRNGSeed(int(generator.integers(2**31)))
    noisy = np.empty_like(frame)
    cv2.randn(noisy, np.zeros(1), np.full(1, sigma))
    noisy += frame
    return np.clip(noisy, 0, 1, out=noisy)
