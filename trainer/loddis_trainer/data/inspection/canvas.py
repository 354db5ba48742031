"""A dark sheet to write on: text that is smooth at small sizes, and pictures at places.

Legend: H W pixels of the sheet.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_runtime.drawing import Bgr

__all__ = ["BACKGROUND", "BRIGHT", "DIM", "PANEL", "Canvas", "text_width"]

BACKGROUND: Bgr = (26, 24, 22)
PANEL: Bgr = (40, 37, 34)
BRIGHT: Bgr = (232, 232, 232)
DIM: Bgr = (160, 156, 150)
FONT = cv2.FONT_HERSHEY_SIMPLEX
FINER = 4  # times: strokes are drawn so much larger and averaged
BOLD, REGULAR = 0.2, 0.13  # stroke, of the height of capitals
ELLIPSIS = ".."


class Canvas:
    """A sheet of one colour.

    Args:
        size_hw: Pixels.
    """

    def __init__(self, size_hw: tuple[int, int]) -> None:
        self.picture: NDArray[np.uint8] = np.full((*size_hw, 3), BACKGROUND, dtype=np.uint8)

    def fill(self, x: int, y: int, size_hw: tuple[int, int], colour: Bgr) -> None:
        """Fill a rectangle whose top left corner is x, y."""
        self.picture[y : y + size_hw[0], x : x + size_hw[1]] = colour

    def paste(self, x: int, y: int, picture: NDArray[np.uint8]) -> None:
        """Lay a picture ``(h, w, 3)`` with its top left corner at x, y."""
        self.picture[y : y + picture.shape[0], x : x + picture.shape[1]] = picture

    def write(
        self, x: int, y: int, text: str, *, height: int = 10, colour: Bgr = BRIGHT, bold: bool = False, width: int = 0
    ) -> int:
        """Write a line.

        Args:
            x: Left end.
            y: Base line.
            text: What the font lacks becomes a question mark.
            height: Of capitals, pixels.
            colour: Of the text.
            bold: Thicker strokes.
            width: Room in pixels; a longer text is shortened in its middle. 0: as far as the sheet goes.

        Returns:
            Where the text ends.
        """
        text = _plain(text)
        room = (width or self.picture.shape[1] - x) * FINER
        scale, thickness = _font(height, bold=bold)
        kept = len(text)
        while (drawn := _shortened(text, kept)) and _width(drawn, scale, thickness) > room and kept > 1:
            kept -= 1
        above, below = 2 * height, height
        mask = np.zeros(((above + below) * FINER, _width(drawn, scale, thickness) + FINER), dtype=np.uint8)
        cv2.putText(mask, drawn, (0, above * FINER), FONT, scale, 255, thickness, cv2.LINE_AA)
        end: int = min(self.picture.shape[1], x + -(-mask.shape[1] // FINER))
        fine = cv2.resize(mask, (-(-mask.shape[1] // FINER), above + below), interpolation=cv2.INTER_AREA)
        top, bottom = max(0, y - above), min(self.picture.shape[0], y + below)
        alpha = fine[top - (y - above) : bottom - (y - above), : end - x, None].astype(np.float32) / 255
        under = self.picture[top:bottom, x:end]
        self.picture[top:bottom, x:end] = np.round(under * (1 - alpha) + np.array(colour, np.float32) * alpha)
        return end


def text_width(text: str, *, height: int = 10, bold: bool = False) -> int:
    """Give how wide a line would be, in pixels."""
    return -(-_width(_plain(text), *_font(height, bold=bold)) // FINER)


def _plain(text: str) -> str:
    return text.encode("ascii", "replace").decode()


def _font(height: int, *, bold: bool) -> tuple[float, int]:
    """Give scale and thickness of the font at the finer size."""
    scale = cv2.getFontScaleFromHeight(FONT, height * FINER, 1)
    return scale, max(1, round(height * FINER * (BOLD if bold else REGULAR)))


def _width(text: str, scale: float, thickness: int) -> int:
    size_wh, _ = cv2.getTextSize(text, FONT, scale, thickness)
    return int(size_wh[0])


def _shortened(text: str, kept: int) -> str:
    if kept >= len(text):
        return text
    half = kept // 2
    return text[: kept - half] + ELLIPSIS + text[len(text) - half :]
