"""How often scenes are called unlike those of the training domains: real ones of those domains, and changed ones.

    LODDIS_DATA=data python benchmarks/drift.py --model sky-nano --split val --json drift.json

Each sequence of a split is shown to a `DriftMonitor` of its own, as it is and changed in ways that cameras and weather
know. What is counted are sequences that are unlike at their end.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from machine import describe_machine, keep_result
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from loddis_runtime.frames import Frame
from loddis_runtime.manifest import Manifest
from loddis_runtime.preparation import PreparedFrame, still_window
from loddis_runtime.repository import shipped_repository
from loddis_server.scene_health import DriftMonitor, DriftSettings
from loddis_trainer.data import DomainDataset

DOMAINS = ("sky", "ground", "city")
FRAMES = 8  # of each sequence, evenly spaced
MOST_SEQUENCES = 60  # of each domain, evenly spaced


def change(levels: Callable[[NDArray[np.float32], np.random.Generator], Any]) -> Callable[[Frame, int], Frame]:
    """Make a change of float levels one of frames."""

    def changed(frame: Frame, seed: int) -> Frame:
        raw = levels(frame.astype(np.float32), np.random.default_rng(seed))
        return np.clip(np.rint(raw), 0, 255).astype(np.uint8)

    return changed


CHANGES: dict[str, Callable[[Frame, int], Frame]] = {
    "as it is": lambda frame, _: frame,
    "inverted": change(lambda f, _: 255 - f),
    "blur, sigma 2 px": change(lambda f, _: cv2.GaussianBlur(f, (0, 0), 2)),
    "blur, sigma 4 px": change(lambda f, _: cv2.GaussianBlur(f, (0, 0), 4)),
    "fog: contrast 1/10, noise 1.5": change(lambda f, rng: 128 + (f - 128) / 10 + rng.normal(0, 1.5, f.shape)),
    "noise, sigma 10": change(lambda f, rng: f + rng.normal(0, 10, f.shape)),
    "noise, sigma 25": change(lambda f, rng: f + rng.normal(0, 25, f.shape)),
    "column stripes, sigma 12": change(lambda f, _: f + np.random.default_rng(0).normal(0, 12, (1, f.shape[1]))),
}


def main() -> None:
    """Count and print; write JSON if asked."""
    options = parse_options()
    cv2.setNumThreads(1)
    manifest = Manifest.load(shipped_repository().find(options.model).path / "manifest.json")
    settings = DriftSettings(false_drift_probability=options.probability, measure_every=1, least=1)
    table = Table("scene", *DOMAINS, title=f"share called unlike at a false-drift probability of {options.probability}")
    shares: dict[str, dict[str, float]] = {name: {} for name in CHANGES}
    counts: dict[str, int] = {}
    for domain in DOMAINS:
        dataset = DomainDataset.open(domain, options.split, progress=False)
        names = list(dataset.sequences)
        places = np.unique(np.linspace(0, len(names) - 1, min(MOST_SEQUENCES, len(names))).astype(int))
        counts[domain] = len(places)
        for name, changed in CHANGES.items():
            unlike = 0
            for place in places:
                frames = spaced(dataset, dataset.sequences[names[place]])
                unlike += is_unlike([changed(frame, seed) for seed, frame in enumerate(frames)], manifest, settings)
            shares[name][domain] = unlike / len(places)
    for name, of_domain in shares.items():
        table.add_row(name, *(f"{share:.0%}" for share in of_domain.values()))
    Console().print(table, f"sequences: {counts}")
    result = {
        "machine": describe_machine(),
        "model": options.model,
        "split": options.split,
        "false_drift_probability": options.probability,
        "sequences": counts,
        "unlike": shares,
    }
    keep_result(result, options.json)


def spaced(dataset: DomainDataset, numbers: Sequence[int]) -> list[Frame]:
    """Give frames of a sequence, evenly spaced."""
    places = np.unique(np.linspace(0, len(numbers) - 1, min(FRAMES, len(numbers))).astype(int))
    return [dataset.frame(numbers[place]) for place in places]


def is_unlike(frames: Sequence[Frame], manifest: Manifest, settings: DriftSettings) -> bool:
    """Show frames to a monitor, and tell what it makes of them."""
    monitor = DriftMonitor(manifest.scenes, settings)
    for frame in frames:
        report = monitor.update(PreparedFrame.of(frame, still_window(frame, manifest)))
    return report.is_unlike


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sky-nano", help="shipped model")
    parser.add_argument("--split", default="val", choices=("val", "test"), help="of the domains")
    parser.add_argument("--probability", type=float, default=0.05, help="of calling a scene unlike that is not")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args()


if __name__ == "__main__":
    main()
