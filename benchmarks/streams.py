"""Cameras at 30 FPS on one server: is the rate held, and how old is a frame when its detections are out?

    python benchmarks/streams.py --streams 1,2,4 --seconds 30 --json benchmarks/results/streams.json

Each camera is a file that the server plays at its own pace, 320 x 256 pixels of 16 bits, with tracking, sensor health
and drift on; another process listens to all of them. The age of a frame is taken from the moment its bytes arrived in
the server's reader to the moment its message arrived at the listener: decoding, the network, tracking, the way out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from clips import write_clip
from machine import describe_machine, keep_result
from process_watch import sample_process
from rich.console import Console
from rich.table import Table

from loddis_runtime.scenes import Scene, SceneConfig
from loddis_server.local import RunningServer, running_server_process

SIZE_HW = (256, 320)
FPS = 30
WARM_UP_S = 5.0
HELD = 0.98  # of the camera's rate, from which on it counts as held


def main() -> None:
    """Measure and print; write JSON if asked."""
    options = parse_options()
    counts = [int(count) for count in options.streams.split(",")]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        clips = [
            write_scene(folder / f"{seed}.mkv", options.seconds + WARM_UP_S + 10, seed) for seed in range(max(counts))
        ]
        settings = {
            "LODDIS_SOURCES__FOLDERS": json.dumps([scratch]),
            "LODDIS_THREADS": str(options.threads),
            "LODDIS_INFERENCE_LANES": str(options.lanes),
            "LODDIS_MAX_BATCH_SIZE": str(options.batch),
        }
        with running_server_process(options.model, settings=settings, log=folder / "server.log") as server:
            rows = [measure(server, clips[:count], options.seconds) for count in counts]
    result = {
        "machine": describe_machine("onnxruntime", "numpy", "av", "fastapi", "uvicorn"),
        "model": options.model,
        "frame": {"size_hw": list(SIZE_HW), "dtype": "uint16", "fps": FPS},
        "threads": options.threads,
        "lanes": options.lanes,
        "max_batch_size": options.batch,
        "seconds": options.seconds,
        "streams": rows,
    }
    show(result)
    keep_result(result, options.json)


def parse_options() -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="sky-nano", help="shipped name")
    parser.add_argument("--streams", default="1,2,4", help="how many cameras at once, one measurement each")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each measurement, after a warm-up")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of a run of the network")
    parser.add_argument("--lanes", type=int, default=1, help="runs of the network side by side")
    parser.add_argument("--batch", type=int, default=4, help="frames that the network is given at once")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args()


def write_scene(path: Path, seconds: float, seed: int) -> Path:
    """Write a clip of a scene, lossless; its frames go back and forth, so that it is as long as needed."""
    scene = [frame.image for frame in Scene(SceneConfig(size_hw=SIZE_HW, frames=60, seed=seed, bit_depth=16))]
    turn = [*scene, *scene[-2:0:-1]]
    write_clip(path, islice(cycle(turn), round(seconds * FPS)), size_hw=SIZE_HW, fps=FPS)
    return path


def measure(server: RunningServer, clips: list[Path], seconds: float) -> dict[str, Any]:
    """Run cameras at once and listen to them from a process of its own."""
    with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as http:
        names = [f"camera-{clip.stem}" for clip in clips]
        for name, clip in zip(names, clips, strict=True):
            wanted = {"stream_id": name, "source": {"path": str(clip), "realtime": True}}
            http.post("/v1/streams", json=wanted).raise_for_status()
        time.sleep(WARM_UP_S)
        busy_before = processor_s(server.pid)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            heard = pool.apply(listen, (server.url, names, seconds))
        busy = processor_s(server.pid) - busy_before
        states = [http.get(f"/v1/streams/{name}").json() for name in names]
        for name in names:
            http.delete(f"/v1/streams/{name}")
    ages = np.concatenate([one["ages_ms"] for one in heard])
    return {
        "cameras": len(names),
        "fps": [round(one["frames"] / seconds, 2) for one in heard],
        "dropped": [state["source"]["dropped"] for state in states],
        "age_ms": {f"p{p}": round(float(np.percentile(ages, p)), 2) for p in (50, 99)},
        "cores_used": round(busy / seconds, 2),
    }


def processor_s(pid: int) -> float:
    """Give the processor time of a server and the processes that read its cameras, seconds."""
    children = [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return sum(sample_process(one).processor_s for one in (pid, *children))


def listen(url: str, names: list[str], seconds: float) -> list[dict[str, Any]]:
    """Listen to streams for some seconds; gives frames and their ages, stream by stream."""
    return asyncio.run(_listen(url, names, seconds))


async def _listen(url: str, names: list[str], seconds: float) -> list[dict[str, Any]]:
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as http:

        async def one(name: str) -> dict[str, Any]:
            ages: list[float] = []
            until = time.monotonic() + seconds
            async with http.stream("GET", f"/v1/streams/{name}/detections") as response:
                async for line in response.aiter_lines():
                    now = time.time()
                    if time.monotonic() > until:
                        break
                    message = json.loads(line) if line else {}
                    if message.get("type") == "frame":
                        ages.append((now - message["captured_at"]) * 1000)
            return {"frames": len(ages), "ages_ms": ages}

        return list(await asyncio.gather(*(one(name) for name in names)))


def show(result: dict[str, Any]) -> None:
    """Print the figures for people."""
    table = Table(title=f"{result['model']}, cameras of {FPS} FPS on {result['machine']['processor']}")
    for column in ("cameras", "FPS of each", "dropped", "age p50 ms", "age p99 ms", "cores used", "held"):
        table.add_column(column, justify="right")
    for row in result["streams"]:
        table.add_row(
            str(row["cameras"]),
            ", ".join(f"{fps:.1f}" for fps in row["fps"]),
            str(sum(row["dropped"])),
            f"{row['age_ms']['p50']:.1f}",
            f"{row['age_ms']['p99']:.1f}",
            f"{row['cores_used']:.2f}",
            "yes" if min(row["fps"]) >= HELD * FPS else "no",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
