"""The server at its limit: alone, saturated with and without batches, and asked for four times what it can do.

    python benchmarks/overload.py --json benchmarks/results/overload.json

The load comes from this process, the server runs in another, both on this machine. Saturation is held against the
runtime in this process, by turns within the run, so that a machine whose speed drifts drifts for both.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from load_generator import Load, closed_loop, detect_request, open_loop
from machine import describe_machine, keep_result
from numpy.typing import NDArray
from process_watch import Watch
from rich.console import Console
from rich.table import Table

from loddis_runtime import Detector, load
from loddis_runtime.scenes import Scene, SceneConfig
from loddis_server.local import RunningServer, running_server_process

Frames = Sequence[NDArray[np.generic]]

SIZE_HW = (256, 320)
TURN_S = 2.0  # that a side has in a row
OVERLOAD = 4.0  # times the capacity
SETTLE_S = 2.0  # in which the burst at the start of an overload is worked off; reported for itself
LIMITS = {"p99 / unloaded p99": 2.0, "refusal p99, ms": 50.0, "HTTP / runtime": 0.95, "memory growth": 0.02}


def main() -> None:
    """Measure, print, write JSON if asked."""
    options = parse_options()
    cv2.setNumThreads(1)  # as in the server
    frames = [scene.image for scene in Scene(SceneConfig(size_hw=SIZE_HW, frames=32, seed=0))]
    sizes = (1, options.batch)
    with load(options.model, threads=options.threads) as detector, servers(options, sizes) as by_size:
        batched = by_size[options.batch]
        unloaded = measure_unloaded(batched, frames, seconds=options.seconds)
        saturation = measure_saturation(detector, by_size, frames, seconds=options.seconds)
        capacity = saturation[str(options.batch)]["HTTP, frames per second"]
        overload = measure_overload(batched, frames, rate=OVERLOAD * capacity, seconds=options.overload_seconds)
        overload["p99 / unloaded p99"] = round(overload["admitted p99, ms"] / unloaded["p99, ms"], 2)
        result = {
            "machine": describe_machine("onnxruntime", "numpy", "fastapi", "uvicorn"),
            "model": f"{detector.manifest.name}:{detector.manifest.version}",
            "precision": detector.precision,
            "frame": {"size_hw": list(SIZE_HW), "dtype": str(frames[0].dtype)},
            "threads": options.threads,
            "lanes": options.lanes,
            "unloaded": unloaded,
            "saturation": saturation,
            "overload": overload,
        }
    show(result, batch=options.batch)
    keep_result(result, options.json)


def parse_options() -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="sky-nano", help="shipped name")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of every engine")
    parser.add_argument("--lanes", type=int, default=1, help="runs of the network side by side")
    parser.add_argument("--max-slowdown", type=float, help="of frames let in under overload; the default if none")
    parser.add_argument("--batch", type=int, default=4, help="largest batch of the server that has batches")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement below saturation")
    parser.add_argument("--overload-seconds", type=float, default=60.0, help="of the overload")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args()


@contextmanager
def servers(options: argparse.Namespace, sizes: Sequence[int]) -> Iterator[dict[int, RunningServer]]:
    """Run one server for each largest batch; those without work take no time from the others."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        yield {
            size: stack.enter_context(
                running_server_process(
                    options.model,
                    settings={
                        "LODDIS_THREADS": str(options.threads),
                        "LODDIS_INFERENCE_LANES": str(options.lanes),
                        "LODDIS_MAX_BATCH_SIZE": str(size),
                        **({"LODDIS_MAX_SLOWDOWN": str(options.max_slowdown)} if options.max_slowdown else {}),
                    },
                    log=scratch / f"server-{size}.log",
                )
            )
            for size in sizes
        }


def measure_unloaded(server: RunningServer, frames: Frames, *, seconds: float) -> dict[str, float]:
    """Time one client that sends its next frame when it has the answer to the last."""
    requests = [detect_request(frame, server.url) for frame in frames]
    asyncio.run(closed_loop(server.url, requests, clients=1, seconds=min(1.0, seconds)))
    done = asyncio.run(closed_loop(server.url, requests, clients=1, seconds=seconds))
    return {"requests": len(done.answers), **percentiles(done.latencies_ms(200))}


def measure_saturation(
    detector: Detector, by_size: dict[int, RunningServer], frames: Frames, *, seconds: float
) -> dict[str, dict[str, float]]:
    """Count frames a second of the runtime in this process and of the server, for each largest batch, by turns."""
    rates: dict[tuple[str, int], list[float]] = {}
    shares: list[float] = []
    turn_s = min(TURN_S, seconds)
    for turn in range(1 + max(1, round(seconds / turn_s))):
        for size, server in by_size.items():
            requests = [detect_request(frame, server.url) for frame in frames]
            # Enough clients that a batch waits while one runs, and another is on its way.
            served = asyncio.run(closed_loop(server.url, requests, clients=2 * size + 2, seconds=turn_s))
            here = runtime_rate(detector, frames, size, seconds=turn_s)
            if turn > 0:  # the first warms up
                rates.setdefault(("HTTP", size), []).append(len(served.latencies_ms(200)) / served.seconds)
                rates.setdefault(("runtime", size), []).append(here)
                shares.append(served.own_processor_share)
    return {
        str(size): {
            "runtime, frames per second": round(float(np.median(rates["runtime", size])), 1),
            "HTTP, frames per second": round(float(np.median(rates["HTTP", size])), 1),
            "HTTP / runtime": round(float(np.median(np.divide(rates["HTTP", size], rates["runtime", size]))), 3),
            "generator, share of a core": round(max(shares), 3),
        }
        for size in by_size
    }


def runtime_rate(detector: Detector, frames: Frames, size: int, *, seconds: float) -> float:
    """Give frames a second of the runtime alone, in batches of a size."""
    done, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        detector.detect_batch([frames[(done + index) % len(frames)] for index in range(size)])
        done += size
    return done / elapsed


def measure_overload(server: RunningServer, frames: Frames, *, rate: float, seconds: float) -> dict[str, Any]:
    """Ask for more than can be done; see who is let in, how long that takes, and what is left behind."""
    requests = [detect_request(frame, server.url) for frame in frames]
    settle_s = min(SETTLE_S, seconds / 4)
    with Watch(server.pid, interval_s=0.25) as watch:
        started_s = time.monotonic()
        done = asyncio.run(open_loop(server.url, requests, rate=rate, seconds=seconds))
    settled = [sample for sample in watch.samples if sample.time_s - started_s >= settle_s]
    admitted, refused = (done.latencies_ms(status, after_s=settle_s) for status in (200, 503))
    at_work_s = done.seconds - settle_s
    return {
        "asked, per second": round(rate, 1),
        "answers by status": dict(sorted(Counter(str(answer.status) for answer in done.answers).items())),
        "admitted, per second": round(len(admitted) / at_work_s, 1),
        **{f"admitted {name}": value for name, value in percentiles(admitted).items()},
        **{f"refusal {name}": value for name, value in percentiles(refused).items()},
        "slowest of the first burst, ms": round(max(done.latencies_ms(200), default=0.0), 1),
        "refusals without Retry-After": sum(
            answer.status == 503 and answer.retry_after_s is None for answer in done.answers
        ),
        "resident MB": [round(sample.resident_bytes / 1e6, 1) for sample in (settled[0], settled[-1])],
        "memory growth": round(settled[-1].resident_bytes / settled[0].resident_bytes - 1, 4),
        "server ended": watch.is_gone,
        **generator_figures(done),
    }


def generator_figures(done: Load) -> dict[str, float]:
    """Say whether the generator was in the way."""
    return {
        "generator, share of a core": round(done.own_processor_share, 3),
        "generator, worst lag, ms": round(done.worst_lag_s * 1e3, 1),
    }


def percentiles(milliseconds: Sequence[float]) -> dict[str, float]:
    """Give the figures to quote; NaN where there is nothing."""
    p50, p99 = np.percentile(milliseconds, (50, 99)) if len(milliseconds) else (np.nan, np.nan)
    return {"p50, ms": round(float(p50), 2), "p99, ms": round(float(p99), 2)}


def show(result: dict[str, Any], *, batch: int) -> None:
    """Print the figures for people, and what is asked of them."""
    table = Table(title=f"{result['model']} on {result['machine']['processor']}, {result['threads']} threads")
    for column in ("", "measured", "wanted"):
        table.add_column(column, justify="left" if column == "" else "right")
    unloaded, overload = result["unloaded"], result["overload"]
    table.add_row("unloaded p50 / p99, ms", f"{unloaded['p50, ms']} / {unloaded['p99, ms']}", "")
    for size, figures in result["saturation"].items():
        name = f"saturated, batches up to {size}"
        table.add_row(f"{name}: HTTP, frames per second", f"{figures['HTTP, frames per second']}", "")
        table.add_row(f"{name}: HTTP / runtime", f"{figures['HTTP / runtime']}", f"≥ {LIMITS['HTTP / runtime']}")
    gains = {
        side: result["saturation"][str(batch)][f"{side}, frames per second"]
        / result["saturation"]["1"][f"{side}, frames per second"]
        for side in ("runtime", "HTTP")
    }
    table.add_row("gain by batches: HTTP", f"{gains['HTTP']:.3f}", f"as the runtime's {gains['runtime']:.3f}")
    table.add_row("overload: answers by status", str(overload["answers by status"]), "200, 503")
    for name in ("p99 / unloaded p99", "refusal p99, ms", "memory growth"):
        table.add_row(f"overload: {name}", f"{overload[name]}", f"≤ {LIMITS[name]}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
