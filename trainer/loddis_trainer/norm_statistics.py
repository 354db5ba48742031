"""Statistics of normalisation for averaged weights, from frames as a camera gives them.

While training, running statistics follow the live weights and frames that were shifted, dimmed and made noisier. The
average of the weights is another network, and what it will see is not augmented. Before it is validated and saved, its
statistics are measured anew.

Legend: B batch, T frames of the window, H W network pixels.

References:
    Izmailov et al. 2018, Averaging Weights Leads to Wider Optima and Better Generalization, arXiv:1803.05407 (section
    3.2, for averaged weights).
    Touvron et al. 2019, Fixing the train-test resolution discrepancy, arXiv:1906.06423 (for unlike frames).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from loddis_trainer.data import Batch, TrainingLoader
from loddis_trainer.models import LoddisDetector
from loddis_trainer.training_model import TrainingModel

__all__ = ["NormStatistics", "remembered_frames"]


def remembered_frames(model: TrainingModel, batches: Iterable[Batch]) -> Iterator[Tensor]:
    """Give of batches of a training the frames ``(B, T, H, W)`` that running statistics follow."""
    for batch in batches:
        frames = model.remembered(batch.frames, batch.domain_ids)
        if len(frames):
            yield frames


class NormStatistics:
    """Measure a detector's statistics on batches of a training, without what augmentation does to them.

    Args:
        loader: Of the frames.
        batches: The last so many of an epoch are taken, or all where it has fewer: where the share of the task moves,
            theirs is what the weights are used to. 0 leaves the statistics as they are.
    """

    def __init__(self, loader: TrainingLoader, *, batches: int) -> None:
        self.loader = loader
        self.batches = batches

    def settle(self, model: TrainingModel, *, epoch: int) -> None:
        """Give the detector of a model, in place, statistics of its own after an epoch, layer by layer as batches pass.

        Only frames that the running statistics follow in training are taken: those of the task where domains have
        statistics of their own.
        """
        if not self.batches:
            return
        frames = remembered_frames(model, self.loader.epoch(epoch, only=slice(-self.batches, None)))
        first = next(frames, None)
        if first is not None:  # else nothing would be left of those that are there
            device = next(model.parameters()).device
            update_bn(chain((first,), frames), _UpToPredictions(model.detector), device=device)


class _UpToPredictions(nn.Module):
    """A detector without its decoding, of which normalisations know nothing."""

    def __init__(self, detector: LoddisDetector) -> None:
        super().__init__()
        self.detector = detector
        self.training = detector.training  # to which `update_bn` goes back

    def forward(self, frames: Tensor) -> None:
        self.detector.predict(self.detector.fuse(frames))
