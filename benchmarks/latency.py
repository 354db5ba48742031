"""How fast the network runs: variants, precisions, engines and batches against torch, and against what the chip can do.

    python benchmarks/latency.py --size 512,512 --json benchmarks/results/latency.json

All sides take turns within one run, so that a machine whose speed drifts drifts for all of them; medians are what to
quote. Weights are untrained: they cost what trained ones cost. `--model` measures a bundle instead. What this machine
has no engine for is listed with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import torch
from machine import describe_machine, keep_result
from numpy.typing import NDArray
from processing import make_clip
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode
from variant_bundles import write_variant_bundle

from loddis_runtime import Detector, LoddisError, load
from loddis_runtime.bundle import GraphPrecision
from loddis_runtime.detector import Device
from loddis_trainer.from_bundle import detector_of_bundle
from loddis_trainer.models import LoddisDetector

TURN_S = 0.3  # that a side has in a row, unless a single call takes longer
SETTLE = 2  # calls of a turn that are not counted: threads of the side before still spin
FEWEST = 5
MATRIX_SIDE = 2048
STARTS = 3
TARGETS = 3


@dataclass(slots=True)
class Side:
    """Something to time.

    Attributes:
        labels: What it is.
        call: Runs it once.
        frames: That a call takes.
        samples_ms: Milliseconds of each call.
    """

    labels: dict[str, str]
    call: Callable[[], object]
    frames: int
    samples_ms: list[float] = field(default_factory=list)

    @property
    def p50_ms(self) -> float:
        """Median of a call."""
        return float(np.median(self.samples_ms))


def main() -> None:
    """Measure and print; write JSON if asked."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    missing: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        bundles = [options.model] if options.model else variant_bundles(Path(scratch), options)
        detectors = [d for bundle in bundles for d in opened(bundle, options, missing)]
        for detector in detectors:
            stack.enter_context(detector)
        if not detectors:
            sys.exit("\n".join(f"not measured: {one['engine']}: {one['why']}" for one in missing))
        gflop = {d.bundle.path: gflop_of(d) for d in detectors}
        sides = [side for detector in detectors for side in network_sides(detector, options)]
        sides += [whole_side(detector) for detector in detectors]
        if options.torch:
            sides += [side for bundle in bundles for side in torch_sides(bundle, options, missing)]
        products = {name: matrix_product(name) for name in sorted({chip_of(side) for side in sides}) if name}
        take_turns([*sides, *products.values()], seconds=options.seconds)
        starts = [cold_start(detector, options.threads) for detector in detectors]
        # The best sample: a share is of what the chip can do, and what else runs on the machine takes from that.
        rates = {name: 2e-9 * MATRIX_SIDE**3 / (min(one.samples_ms) / 1e3) for name, one in products.items()}
        rows = [row_of(side, gflop[Path(side.labels["bundle"])], rates.get(chip_of(side))) for side in sides]
    result = {
        "machine": describe_machine("onnxruntime", "torch", "numpy"),
        "threads": options.threads,
        "size_hw": list(detectors[0].manifest.size_hw),
        "matrix_gflops_per_s": {name: round(rate, 1) for name, rate in rates.items()},
        "rows": rows,
        "starts": starts,
        "missing": missing,
    }
    show(result)
    keep_result(result, options.json)


def parse_options() -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, help="bundle folder instead of untrained variants")
    parser.add_argument("--variants", type=words, default=["nano", "s"], help="comma-separated")
    parser.add_argument("--size", type=numbers, default=[512, 512], help="network height,width in pixels")
    parser.add_argument("--precisions", type=words, default=["fp32", "int8"], help="comma-separated")
    parser.add_argument("--devices", type=words, default=["cpu"], help="comma-separated: cpu, cuda, tensorrt")
    parser.add_argument("--batches", type=numbers, default=[1, 4, 16], help="comma-separated")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="threads of every engine")
    parser.add_argument("--seconds", type=float, default=6.0, help="that every side is measured for")
    parser.add_argument("--torch", action=argparse.BooleanOptionalAction, default=True, help="measure torch too")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args()


def words(text: str) -> list[str]:
    """Read a comma-separated list."""
    return text.split(",")


def numbers(text: str) -> list[int]:
    """Read a comma-separated list of whole numbers."""
    return [int(word) for word in text.split(",")]


def variant_bundles(root: Path, options: argparse.Namespace) -> list[Path]:
    """Write bundles of the variants that were asked for."""
    return [
        write_variant_bundle(root, variant, size_hw=tuple(options.size), precisions=options.precisions)
        for variant in track(options.variants, description="graphs", transient=True)
    ]


def opened(bundle: Path, options: argparse.Namespace, missing: list[dict[str, str]]) -> Iterator[Detector]:
    """Open a bundle on every device and in every precision that is asked for and there."""
    for device in options.devices:
        if device not in get_args(Device):
            missing.append({"engine": device, "why": "not an engine of this release"})
            continue
        for precision in options.precisions:
            try:
                yield load(
                    bundle,
                    device=cast("Device", device),
                    precision=cast("GraphPrecision", precision),
                    threads=options.threads,
                )
            except LoddisError as error:
                missing.append({"engine": f"{bundle.parent.name} {precision} on {device}", "why": str(error)})


def labels_of(detector: Detector, engine: str, precision: str) -> dict[str, str]:
    """Name a side of a detector."""
    return {
        "bundle": str(detector.bundle.path),
        "variant": detector.manifest.variant,
        "engine": engine,
        "precision": precision,
        "device": "cpu" if "torch" in engine else detector.device,
    }


def network_sides(detector: Detector, options: argparse.Namespace) -> list[Side]:
    """Give the network alone, for each batch."""
    sides = []
    for batch in options.batches:
        frames = random_frames(detector, batch)
        labels = labels_of(detector, detector.engine.name, detector.precision) | {"what": "network"}
        sides.append(Side(labels, lambda frames=frames: detector.engine.infer(frames), batch))  # type: ignore[misc]
    return sides


def whole_side(detector: Detector) -> Side:
    """Give all that a frame takes without the network: levels in, detections out, for a few targets."""
    clip = make_clip(detector, detector.manifest.size_hw, 8, TARGETS)
    frames = cycle(clip.frames)

    def before_and_after() -> object:
        return detector.finish(detector.prepare(next(frames)), clip.candidates)

    labels = labels_of(detector, detector.engine.name, detector.precision) | {"what": "before and after"}
    return Side(labels, before_and_after, 1)


def torch_sides(bundle: Path, options: argparse.Namespace, missing: list[dict[str, str]]) -> list[Side]:
    """Give the same weights in torch, eager and compiled, batch 1."""
    with load(bundle, device="cpu", precision="fp32", threads=options.threads) as detector:
        model = detector_of_bundle(detector.bundle).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        frames = torch.from_numpy(random_frames(detector, 1)).to(memory_format=torch.channels_last)
        sides = [torch_side(detector, model, frames, "torch eager")]
        try:
            compiled = cast("LoddisDetector", torch.compile(model))
            with torch.inference_mode():
                compiled(frames)
        except Exception as error:  # a compiler that is missing has many names
            why = (str(error).strip().splitlines() or [type(error).__name__])[0]
            missing.append({"engine": f"{detector.manifest.variant} in torch.compile", "why": why})
        else:
            sides.append(torch_side(detector, compiled, frames, "torch.compile"))
    return sides


def torch_side(detector: Detector, model: Callable[..., object], frames: torch.Tensor, engine: str) -> Side:
    """Give a side that runs a torch module."""

    def run() -> object:
        with torch.inference_mode():
            return model(frames)

    return Side(labels_of(detector, engine, "fp32") | {"what": "network"}, run, 1)


def random_frames(detector: Detector, batch: int) -> NDArray[np.float32]:
    """Give an input of the network; what it shows costs no time."""
    shape = (batch, detector.manifest.window, *detector.manifest.size_hw)
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def chip_of(side: Side) -> str:
    """Name what a side's arithmetic is to be compared with; empty where torch cannot measure that here."""
    if side.labels["device"] == "cpu":
        return "CPU, float32"  # int8 too: its share says how many float32 units it is worth
    return "GPU, float16" if torch.cuda.is_available() else ""


def matrix_product(chip: str) -> Side:
    """Give a large matrix product: what the chip reaches where nothing is in the way."""
    gpu = chip.startswith("GPU")
    kind = {"device": "cuda", "dtype": torch.float16} if gpu else {"device": "cpu", "dtype": torch.float32}
    left, right = torch.rand(2, MATRIX_SIDE, MATRIX_SIDE).to(**kind)  # type: ignore[arg-type]

    def multiply() -> None:
        left @ right
        if gpu:
            torch.cuda.synchronize()

    return Side({"what": "matrix product", "device": chip}, multiply, 1)


def gflop_of(detector: Detector) -> float:
    """Count the arithmetic of a frame, two operations a multiply-add, from the same weights in torch."""
    model = detector_of_bundle(detector.bundle)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.from_numpy(random_frames(detector, 1)))
    return float(counter.get_total_flops()) / 1e9


def take_turns(sides: list[Side], *, seconds: float) -> None:
    """Time the sides by turns, each for so long in all; the first turn warms up."""
    turns = max(1, round(seconds / TURN_S))
    for turn in track(range(turns + 1), description="turns", transient=True):
        for side in sides:
            for _ in range(SETTLE):
                side.call()
            taken = 0.0
            while taken < TURN_S:
                started = time.perf_counter()
                side.call()
                elapsed = time.perf_counter() - started
                taken += elapsed
                if turn or len(side.samples_ms) < FEWEST:
                    side.samples_ms.append(elapsed * 1e3)


def cold_start(detector: Detector, threads: int) -> dict[str, Any]:
    """Start processes that load a bundle and detect; medians."""
    command = [sys.executable, str(Path(__file__).with_name("cold_start.py")), str(detector.bundle.path)]
    command += [detector.device, detector.precision, str(threads)]
    seconds, resident, peak = [], [], []
    for _ in range(STARTS):
        started = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        answer = json.loads(done.stdout)
        seconds.append(answer["first_s"] - started)
        resident.append(answer["resident_mb"]["now"])
        peak.append(answer["resident_mb"]["peak"])
    return {
        "variant": detector.manifest.variant,
        "device": detector.device,
        "precision": detector.precision,
        "seconds to the first detection": round(float(np.median(seconds)), 3),
        "resident MB": round(float(np.median(resident)), 1),
        "peak MB": round(float(np.median(peak)), 1),
    }


def row_of(side: Side, gflop: float, rate: float | None) -> dict[str, Any]:
    """Give the figures of a side."""
    p50, p99 = np.percentile(side.samples_ms, (50, 99))
    row: dict[str, Any] = {name: value for name, value in side.labels.items() if name != "bundle"}
    row |= {"batch": side.frames, "calls": len(side.samples_ms), "p50_ms": round(float(p50), 3)}
    row["p99_ms"] = round(float(p99), 3)
    if side.labels["what"] == "network":
        row["frames_per_s"] = round(1e3 * side.frames / float(p50), 1)
        row["gflop_per_frame"] = round(gflop, 3)
        if rate is not None:
            row["share_of_matrix_rate"] = round(gflop * side.frames / (float(p50) / 1e3) / rate, 3)
    return row


def show(result: dict[str, Any]) -> None:
    """Print the figures for people."""
    height, width = result["size_hw"]
    machine = result["machine"]
    title = f"{width} x {height} px, {machine['processor']}, {result['threads']} threads"
    rates = ", ".join(f"{name} {rate:.0f} Gflop/s" for name, rate in result["matrix_gflops_per_s"].items())
    table = Table(title=f"{title}; matrix product: {rates}")
    for column in ("variant", "precision", "engine", "what", "batch", "p50 ms", "p99 ms", "frames/s", "of matrix rate"):
        table.add_column(column, justify="left" if column in ("variant", "precision", "engine", "what") else "right")
    for row in result["rows"]:
        share = row.get("share_of_matrix_rate")
        table.add_row(
            *(row[name] for name in ("variant", "precision", "engine", "what")),
            str(row["batch"]),
            f"{row['p50_ms']:.2f}",
            f"{row['p99_ms']:.2f}",
            f"{row['frames_per_s']:.1f}" if "frames_per_s" in row else "",
            f"{100 * share:.0f} %" if share is not None else "",
        )
    console = Console(markup=False, emoji=False)  # why an engine is missing is no markup
    console.print(table)
    for start in result["starts"]:
        console.print(
            f"{start['variant']} {start['precision']} on {start['device']}: first detection after"
            f" {start['seconds to the first detection']:.2f} s, {start['resident MB']:.0f} MB resident"
        )
    for one in result["missing"]:
        console.print(f"not measured: {one['engine']}: {one['why']}")


if __name__ == "__main__":
    main()
