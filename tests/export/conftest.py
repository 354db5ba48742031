"""A checkpoint that finds something: a detector fitted to a few spots, with its training-only branches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from loddis_runtime.intensity import FullRange
from loddis_trainer.building import build_optimiser, build_training_model
from loddis_trainer.checkpoint import CheckpointInfo, DomainInfo, save_checkpoint
from loddis_trainer.config import FitConfig
from loddis_trainer.training_model import TrainingLosses, TrainingModel
from support.domains import BOX_PX, SIZE_HW, spot_frame, write_coco_domain, write_drone_csv_domain


@pytest.fixture(scope="session")
def domains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("export-domains")
    write_drone_csv_domain(root / "dark", splits={"train": 2, "val": 2, "test": 1}, frames=5)
    write_coco_domain(root / "bright", splits={"train": 2, "test": 3}, level=64)  # not so that nothing is found there
    return root


@pytest.fixture(scope="session")
def trained() -> TrainingModel:
    """Give a `nano` that has seen a few dozen spots: its scores spread, which an untrained one's do not."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = FitConfig(task=["dark"], auxiliary=["bright"], learning_rate=5e-3)
    model = build_training_model(config, roles=["task", "auxiliary"]).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.3  # a few dozen steps are too few for the slow mean that real trainings want
    optimiser = build_optimiser(config, model)
    falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1, 0.05, total_iters=90)  # the last steps settle it
    generator = torch.Generator().manual_seed(1)
    for step in range(90):
        places = 12 + torch.rand(6, 2, generator=generator) * torch.tensor([SIZE_HW[1] - 24.0, SIZE_HW[0] - 24.0])
        frames = torch.stack(
            [
                torch.from_numpy(spot_frame((float(x), float(y)), seed=step * 10 + i))[None] / 255
                for i, (x, y) in enumerate(places)
            ]
        )
        boxes = [torch.cat((place - BOX_PX / 2, place + BOX_PX / 2))[None] for place in places]
        labels = [torch.zeros(1, dtype=torch.int64)] * len(boxes)
        losses: TrainingLosses = model(frames, boxes, labels, torch.tensor([0, 0, 0, 1, 1, 1]))
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        falling.step()
    return model.eval()


@pytest.fixture(scope="session")
def checkpoint(trained: TrainingModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "best"
    info = CheckpointInfo(
        variant="nano",
        classes=("target",),
        window=1,
        size_hw=SIZE_HW,
        stride=8,
        keep=50,
        intensity=FullRange(),
        domains=(
            DomainInfo(name="dark", role="task", fraction=0.3, sequences=2, frames=10),
            DomainInfo(name="bright", role="auxiliary", fraction=1.0, sequences=2, frames=2),
        ),
        epoch=1,
        step=60,
        config=FitConfig(task=["dark:0.3"], auxiliary=["bright"], learning_rate=5e-3).model_dump(mode="json"),
    )
    save_checkpoint(folder, info, trained)
    return folder
