"""Labels that lie beside their targets: a clip shows a clear spot all along, and some of its boxes miss it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_runtime.frames import Frame
from loddis_runtime.photometry import measure_targets
from loddis_trainer.data.domain import DomainDataset
from loddis_trainer.data.inspection.cores import core_sides_px
from loddis_trainer.data.inspection.findings import MOST_EXAMPLES, Finding
from loddis_trainer.data.inspection.frames import name_frame
from loddis_trainer.data.inspection.sample import CLEAR_SNR, TargetSample

__all__ = ["AstrayLabels", "astray_findings", "find_astray_labels"]

FEWEST = 5  # targets of a sequence that say how clear its target is
DIM = 0.25  # of the sequence's median SNR: a box below it is asked about
ALIKE = 0.5  # of that median: a spot above it may be the target
LARGEST_CORE = 2.0  # of the sequence's median: a wider one is a tree top or a mast
REACH_SIDES = 4.0  # how far from the middle of a box is searched, in box sides
LONGEST_REACH_PX = 32.0  # farther off, something else was as clear


@dataclass(frozen=True, slots=True)
class AstrayLabels:
    """Labels of one split that lie beside their targets.

    Attributes:
        judged: Boxes looked at: alone in their frame, in sequences whose target is clear (median SNR of 8 or more).
        count: How many of them lie astray.
        farthest_px: The greatest distance of a target from the centre of its box; 0 if none lies astray.
        worst: The farthest by name, with distance and direction.
    """

    judged: int
    count: int
    farthest_px: float
    worst: tuple[str, ...]


def find_astray_labels(dataset: DomainDataset, sample: TargetSample) -> AstrayLabels:
    """Look for the targets of boxes that hold much less than the others of their sequence.

    A box is astray if its SNR is under a quarter of its sequence's median, and a spot of at least half of that median,
    with a core at most twice as wide as theirs, lies within four box sides and 32 px of its middle.

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
        usual = float(np.median(sample.snr[places]))
        if len(places) < FEWEST or usual < CLEAR_SNR:
            continue
        judged += len(places)
        cores = sample.core_sides_px[places]
        widest_px = LARGEST_CORE * float(np.median(cores[np.isfinite(cores)])) if np.isfinite(cores).any() else 0.0
        for i in places:
            if sample.snr[i] < DIM * usual:
                frame, box = dataset.frame(int(sample.numbers[i])), sample.boxes_xyxy[i]
                away = _nearby_target(frame, box, least_snr=ALIKE * usual, widest_px=widest_px)
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


def _nearby_target(
    frame: Frame, box: NDArray[np.floating[Any]], *, least_snr: float, widest_px: float
) -> NDArray[np.floating[Any]] | None:
    """Give where the clearest spot around a box lies from its centre (x, y in pixels), if it is like a target."""
    centre, side = (box[:2] + box[2:]) / 2, float((box[2:] - box[:2]).max())
    reach = min(REACH_SIDES * side, LONGEST_REACH_PX)
    height, width = frame.shape
    left, top = (max(0, int(np.floor(low))) for low in centre - reach)
    right, bottom = (min(most, int(np.ceil(high))) for most, high in zip((width, height), centre + reach, strict=True))
    rows, columns = (np.arange(start, end) + 0.5 for start, end in ((top, bottom), (left, right)))
    own = ((rows > box[1] - 1) & (rows < box[3] + 1))[:, None] & ((columns > box[0] - 1) & (columns < box[2] + 1))
    if own.all():
        return None
    cut = frame[top:bottom, left:right].astype(np.float32)
    window = 2 * int(np.ceil(side)) + 1
    contrast = np.abs(cv2.blur(cut, (3, 3)) - cv2.blur(cut, (window, window), borderType=cv2.BORDER_REPLICATE))
    row, column = divmod(int(np.where(own, -1.0, contrast).argmax()), contrast.shape[1])
    half = (box[2:] - box[:2]) / 2
    spot = np.array([columns[column], rows[row]])
    there = np.concatenate((spot - half, spot + half))[None]
    centroids, snr = measure_targets(frame, there)
    (core_px,) = core_sides_px(frame, there, clear=snr >= least_snr)
    away = np.asarray(centroids[0] - centre)
    return away if core_px <= widest_px and np.hypot(*away) <= reach else None  # NaN: not clear, or no spot


def astray_findings(labels: dict[str, AstrayLabels]) -> list[Finding]:
    """Say where labels lie beside their targets."""
    return [
        Finding(
            "warning",
            "labels",
            (split,),
            f"{found.count} of {found.judged} boxes looked at in '{split}' ({100 * found.count / found.judged:.1f} %)"
            f" lie beside their targets, by up to {found.farthest_px:.0f} px: what is trained on them looks away, and"
            " what finds the target is counted as a miss and a false alarm; move them, or leave these frames out",
            found.worst,
        )
        for split, found in labels.items()
        if found.count
    ]
