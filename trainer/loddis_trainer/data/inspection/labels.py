"""Boxes that cannot be right: off the image or over its edge, slivers, as large as the frame, or drawn twice.

Legend: N boxes of a split, M of a frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loddis_trainer.data.domain import DomainDataset
from loddis_trainer.data.inspection.findings import MOST_EXAMPLES, Finding, Severity
from loddis_trainer.data.inspection.frames import name_frame
from loddis_trainer.data.inspection.misplaced import PlacedBox
from loddis_trainer.data.inspection.sizes import all_boxes
from loddis_trainer.data.inspection.splits import OpenSplit

__all__ = ["LabelFaults", "find_label_faults", "label_findings"]

SUBJECT = "labels"
TOLERANCE_PX = 0.01
SLIVER_PX = 1.0
WHOLE = 0.9  # of the frame in both directions
LARGE = 0.25  # of the frame's area
REFUSED = "which no training or measurement takes, and no other figure here counts: correct them or take them out"


@dataclass(frozen=True, slots=True)
class LabelFaults:
    """Boxes of one split by what is wrong with them, each as the frame's name and the box.

    Attributes:
        off_image: Wholly outside of the frame; as `no_area`, none of the others, and in no other figure.
        no_area: Of a width or height that is not positive.
        over_edge: In part outside of the frame, as annotated; the others are what is inside.
        slivers: Under 1 px wide or high.
        whole_frame: Nine tenths of the frame or more in both directions.
        large: A quarter of the frame's area or more, and not those.
        repeated: The same box again in one frame.
        at_border: How many end at the border: cut there, or drawn so.
    """

    off_image: tuple[str, ...]
    no_area: tuple[str, ...]
    over_edge: tuple[str, ...]
    slivers: tuple[str, ...]
    whole_frame: tuple[str, ...]
    large: tuple[str, ...]
    repeated: tuple[str, ...]
    at_border: int


def find_label_faults(split: OpenSplit) -> LabelFaults:
    """Look at every box of a split."""
    dataset = split.dataset
    boxes = all_boxes(dataset)  # (N, 4)
    per_frame = [len(record.boxes_xyxy) for record in dataset.records]
    numbers = np.repeat(np.arange(len(per_frame)), per_frame)  # (N,)
    frame_wh = split.sizes_hw[numbers][:, ::-1]  # (N, 2)
    limits = np.concatenate((frame_wh, frame_wh), axis=1)
    sides = boxes[:, 2:] - boxes[:, :2]
    whole = _each(sides >= WHOLE * frame_wh)
    large = (sides.prod(axis=1) >= LARGE * frame_wh.prod(axis=1)) & ~whole
    repeated = np.zeros(len(boxes), dtype=np.bool_)
    starts = np.concatenate(([0], np.cumsum(per_frame)))
    for number in np.flatnonzero(np.array(per_frame) > 1):
        here = slice(starts[number], starts[number + 1])
        repeated[here] = _repeats(boxes[here])

    def name(wrong: NDArray[np.bool_]) -> tuple[str, ...]:
        return tuple(_name(dataset, int(numbers[i]), boxes[i]) for i in np.flatnonzero(wrong))

    def name_as_annotated(placed: tuple[PlacedBox, ...]) -> tuple[str, ...]:
        return tuple(_name(dataset, number, box) for number, box in placed)

    return LabelFaults(
        off_image=name_as_annotated(split.misplaced.off_image),
        no_area=name_as_annotated(split.misplaced.no_area),
        over_edge=name_as_annotated(split.misplaced.over_edge),
        slivers=name(~_each(sides >= SLIVER_PX)),
        whole_frame=name(whole),
        large=name(large),
        repeated=name(repeated),
        at_border=int(((boxes <= 0)[:, :2].any(axis=1) | (boxes >= limits)[:, 2:].any(axis=1)).sum()),
    )


def _each(flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Say for which rows all flags are set."""
    return np.asarray(flags.all(axis=1), dtype=np.bool_)


def _repeats(boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Say which boxes stand earlier in the frame already, ``(M,)``."""
    same = (np.abs(boxes[:, None] - boxes[None]) <= TOLERANCE_PX).all(axis=2)  # (M, M)
    return ~_each(~np.tril(same, k=-1))


def _name(dataset: DomainDataset, number: int, box: NDArray[np.float64]) -> str:
    x1, y1, x2, y2 = box
    return f"{name_frame(dataset, number)}, box at {x1:.0f}, {y1:.0f} of {x2 - x1:.1f} x {y2 - y1:.1f} px"


def label_findings(labels: dict[str, LabelFaults]) -> list[Finding]:
    """Say which boxes are wrong."""
    findings = []
    kinds: tuple[tuple[str, Severity, str, str], ...] = (
        ("off_image", "fault", "lie off the image", REFUSED),
        ("no_area", "fault", "have no area", REFUSED),
        ("whole_frame", "fault", "are as large as the frame", "take them out"),
        ("repeated", "warning", "stand twice in their frame", "take one of each out, or its target counts double"),
        ("over_edge", "warning", "reach over the edge of the image", "they are cut to it: correct them at the source"),
        ("slivers", "warning", "are under 1 px wide or high", "take them out or draw them anew"),
        ("large", "warning", "fill a quarter of the frame or more", "those are no small targets, take them out"),
    )
    for split, found in labels.items():
        for field, severity, what, advice in kinds:
            names: tuple[str, ...] = getattr(found, field)
            if names:
                message = f"boxes that {what}: {len(names)} in '{split}', {advice}"
                findings.append(Finding(severity, SUBJECT, (split,), message, names[:MOST_EXAMPLES]))
    return findings
