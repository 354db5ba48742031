"""Targets of evenly spaced frames, measured once for all parts of the inspection.

Legend: N targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.photometry import measure_targets
from loddis_trainer.data.domain import DomainDataset
from loddis_trainer.data.inspection.bars import tracked
from loddis_trainer.data.inspection.cores import core_sides_px

__all__ = ["CLEAR_SNR", "TargetSample", "measure_sample"]

CLEAR_SNR = 8.0  # from which on half of a target's height is four deviations of the noise: its core can be told


@dataclass(frozen=True, slots=True, eq=False)
class TargetSample:
    """Measured targets.

    Attributes:
        frames: Numbers of the frames looked at.
        numbers: ``(N,)`` frame of each target.
        boxes_xyxy: ``(N, 4)`` frame pixels.
        snr: ``(N,)``.
        core_sides_px: ``(N,)`` sides of the bright (or dark) cores; NaN where a target is not clear enough to tell.
    """

    frames: tuple[int, ...]
    numbers: NDArray[np.int64]
    boxes_xyxy: NDArray[np.float64]
    snr: NDArray[np.float64]
    core_sides_px: NDArray[np.float64]


def measure_sample(dataset: DomainDataset, *, frames: int, progress: bool = True) -> TargetSample:
    """Measure the targets of at most `frames` frames, evenly spaced over a split.

    Args:
        dataset: The split.
        frames: At most.
        progress: Show a bar.
    """
    chosen = dataset.evenly_spaced(frames)
    numbers, boxes, snr, cores = [], [], [], []
    title = f"measuring {dataset.name} {dataset.split}"
    for number in tracked(chosen, title, progress=progress):
        here = dataset.boxes(number)
        if not len(here):
            continue
        frame = dataset.frame(number)
        found = measure_targets(frame, here)[1]
        numbers.append(np.full(len(here), number, dtype=np.int64))
        boxes.append(here.astype(np.float64))
        snr.append(found.astype(np.float64))
        cores.append(core_sides_px(frame, here, clear=found >= CLEAR_SNR))
    return TargetSample(
        frames=tuple(chosen),
        numbers=np.concatenate(numbers) if numbers else np.empty(0, dtype=np.int64),
        boxes_xyxy=np.concatenate(boxes) if boxes else np.empty((0, 4)),
        snr=np.concatenate(snr) if snr else np.empty(0),
        core_sides_px=np.concatenate(cores) if cores else np.empty(0),
    )
