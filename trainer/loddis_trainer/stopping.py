"""What a training leaves that cannot go on: the averaged weights from before the step that failed."""

from __future__ import annotations

from pathlib import Path

from lightning_fabric import Fabric
from torch import nn

from loddis_runtime.errors import LoddisError
from loddis_trainer.checkpoint import CheckpointInfo, save_checkpoint
from loddis_trainer.errors import NotFiniteError

__all__ = ["STOPPED", "save_stopped"]

STOPPED = "stopped"  # folder in that of the run


def save_stopped(
    error: NotFiniteError, out: Path, info: CheckpointInfo, weights: nn.Module, *, fabric: Fabric
) -> NotFiniteError:
    """Save weights as a checkpoint of their own, and give the one error that tells of the step and of what is left.

    Every process comes here at once. The first saves, and the others wait for it, as the end of one ends all.

    Args:
        error: Of the step, in this process.
        out: Folder of the run.
        info: What the weights are.
        weights: Averaged, as before the step.
        fabric: Of the training.

    Returns:
        The faults of all processes, and where the weights are, or why they are nowhere.
    """
    faults = [fabric.broadcast(str(error), src=rank) for rank in range(fabric.world_size)]
    what_is_left = "nothing was learnt before"
    if fabric.is_global_zero and info.step:
        try:
            save_checkpoint(out / STOPPED, info, weights)
            what_is_left = f"the averaged weights of the {info.step} steps before are in {out / STOPPED}"
        except (LoddisError, OSError, RuntimeError, MemoryError) as cause:  # the first error is still the one to tell
            what_is_left = f"nothing is left of the steps since the last epoch: {' '.join(str(cause).split())}"
    what_is_left = fabric.broadcast(what_is_left)
    return NotFiniteError("; ".join([*dict.fromkeys(fault for fault in faults if fault), what_is_left]))
