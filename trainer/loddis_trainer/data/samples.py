"""A frame of a mixture as a training sample: its window, changed as chance has it, at the network's size.

Legend: T frames of the window, H W network pixels, M ground truths of a frame.

A sample is a function of (seed, draw): the same comes whatever process makes it.
"""

from __future__ import annotations

import copy
import logging
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from loddis_runtime.intensity import FullRange, Percentile, normalise
from loddis_runtime.letterbox import LetterboxTransform, letterbox
from loddis_runtime.registration import register
from loddis_trainer.augmentation import AugmentConfig
from loddis_trainer.data.augment import augment
from loddis_trainer.data.convention import measure_box_offset
from loddis_trainer.data.cropping import crop
from loddis_trainer.data.domain import DomainDataset
from loddis_trainer.data.mixture import Mixture
from loddis_trainer.data.pasting import cut_out, paste
from loddis_trainer.data.placing import Labelled, Window
from loddis_trainer.data.rendering import add_contrail, add_synthetic_target

__all__ = ["Draw", "Sample", "TrainingSamples"]

log = logging.getLogger(__name__)

MANY_GAPS = 0.1  # of a domain's frames: from here on its windows show too little motion to learn from


Sample = tuple[Tensor, Tensor, Tensor, int, str]
"""Frames ``(T, H, W)``, boxes ``(M, 4)``, class ids ``(M,)``, the domain id and the frame's name."""


class Draw(NamedTuple):
    """A frame to draw.

    Attributes:
        domain: Domain id.
        number: Of the frame in the domain.
        epoch: That asks for it.
        turn: How often the epoch drew it before.
        progress: Of the training when it is seen, in [0, 1].
    """

    domain: int
    number: int
    epoch: int
    turn: int = 0
    progress: float = 1.0


class _Chances(NamedTuple):
    """Where the chance of each kind of change comes from."""

    copying: np.random.Generator
    changing: np.random.Generator
    rendering: np.random.Generator
    repeating: np.random.Generator
    cropping: np.random.Generator


class TrainingSamples(Dataset[Sample]):
    """Frames of a mixture as training samples, looked up by `Draw`.

    Args:
        mixture: Where frames come from.
        size_hw: Network height and width, pixels.
        window: Frames T.
        intensity: Grey levels to [0, 1].
        augmentation: Random changes.
        seed: Of the changes.
        register_window: Shift past frames onto the last.
        crop_hw: What is cut out of each at the network's size, pixels; they stay whole if none.
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
        crop_hw: tuple[int, int] | None = None,
    ) -> None:
        # Loader processes are forked, and OpenCV's pool of threads does not survive that: it must not come into being.
        cv2.setNumThreads(1)
        self.mixture = mixture
        self.size_hw = size_hw
        self.crop_hw = crop_hw
        self.window = window
        self.register_window = register_window
        self.intensity = intensity
        self.augmentation = augmentation
        self.seed = seed
        datasets = [domain.dataset for domain in mixture.domains]
        mixture.prepare_windows(window)
        if window > 1:
            for one in datasets:
                _warn_of_gaps(one)
        asks = augmentation.flip or augmentation.synthetic or augmentation.contrail
        self._box_offsets_px = [measure_box_offset(one) if asks else (0.0, 0.0) for one in datasets]
        self._with_targets = [
            np.flatnonzero([len(record.boxes_xyxy) > 0 for record in one.records]) for one in datasets
        ]
        if crop_hw is not None:
            for one in datasets:
                _warn_of_large_targets(one, size_hw=size_hw, crop_hw=crop_hw)

    def unchanged(self) -> TrainingSamples:
        """Give the same frames, cut into the same pieces, without augmentation."""
        other = copy.copy(self)
        other.augmentation = AugmentConfig()
        return other

    def __getitem__(self, draw: Draw) -> Sample:
        """Give what a draw asks for."""
        dataset = self.mixture.domains[draw.domain].dataset
        frames = self._window(draw.domain, draw.number)
        boxes, labels = dataset.boxes(draw.number), dataset.class_ids(draw.number)
        chances = self._chances(draw)
        if self.augmentation.active:
            frames, boxes, labels = self._change(draw, frames, boxes, labels, chances)
        stacked = np.empty((self.window, *self.size_hw), dtype=np.float32)
        for target, frame in zip(stacked, frames, strict=True):
            letterbox(frame, self.size_hw, out=target)
        transform = LetterboxTransform.fit(frames[-1].shape, self.size_hw)
        network_boxes = transform.to_network(boxes).astype(np.float32)
        if self.crop_hw is not None:
            inside = transform.to_network(np.array([[0, 0, *frames[-1].shape[::-1]]]))[0]
            stacked, network_boxes, seen = crop(
                stacked, network_boxes, self.crop_hw, chances.cropping, inside_xyxy=inside
            )
            labels = labels[seen]
        name = f"{dataset.name}/{dataset.sequence_of(draw.number)}/{dataset.records[draw.number].frame_index}"
        return torch.from_numpy(stacked), torch.from_numpy(network_boxes), torch.from_numpy(labels), draw.domain, name

    def _chances(self, draw: Draw) -> _Chances:
        """Give a draw's generators: none of them knows what another one gave."""
        drawn = (draw.domain, draw.number, draw.epoch, draw.turn)
        return _Chances(*np.random.default_rng((self.seed, *drawn)).spawn(len(_Chances._fields)))

    def _window(self, domain: int, number: int) -> Window:
        """Give the T frames ``(H, W)`` float32 in [0, 1] that end with a frame, registered if asked for."""
        window = self.mixture.domains[domain].dataset.window(number, self.window)
        frames = [normalise(frame, self.intensity) for frame in window]
        return register(frames) if self.register_window else frames

    def _change(
        self,
        draw: Draw,
        frames: Window,
        boxes: NDArray[np.float32],
        labels: NDArray[np.int64],
        chances: _Chances,
    ) -> Labelled:
        """Change a window: copies of targets first, then places and levels, rendered targets last.

        What is rendered so has its SNR in the noise that the frame ends up with.
        """
        domain = draw.domain
        ask, offset_px = self.augmentation.at(draw.progress), self._box_offsets_px[domain]
        copying, changing, rendering, repeating, _ = chances
        if copying.random() < ask.paste:
            frames, boxes, labels = self._copy_target(domain, frames, boxes, labels, copying)
        frames, boxes, seen = augment(frames, boxes, ask, changing, box_offset_x_px=offset_px[0])
        labels = labels[seen]
        if rendering.random() < ask.synthetic and (donor := self._some_target(domain, rendering)):
            x1, y1, x2, y2 = self.mixture.domains[domain].dataset.boxes(donor[0])[donor[1]].tolist()
            frames, boxes, labels = add_synthetic_target(
                frames, boxes, labels, box_size_px=(x2 - x1, y2 - y1), box_offset_px=offset_px, generator=rendering
            )
        if self.mixture.domains[domain].role == "task" and rendering.random() < ask.contrail:
            frames, boxes, labels = add_contrail(frames, boxes, labels, box_offset_px=offset_px, generator=rendering)
        if repeating.random() < ask.single:
            frames = [frames[-1]] * len(frames)
        return frames, boxes, labels

    def _copy_target(
        self,
        domain: int,
        frames: Window,
        boxes: NDArray[np.float32],
        labels: NDArray[np.int64],
        generator: np.random.Generator,
    ) -> Labelled:
        """Add a target of another frame of the domain, where it can be cut out."""
        dataset = self.mixture.domains[domain].dataset
        donor = self._some_target(domain, generator)
        if donor is None:
            return frames, boxes, labels
        number, which = donor
        box, label = dataset.boxes(number)[which], int(dataset.class_ids(number)[which])
        cutout = cut_out(self._window(domain, number), box, label)
        return (frames, boxes, labels) if cutout is None else paste(frames, boxes, labels, cutout, generator)

    def _some_target(self, domain: int, generator: np.random.Generator) -> tuple[int, int] | None:
        """Draw a target of a domain: the number of its frame, and which it is there; none where there are none."""
        donors = self._with_targets[domain]
        if not len(donors):
            return None
        number = int(donors[generator.integers(len(donors))])
        return number, int(generator.integers(len(self.mixture.domains[domain].dataset.boxes(number))))


def _warn_of_large_targets(dataset: DomainDataset, *, size_hw: tuple[int, int], crop_hw: tuple[int, int]) -> None:
    """Say how many targets no piece can hold: cut in half, they would be taught as background."""
    sides = [
        (record.boxes_xyxy[:, 2:] - record.boxes_xyxy[:, :2]) * LetterboxTransform.fit(record.size_hw, size_hw).scale
        for record in dataset.records
    ]
    large = int((np.concatenate(sides) > crop_hw[::-1]).any(axis=1).sum())
    if large:
        log.warning(
            "%s: %d targets are larger than the %d x %d pieces that are cut out of its frames; raise crop_hw",
            dataset.label,
            large,
            crop_hw[1],
            crop_hw[0],
        )


def _warn_of_gaps(dataset: DomainDataset) -> None:
    """Say how many windows show no motion because the frame before is missing, where they are many."""
    gaps = dataset.count_gaps()
    if gaps >= MANY_GAPS * len(dataset):
        log.warning(
            "%s: %d of %d frames follow on a gap in their clip, so their windows begin with them and show no motion;"
            " add the frames that are missing, or count `frame_id` without steps if the camera takes none between",
            dataset.label,
            gaps,
            len(dataset),
        )
