"""What stripping saves: parameters, arithmetic and time of a frame, with the training-only branches and without."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch.utils.flop_counter import FlopCounterMode

from loddis_export.strip import StrippedCheckpoint
from loddis_trainer.building import build_training_model

__all__ = ["Cost", "Stripping", "measure_stripping"]

REPEATS = 7
BOX_PX = 8.0
FRAMES_A_DOMAIN = 4  # enough of a batch for every loss


class Cost(BaseModel):
    """Of one frame."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    values: int = Field(description="Weights and running statistics.")
    gflops: float = Field(description="Two operations a multiply-add; convolutions and matrix products.")
    milliseconds: float = Field(description="Median time of a frame in torch on this machine's CPU.")


class Stripping(BaseModel):
    """Of a checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    before: Cost = Field(description="Forward pass as in training: detector, branches and their losses.")
    after: Cost = Field(description="Forward pass of the detector alone, decoding included.")


def measure_stripping(stripped: StrippedCheckpoint) -> Stripping:
    """Measure both, on random frames: arithmetic and time do not depend on what they show."""
    info = stripped.info
    config = stripped.config
    model = build_training_model(config, roles=[domain.role for domain in info.domains]).eval()
    model.detector.load_state_dict(stripped.detector.state_dict())
    count = FRAMES_A_DOMAIN * len(info.domains)
    frames = torch.rand(count, info.window, *info.size_hw)
    middle = torch.tensor([info.size_hw[1], info.size_hw[0]]) / 2
    boxes = [torch.cat((middle - BOX_PX / 2, middle + BOX_PX / 2))[None]] * count
    labels = [torch.zeros(1, dtype=torch.int64)] * count
    ids = torch.arange(count) % len(info.domains)

    def before() -> object:
        return model(frames, boxes, labels, ids)

    def after() -> object:
        return stripped.detector(frames)

    with torch.inference_mode():
        gflops = [_gflops(run) / count for run in (before, after)]
        seconds: list[list[float]] = [[], []]
        for _ in range(REPEATS):  # alternating, so that what else the machine does falls on both
            for times, run in zip(seconds, (before, after), strict=True):
                started = time.perf_counter()
                run()
                times.append(time.perf_counter() - started)
    # Of the model, not of the file: a mean of checkpoints has lost its branches before.
    values = [sum(value.numel() for value in model.state_dict().values()), stripped.kept_values]
    costs = [
        Cost(values=number, gflops=round(work, 4), milliseconds=round(1e3 * statistics.median(times) / count, 2))
        for number, work, times in zip(values, gflops, seconds, strict=True)
    ]
    return Stripping(before=costs[0], after=costs[1])


def _gflops(run: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops()) / 1e9
