"""Milliseconds of a bundle: in this process, over HTTP on loopback, and of the same weights in torch eager.

    python benchmarks/serving.py --model sky-nano --json benchmarks/results/serving.json

All sides take turns within one run, a few frames each, so that a machine whose speed drifts drifts for all of them; the
first frames of a turn are not counted: threads of the side before still spin. Medians and ratios are what to quote.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe_machine, keep_result
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from loddis_client import Client
from loddis_runtime import Detector, load
from loddis_runtime.scenes import Scene, SceneConfig
from loddis_server.local import running_server
from loddis_trainer.from_bundle import detector_of_bundle

TURN = 10  # frames that a side has in a row
SETTLE = 3  # and before them some that are not counted


def main() -> None:
    """Measure and print; write JSON if asked."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    frames = [scene_frame.image for scene_frame in Scene(SceneConfig(size_hw=(256, 320), frames=32, seed=0))]
    with (
        load(options.model, threads=options.threads) as detector,
        local_server(options.model, options.threads) as url,
        Client(url) as client,
    ):
        sides = measured_sides(detector, client)
        samples = measure(sides, frames, rounds=options.rounds)
        result = {
            "machine": describe_machine("onnxruntime", "torch", "numpy", "fastapi", "uvicorn"),
            "model": f"{detector.manifest.name}:{detector.manifest.version}",
            "precision": detector.precision,
            "network": {"variant": detector.manifest.variant, "size_hw": list(detector.manifest.size_hw)},
            "frame": {"size_hw": [256, 320], "dtype": str(frames[0].dtype)},
            "threads": options.threads,
            "rounds": options.rounds,
            "milliseconds": {name: summary(values) for name, values in samples.items()},
            "ratios": ratios(samples),
        }
    show(result)
    keep_result(result, options.json)


def parse_options() -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="sky-nano", help="shipped name or bundle folder")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="threads of every engine")
    parser.add_argument("--rounds", type=int, default=200, help="frames measured on every side, after a warm-up")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args()


def measured_sides(detector: Detector, client: Client) -> dict[str, Callable[[NDArray[Any]], object]]:
    """Name what is measured: each takes a frame."""
    reference = detector_of_bundle(detector.bundle).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def in_torch(frame: NDArray[Any]) -> object:
        with torch.inference_mode():
            tensor = torch.from_numpy(np.array(detector.prepare(frame).tensor))[None].to(
                memory_format=torch.channels_last
            )
            return reference(tensor)

    return {"in process": detector.detect, "over HTTP": client.detect, "torch eager, network alone": in_torch}


def measure(
    sides: dict[str, Callable[[NDArray[Any]], object]], frames: list[NDArray[Any]], *, rounds: int
) -> dict[str, list[float]]:
    """Time the sides by turns; milliseconds."""
    samples: dict[str, list[float]] = {name: [] for name in sides}
    turns = -(-rounds // TURN) + 1  # the first turn warms up
    for turn in range(turns):
        for name, side in sides.items():
            for number in range(-SETTLE, TURN):
                frame = frames[(turn * TURN + number) % len(frames)]
                started = time.perf_counter()
                side(frame)
                elapsed = (time.perf_counter() - started) * 1e3
                if turn > 0 and number >= 0 and len(samples[name]) < rounds:
                    samples[name].append(elapsed)
    return samples


def summary(values: list[float]) -> dict[str, float]:
    """Give the figures to quote."""
    p50, p90, p99 = np.percentile(values, (50, 90, 99))
    return {"p50": round(float(p50), 3), "p90": round(float(p90), 3), "p99": round(float(p99), 3)}


def ratios(samples: dict[str, list[float]]) -> dict[str, float]:
    """Compare the sides pair by pair, and give the median of the pairs."""
    here, http, eager = (np.array(samples[name]) for name in samples)
    return {
        "torch eager / in process": round(float(np.median(eager / here)), 3),
        "over HTTP / in process": round(float(np.median(http / here)), 3),
        "HTTP adds, ms": round(float(np.median(http - here)), 3),
        "frames per second in process": round(float(1e3 / np.median(here)), 1),
    }


@contextmanager
def local_server(model: str, threads: int) -> Iterator[str]:
    """Run the real server in a process of its own, for a shipped name or a bundle's folder."""
    folder = Path(model).resolve() if Path(model).is_dir() else None
    with (
        tempfile.TemporaryDirectory() as scratch,
        running_server(
            folder.parent.name if folder else model,
            repository=folder.parent.parent if folder else None,
            settings={"LODDIS_THREADS": str(threads)},
            log=Path(scratch) / "server.log",
        ) as url,
    ):
        yield url


def show(result: dict[str, Any]) -> None:
    """Print the figures for people."""
    table = Table(title=f"{result['model']} on {result['machine']['processor']}, {result['threads']} threads")
    for column in ("side", "p50 ms", "p90 ms", "p99 ms"):
        table.add_column(column, justify="left" if column == "side" else "right")
    for name, figures in result["milliseconds"].items():
        table.add_row(name, *(f"{figures[key]:.2f}" for key in ("p50", "p90", "p99")))
    console = Console()
    console.print(table)
    for name, value in result["ratios"].items():
        console.print(f"{name}: {value:g}")


if __name__ == "__main__":
    main()
