"""Pictures of frames with boxes: which targets were found, which were missed, and what was taken for one.

A picture is an `svg` element: pixels as a small PNG inside, boxes as lines over it, in the page's colours.

Legend: H W pixels of a frame or crop, N boxes.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_runtime.frames import Frame
from loddis_trainer.metrics.images import FramePool, pool_frames
from loddis_trainer.metrics.matching import match_greedily, pairs_by_distance
from loddis_trainer.reporting.collect import SplitResult

__all__ = ["Boxes", "Example", "Examples", "choose_examples", "picture", "picture_of", "stretch"]

CROP_SIDE_PX = 48  # at least; larger targets get three times their side
SIDES_A_CROP = 3.0
MOST_OF_A_SEQUENCE = 2  # so that one hard clip does not fill the row
STRETCH_PERCENTILES = (1.0, 99.8)


@dataclass(frozen=True, slots=True)
class Example:
    """A place worth looking at.

    Attributes:
        place: Of the frame among the results.
        box_xyxy: What the crop is centred on, frame pixels.
        caption: A line for people.
    """

    place: int
    box_xyxy: tuple[float, float, float, float]
    caption: str


@dataclass(frozen=True, slots=True)
class Examples:
    """Examples of a run on a split, the most telling first.

    Attributes:
        hits: Targets found, the dimmest first.
        misses: Targets missed, the brightest first.
        false_alarms: Detections of nothing, the surest first.
    """

    hits: list[Example]
    misses: list[Example]
    false_alarms: list[Example]


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes to draw in one style, ``(N, 4)`` in pixels of the picture; `style` is `truth` or `found`."""

    boxes_xyxy: NDArray[np.floating]
    style: str


def choose_examples(result: SplitResult, *, count: int = 6) -> Examples:
    """Choose hits, misses and false alarms at the operating point, by centre distance.

    Args:
        result: A run on a split.
        count: Of each kind, at most.
    """
    metrics = result.metrics
    pool = pool_frames(result.results)
    pairs = pairs_by_distance(pool, centre_distance_px=metrics.centre_distance_px)
    matched = match_greedily(pool, pairs)
    reported = pool.scores >= metrics.score_threshold
    found = metrics.roc.target_scores >= metrics.score_threshold
    snr = np.where(np.isnan(pool.truth_snr), -1.0, pool.truth_snr)

    def targets(chosen: NDArray[np.int64]) -> list[Example]:
        return [
            _example(
                result,
                pool,
                int(pool.truth_frame_ids[one]),
                pool.truth_boxes_xyxy[one],
                _of_target(pool, found, metrics.roc.target_scores, int(one)),
            )
            for one in _varied(chosen, pool, pool.truth_frame_ids, count)
        ]

    dimmest = np.argsort(snr, kind="stable")
    surest = np.argsort(-pool.scores, kind="stable")
    alarms = surest[(reported & (matched < 0))[surest]]
    return Examples(
        hits=targets(dimmest[found[dimmest]]),
        misses=targets(dimmest[::-1][~found[dimmest[::-1]]]),
        false_alarms=[
            _example(result, pool, int(pool.frame_ids[one]), pool.boxes_xyxy[one], _of_alarm(pool, one))
            for one in _varied(alarms, pool, pool.frame_ids, count)
        ],
    )


def picture_of(result: SplitResult, example: Example) -> str:
    """Cut the surroundings of an example from its frame, with every target and every detection that was reported."""
    one = result.results[example.place]
    frame = result.dataset.frame(result.numbers[example.place])
    left, top, side_x, side_y = _crop(example.box_xyxy, frame.shape)
    crop = frame[top : top + side_y, left : left + side_x]
    shift = np.array([left, top, left, top])
    reported = one.scores >= result.metrics.score_threshold
    boxes = (
        Boxes(one.truth_boxes_xyxy - shift, "truth"),
        Boxes(one.boxes_xyxy[reported] - shift, "found"),
    )
    return picture(stretch(crop), size_hw=(side_y, side_x), boxes=boxes, label=example.caption)


def stretch(frame: Frame | NDArray[np.float32]) -> NDArray[np.uint8]:
    """Bring grey levels to 8 bit between two percentiles of their own, for people to see."""
    low, high = np.percentile(frame, STRETCH_PERCENTILES)
    levels = (frame.astype(np.float32) - low) * (255 / max(float(high - low), 1e-6))
    return np.asarray(np.clip(np.round(levels), 0, 255), dtype=np.uint8)


def picture(
    pixels: NDArray[np.uint8], *, size_hw: tuple[int, int], boxes: Iterable[Boxes] = (), label: str = ""
) -> str:
    """Give a picture as an `svg` element.

    Args:
        pixels: ``(H, W)`` grey or ``(H, W, 3)`` red green blue; stretched over the whole picture, pixels stay squares.
        size_hw: Height and width in the pixels that boxes are measured in.
        boxes: To draw; what lies outside is cut.
        label: What it shows, for screen readers.
    """
    ordered = pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., ::-1])
    encoded, buffer = cv2.imencode(".png", ordered)
    if not encoded:
        raise ValueError(f"no PNG can be made of pixels {pixels.shape} {pixels.dtype}")
    data = base64.b64encode(buffer.tobytes()).decode("ascii")
    height, width = size_hw
    marks = []
    for group in boxes:
        for x1, y1, x2, y2 in np.asarray(group.boxes_xyxy, dtype=np.float64).reshape(-1, 4).tolist():
            if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
                continue
            marks.append(
                f'<rect class="{group.style}" x="{x1 - 1:.1f}" y="{y1 - 1:.1f}"'
                f' width="{x2 - x1 + 2:.1f}" height="{y2 - y1 + 2:.1f}"/>'
            )
    return (
        f'<svg class="picture" viewBox="0 0 {width} {height}" role="img" aria-label="{_escape(label)}">'
        f'<image width="{width}" height="{height}" preserveAspectRatio="none" href="data:image/png;base64,{data}"/>'
        f"{''.join(marks)}</svg>"
    )


def _example(result: SplitResult, pool: FramePool, place: int, box_xyxy: NDArray[np.float64], words: str) -> Example:
    index = result.results[place].frame_index
    x1, y1, x2, y2 = (float(value) for value in box_xyxy)
    sequence = pool.sequences[place]
    where = f"{sequence}, frame {index}" if sequence else f"frame {index}"
    return Example(place, (x1, y1, x2, y2), f"{words} · {where}")


def _of_target(pool: FramePool, found: NDArray[np.bool_], scores: NDArray[np.float64], target: int) -> str:
    snr = pool.truth_snr[target]
    words = [f"SNR {snr:.1f}" if np.isfinite(snr) else "SNR unknown"]
    if found[target]:
        words.append(f"score {scores[target]:.2f}")
    elif np.isfinite(scores[target]):
        words.append(f"best score only {scores[target]:.2f}")
    return " · ".join(words)


def _of_alarm(pool: FramePool, detection: int) -> str:
    """Say how sure it was, and whether it is a second box of a target or one off its centre."""
    words = f"score {pool.scores[detection]:.2f}"
    truths = pool.truth_boxes_xyxy[pool.truth_frame_ids == pool.frame_ids[detection]]
    x, y = (pool.boxes_xyxy[detection, :2] + pool.boxes_xyxy[detection, 2:]) / 2
    inside = (truths[:, 0] <= x) & (x <= truths[:, 2]) & (truths[:, 1] <= y) & (y <= truths[:, 3])
    return f"{words} · on a target" if inside.any() else words


def _varied(candidates: NDArray[np.int64], pool: FramePool, frame_ids: NDArray[np.int64], count: int) -> Sequence[int]:
    """Take the first candidates, only a few of each sequence while there are others."""
    taken: list[int] = []
    spare: list[int] = []
    of_sequence: dict[str, int] = {}
    for candidate in candidates.tolist():
        sequence = pool.sequences[int(frame_ids[candidate])]
        of_sequence[sequence] = of_sequence.get(sequence, 0) + 1
        (taken if of_sequence[sequence] <= MOST_OF_A_SEQUENCE else spare).append(candidate)
        if len(taken) == count:
            break
    chosen = (taken + spare)[:count]
    place = {candidate: rank for rank, candidate in enumerate(candidates.tolist())}
    return sorted(chosen, key=lambda candidate: place[candidate])


def _crop(box_xyxy: tuple[float, float, float, float], size_hw: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Give left, top, width and height of the surroundings of a box, within the frame."""
    x1, y1, x2, y2 = box_xyxy
    wanted = round(max(CROP_SIDE_PX, SIDES_A_CROP * (x2 - x1), SIDES_A_CROP * (y2 - y1)))
    side = min(wanted, size_hw[0], size_hw[1])
    left = int(np.clip(round((x1 + x2 - side) / 2), 0, size_hw[1] - side))
    top = int(np.clip(round((y1 + y2 - side) / 2), 0, size_hw[0] - side))
    return left, top, side, side


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
