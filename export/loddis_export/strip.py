"""Strip a checkpoint of what only training needs, and show that it is gone.

References:
    The paper, "Inference phase": only the detection path runs; L_CW, L_MI and L_CL do not apply.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loddis_trainer.checkpoint import CheckpointInfo, load_detector, read_weight_sizes
from loddis_trainer.choices import CANDIDATES
from loddis_trainer.config import FitConfig
from loddis_trainer.earlier import config_of
from loddis_trainer.models import LoddisDetector

__all__ = ["StrippedCheckpoint", "strip_checkpoint"]

KEPT_PREFIX = "detector."


@dataclass(frozen=True, slots=True)
class StrippedCheckpoint:
    """A detector without its training-only branches.

    Attributes:
        detector: In evaluation mode; how many candidates it gives is the bundle's K.
        info: What the checkpoint said.
        config: That it was trained with.
        kept_values: Number of values (weights and running statistics) of the detector.
        removed: Weight name to number of values of all that was left behind.
    """

    detector: LoddisDetector
    info: CheckpointInfo
    config: FitConfig
    kept_values: int
    removed: dict[str, int]


def strip_checkpoint(folder: Path, *, candidates: int = CANDIDATES) -> StrippedCheckpoint:
    """Load a checkpoint's detector alone.

    Args:
        folder: `best/` or `last/` of a run.
        candidates: K a frame, at most its grid points. It is no matter of weights: what the checkpoint was validated
            with does not count.

    Raises:
        CheckpointError: It is missing, half-written, of another version, or does not hold the detector that it says.
    """
    sizes = read_weight_sizes(folder)
    detector, info = load_detector(folder)
    detector.keep = min(candidates, (info.size_hw[0] // info.stride) * (info.size_hw[1] // info.stride))
    removed = {name: size for name, size in sizes.items() if not name.startswith(KEPT_PREFIX)}
    config = config_of(info, name=str(folder))
    return StrippedCheckpoint(detector, info, config, sum(sizes.values()) - sum(removed.values()), removed)
