"""Boxes that do not lie on their image: found, and set apart from the others, so that these can be looked at.

Legend: M boxes of a frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from loddis_trainer.data.annotations import FrameRecord, SplitIndex

__all__ = ["MisplacedBoxes", "PlacedBox", "set_apart"]

PlacedBox = tuple[int, NDArray[np.float64]]
"""The number of a frame in its split, and a box of it as annotated, ``(4,)`` x1, y1, x2, y2 in frame pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class MisplacedBoxes:
    """Boxes of one split by where they lie.

    Attributes:
        off_image: Wholly outside of their frame.
        over_edge: In part. What is inside stays among the others.
        no_area: Of a width or height that is not positive, wherever they lie.
    """

    off_image: tuple[PlacedBox, ...]
    over_edge: tuple[PlacedBox, ...]
    no_area: tuple[PlacedBox, ...]

    @property
    def lacking(self) -> frozenset[int]:
        """Numbers of the frames that a box was taken from."""
        return frozenset(number for number, _ in (*self.off_image, *self.no_area))


def set_apart(index: SplitIndex) -> tuple[SplitIndex, MisplacedBoxes]:
    """Leave out boxes off the image or of no area, and cut those over its edge, as a training would.

    Args:
        index: Read with `as_annotated`.

    Returns:
        The same frames with the boxes that are left; what was wrong with the others.
    """
    found: tuple[list[PlacedBox], list[PlacedBox], list[PlacedBox]] = ([], [], [])
    sequences = []
    number = 0
    for sequence in index.sequences:
        records = []
        for record in sequence.records:
            boxes = record.boxes_xyxy.astype(np.float64)  # (M, 4)
            inside = np.clip(boxes, 0, [record.size_hw[1], record.size_hw[0]] * 2)
            flat = ~_have_area(boxes)
            outside = ~_have_area(inside) & ~flat
            cut = (inside != boxes).any(axis=1) & ~flat & ~outside
            for kind, which in zip(found, (outside, cut, flat), strict=True):
                kind.extend((number, boxes[i]) for i in np.flatnonzero(which))
            records.append(_keep(record, inside, ~flat & ~outside))
            number += 1
        sequences.append(replace(sequence, records=tuple(records)))
    off_image, over_edge, no_area = (tuple(kind) for kind in found)
    return replace(index, sequences=tuple(sequences)), MisplacedBoxes(off_image, over_edge, no_area)


def _have_area(boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Say which boxes have an area, ``(M,)``."""
    return np.asarray((boxes[:, 2:] > boxes[:, :2]).all(axis=1), dtype=np.bool_)


def _keep(record: FrameRecord, boxes: NDArray[np.float64], kept: NDArray[np.bool_]) -> FrameRecord:
    labels = tuple(label for label, here in zip(record.labels, kept, strict=True) if here)
    return replace(record, boxes_xyxy=boxes[kept].astype(np.float32), labels=labels)
