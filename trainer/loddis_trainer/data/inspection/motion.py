"""How fast targets move, how much of it is the camera's, and where a track jumps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.registration import camera_shift
from loddis_trainer.data.domain import DomainDataset
from loddis_trainer.data.inspection.distribution import Distribution, distribution
from loddis_trainer.data.inspection.findings import MOST_EXAMPLES, Finding, Severity
from loddis_trainer.data.inspection.frames import name_frame
from loddis_trainer.data.inspection.tracks import Steps, follow

__all__ = ["Motion", "describe_motion", "motion_findings"]

SUBJECT = "motion"
CAMERA_PAIRS = 200  # of frames, evenly spaced, between which the camera's own motion is measured
CAMERA_MOVES_PX = 0.5
MANY = 0.25
FROZEN = 0.02  # of pairs of frames: fewer are the odd dropped frame
# A step is implausible if it is at once far longer than the sequence's own and than any box needs to be left.
JUMP_PX, JUMP_SIDES, JUMP_STEPS = 12.0, 2.0, 10.0


@dataclass(frozen=True, slots=True)
class Motion:
    """Motion between labelled frames that follow one another in one split; NaN and zeros where there are none.

    Attributes:
        steps: Of targets.
        speed_px_per_frame: Of targets in the picture, camera motion included.
        own_speed_px_per_frame: Against the scene, on the pairs of frames looked at for the camera.
        camera_px_per_frame: Shift of the scene on those pairs; 0 where the scene shows none.
        camera_moves_share: Of those pairs, in [0, 1], with a shift over 0.5 px.
        frozen_share: Of those pairs, in [0, 1], whose frames are identical.
        pairs_looked_at: For the camera; evenly spaced.
        jumps: Implausible steps.
        worst_jumps: The longest of them by name.
    """

    steps: int
    speed_px_per_frame: Distribution
    own_speed_px_per_frame: Distribution
    camera_px_per_frame: Distribution
    camera_moves_share: float
    frozen_share: float
    pairs_looked_at: int
    jumps: int
    worst_jumps: tuple[str, ...]


def describe_motion(dataset: DomainDataset) -> Motion:
    """Measure the motion of a split."""
    steps = follow(dataset)
    pairs = sorted(set(zip(steps.before.tolist(), steps.after.tolist(), strict=True)))
    spaced = np.unique(np.linspace(0, len(pairs) - 1, min(CAMERA_PAIRS, len(pairs))).astype(int))
    looked_at = [pairs[int(i)] for i in spaced]
    shifts = {first: _shift(dataset, first, second) for first, second in looked_at}
    camera = np.array([math.hypot(*shift) for shift in shifts.values()])
    of_sample = np.isin(steps.before, list(shifts))
    own = [
        float(np.hypot(*(moved - np.array(shifts[int(first)]))))
        for first, moved in zip(steps.before[of_sample], steps.moved_xy[of_sample], strict=True)
    ]
    frozen = [np.array_equal(dataset.frame(first), dataset.frame(second)) for first, second in looked_at]
    jumps = _jumps(dataset, steps)
    return Motion(
        steps=len(steps.before),
        speed_px_per_frame=distribution(steps.speed_px),
        own_speed_px_per_frame=distribution(own),
        camera_px_per_frame=distribution(camera),
        camera_moves_share=float((camera > CAMERA_MOVES_PX).mean()) if len(camera) else math.nan,
        frozen_share=float(np.mean(frozen)) if frozen else math.nan,
        pairs_looked_at=len(looked_at),
        jumps=len(jumps),
        worst_jumps=tuple(name for _, name in jumps[:MOST_EXAMPLES]),
    )


def _shift(dataset: DomainDataset, first: int, second: int) -> tuple[float, float]:
    before, after = (dataset.frame(number) for number in (first, second))
    if before.shape != after.shape:
        return 0.0, 0.0
    return camera_shift(before.astype(np.float32), after.astype(np.float32))


def _jumps(dataset: DomainDataset, steps: Steps) -> list[tuple[float, str]]:
    """Give the implausible steps with their lengths in pixels, the longest first."""
    usual = _usual_speed(dataset, steps)
    limit = np.maximum(np.maximum(JUMP_PX, JUMP_SIDES * steps.side_px), JUMP_STEPS * usual)
    found = []
    for i in np.flatnonzero(steps.certain & (steps.speed_px > limit)):
        first, second = int(steps.before[i]), int(steps.after[i])
        length = math.hypot(*(steps.moved_xy[i] - np.array(_shift(dataset, first, second))))
        if length > limit[i]:  # and not because the camera swung
            found.append((length, f"{name_frame(dataset, second)}: {length:.0f} px from the frame before"))
    return sorted(found, reverse=True)


def _usual_speed(dataset: DomainDataset, steps: Steps) -> NDArray[np.float64]:
    """Give, for each step, the median speed of its sequence; ``(K,)``."""
    numbers = {name: i for i, name in enumerate(dataset.sequences)}
    sequence = np.array([numbers[dataset.sequence_of(int(first))] for first in steps.before], dtype=np.int64)
    usual = np.zeros(len(sequence))
    for number in np.unique(sequence):
        usual[sequence == number] = np.median(steps.speed_px[sequence == number])
    return usual


def motion_findings(motions: dict[str, Motion]) -> list[Finding]:
    """Say where tracks jump, frames stand still, or the camera moves."""
    findings = []
    for split, found in motions.items():
        if found.jumps:
            message = (
                f"targets of '{split}' jump {found.jumps} times between frames that follow one another: look whether a"
                " box is wrong, the scene is cut, or another target goes on where one should have both"
            )
            findings.append(Finding("warning", "labels", (split,), message, found.worst_jumps))
        if found.frozen_share >= FROZEN:
            message = (
                f"{100 * found.frozen_share:.0f} % of frames looked at in '{split}' are the frame before again: a"
                " window of several frames sees no motion there; drop the repeats"
            )
            severity: Severity = "warning" if found.frozen_share >= MANY else "note"
            findings.append(Finding(severity, SUBJECT, (split,), message))
    moving = [split for split, found in motions.items() if found.camera_moves_share >= MANY]
    if moving:
        shift = motions[moving[0]].camera_px_per_frame
        message = (
            f"the camera moves in {100 * motions[moving[0]].camera_moves_share:.0f} % of frames of '{moving[0]}', by"
            f" up to {shift.quantiles['p95']:.1f} px per frame: with --window 3 or 5 use --register-window"
        )
        findings.append(Finding("note", SUBJECT, tuple(moving), message))
    return findings
