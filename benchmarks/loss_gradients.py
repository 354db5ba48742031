"""How strongly each of the three losses pulls on the fused map, next to the detection loss.

    LODDIS_DATA=data python benchmarks/loss_gradients.py --task ground:0.3 --auxiliary sky:0.7 \\
        --json benchmarks/results/loss_gradients.json

A training of one epoch for each form of the contrastive loss; every few steps, the gradient of each loss on the fused
map is taken on its own, times its weight. Printed are medians over the steps: its norm as a share of the detection
loss's, and the cosine between the two.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, get_args

import torch
from lightning_fabric import Fabric
from machine import describe_machine, keep_result
from rich.console import Console
from rich.table import Table
from torch import Tensor

from loddis_trainer.building import build_loader, build_optimiser, build_training_model, open_mixture
from loddis_trainer.choices import Contrast
from loddis_trainer.config import FitConfig
from loddis_trainer.data import Batch, Mixture
from loddis_trainer.presets import merge, read_preset
from loddis_trainer.step import set_schedules, train_step
from loddis_trainer.training_model import TrainingModel

WEIGHTS = {"correlation": "alpha", "confusion": "beta", "consistency": "eta"}


def main() -> None:
    """Train, measure, print; write JSON if asked."""
    options = parse_options()
    if options.threads:
        torch.set_num_threads(options.threads)
    asked = {
        "task": options.task,
        "auxiliary": options.auxiliary,
        "accelerator": options.accelerator,
        "steps_per_epoch": options.steps,
        "epochs": 1,
        "warmup_steps": min(200, options.steps // 5),
    }
    config = FitConfig.model_validate(merge(read_preset(options.preset), asked))
    fabric = Fabric(accelerator=config.accelerator, devices=1, precision=config.precision)
    fabric.launch()
    mixture = open_mixture(config, "train", progress=False)
    result: dict[str, Any] = {
        "machine": describe_machine("torch", "lightning-fabric"),
        "preset": options.preset,
        "mixture": mixture.label,
        "variant": config.variant,
        "size_hw": list(config.crop_hw or config.size_hw),
        "batch_size": config.batch_size,
        "precision": config.precision,
        "device": torch.cuda.get_device_name() if fabric.device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "seed": config.seed,
        "steps": options.steps,
        "every": options.every,
        "weights": {name: getattr(config, weight) for name, weight in WEIGHTS.items()},
        "contrast": {},
    }
    for contrast in get_args(Contrast):
        one = config.model_copy(update={"contrast": contrast})
        result["contrast"][contrast] = measure(one, mixture, fabric, every=options.every)
    show(result)
    keep_result(result, options.json)


def measure(config: FitConfig, mixture: Mixture, fabric: Fabric, *, every: int) -> dict[str, float]:
    """Train an epoch; give medians over the measured steps, none of them in the warm-up."""
    torch.manual_seed(config.seed)
    loader = build_loader(config, mixture, fabric)
    model = build_training_model(config, roles=[domain.role for domain in mixture.domains])
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    wrapped, optimiser = fabric.setup(model, build_optimiser(config, model))
    found: dict[str, list[float]] = defaultdict(list)
    steps = config.steps_per_epoch
    for step, batch in enumerate(loader.epoch(0)):
        set_schedules(config, model, optimiser, step=step, total_steps=steps)
        wrapped.train()
        if step >= config.warmup_steps and step % every == 0:
            for name, value in pulls(model, batch, config, fabric).items():
                found[name].append(value)
        train_step(fabric, wrapped, optimiser, batch, clip_grad_norm=config.clip_grad_norm)
    if not found:
        sys.exit(f"--preset, --steps, --every: of {steps} steps none gave one of the three losses to measure")
    return {name: round(statistics.median(values), 4) for name, values in found.items()}


def parse_options() -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--task", action="append", required=True, help="task domain, as loddis-trainer takes it")
    parser.add_argument("--auxiliary", action="append", required=True, help="auxiliary domain, likewise")
    parser.add_argument("--preset", default="edge", help="recipe: a preset or a YAML file")
    parser.add_argument("--steps", type=int, default=300, help="steps of the training")
    parser.add_argument("--every", type=int, default=10, help="steps between measurements")
    parser.add_argument("--accelerator", default="auto", help="cpu, cuda or auto")
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; 0: as torch sees fit")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    if options.steps < 1 or options.every < 1:
        parser.error("--steps and --every must be at least 1")
    return options


def pulls(model: TrainingModel, batch: Batch, config: FitConfig, fabric: Fabric) -> dict[str, float]:
    """Give norm and cosine of each loss's gradient on the fused map, against the detection loss's."""
    kept: list[Tensor] = []
    hook = model.detector.fusion.register_forward_hook(lambda _module, _given, fused: kept.append(fused))
    frames = batch.frames.to(fabric.device).to(memory_format=torch.channels_last)
    with fabric.autocast():
        losses = model(frames, batch.boxes_xyxy, batch.class_ids, batch.domain_ids)
    hook.remove()

    def gradient(loss: Tensor) -> Tensor:
        return torch.autograd.grad(loss, kept[0], retain_graph=True)[0].float().flatten()

    detection = gradient(losses.detection.total)
    found = {}
    for name, weight in WEIGHTS.items():
        loss = getattr(losses, name)
        if loss is not None:
            own = getattr(config, weight) * gradient(loss)
            found[f"{name}: norm / detection"] = float(own.norm() / detection.norm())
            found[f"{name}: cosine"] = float(torch.cosine_similarity(own, detection, dim=0))
    return found


def show(result: dict[str, Any]) -> None:
    """Print the figures for people."""
    table = Table(title=f"{result['mixture']}, {result['steps']} steps")
    table.add_column("contrast")
    table.add_column("loss")
    for name in ("weight", "norm / detection", "cosine"):
        table.add_column(name, justify="right")
    for contrast, medians in result["contrast"].items():
        for name, weight in result["weights"].items():
            if f"{name}: cosine" in medians:
                norm, cosine = medians[f"{name}: norm / detection"], medians[f"{name}: cosine"]
                table.add_row(contrast, name, f"{weight:g}", f"{100 * norm:.1f} %", f"{cosine:+.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
