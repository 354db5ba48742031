"""Milliseconds of what comes before and after the network, and their share of it.

    python benchmarks/processing.py --model sky-nano --json processing.json

Frames are generated, over ground, where targets are hardest to measure; candidates stand where a network would put
them, four guesses around each target. All stages take turns within one run, so that a machine whose speed drifts drifts
for all of them. With `--size-hw` the stages are timed for a network of another size, which is then not run itself.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from machine import describe_machine, keep_result
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from loddis_runtime import Detector, load
from loddis_runtime.scenes import Scene, SceneConfig, TargetConfig

FRAMES = {"320 x 256 uint8": ((256, 320), 8), "640 x 512 uint16": ((512, 640), 16), "512 x 512 uint8": ((512, 512), 8)}
TARGETS = (0, 1, 20)
BATCH = 16  # frames finished at once
WINDOW = 3  # of the stages that a model with a registered window has
CLIP = 8  # frames of each clip
BOX_PX = 9.0
GUESSES_XY = ((0.0, 0.0), (0.6, 0.0), (0.0, -0.6), (-0.6, 0.6))  # of one target, frame pixels
WARM_UP = 5  # rounds that are not counted


@dataclass(frozen=True)
class Clip:
    """Frames ``(H, W)``, and candidates ``(K, 6)`` in network pixels for the first of them."""

    frames: list[NDArray[Any]]
    candidates: NDArray[np.float32]


def main() -> None:
    """Measure and print; write JSON if asked."""
    options = parse_options()
    cv2.setNumThreads(1)  # as the server runs
    with load(options.model, precision=options.precision, threads=options.threads) as opened:
        detector = opened
        if options.size_hw is not None:
            manifest = opened.manifest.model_copy(update={"size_hw": tuple(options.size_hw)})
            detector = opened.with_manifest(manifest)
        figures = {
            name: measure(detector, size_hw, bits, rounds=options.rounds, network=options.size_hw is None)
            for name, (size_hw, bits) in FRAMES.items()
        }
        result = {
            "machine": describe_machine("onnxruntime", "numpy", "opencv-python-headless"),
            "model": f"{detector.manifest.name}:{detector.manifest.version} {detector.precision}",
            "network": {"variant": detector.manifest.variant, "size_hw": list(detector.manifest.size_hw)},
            "threads": detector.threads,
            "rounds": options.rounds,
            "milliseconds": figures,
        }
    if options.size_hw is None:
        result["share of the network, one target"] = {
            name: round((stages["prepare"] + stages["finish, 1 target"]) / stages["network"], 4)
            for name, stages in figures.items()
        }
    show(result)
    keep_result(result, options.json)


def parse_options() -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="sky-nano", help="shipped name or bundle folder")
    parser.add_argument("--precision", default="auto", help="of the network")
    parser.add_argument("--threads", type=int, help="threads of the network; all cores if none")
    parser.add_argument("--size-hw", type=int, nargs=2, metavar=("H", "W"), help="of a network that is not run")
    parser.add_argument("--rounds", type=int, default=300, help="calls of each stage, after a warm-up")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args()


def measure(detector: Detector, size_hw: tuple[int, int], bits: int, *, rounds: int, network: bool) -> dict[str, float]:
    """Time every stage for one kind of frame, by turns; median milliseconds."""
    clips = {count: make_clip(detector, size_hw, bits, count) for count in TARGETS}
    stages = {**stages_of_one(detector, clips), **stages_of_a_window(detector, clips[1])}
    if network:
        prepared = detector.prepare(clips[1].frames[0])
        stages["network"] = lambda: detector.infer([prepared])
    samples: dict[str, list[float]] = {name: [] for name in stages}
    for turn in range(WARM_UP + rounds):
        for name, stage in stages.items():
            started = time.perf_counter()
            stage()
            if turn >= WARM_UP:
                samples[name].append((time.perf_counter() - started) * 1e3)
    return {name: round(float(np.median(values)), 4) for name, values in samples.items()}


def make_clip(detector: Detector, size_hw: tuple[int, int], bits: int, targets: int) -> Clip:
    """Render a clip with so many targets, and what a network would say of its first frame."""
    config = SceneConfig.model_validate(
        {
            "size_hw": size_hw,
            "frames": CLIP,
            "bit_depth": bits,
            "background": "ground",
            "camera": {"pan_px_per_frame": (1.4, -0.6)},
            "targets": [TargetConfig(snr=20.0)] * targets,
            "seed": 0,
        }
    )
    clip = list(Scene(config))
    transform = detector.prepare(clip[0].image).transform
    candidates = np.zeros((detector.manifest.max_detections, 6), dtype=np.float32)
    centres = np.asarray(clip[0].centres, dtype=np.float64).reshape(-1, 2)
    guesses = (centres[:, None] + np.array(GUESSES_XY)).reshape(-1, 2)[: len(candidates)]
    candidates[: len(guesses), :4] = transform.to_network(np.hstack([guesses - BOX_PX / 2, guesses + BOX_PX / 2]))
    candidates[: len(guesses), 4] = np.linspace(0.99, 0.9, len(guesses))
    return Clip([frame.image for frame in clip], candidates)


def stages_of_one(detector: Detector, clips: dict[int, Clip]) -> dict[str, Callable[[], object]]:
    """Name the stages of a model of single frames."""
    stages: dict[str, Callable[[], object]] = {}
    frames = cycle(clips[1].frames)
    stages["prepare"] = lambda: detector.prepare(next(frames))
    for count, clip in clips.items():
        prepared = detector.prepare(clip.frames[0])

        def finish(clip: Clip = clip, prepared: Any = prepared) -> object:
            return detector.finish(prepared, clip.candidates)

        stages[f"finish, {count} target{'' if count == 1 else 's'}"] = finish
    batch = [detector.prepare(clips[1].frames[0])] * BATCH
    candidates = np.stack([clips[1].candidates] * BATCH)
    stages[f"finish_batch of {BATCH}, 1 target each"] = lambda: detector.finish_batch(batch, candidates)
    return stages


def stages_of_a_window(detector: Detector, clip: Clip) -> dict[str, Callable[[], object]]:
    """Name the stages of a model with a registered window: made from scratch each time, and kept by a stream."""
    manifest = detector.manifest.model_copy(update={"window": WINDOW, "register_window": True})
    windowed = detector.with_manifest(manifest)
    stream = windowed.stream()
    frames = cycle(clip.frames)
    return {
        f"prepare_window of {WINDOW}": lambda: windowed.prepare_window(clip.frames[:WINDOW]),
        f"stream.prepare of {WINDOW}": lambda: stream.prepare(next(frames)),
    }


def show(result: dict[str, Any]) -> None:
    """Print the figures for people."""
    height, width = result["network"]["size_hw"]
    table = Table(title=f"{result['model']}, {width} x {height}, on {result['machine']['processor']}: median ms")
    table.add_column("stage")
    for name in result["milliseconds"]:
        table.add_column(name, justify="right")
    for stage in next(iter(result["milliseconds"].values())):
        table.add_row(stage, *(f"{stages[stage]:.3f}" for stages in result["milliseconds"].values()))
    if shares := result.get("share of the network, one target"):
        table.add_row("(prepare + finish, 1 target) / network", *(f"{share:.1%}" for share in shares.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
