"""Labels that lie beside their targets: a clip shows a clear spot all along, and some of its boxes miss it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_runtime.frames import Frame
from loddis_runtime.photometry import measure_targets
from loddis_runtime.registration import camera_shift
from loddis_trainer.data.domain import DomainDataset
from loddis_trainer.data.inspection.cores import core_sides_px
from loddis_trainer.data.inspection.findings import MOST_EXAMPLES, Finding
from loddis_trainer.data.inspection.frames import name_frame
from loddis_trainer.data.inspection.sample import TargetSample

__all__ = ["AstrayLabels", "astray_findings", "find_astray_labels"]

FEWEST = 5  # targets of a sequence that say what its target is like
DIM = 0.25  # of the sequence's median SNR: a box below it is asked about
ALIKE = 0.5  # of that median: a spot above it may be the target
LARGEST_CORE = 2.0  # of the sequence's median: a wider one is a tree top or a mast
REACH_SIDES = 4.0  # how far from the middle of a box is searched, in box sides
LONGEST_REACH_PX = 32.0  # farther off, something else was as clear
SLACK_PX = 2.0  # that the camera's motion is known to

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class AstrayLabels:
    """Labels of one split that lie beside their targets.

    Attributes:
        judged: Boxes looked at: alone in their frame, in sequences of at least 5, some of which are clear (SNR of 8 or
            more: their cores are known).
        count: How many of them lie astray.
        farthest_px: The greatest distance of a target from the centre of its box; 0 if none lies astray.
        worst: The farthest by name, with distance and direction.
    """

    judged: int
    count: int
    farthest_px: float
    worst: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Likeness:
    """What a spot must be like to be a sequence's target."""

    least_snr: float
    widest_px: float

    def of(self, frame: Frame, box: Floats) -> Floats | None:
        """Give the centroid of the spot in a box if it is like the target."""
        centroids, snr = measure_targets(frame, box[None])
        (core_px,) = core_sides_px(frame, box[None], clear=snr >= self.least_snr)
        return centroids[0] if core_px <= self.widest_px else None  # NaN: not clear, or no spot


def find_astray_labels(dataset: DomainDataset, sample: TargetSample) -> AstrayLabels:
    """Look for the targets of boxes that hold much less than the others of their sequence.

    A box is astray if its SNR is under a quarter of its sequence's median, and the clearest spot within four box sides
    and 32 px of its middle has at least half of that median and a core at most twice as wide as the others', and does
    not belong to the scene: in the nearest frame whose box holds the target, nothing like it stands there.

    Args:
        dataset: The split.
        sample: Its measured targets.
    """
    by_sequence: dict[str, list[int]] = {}
    for i, number in enumerate(sample.numbers.tolist()):
        if len(dataset.boxes(number)) == 1:
            by_sequence.setdefault(dataset.sequence_of(number), []).append(i)
    judged, found = 0, []
    for places in by_sequence.values():
        usual, cores = float(np.median(sample.snr[places])), sample.core_sides_px[places]
        if len(places) < FEWEST or not np.isfinite(cores).any():
            continue
        judged += len(places)
        like = _Likeness(ALIKE * usual, LARGEST_CORE * float(np.nanmedian(cores)))
        sure = [i for i in places if sample.snr[i] >= like.least_snr]
        for i in places:
            if sample.snr[i] < DIM * usual:
                nearest = min(sure, key=lambda other: abs(int(sample.numbers[other]) - int(sample.numbers[i])))
                away = _target_beside(dataset, sample, i, nearest, like)
                if away is not None:
                    found.append((float(np.hypot(*away)), i, away))
    found.sort(key=lambda one: -one[0])
    return AstrayLabels(
        judged=judged,
        count=len(found),
        farthest_px=found[0][0] if found else 0.0,
        worst=tuple(
            f"{name_frame(dataset, int(sample.numbers[i]))}, target {distance:.0f} px off, at"
            f" {away[0]:+.0f}, {away[1]:+.0f} of its box"
            for distance, i, away in found[:MOST_EXAMPLES]
        ),
    )


def _target_beside(
    dataset: DomainDataset, sample: TargetSample, i: int, reference: int, like: _Likeness
) -> Floats | None:
    """Give where the target of box `i` lies from its centre (x, y in pixels), if it is seen beside it.

    Args:
        dataset: The split.
        sample: Its measured targets.
        i: The box.
        reference: A box near in time that holds the target.
        like: What the target is like.
    """
    frame, box = dataset.frame(int(sample.numbers[i])), sample.boxes_xyxy[i]
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    side = 2 * float(half.max())
    reach = min(REACH_SIDES * side, LONGEST_REACH_PX)
    place = _clearest_place(frame, box, reach=reach)
    if place is None:
        return None
    target = like.of(frame, np.concatenate((place - half, place + half)))
    if target is None or np.hypot(*(target - centre)) > reach:
        return None
    other, other_box = dataset.frame(int(sample.numbers[reference])), sample.boxes_xyxy[reference]
    if other.shape == frame.shape:
        shift = camera_shift(frame.astype(np.float32), other.astype(np.float32))
        there = target + np.array(shift)  # where the spot would be if it were of the scene
        is_target = np.hypot(*(there - (other_box[:2] + other_box[2:]) / 2)) <= side  # which may hover
        around = np.concatenate((there - half - SLACK_PX, there + half + SLACK_PX))
        if not is_target and like.of(other, around) is not None:
            return None
    return np.asarray(target - centre)


def _clearest_place(frame: Frame, box: Floats, *, reach: float) -> Floats | None:
    """Give the pixel (x, y of its middle) around a box that stands out most; None where nothing is around it."""
    centre, side = (box[:2] + box[2:]) / 2, float((box[2:] - box[:2]).max())
    height, width = frame.shape
    left, top = (max(0, int(np.floor(low))) for low in centre - reach)
    right, bottom = (min(most, int(np.ceil(high))) for most, high in zip((width, height), centre + reach, strict=True))
    rows, columns = (np.arange(start, end) + 0.5 for start, end in ((top, bottom), (left, right)))
    own = ((rows > box[1] - 1) & (rows < box[3] + 1))[:, None] & ((columns > box[0] - 1) & (columns < box[2] + 1))
    if own.all():
        return None
    window = max(5, 2 * int(np.ceil(side)) + 1)
    whole = frame.astype(np.float32)
    contrast = np.abs(cv2.blur(whole, (3, 3)) - cv2.blur(whole, (window, window)))[top:bottom, left:right]
    row, column = divmod(int(np.where(own, -1.0, contrast).argmax()), contrast.shape[1])
    return np.array([columns[column], rows[row]])


def astray_findings(labels: dict[str, AstrayLabels]) -> list[Finding]:
    """Say where labels seem to lie beside their targets."""
    return [
        Finding(
            "warning",
            "labels",
            (split,),
            f"{found.count} of {found.judged} boxes looked at in '{split}' ({100 * found.count / found.judged:.1f} %)"
            f" seem to lie beside their targets, by up to {found.farthest_px:.0f} px: look at them, and move those that"
            " do; what is trained on them looks away, and who finds the target has a miss and a false alarm",
            found.worst,
        )
        for split, found in labels.items()
        if found.count
    ]
