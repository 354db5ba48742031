"""Records evidence while a training runs: before it, and after each validation, with the averaged weights.

Nothing here draws a random number from a global generator or changes the model: a run with evidence ends with the same
weights, to the bit, as one without.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from loddis_trainer.config import FitConfig
from loddis_trainer.data import Mixture
from loddis_trainer.evidence.features import FrameFeatures, extract_features
from loddis_trainer.evidence.frames import EvidenceFrames
from loddis_trainer.evidence.measures import correlation_by_chance, domain_separability, mean_absolute_correlation
from loddis_trainer.evidence.store import EvidenceLine, FeatureSnapshot, forget_after, write_line, write_snapshot
from loddis_trainer.losses.correlation import MIN_SAMPLES, correlation_weakening_loss
from loddis_trainer.training_model import TrainingModel

__all__ = ["EvidenceRecorder", "measure_features"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EvidenceRecorder:
    """Measures a model on the evidence frames and writes what came of it.

    Attributes:
        run: Folder of the run.
        frames: What to measure on.
        autocast: Run the network in bfloat16.
        seed: Of the probe's parts.
        every: Epochs between validations, each of which leaves evidence.
    """

    run: Path
    frames: EvidenceFrames
    autocast: bool
    seed: int
    every: int

    @classmethod
    def open(cls, config: FitConfig, train: Mixture, held_out: Mixture) -> EvidenceRecorder | None:
        """Choose the frames; nothing where evidence is off or no frame has a target."""
        if config.evidence_frames == 0:
            return None
        frames = EvidenceFrames.choose(config, train, held_out)
        if not frames.draws:
            return None
        return cls(config.out, frames, config.precision != "32-true", config.seed, config.validate_every)

    def begin(self, model: nn.Module, *, epoch: int, step: int) -> None:
        """Start, or go on after `epoch` epochs: drop what lies beyond, record what is missing."""
        kept = forget_after(self.run, epoch)
        cut_off = bool(kept) and kept[-1].epoch < epoch and epoch % self.every == 0  # by a kill just after saving
        if not kept or epoch == 0 or cut_off:
            self.record(model, epoch=epoch, step=step)

    def record(self, model: nn.Module, *, epoch: int, step: int) -> None:
        """Measure and write; a second time for the same epoch replaces the first.

        Args:
            model: The averaged weights, a `TrainingModel`.
            epoch: Epochs completed.
            step: Optimiser steps completed.
        """
        started = time.monotonic()
        features = extract_features(cast(TrainingModel, model), self.frames, autocast=self.autocast)
        if not all(np.isfinite(one).all() for one in (features.z, features.b, features.targets, features.scenes)):
            log.warning("epoch %d leaves no evidence: features are not finite, the training diverges", epoch)
            return
        names = tuple(domain.dataset.name for domain in self.frames.mixture.domains)
        line = measure_features(features, domain_names=names, epoch=epoch, step=step, seed=self.seed)
        write_snapshot(self.run, epoch, FeatureSnapshot(features.z, features.b, features.domain_ids, names))
        seconds = round(time.monotonic() - started, 3)
        write_line(self.run, line.model_copy(update={"frames": self.frames.counts, "seconds": seconds}))


def measure_features(
    features: FrameFeatures, *, domain_names: tuple[str, ...], epoch: int, step: int, seed: int
) -> EvidenceLine:
    """Measure features of an epoch.

    Args:
        features: Of the evidence frames.
        domain_names: By domain id.
        epoch: Epochs completed.
        step: Optimiser steps completed.
        seed: Of the probe's parts.
    """
    z, b, ids = features.z, features.b, features.domain_ids
    enough = len(z) >= MIN_SAMPLES
    hsic = float(correlation_weakening_loss(torch.from_numpy(z), torch.from_numpy(b))) if enough else math.nan
    present = [number for number in range(len(domain_names)) if (ids == number).any()]
    probed_domains = sum(int((ids == number).sum() > 1) for number in present)  # the probe leaves single frames out
    probed = {
        name: _known(domain_separability(values, ids, sequence_ids=features.sequence_ids, seed=seed))
        for name, values in (("z", z), ("targets", features.targets), ("scenes", features.scenes))
    }
    target_map = features.focus_target_map
    return EvidenceLine(
        epoch=epoch,
        step=step,
        frames={},
        z_from=features.z_from,
        b_from=features.b_from,
        hsic=_known(hsic),
        correlation=_known(mean_absolute_correlation(z, b) if enough else math.nan),
        correlation_by_chance=_known(correlation_by_chance(len(z))),
        focus_fused=_known(_mean(features.focus_fused)),
        focus_target_map=None if target_map is None else _known(_mean(target_map)),
        focus_by_domain={
            domain_names[number]: round(float(features.focus_fused[ids == number].mean()), 5) for number in present
        },
        separability_z=probed["z"],
        separability_targets=probed["targets"],
        separability_scenes=probed["scenes"],
        separability_by_chance=None if probed["z"] is None else round(1 / probed_domains, 5),
        seconds=0.0,
    )


def _mean(values: NDArray[np.float32]) -> float:
    return float(values.mean()) if len(values) else math.nan


def _known(value: float) -> float | None:
    return round(value, 5) if math.isfinite(value) else None
