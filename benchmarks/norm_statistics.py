"""What a shipped detector finds when its normalisation has the statistics of other frames.

    LODDIS_DATA=data python benchmarks/norm_statistics.py sky-nano --task sky --on sky:val --frames 1500

An export folds normalisation away; here it is unfolded with the statistics of augmented frames such as it was trained
on, which changes nothing, and then given those of frames that nothing is done to: pieces of several sizes, whole ones.
Boxes are as the network gives them, centre distance ≤ 5 px.
"""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path
from statistics import fmean
from typing import Any

from lightning_fabric import Fabric
from machine import describe_machine

from loddis_trainer.building import build_loader, build_norm_statistics, build_training_model, open_mixture
from loddis_trainer.config import FitConfig
from loddis_trainer.data import DomainDataset
from loddis_trainer.earlier import start_from
from loddis_trainer.evaluate import collect_results
from loddis_trainer.metrics import evaluate_images
from loddis_trainer.models import LoddisDetector
from loddis_trainer.presets import merge, read_preset
from loddis_trainer.torch_engine import wrap_detector

CENTRE_DISTANCE_PX = 5.0
PIECES_HW = ((96, 96), (128, 160), (192, 256), None)  # None: whole frames


def main() -> None:
    """Measure, print, write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle", help="name of a shipped bundle, or its folder")
    parser.add_argument("--task", action="append", required=True, help="domain to measure statistics on; repeats")
    parser.add_argument("--on", action="append", required=True, help="DOMAIN:SPLIT to detect on; repeats")
    parser.add_argument("--frames", type=int, default=500, help="most frames of a split, evenly spaced")
    parser.add_argument("--batches", type=int, default=16, help="of 32 that statistics are measured on")
    parser.add_argument("--whole", action="store_true", help="it was trained on whole frames, not on pieces")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()

    asked = {"init": options.bundle, "task": options.task, "accelerator": "cpu", "norm_batches": options.batches}
    config = FitConfig.model_validate(merge(read_preset("edge"), asked | ({"crop_hw": None} if options.whole else {})))
    mixture = open_mixture(config, "train", progress=False)
    model = build_training_model(config, roles=["task"] * len(mixture.domains))
    fabric = Fabric(accelerator="cpu", devices=1)
    start_from(config, model, build_loader(config, mixture, fabric))
    model.eval()
    result: dict[str, Any] = {"machine": describe_machine(), "bundle": options.bundle, "task": options.task}
    result["found"] = {"augmented frames": found(model.detector, config, options)}
    for crop_hw in PIECES_HW:
        measured = copy.deepcopy(model)
        cut = config.model_copy(update={"crop_hw": crop_hw})
        build_norm_statistics(cut, build_loader(cut, mixture, fabric)).settle(measured, epoch=0)
        name = "whole frames" if crop_hw is None else f"pieces of {crop_hw[0]} x {crop_hw[1]}"
        result["found"][name] = found(measured.detector, config, options)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def found(detector: LoddisDetector, config: FitConfig, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Detect on every split; print and give mAP50, Pd, and the mean of the best scores of frames."""
    wrapped = wrap_detector(
        detector,
        variant=config.variant,
        classes=config.classes,
        window=config.window,
        size_hw=config.size_hw,
        intensity=config.intensity,
    )
    figures = {}
    for text in options.on:
        dataset = DomainDataset.open(*text.split(":"), progress=False)
        numbers = dataset.evenly_spaced(options.frames)
        results = collect_results(wrapped, dataset, numbers=numbers, measure=False, progress=False)
        metrics = evaluate_images(results, score_threshold=0.5, centre_distance_px=CENTRE_DISTANCE_PX)
        figures[text] = {
            "frames": float(len(numbers)),
            "map50": metrics.map50,
            "pd_at_fa_0.1": metrics.pd_at(0.1),
            "pd_at_fa_0.05": metrics.pd_at(0.05),
            "best_score": fmean(float(one.scores.max(initial=0)) for one in results),
        }
        print(text, {name: round(value, 4) for name, value in figures[text].items()}, flush=True)
    return figures


if __name__ == "__main__":
    main()
