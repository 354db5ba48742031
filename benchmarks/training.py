"""What the method's losses add to the time of a training step, and whether the loader keeps up with it.

    LODDIS_DATA=data python benchmarks/training.py --task sky --auxiliary ground --auxiliary city \\
        --json benchmarks/results/training.json

Plain and Loddis steps, and Loddis steps with statistics of normalisation apart, take turns on the same batches within
one run, so that a machine whose speed drifts drifts for all; each ratio is the median of the turns. Then an epoch is
trained as `fit` does it, for each number of loader processes, and the share of the time that it spends waiting for
batches is measured: over 5 %, the loader starves the step. With 0 processes frames are prepared in the training
process, and all of their preparation is waiting.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from machine import describe_machine, keep_result
from rich.console import Console
from rich.table import Table

from loddis_trainer.building import build_loader, build_optimiser, build_training_model
from loddis_trainer.config import FitConfig
from loddis_trainer.data import Batch, Mixture, TrainingLoader
from loddis_trainer.data.loader_processes import suggest_loader_processes
from loddis_trainer.presets import merge, read_preset
from loddis_trainer.step import train_step

WARM_UP = 3  # steps of each side that are not counted
STARVING = 0.05  # share of an epoch's time spent waiting for batches


def main() -> None:
    """Measure and print; write JSON if asked."""
    options = parse_options()
    if options.threads:
        torch.set_num_threads(options.threads)
    config = FitConfig.model_validate(
        merge(
            read_preset(options.preset),
            {
                "task": options.task,
                "auxiliary": options.auxiliary,
                "variant": options.variant,
                "accelerator": options.accelerator,
                "workers": 0,
                "steps_per_epoch": options.steps,
                **({"batch_size": options.batch_size} if options.batch_size else {}),
            },
        )
    )
    fabric = Fabric(accelerator=config.accelerator, devices=1, precision=config.precision)
    fabric.launch()
    mixture = Mixture.open(config.task, config.auxiliary, split="train", seed=config.mixture_seed)
    loader = build_loader(config, mixture, fabric)
    step_ms, ratios = measure_steps(config, mixture, loader, fabric, steps=options.steps)
    result = {
        "machine": describe_machine("torch", "lightning-fabric", "numpy"),
        "device": torch.cuda.get_device_name() if fabric.device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "preset": options.preset,
        "mixture": mixture.label,
        "variant": config.variant,
        "size_hw": list(config.crop_hw or config.size_hw),
        "loss_balance": config.loss_balance,
        "batch_size": config.batch_size,
        "precision": config.precision,
        "step_ms": step_ms,
        **{f"{name} / plain": ratio for name, ratio in ratios.items()},
        "loader": [
            measure_loader(config.model_copy(update={"workers": workers}), mixture, fabric)
            for workers in options.workers
        ],
    }
    show(result)
    keep_result(result, options.json)


def parse_options() -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--task", action="append", required=True, help="task domain, as loddis-trainer takes it")
    parser.add_argument("--auxiliary", action="append", required=True, help="auxiliary domain, likewise")
    parser.add_argument("--preset", default="edge", help="configuration that both sides are given")
    parser.add_argument("--variant", default="nano", help="size of the detector")
    parser.add_argument("--accelerator", default="auto", help="cpu, cuda or auto")
    most = max(1, suggest_loader_processes())
    parser.add_argument(
        "--workers",
        type=lambda text: [int(number) for number in text.split(",")],
        default=[0, most],
        help=f"numbers of loader processes to train an epoch with, by default 0,{most}",
    )
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; 0: as torch sees fit")
    parser.add_argument("--batch-size", type=int, default=0, help="frames of a batch; 0: as the preset says")
    parser.add_argument("--steps", type=int, default=30, help="steps measured")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    if options.batch_size < 0:
        parser.error(f"--batch-size must not be negative, got {options.batch_size}")
    return options


def measure_steps(
    config: FitConfig, mixture: Mixture, loader: TrainingLoader, fabric: Fabric, *, steps: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Time steps of all kinds by turns; medians in milliseconds, and of the ratios to plain ones."""
    roles = [domain.role for domain in mixture.domains]
    shared = config.model_copy(update={"auxiliary_statistics": "shared"})
    kinds = {
        "plain": shared.model_copy(update={"alpha": 0.0, "beta": 0.0, "eta": 0.0}),
        "loddis": shared,
        "loddis, statistics apart": config.model_copy(update={"auxiliary_statistics": "own"}),
    }
    sides = {}
    for name, one in kinds.items():
        model = build_training_model(one, roles=roles).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        sides[name] = fabric.setup(model, build_optimiser(one, model))
    times: dict[str, list[float]] = {name: [] for name in sides}
    batches = list(loader.epoch(0))
    for number in range(WARM_UP + steps):
        batch = batches[number % len(batches)]
        for name, (model, optimiser) in sides.items():
            elapsed = timed_step(fabric, model, optimiser, batch, config)
            if number >= WARM_UP:
                times[name].append(elapsed * 1e3)
    ratios = {
        name: round(float(np.median(np.array(values) / np.array(times["plain"]))), 4)
        for name, values in times.items()
        if name != "plain"
    }
    return {name: round(float(np.median(values)), 2) for name, values in times.items()}, ratios


def timed_step(fabric: Fabric, model: Any, optimiser: Any, batch: Batch, config: FitConfig) -> float:
    """Take a step; give its seconds, the device's work included."""
    model.train()
    synchronise(fabric)
    started = time.perf_counter()
    train_step(fabric, model, optimiser, batch, clip_grad_norm=config.clip_grad_norm)
    synchronise(fabric)
    return time.perf_counter() - started


def measure_loader(config: FitConfig, mixture: Mixture, fabric: Fabric) -> dict[str, float | bool]:
    """Train an epoch; say how much of it went into waiting for batches after the first."""
    loader = build_loader(config, mixture, fabric)
    model = build_training_model(config, roles=[domain.role for domain in mixture.domains])
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    wrapped, optimiser = fabric.setup(model, build_optimiser(config, model))
    batches = loader.epoch(1)
    timed_step(fabric, wrapped, optimiser, next(batches), config)  # processes start, kernels are chosen
    waited, frames, started = 0.0, 0, time.perf_counter()
    while True:
        asked = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            break
        waited += time.perf_counter() - asked
        timed_step(fabric, wrapped, optimiser, batch, config)
        frames += len(batch.frames)
    seconds = time.perf_counter() - started
    return {
        "workers": loader.workers,
        "share of time waiting": round(waited / seconds, 4),
        "frames per second": round(frames / seconds, 1),
        "starves the step": waited / seconds > STARVING,
    }


def synchronise(fabric: Fabric) -> None:
    """Wait until the device has done what it was given."""
    if fabric.device.type == "cuda":
        torch.cuda.synchronize(fabric.device)


def show(result: dict[str, Any]) -> None:
    """Print the figures for people."""
    table = Table(title=f"{result['variant']} on {result['device']}, {result['mixture']}, batch {result['batch_size']}")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in result["step_ms"].items():
        table.add_row(f"{name} step, median ms", f"{value:.1f}")
    table.add_row("the three losses add", f"{100 * (result['loddis / plain'] - 1):.1f} %")
    apart = result["loddis, statistics apart / plain"]
    table.add_row("with statistics apart, they add", f"{100 * (apart - 1):.1f} %")
    for one in result["loader"]:
        table.add_section()
        table.add_row("loader processes", f"{one['workers']}")
        table.add_row("frames per second", f"{one['frames per second']:g}")
        table.add_row("share of time waiting for batches", f"{100 * one['share of time waiting']:.1f} %")
        table.add_row("the loader starves the step", "yes" if one["starves the step"] else "no")
    Console().print(table)


if __name__ == "__main__":
    main()
