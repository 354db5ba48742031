"""Maps of the method for a few frames: targets, backgrounds, swapped backgrounds, and both recombined (figure 8).

Legend: n frames, t channels of the fused map, u v its height and width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loddis_trainer.building import build_training_model
from loddis_trainer.checkpoint import read_weights
from loddis_trainer.data import AugmentConfig, DataError, DomainDataset, Mixture, TrainingSamples
from loddis_trainer.data.batch import collate
from loddis_trainer.data.mixture import MixedDomain
from loddis_trainer.data.samples import Draw
from loddis_trainer.earlier import config_of
from loddis_trainer.errors import CheckpointError
from loddis_trainer.losses.consistency import swap_indices
from loddis_trainer.models.norms import statistics_apart
from loddis_trainer.reporting.collect import DataSource
from loddis_trainer.reporting.figures_training import heat_colours
from loddis_trainer.reporting.pictures import Boxes, picture, stretch
from loddis_trainer.reporting.runs import TrainedRun
from loddis_trainer.training_model import TrainingModel

__all__ = ["MapRow", "feature_maps", "load_training_model"]

FRAMES_OF_TWO = 2  # of each domain where there are two; of more domains one each
MOST_ROWS = 6
TOP_PERCENTILE = 99.5


@dataclass(frozen=True, slots=True)
class MapRow:
    """Pictures of one frame.

    Attributes:
        title: Domain, sequence and frame.
        partner: Whose background it gets.
        pictures: The frame; the target map; its background map; its partner's background map; both recombined.
    """

    title: str
    partner: str
    pictures: tuple[str, ...]


def load_training_model(run: TrainedRun) -> TrainingModel:
    """Load the best weights of a run with its branches.

    Raises:
        CheckpointError: The weights cannot be read, or do not fit the run's configuration, or another version made it.
    """
    config = config_of(run.info, name=str(run.best))
    model = build_training_model(config, roles=[domain.role for domain in run.info.domains])
    try:
        model.load_state_dict(read_weights(run.best))
    except RuntimeError as error:
        cause = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"{run.best} does not fit its configuration: {cause}") from error
    return model.eval()


def feature_maps(run: TrainedRun, source: DataSource) -> tuple[list[MapRow], str]:
    """Give maps of a few frames, or nothing and the reason why, in one sentence.

    Args:
        run: Its best weights are used.
        source: Where its domains are found.

    Raises:
        CheckpointError: The weights cannot be read.
    """
    if not run.losses:
        return [], "it was trained without the method's branches, so it has neither target nor background maps."
    if run.losses == ("D",):
        return [], "domain confusing alone has no background projection, so there is nothing to swap."
    model = load_training_model(run)
    try:
        samples, draws = _frames(run, source)
    except DataError as error:
        return [], f"its domains cannot be opened here: {error}."
    if len({draw.domain for draw in draws}) < 2:
        return [], "fewer than two of its domains have frames with targets to swap backgrounds between."
    batch = collate([samples[draw] for draw in draws])
    computed = _maps(model, batch.frames, batch.domain_ids)
    size_hw = run.info.size_hw
    rows = []
    for number, name in enumerate(batch.names):
        boxes = Boxes(batch.boxes_xyxy[number].numpy(), "truth")
        frame = stretch(batch.frames[number, -1].numpy())
        tiles = [picture(frame, size_hw=size_hw, boxes=(boxes,), label=f"frame {name}")]
        for title, maps in computed.maps.items():
            tiles.append(picture(_heat(maps[number]), size_hw=size_hw, boxes=(boxes,), label=f"{title} of {name}"))
        rows.append(MapRow(name, batch.names[int(computed.partner[number])], tuple(tiles)))
    return rows, ""


@dataclass(frozen=True, slots=True, eq=False)
class _Maps:
    """Mean absolute activations ``(n, u, v)`` by name, and whose background each frame gets."""

    maps: dict[str, NDArray[np.float32]]
    partner: NDArray[np.int64]


def _maps(model: TrainingModel, frames: Tensor, domain_ids: Tensor) -> _Maps:
    if model.branches is None:
        raise ValueError("a plain model has no maps")
    projections = model.branches.projections
    with torch.inference_mode(), statistics_apart(model.detector, model.group_sizes(domain_ids)):  # as in training
        projected = projections.maps(model.detector.fuse(frames))
        partner = swap_indices(domain_ids)
        if projected.background is None:
            raise ValueError("there is no background projection")
        swapped = projected.background[partner]
        maps = {
            "target map": projected.target,
            "background map": projected.background,
            "swapped background map": swapped,
            "recombined map": projections.target(projected.target + swapped),
        }
        levels = {name: one.float().abs().mean(dim=1).numpy() for name, one in maps.items()}
    return _Maps(levels, partner.numpy())


def _frames(run: TrainedRun, source: DataSource) -> tuple[TrainingSamples, list[Draw]]:
    """Choose frames with targets from the middle of each domain's validation split, or of `test`, or of `train`."""
    config = config_of(run.info, name=str(run.best))
    names = [*run.domain_paths("task"), *run.domain_paths("auxiliary")]
    domains = [
        MixedDomain(_first_split(run, source, name), info.role, 1.0)
        for name, info in zip(names, run.info.domains, strict=True)
    ]
    per_domain = FRAMES_OF_TWO if len(domains) == 2 else 1
    draws = []
    for number, domain in enumerate(domains):
        records = domain.dataset.records
        targets = [place for place, record in enumerate(records) if len(record.boxes_xyxy)]
        draws += [
            Draw(number, targets[(2 * part + 1) * len(targets) // (2 * per_domain)], 0)
            for part in range(per_domain if targets else 0)
        ]
    samples = TrainingSamples(
        Mixture(tuple(domains)),
        size_hw=config.size_hw,
        window=config.window,
        register_window=config.register_window,
        intensity=config.intensity,
        augmentation=AugmentConfig(),
        seed=config.seed,
    )
    return samples, draws[:MOST_ROWS]


def _first_split(run: TrainedRun, source: DataSource, name: str) -> DomainDataset:
    for split in ("val", "test"):
        try:
            return source.open(run, name, split)
        except DataError:
            continue
    return source.open(run, name, "train")


def _heat(level: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colour a map between its own least and largest level."""
    low, high = float(level.min()), float(np.percentile(level, TOP_PERCENTILE))
    return heat_colours((level.astype(np.float64) - low) / max(high - low, 1e-9))
