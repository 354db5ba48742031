"""From a mixture to batches: what is drawn in an epoch, in which order, and how a frame becomes a sample.

Legend: B batch, T frames of the window, H W network pixels, M ground truths of a frame.

Everything is a function of (seed, epoch, place): the same batches come whatever the number of loader processes, and a
resumed training sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from loddis_runtime.intensity import FullRange, Percentile, normalise
from loddis_runtime.letterbox import LetterboxTransform, letterbox
from loddis_runtime.registration import register
from loddis_trainer.augmentation import AugmentConfig
from loddis_trainer.data.augment import augment
from loddis_trainer.data.convention import measure_box_offset
from loddis_trainer.data.errors import DataError
from loddis_trainer.data.mixture import Mixture
from loddis_trainer.data.pasting import Window, add_synthetic_target, cut_out, paste

__all__ = ["Batch", "Draw", "EpochPlan", "TrainingLoader", "TrainingSamples", "collate"]


class Draw(NamedTuple):
    """A frame to draw: domain id, frame number in the domain, the epoch that asks, and how often it drew it before."""

    domain: int
    number: int
    epoch: int
    turn: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """What a step sees.

    Attributes:
        frames: ``(B, T, H, W)`` float32 in [0, 1].
        boxes_xyxy: B tensors ``(M, 4)`` float32, network pixels.
        class_ids: B tensors ``(M,)`` int64.
        domain_ids: ``(B,)`` int64.
        names: B texts, domain, sequence and frame, for messages.
    """

    frames: Tensor
    boxes_xyxy: list[Tensor]
    class_ids: list[Tensor]
    domain_ids: Tensor
    names: list[str]


@dataclass(frozen=True, slots=True)
class EpochPlan:
    """How an epoch draws from a mixture.

    Attributes:
        batch_size: Frames a step and process.
        share_per_epoch: Share of the mixture drawn in an epoch (the paper: 0.2).
        steps_per_epoch: Batches of an epoch instead, whatever the size of the mixture; 0 leaves it to the share.
        balance: ``natural`` draws all frames alike. ``domain`` gives every batch fixed shares: `task_share` to the task
            domains, the rest to the auxiliary ones, each shared evenly. What runs out is shuffled again.
        task_share: Under ``domain``.
        seed: Of the order.
    """

    batch_size: int
    share_per_epoch: float = 1.0
    steps_per_epoch: int = 0
    balance: Literal["natural", "domain"] = "natural"
    task_share: float = 0.7
    seed: int = 0


class TrainingSamples(Dataset[tuple[Tensor, Tensor, Tensor, int, str]]):
    """Frames of a mixture as training samples, looked up by `Draw`.

    Args:
        mixture: Where frames come from.
        size_hw: Network height and width, pixels.
        window: Frames T.
        intensity: Grey levels to [0, 1].
        augmentation: Random changes.
        seed: Of the changes.
        register_window: Shift past frames onto the last.
    """

    def __init__(
        self,
        mixture: Mixture,
        *,
        size_hw: tuple[int, int],
        window: int,
        intensity: FullRange | Percentile,
        augmentation: AugmentConfig,
        seed: int,
        register_window: bool = False,
    ) -> None:
        # Loader processes are forked, and OpenCV's pool of threads does not survive that: it must not come into being.
        cv2.setNumThreads(1)
        self.mixture = mixture
        self.size_hw = size_hw
        self.window = window
        self.register_window = register_window
        self.intensity = intensity
        self.augmentation = augmentation
        self.seed = seed
        datasets = [domain.dataset for domain in mixture.domains]
        asks = augmentation.flip or augmentation.synthetic
        self._box_offsets_px = [measure_box_offset(one) if asks else (0.0, 0.0) for one in datasets]
        self._with_targets = [
            np.flatnonzero([len(record.boxes_xyxy) > 0 for record in one.records]) for one in datasets
        ]

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor, Tensor, int, str]:
        """Give frames ``(T, H, W)``, boxes ``(M, 4)``, class ids ``(M,)``, the domain id and the frame's name."""
        dataset = self.mixture.domains[draw.domain].dataset
        frames = self._window(draw.domain, draw.number)
        boxes, labels = dataset.boxes(draw.number), dataset.class_ids(draw.number)
        if self.augmentation.active:
            seed = (self.seed, *draw)
            frames, boxes, labels = self._add_targets(draw, frames, boxes, labels, np.random.default_rng((*seed, 1)))
            offset_x, _ = self._box_offsets_px[draw.domain]
            frames, boxes, seen = augment(
                frames, boxes, self.augmentation, np.random.default_rng(seed), box_offset_x_px=offset_x
            )
            labels = labels[seen]
        stacked = np.empty((self.window, *self.size_hw), dtype=np.float32)
        for target, frame in zip(stacked, frames, strict=True):
            letterbox(frame, self.size_hw, out=target)
        transform = LetterboxTransform.fit(frames[-1].shape, self.size_hw)
        network_boxes = transform.to_network(boxes).astype(np.float32)
        name = f"{dataset.name}/{dataset.sequence_of(draw.number)}/{dataset.records[draw.number].frame_index}"
        return torch.from_numpy(stacked), torch.from_numpy(network_boxes), torch.from_numpy(labels), draw.domain, name

    def _window(self, domain: int, number: int) -> Window:
        """Give the T frames ``(H, W)`` float32 in [0, 1] that end with a frame, registered if asked for."""
        window = self.mixture.domains[domain].dataset.window(number, self.window)
        frames = [normalise(frame, self.intensity) for frame in window]
        return register(frames) if self.register_window else frames

    def _add_targets(
        self,
        draw: Draw,
        frames: Window,
        boxes: NDArray[np.float32],
        labels: NDArray[np.int64],
        generator: np.random.Generator,
    ) -> tuple[Window, NDArray[np.float32], NDArray[np.int64]]:
        """Add a target of another frame of the domain, a synthetic one, both or none, as chance has it."""
        donors = self._with_targets[draw.domain]
        if not len(donors):
            return frames, boxes, labels
        dataset = self.mixture.domains[draw.domain].dataset
        donor = int(donors[generator.integers(len(donors))])
        which = int(generator.integers(len(dataset.boxes(donor))))
        box = dataset.boxes(donor)[which]
        if generator.random() < self.augmentation.paste:
            cutout = cut_out(self._window(draw.domain, donor), box, int(dataset.class_ids(donor)[which]))
            if cutout is not None:
                frames, boxes, labels = paste(frames, boxes, labels, cutout, generator)
        if generator.random() < self.augmentation.synthetic:
            frames, boxes, labels = add_synthetic_target(
                frames,
                boxes,
                labels,
                box_size_px=(float(box[2] - box[0]), float(box[3] - box[1])),
                box_offset_px=self._box_offsets_px[draw.domain],
                generator=generator,
            )
        return frames, boxes, labels


def collate(samples: list[tuple[Tensor, Tensor, Tensor, int, str]]) -> Batch:
    """Put samples into a batch."""
    frames, boxes, labels, domains, names = zip(*samples, strict=True)
    return Batch(torch.stack(frames), list(boxes), list(labels), torch.tensor(domains), list(names))


class TrainingLoader:
    """Batches of a mixture, epoch by epoch.

    Args:
        samples: Of the mixture.
        plan: How an epoch draws.
        rank: Of this process.
        world_size: Processes; they share the plan and take every `world_size`-th batch of it.
        workers: Loader processes.

    Raises:
        DataError: A mixture too small to fill one batch.
    """

    def __init__(
        self, samples: TrainingSamples, plan: EpochPlan, *, rank: int = 0, world_size: int = 1, workers: int = 0
    ) -> None:
        self.samples, self.plan = samples, plan
        self.rank, self.world_size, self.workers = rank, world_size, workers
        self._sizes = [len(domain.dataset) for domain in samples.mixture.domains]
        drawn = int(sum(self._sizes) * plan.share_per_epoch)
        self.steps_per_epoch = plan.steps_per_epoch or drawn // (plan.batch_size * world_size)
        if self.steps_per_epoch < 1:
            raise DataError(
                f"{plan.share_per_epoch:g} of {sum(self._sizes)} frames does not fill a batch of"
                f" {plan.batch_size * world_size}; lower the batch size or raise the share per epoch"
            )

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Give the batches of an epoch."""
        loader = DataLoader(
            self.samples,
            batch_sampler=self.draws(epoch),
            collate_fn=collate,
            num_workers=self.workers,
        )
        yield from loader

    def draws(self, epoch: int) -> list[list[Draw]]:
        """Say which frames make the batches of an epoch, for this process."""
        batches = self._natural(epoch) if self.plan.balance == "natural" else self._by_domain(epoch)
        return batches[self.rank :: self.world_size]

    def _natural(self, epoch: int) -> list[list[Draw]]:
        count = self.steps_per_epoch * self.world_size * self.plan.batch_size
        owners = np.repeat(np.arange(len(self._sizes)), self._sizes)
        numbers = np.concatenate([np.arange(size) for size in self._sizes])
        chosen = _shuffled(len(owners), count, np.random.default_rng((self.plan.seed, epoch)))
        draws = [Draw(int(owners[i]), int(numbers[i]), epoch, turn) for i, turn in chosen]
        return [draws[i : i + self.plan.batch_size] for i in range(0, count, self.plan.batch_size)]

    def _by_domain(self, epoch: int) -> list[list[Draw]]:
        steps = self.steps_per_epoch * self.world_size
        per_batch = self._domain_counts()
        streams = [
            _shuffled(size, steps * count, np.random.default_rng((self.plan.seed, epoch, domain)))
            for domain, (size, count) in enumerate(zip(self._sizes, per_batch, strict=True))
        ]
        return [
            [
                Draw(domain, number, epoch, turn)
                for domain, count in enumerate(per_batch)
                for number, turn in streams[domain][step * count : (step + 1) * count]
            ]
            for step in range(steps)
        ]

    def _domain_counts(self) -> list[int]:
        """Share a batch out among the domains: largest remainders, at least one frame each where they fit."""
        roles = [domain.role for domain in self.samples.mixture.domains]
        tasks, others = roles.count("task"), roles.count("auxiliary")
        task_share = self.plan.task_share if others else 1.0
        wanted = (
            np.array([task_share / tasks if role == "task" else (1 - task_share) / others for role in roles])
            * self.plan.batch_size
        )
        counts = np.floor(wanted).astype(int)
        for domain in np.argsort(counts - wanted, kind="stable")[: self.plan.batch_size - counts.sum()]:
            counts[domain] += 1
        while self.plan.batch_size >= len(counts) and (counts == 0).any():
            counts[counts.argmax()] -= 1
            counts[counts.argmin()] += 1
        return [int(count) for count in counts]


def _shuffled(size: int, count: int, generator: np.random.Generator) -> list[tuple[int, int]]:
    """Give `count` of the numbers below `size` and how often each came before: one permutation after the other."""
    turns = -(-count // size)
    return [(int(number), turn) for turn in range(turns) for number in generator.permutation(size)][:count]
