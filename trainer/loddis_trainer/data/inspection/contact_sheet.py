"""One picture of a domain: a row a split, each frame with its boxes and a target of it four times as large.

Legend: h w pixels of a picture on the sheet.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_runtime.drawing import PALETTE_BGR, Bgr, draw_marks, for_display
from loddis_runtime.frames import Frame
from loddis_trainer.data.inspection.canvas import BRIGHT, DIM, PANEL, Canvas, text_width
from loddis_trainer.data.inspection.findings import SEVERITIES
from loddis_trainer.data.inspection.picks import Pick, pick_targets
from loddis_trainer.data.inspection.sample import TargetSample
from loddis_trainer.data.inspection.splits import OpenSplit
from loddis_trainer.data.inspection.whole import InspectedDomain
from loddis_trainer.metrics.groups import box_sides_px

__all__ = ["contact_sheet"]

COLUMNS = 6
TILE_HW = (256, 320)  # of a frame on the sheet
ZOOM = 4
ZOOM_PX = 40  # of the frame, around the target
MARGIN, GAP = 28, 18
TITLE_HEIGHT, ROW_TITLE_HEIGHT, CAPTION_HEIGHT = 84, 44, 30
LARGEST_ENLARGEMENT = 4
LEAST_RANGE = 24.0  # levels of an 8-bit frame that a zoom's contrast is stretched over at least: noise stays noise
SHOWN: Bgr = PALETTE_BGR[0]
OTHERS: Bgr = PALETTE_BGR[2]


def contact_sheet(domain: InspectedDomain) -> NDArray[np.uint8]:
    """Draw the sheet.

    Args:
        domain: Inspected.

    Returns:
        ``(H, W, 3)`` uint8, blue green red; `COLUMNS` tiles wide, and a row for each split that can be read.
    """
    height = TILE_HW[0] + CAPTION_HEIGHT + ZOOM * ZOOM_PX
    row_height = ROW_TITLE_HEIGHT + height + GAP
    width = 2 * MARGIN + COLUMNS * TILE_HW[1] + (COLUMNS - 1) * GAP
    canvas = Canvas((TITLE_HEIGHT + max(1, len(domain.splits)) * row_height + MARGIN - GAP, width))
    _write_title(canvas, domain)
    for row, split in enumerate(domain.splits):
        top = TITLE_HEIGHT + row * row_height
        _write_row_title(canvas, top, domain, split)
        sample = domain.samples[split.name]
        picks = pick_targets(split.dataset, sample, count=COLUMNS)
        for column, pick in enumerate(picks):
            x = MARGIN + column * (TILE_HW[1] + GAP)
            _draw_tile(canvas, x, top + ROW_TITLE_HEIGHT, split, sample, pick)
        if not picks:
            canvas.write(MARGIN, top + ROW_TITLE_HEIGHT + 24, "no targets", height=12, colour=DIM)
    if not domain.splits:
        canvas.write(MARGIN, TITLE_HEIGHT + 24, "no split can be read", height=12, colour=DIM)
    return canvas.picture


def _write_title(canvas: Canvas, domain: InspectedDomain) -> None:
    inspection = domain.inspection
    end = canvas.write(MARGIN, 50, inspection.domain, height=20, bold=True)
    counts = [(severity, inspection.count(severity)) for severity in SEVERITIES]
    text = ", ".join(f"{count} {severity}{'' if count == 1 else 's'}" for severity, count in counts)
    canvas.write(end + 2 * GAP, 50, text, height=11, colour=DIM)
    legend = f"below each frame: the marked target {ZOOM} x, contrast stretched"
    left = canvas.picture.shape[1] - MARGIN - text_width(legend, height=11)
    canvas.write(left, 50, legend, height=11, colour=DIM)


def _write_row_title(canvas: Canvas, top: int, domain: InspectedDomain, split: OpenSplit) -> None:
    found = domain.inspection.splits[split.name]
    canvas.fill(MARGIN, top, (1, canvas.picture.shape[1] - 2 * MARGIN), PANEL)
    end = canvas.write(MARGIN, top + 28, split.name, height=13, bold=True)
    named = (("sequence", found.counts.sequences), ("frame", found.counts.frames), ("target", found.counts.targets))
    text = ", ".join(f"{count} {what}{'' if count == 1 else 's'}" for what, count in named)
    if found.counts.targets:
        text += f"; median box side {found.sizes.side_px.median:.1f} px, median SNR {found.contrast.snr.median:.1f}"
    canvas.write(end + GAP, top + 28, text, height=10, colour=DIM)


def _draw_tile(canvas: Canvas, x: int, y: int, split: OpenSplit, sample: TargetSample, pick: Pick) -> None:
    """Draw a frame, its caption, a target of it, and what was measured of that."""
    number = int(sample.numbers[pick.target])
    box = sample.boxes_xyxy[pick.target]
    frame, record = split.dataset.frame(number), split.dataset.records[number]
    canvas.fill(x, y, TILE_HW, PANEL)
    picture = _framed(frame, record.boxes_xyxy.astype(np.float64), box)
    canvas.paste(x + (TILE_HW[1] - picture.shape[1]) // 2, y + (TILE_HW[0] - picture.shape[0]) // 2, picture)

    base = y + TILE_HW[0] + 20
    end = canvas.write(x, base, pick.reason, height=10, colour=SHOWN, bold=True)
    sequence = split.dataset.sequence_of(number)
    canvas.write(end + 10, base, sequence, height=10, width=x + TILE_HW[1] - end - 10)

    zoom_y = y + TILE_HW[0] + CAPTION_HEIGHT
    canvas.paste(x, zoom_y, _zoomed(frame, box))
    left = x + ZOOM * ZOOM_PX + 14
    room = x + TILE_HW[1] - left
    wide, high = box[2] - box[0], box[3] - box[1]
    label = next(
        (name for name, other in zip(record.labels, record.boxes_xyxy, strict=True) if np.allclose(other, box)), ""
    )
    count = len(record.boxes_xyxy)
    lines: tuple[tuple[str, Bgr], ...] = (
        (f"SNR {sample.snr[pick.target]:.1f}", BRIGHT),
        (f"{wide:.1f} x {high:.1f} px", BRIGHT),
        (f"side {box_sides_px(box[None])[0]:.1f} px", DIM),
        (label, DIM),
        ("1 target" if count == 1 else f"{count} targets", DIM),
    )
    if len(split.dataset.sequences[sequence]) > 1:
        lines = (*lines, (f"frame {record.frame_index}", DIM))
    for place, (text, colour) in enumerate(lines):
        canvas.write(left, zoom_y + 14 + 23 * place, text, height=10, colour=colour, width=room)


def _framed(frame: Frame, boxes: NDArray[np.float64], shown: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Fit a frame into a tile, with its boxes marked; ``(h, w, 3)``."""
    height, width = frame.shape
    scale = min(TILE_HW[0] / height, TILE_HW[1] / width)
    scale = float(min(int(scale), LARGEST_ENLARGEMENT)) if scale >= 1 else scale
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = cv2.INTER_NEAREST if scale >= 1 else cv2.INTER_AREA
    grey = cv2.resize(for_display(frame), size, interpolation=way)
    picture = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), dtype=np.uint8)
    order = np.argsort((np.abs(boxes - shown).max(axis=1) <= 1e-3).astype(int), kind="stable")
    for i in order:  # the shown one last, over the others
        colour = SHOWN if np.abs(boxes[i] - shown).max() <= 1e-3 else OTHERS
        x1, y1, x2, y2 = (round(float(side) * scale) for side in boxes[i])
        draw_marks(picture, (x1 - 2, y1 - 2, x2 + 1, y2 + 1), colour)
    return picture


def _zoomed(frame: Frame, box: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Enlarge the surroundings of a box, whole pixels as squares, with the box marked; ``(h, h, 3)``."""
    half = ZOOM_PX // 2
    column, row = (int(np.floor((box[axis] + box[axis + 2]) / 2)) - half for axis in (0, 1))
    height, width = frame.shape
    cut = np.zeros((ZOOM_PX, ZOOM_PX), dtype=np.float32)
    there = np.zeros((ZOOM_PX, ZOOM_PX), dtype=np.bool_)
    top, left = max(0, row), max(0, column)
    bottom, right = min(height, row + ZOOM_PX), min(width, column + ZOOM_PX)
    place = (slice(top - row, bottom - row), slice(left - column, right - column))
    cut[place] = frame[top:bottom, left:right]
    there[place] = True
    low, high = np.percentile(cut[there], (1, 99.8))
    least = LEAST_RANGE * (1 if frame.dtype == np.uint8 else float(np.ptp(frame)) / 255)
    spare = max(0.0, least - float(high - low)) / 2
    grey = np.clip((cut - (low - spare)) * (255 / max(high - low + 2 * spare, 1e-6)), 0, 255)
    small = cv2.cvtColor(grey.round().astype(np.uint8), cv2.COLOR_GRAY2BGR)
    small[~there] = PANEL
    picture = np.repeat(np.repeat(np.asarray(small, dtype=np.uint8), ZOOM, axis=0), ZOOM, axis=1)
    origin = np.array([column, row, column, row])
    x1, y1, x2, y2 = (round(float(side) * ZOOM) for side in box - origin)
    draw_marks(picture, (x1 - 1, y1 - 1, x2, y2), SHOWN)
    return picture
