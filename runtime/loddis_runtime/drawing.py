"""Detections over their frame, for people to look at."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from loddis_runtime.detections import Detections
from loddis_runtime.errors import ConfigError
from loddis_runtime.frames import Frame, as_frame

__all__ = ["PALETTE_BGR", "Bgr", "draw_detections", "draw_marks", "draw_text", "for_display"]

PALETTE_BGR = ((80, 220, 255), (120, 255, 120), (255, 200, 80), (200, 140, 255), (120, 160, 255), (255, 255, 120))
STRETCH_PERCENTILES = (0.5, 99.9)
LARGEST_SCALE = 16
GAP_PX = 3  # between a box and its marks, picture pixels: nothing is drawn over the target
MARK_PX = 5  # length of a corner mark, at least
FONT, FONT_SCALE = cv2.FONT_HERSHEY_PLAIN, 0.9
Bgr = tuple[int, int, int]


def draw_detections(frame: ArrayLike, detections: Detections, *, scale: int = 2) -> NDArray[np.uint8]:
    """Draw corner marks around each detection, and its score beside them.

    8-bit frames keep their levels; others are stretched between two percentiles, for this picture only.

    Args:
        frame: What `Detector.detect` takes.
        detections: Found in it.
        scale: Picture pixels per frame pixel, 1 to 16; pixels stay visible as squares.

    Returns:
        ``(H * scale, W * scale, 3)`` uint8, blue green red.

    Raises:
        ConfigError: A scale that is no whole number from 1 to 16.
        FrameError: The frame cannot be used.
    """
    if not isinstance(scale, int | np.integer) or not 1 <= scale <= LARGEST_SCALE:
        raise ConfigError(f"scale must be a whole number from 1 to {LARGEST_SCALE}, got {scale}")
    grey = np.repeat(np.repeat(for_display(as_frame(frame)), scale, axis=0), scale, axis=1)
    picture = np.ascontiguousarray(np.broadcast_to(grey[..., None], (*grey.shape, 3)))
    named = len(detections.class_names) > 1
    # The best is drawn last, over the others.
    for box, score, class_id in zip(
        detections.boxes_xyxy[::-1], detections.scores[::-1], detections.class_ids[::-1], strict=True
    ):
        x1, y1, x2, y2 = (round(float(side) * scale) for side in box)
        corners = (x1 - GAP_PX, y1 - GAP_PX, x2 + GAP_PX - 1, y2 + GAP_PX - 1)
        colour = PALETTE_BGR[int(class_id) % len(PALETTE_BGR)]
        draw_marks(picture, corners, colour)
        name = f"{detections.class_names[class_id]} " if named else ""
        draw_text(picture, f"{name}{score:.2f}", corners, colour)
    return picture


def for_display(frame: Frame) -> NDArray[np.uint8]:
    """Bring a frame to 8 bit: what has 8 keeps its levels, others are stretched between two percentiles."""
    if frame.dtype == np.uint8:
        return frame.astype(np.uint8, copy=False)
    low, high = np.percentile(frame, STRETCH_PERCENTILES)
    stretched = (frame.astype(np.float32) - low) * (255 / max(high - low, 1e-6))
    levels: NDArray[np.uint8] = np.clip(np.round(stretched), 0, 255).astype(np.uint8)
    return levels


def draw_marks(picture: NDArray[np.uint8], corners: tuple[int, int, int, int], colour: Bgr) -> None:
    """Draw the four corners of a rectangle (x1, y1, x2, y2 in picture pixels), one pixel wide with a dark rim."""
    x1, y1, x2, y2 = corners
    arm_x, arm_y = (min(max(MARK_PX, side // 5), side // 2) for side in (x2 - x1, y2 - y1))
    for shade, thickness in (((0, 0, 0), 3), (colour, 1)):
        for x, towards_x in ((x1, arm_x), (x2, -arm_x)):
            for y, towards_y in ((y1, arm_y), (y2, -arm_y)):
                mark = np.array([(x + towards_x, y), (x, y), (x, y + towards_y)], dtype=np.int32)
                cv2.polylines(picture, [mark], isClosed=False, color=shade, thickness=thickness)


def draw_text(picture: NDArray[np.uint8], text: str, corners: tuple[int, int, int, int], colour: Bgr) -> None:
    """Write above the marks, or below where there is no room, with a dark rim, within the picture."""
    x1, y1, _, y2 = corners
    (width, height), _ = cv2.getTextSize(text, FONT, FONT_SCALE, 1)
    x = max(1, min(x1, picture.shape[1] - width - 1))
    y = y1 - 3 if y1 - 3 - height >= 0 else min(y2 + 4 + height, picture.shape[0] - 2)
    # The rim is the same text moved about: thicker text would be wider too, and stick out behind.
    for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        cv2.putText(picture, text, (x + dx, y + dy), FONT, FONT_SCALE, (0, 0, 0), 1, cv2.LINE_AA)
    cv2.putText(picture, text, (x, y), FONT, FONT_SCALE, colour, 1, cv2.LINE_AA)
