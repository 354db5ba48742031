"""What a training leaves that cannot go on: the averaged weights from before the step that failed."""

from __future__ import annotations

from pathlib import Path

from lightning_fabric import Fabric
from torch import Tensor

from loddis_runtime.errors import LoddisError
from loddis_trainer.checkpoint import INFO, CheckpointInfo, save_checkpoint
from loddis_trainer.errors import NotFiniteError
from loddis_trainer.norm_statistics import NormStatistics
from loddis_trainer.training_model import TrainingModel

__all__ = ["STOPPED", "save_stopped"]

STOPPED = "stopped"  # folder in that of the run
FAULTS = (LoddisError, OSError, RuntimeError, MemoryError, ValueError)  # of which the error of the step is told first


def save_stopped(
    error: NotFiniteError,
    out: Path,
    info: CheckpointInfo,
    weights: TrainingModel,
    *,
    statistics: NormStatistics | None,
    fabric: Fabric,
) -> NotFiniteError:
    """Save weights as a checkpoint of their own, and give the one error that tells of the step and of what is left.

    Every process comes here at once. The first saves, and the others wait for it, as the end of one ends all. What it
    saves has statistics of normalisation of its own, as the other checkpoints have, or where these cannot be measured,
    those that the training averaged.

    Args:
        error: Of the step, in this process.
        out: Folder of the run.
        info: What the weights are.
        weights: Averaged, as before the step.
        statistics: Of their normalisation; the first process has them.
        fabric: Of the training.

    Returns:
        The faults of all processes, and where the weights are, or why they are nowhere.
    """
    faults = [fabric.broadcast(str(error), src=rank) for rank in range(fabric.world_size)]
    what_is_left = "nothing was learnt before"
    if fabric.is_global_zero and info.step:
        why_unsettled = _settle(weights, statistics, epoch=info.epoch)
        try:
            save_checkpoint(out / STOPPED, info, weights)
            what_is_left = f"the averaged weights of the {info.step} steps before are in {out / STOPPED}"
            if why_unsettled:
                what_is_left += (
                    ", with the statistics of normalisation that the training averaged, as measuring them failed: "
                    + why_unsettled
                )
            if not (out / "last" / INFO).is_file():
                what_is_left += (
                    "; there is no last/ to resume: begin anew with another --out, from these weights with --init "
                    f"{out / STOPPED}"
                )
        except FAULTS as cause:
            what_is_left = f"nothing is left of the steps since the last epoch: {' '.join(str(cause).split())}"
    what_is_left = fabric.broadcast(what_is_left)
    return NotFiniteError("; ".join([*dict.fromkeys(fault for fault in faults if fault), what_is_left]))


def _settle(weights: TrainingModel, statistics: NormStatistics | None, *, epoch: int) -> str:
    """Measure the statistics of weights in the middle of an epoch; say why, if the old ones had to be put back."""
    if statistics is None:
        return ""
    before: dict[str, Tensor] = {}
    try:
        before = {name: value.clone() for name, value in weights.state_dict().items()}
        statistics.settle(weights, epoch=epoch)
        if all(bool(value.isfinite().all()) for value in weights.state_dict().values()):
            return ""
        cause = "not all of them are finite"
    except FAULTS as error:
        cause = " ".join(str(error).split())
    if before:  # else there was no memory for them, and nothing was measured
        weights.load_state_dict(before)
    return cause
