"""From a mixture to batches: what is drawn in an epoch, and in which order.

Legend: B batch, T frames of the window, H W network pixels, M ground truths of a frame.

Everything is a function of the plan, the epoch and the place in it: the same batches come whatever the number of loader
processes, and a training that is resumed with the same number of epochs sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np

from loddis_trainer.data.batch import Batch, collate
from loddis_trainer.data.errors import DataError
from loddis_trainer.data.loader_processes import batches_of_processes
from loddis_trainer.data.samples import Draw, TrainingSamples

__all__ = ["EpochPlan", "TrainingLoader"]


@dataclass(frozen=True, slots=True)
class EpochPlan:
    """How an epoch draws from a mixture.

    Attributes:
        batch_size: Frames a step and process.
        share_per_epoch: Share of the mixture drawn in an epoch (the paper: 0.2).
        steps_per_epoch: Batches of an epoch instead, whatever the size of the mixture; 0 leaves it to the share.
        balance: ``natural`` draws all frames alike. ``domain`` gives every batch fixed shares: `task_share` to the task
            domains, the rest to the auxiliary ones, each shared evenly. What runs out is shuffled again.
        task_share: Under ``domain``, in the first step.
        final_task_share: In the second half of all epochs, moving there evenly over the first; ``None``: it stays. 1
            ends on the task domains alone.
        epochs: Of the training; the share and the progress of draws, which noise follows, move over them, and what
            comes after them is as its end.
        seed: Of the order.
    """

    batch_size: int
    share_per_epoch: float = 1.0
    steps_per_epoch: int = 0
    balance: Literal["natural", "domain"] = "natural"
    task_share: float = 0.7
    final_task_share: float | None = None
    epochs: int = 1
    seed: int = 0


class TrainingLoader:
    """Batches of a mixture, epoch by epoch.

    Args:
        samples: Of the mixture.
        plan: How an epoch draws.
        rank: Of this process.
        world_size: Processes; they share the plan and take every `world_size`-th batch of it.
        workers: Loader processes.

    Raises:
        DataError: A mixture too small to fill one batch, or batches too small to hold a frame of each domain where
            `balance` asks for it.
    """

    def __init__(
        self, samples: TrainingSamples, plan: EpochPlan, *, rank: int = 0, world_size: int = 1, workers: int = 0
    ) -> None:
        self.samples, self.plan = samples, plan
        self.rank, self.world_size, self.workers = rank, world_size, workers
        domains = [domain.dataset.name for domain in samples.mixture.domains]
        if plan.balance == "domain" and plan.batch_size < len(domains):
            raise DataError(
                f"a batch of {plan.batch_size} cannot hold a frame of each domain ({', '.join(domains)}); raise the "
                f"batch size to {len(domains)} at least"
            )
        self._sizes = [len(domain.dataset) for domain in samples.mixture.domains]
        drawn = int(sum(self._sizes) * plan.share_per_epoch)
        self.steps_per_epoch = plan.steps_per_epoch or drawn // (plan.batch_size * world_size)
        if self.steps_per_epoch < 1:
            raise DataError(
                f"{plan.share_per_epoch:g} of {sum(self._sizes)} frames does not fill a batch of"
                f" {plan.batch_size * world_size}; lower the batch size or raise the share per epoch"
            )

    def epoch(self, epoch: int, *, only: slice = slice(None)) -> Iterator[Batch]:
        """Give the batches of an epoch, or `only` some of them."""
        batches = self.draws(epoch)[only]
        if self.workers:
            return batches_of_processes(self.samples, batches, workers=self.workers)
        return (collate([self.samples[draw] for draw in draws]) for draws in batches)

    def draws(self, epoch: int) -> list[list[Draw]]:
        """Say which frames make the batches of an epoch, for this process."""
        batches = self._natural(epoch) if self.plan.balance == "natural" else self._by_domain(epoch)
        return batches[self.rank :: self.world_size]

    def _natural(self, epoch: int) -> list[list[Draw]]:
        count = self.steps_per_epoch * self.world_size * self.plan.batch_size
        owners = np.repeat(np.arange(len(self._sizes)), self._sizes)
        numbers = np.concatenate([np.arange(size) for size in self._sizes])
        chosen = _shuffled(len(owners), count, np.random.default_rng((self.plan.seed, epoch)))
        draws = [
            Draw(int(owners[i]), int(numbers[i]), epoch, turn, self._progress(epoch, place / count))
            for place, (i, turn) in enumerate(chosen)
        ]
        return [draws[i : i + self.plan.batch_size] for i in range(0, count, self.plan.batch_size)]

    def _by_domain(self, epoch: int) -> list[list[Draw]]:
        steps = self.steps_per_epoch * self.world_size
        counts = np.array([self._domain_counts(self._task_share(epoch, step / steps)) for step in range(steps)])
        streams = [
            iter(_shuffled(size, int(total), np.random.default_rng((self.plan.seed, epoch, domain))))
            for domain, (size, total) in enumerate(zip(self._sizes, counts.sum(axis=0), strict=True))
        ]
        return [
            [
                Draw(domain, number, epoch, turn, self._progress(epoch, step / steps))
                for domain, count in enumerate(per_batch)
                for number, turn in islice(streams[domain], int(count))
            ]
            for step, per_batch in enumerate(counts)
        ]

    def _progress(self, epoch: int, part: float) -> float:
        """Give the progress of the training, in [0, 1], at a part, in [0, 1), of an epoch."""
        return min(1.0, (epoch + part) / self.plan.epochs)

    def _task_share(self, epoch: int, part: float) -> float:
        """Give the share of the task domains in a batch at a part, in [0, 1), of an epoch."""
        first, last = self.plan.task_share, self.plan.final_task_share
        if last is None:
            return first
        return first + (last - first) * min(1.0, 2 * self._progress(epoch, part))

    def _domain_counts(self, task_share: float) -> list[int]:
        """Share a batch out among the domains: largest remainders, at least one frame of each that has a share."""
        roles = [domain.role for domain in self.samples.mixture.domains]
        tasks, others = roles.count("task"), roles.count("auxiliary")
        task_share = task_share if others else 1.0
        wanted = (
            np.array([task_share / tasks if role == "task" else (1 - task_share) / others for role in roles])
            * self.plan.batch_size
        )
        counts = np.floor(wanted).astype(int)
        for domain in np.argsort(counts - wanted, kind="stable")[: self.plan.batch_size - counts.sum()]:
            counts[domain] += 1
        while (short := (counts == 0) & (wanted > 0)).any():
            counts[counts.argmax()] -= 1
            counts[short.argmax()] += 1
        return [int(count) for count in counts]


def _shuffled(size: int, count: int, generator: np.random.Generator) -> list[tuple[int, int]]:
    """Give `count` of the numbers below `size` and how often each came before: one permutation after the other."""
    turns = -(-count // size)
    return [(int(number), turn) for turn in range(turns) for number in generator.permutation(size)][:count]
