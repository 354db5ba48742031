"""One cell of the mixed-domain benchmark: trained, then tested."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import torch
from grid import DOMAINS
from grid_tables import Scores

from loddis_trainer.config import FitConfig
from loddis_trainer.data import DomainDataset
from loddis_trainer.domain_spec import DomainSpec
from loddis_trainer.evaluate import collect_results, open_model
from loddis_trainer.fit import fit
from loddis_trainer.metrics import evaluate_images
from loddis_trainer.presets import merge

__all__ = ["CENTRE_DISTANCE_PX", "FALSE_ALARM_RATES", "tested_frames", "train_and_test"]

CENTRE_DISTANCE_PX = 5.0
FALSE_ALARM_RATES = [0.05 * 20 ** (step / 8) for step in range(9)]  # a frame: 0.05 to 1, evenly by their logarithms


def train_and_test(cell: dict[str, Any], out: Path, here: dict[str, Any]) -> Scores:
    """Train a cell and give its figures.

    Args:
        cell: All that they depend on but the machine, as the grid asks for it.
        out: Folder of the run.
        here: Settings of the machine: accelerator, threads, workers.
    """
    own = {"task": cell["task"], "auxiliary": cell["auxiliary"], "out": out, "seed": cell["seed"], **here}
    config = FitConfig.model_validate(merge(cell["recipe"], own))
    datasets = {code: tested_frames(DOMAINS[code], cell["split"], config) for code in cell["tested"]}
    result = fit(config)
    torch.set_num_threads(config.threads)
    scores: Scores = {}
    with open_model(str(out / "last")) as detector:
        for code, dataset in datasets.items():
            numbers = dataset.evenly_spaced(cell["evaluate_frames"] or len(dataset))
            results = collect_results(detector, dataset, numbers=numbers, measure=False, progress=False)
            metrics = evaluate_images(results, score_threshold=0.5, centre_distance_px=CENTRE_DISTANCE_PX)
            scores[code] = {
                "map50": metrics.map50,
                "pd_at_fa_0.1": metrics.pd_at(0.1),
                "mean_pd": statistics.fmean(metrics.pd_at(rate) for rate in FALSE_ALARM_RATES),
                "frames": len(results),
                "seconds": result.seconds,
            }
    return scores


def tested_frames(domain: str, split: str, config: FitConfig) -> DomainDataset:
    """Give a split of a domain; `unused` is what a training leaves of its `train`.

    Raises:
        ValueError: The training leaves nothing.
    """
    if split != "unused":
        return DomainDataset.open(domain, split, progress=False)
    train = DomainDataset.open(domain, "train", progress=False)
    taken: set[str] = set()
    for spec in map(DomainSpec.parse, (*config.task, *config.auxiliary)):
        if spec.name == domain:
            taken = set(train.take(spec.fraction, seed=config.mixture_seed).sequences)
    left = [name for name in train.sequences if name not in taken]
    if not left:
        raise ValueError(f"the training leaves nothing of the domain '{domain}'")
    return train.keep(left)
