"""Statistics of normalisation are those of frames as a camera gives them, and of the weights that are kept."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from loddis_trainer.augmentation import AugmentConfig
from loddis_trainer.building import build_loader, build_norm_statistics, build_training_model, open_mixture
from loddis_trainer.checkpoint import read_weights
from loddis_trainer.config import FitConfig
from loddis_trainer.data import Batch, Mixture, TrainingLoader
from loddis_trainer.fit import fit
from loddis_trainer.models.blocks import NORM_MOMENTUM
from loddis_trainer.training_model import TrainingModel
from support.domains import write_coco_domain
from support.fitting import short_run

STEM_MEAN = "detector.backbone.stem.norm.running_mean"


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("domains")
    write_coco_domain(root / "dark", level=40)
    write_coco_domain(root / "bright", level=90)
    return root


def build(config: FitConfig) -> tuple[TrainingModel, Mixture]:
    mixture = open_mixture(config, "train", progress=False)
    return build_training_model(config, roles=[domain.role for domain in mixture.domains]).eval(), mixture


def loader_of(config: FitConfig, mixture: Mixture) -> TrainingLoader:
    return build_loader(config, mixture, Fabric(accelerator="cpu", devices=1))


@pytest.mark.parametrize("kept", ["shared", "own"])
def test_they_are_measured_on_unchanged_frames_that_training_remembers(domains: Path, kept: str) -> None:
    augment = AugmentConfig(gain=0.9, offset=0.5, noise=1.0)
    config = short_run(domains, auxiliary_statistics=kept, augment=augment, norm_batches=3)
    model, mixture = build(config)
    weights = {name: value.clone() for name, value in model.named_parameters()}
    statistics = build_norm_statistics(config, loader_of(config, mixture))
    statistics.settle(model, epoch=0)

    batches: list[Batch] = list(islice(statistics.loader.epoch(0), 3))
    whole = {
        f"{one.dataset.name}/{one.dataset.sequence_of(number)}/{record.frame_index}": one.dataset.frame(number)
        for one in mixture.domains
        for number, record in enumerate(one.dataset.records)
    }
    for batch in batches:
        for (frame,), name in zip(batch.frames, batch.names, strict=True):
            torch.testing.assert_close(frame, torch.from_numpy(whole[name] / np.float32(255)))
    seen = [batch.frames if kept == "shared" else batch.frames[batch.domain_ids == 0] for batch in batches]
    stem = model.detector.backbone.stem
    with torch.no_grad():
        means = torch.stack([stem.conv(frames).mean(dim=(0, 2, 3)) for frames in seen])
    torch.testing.assert_close(stem.norm.running_mean, means.mean(dim=0), atol=1e-5, rtol=1e-4)
    assert all(torch.equal(value, weights[name]) for name, value in model.named_parameters())
    assert not model.detector.training
    assert {one.momentum for one in model.modules() if isinstance(one, nn.BatchNorm2d)} == {NORM_MOMENTUM}


def test_they_are_measured_at_the_share_of_the_task_that_an_epoch_ended_with(domains: Path) -> None:
    moving = {"task_share": 0.5, "final_task_share": 1.0, "steps_per_epoch": 8, "epochs": 2, "norm_batches": 2}
    config = short_run(domains, auxiliary_statistics="shared", **moving)
    model, mixture = build(config)
    statistics = build_norm_statistics(config, loader_of(config, mixture))
    means = []
    for epoch in range(2):
        statistics.settle(model, epoch=epoch)
        means.append(model.detector.backbone.stem.norm.running_mean.clone())
    of_task = [frame for batch in statistics.loader.epoch(1) for frame in batch.frames[batch.domain_ids == 0]]
    with torch.no_grad():
        responses = model.detector.backbone.stem.conv(torch.stack(of_task)).mean(dim=(2, 3))  # (frames, C)
    lowest, highest = responses.amin(dim=0), responses.amax(dim=0)
    inside = [((lowest - 1e-4 <= mean) & (mean <= highest + 1e-4)).all() for mean in means]
    assert [bool(one) for one in inside] == [False, True]  # the first epoch ends with some of the other domain


def test_none_are_measured_where_none_are_asked_for(domains: Path) -> None:
    config = short_run(domains, norm_batches=0)
    model, mixture = build(config)
    before = {name: value.clone() for name, value in model.named_buffers()}
    build_norm_statistics(config, loader_of(config, mixture)).settle(model, epoch=0)
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())


def test_what_is_saved_has_the_statistics_of_its_own_weights(domains: Path, tmp_path: Path) -> None:
    config = short_run(domains, tmp_path / "run", epochs=1, augment=AugmentConfig(offset=0.5))
    fit(config, progress=False)
    model, mixture = build(config)
    saved = read_weights(config.out / "last")
    model.load_state_dict(saved)
    build_norm_statistics(config, loader_of(config, mixture)).settle(model, epoch=0)
    torch.testing.assert_close(model.state_dict()[STEM_MEAN], saved[STEM_MEAN])
