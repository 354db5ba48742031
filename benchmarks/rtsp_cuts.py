"""Cut a camera's RTSP connection again and again: does it come back, how soon, and are the frame indices right?

    python benchmarks/rtsp_cuts.py --cuts 20 --json benchmarks/results/rtsp_cuts.json

The server (GStreamer's, on loopback) is killed and started again; its pictures carry a counter of frame periods that
goes on meanwhile. Within a connection an index must move on as the counter does; over a cut it must grow, by what was
missed as far as the clock tells.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from machine import describe_machine, keep_result
from rich.console import Console
from rich.table import Table

from loddis_server.sources.allow_list import SourceAllowList
from loddis_server.sources.settings import SourceSettings
from loddis_server.sources.source import Source

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.rtsp import RtspServer, counter_in, missing_for_rtsp, wrong_indices


@dataclass(slots=True)
class Run:
    """What was seen.

    Attributes:
        seen: Connection, index and counter of every frame.
        to_first_frame_s: After each restart of the server, seconds until a frame came.
    """

    seen: list[tuple[int, int, int]] = field(default_factory=list)
    to_first_frame_s: list[float] = field(default_factory=list)


def main() -> None:
    """Cut and print; write JSON if asked. Exit status 1 if an index was wrong or a cut was not survived."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--live-s", type=float, default=3.0, help="frames between two cuts, seconds")
    parser.add_argument("--down-s", type=float, default=1.0, help="time without a server, seconds")
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    if missing := missing_for_rtsp():
        parser.error(f"no RTSP server on this machine: {missing}")
    run = asyncio.run(cut_and_watch(options.cuts, live_s=options.live_s, down_s=options.down_s, fps=options.fps))
    result = {
        "machine": describe_machine("av"),
        "fps": options.fps,
        "down_s": options.down_s,
        **summary(run, cuts=options.cuts),
    }
    show(result)
    keep_result(result, options.json)
    sys.exit(result["reconnects"] != options.cuts or bool(result["wrong_indices"]))


async def cut_and_watch(cuts: int, *, live_s: float, down_s: float, fps: int) -> Run:
    """Take frames for `live_s`, cut, wait for `down_s`, start the server, and so on."""
    run = Run()
    with RtspServer(fps=fps) as server:
        settings = SourceSettings.model_validate({"url": server.url, "reconnect_max_s": 1.0})
        allow = SourceAllowList(hosts=(f"127.0.0.1:{server.port}",))
        async with Source(settings, allow=allow) as source:
            frames = source.frames()
            for cut in range(cuts + 1):
                started_at = time.monotonic()
                while True:
                    frame = await anext(frames)
                    if frame.connection == cut:  # earlier ones were on their way when the cut came
                        break
                if cut:
                    run.to_first_frame_s.append(time.monotonic() - started_at)
                live_until = time.monotonic() + live_s
                while time.monotonic() < live_until:
                    run.seen.append((frame.connection, frame.index, counter_in(frame.image)))
                    frame = await anext(frames)
                if cut < cuts:
                    await asyncio.to_thread(server.cut)
                    await asyncio.sleep(down_s)
                    await asyncio.to_thread(server.start)
    return run


def summary(run: Run, *, cuts: int) -> dict[str, Any]:
    """Give the figures to quote."""
    errors = [
        abs((after[1] - before[1]) - (after[2] - before[2]))
        for before, after in zip(run.seen, run.seen[1:], strict=False)
        if before[0] != after[0]
    ]
    return {
        "cuts": cuts,
        "reconnects": len({connection for connection, _, _ in run.seen}) - 1,
        "frames": len(run.seen),
        "wrong_indices": wrong_indices(run.seen),
        "to_first_frame_s": {
            "median": round(statistics.median(run.to_first_frame_s), 3),
            "longest": round(max(run.to_first_frame_s), 3),
        },
        "gap_error_frames": {"median": statistics.median(errors), "largest": max(errors)},
    }


def show(result: dict[str, Any]) -> None:
    """Print the figures for people."""
    table = Table(title=f"{result['cuts']} cuts of {result['down_s']:g} s at {result['fps']} FPS")
    table.add_column("what")
    table.add_column("value", justify="right")
    table.add_row("reconnects", str(result["reconnects"]))
    table.add_row("frames", str(result["frames"]))
    table.add_row("wrong frame indices", str(len(result["wrong_indices"])))
    table.add_row("first frame after the server is back, median s", f"{result['to_first_frame_s']['median']:.2f}")
    table.add_row("first frame after the server is back, longest s", f"{result['to_first_frame_s']['longest']:.2f}")
    table.add_row("error of the gap in the index, median frames", f"{result['gap_error_frames']['median']:g}")
    table.add_row("error of the gap in the index, largest frames", f"{result['gap_error_frames']['largest']:g}")
    Console().print(table)


if __name__ == "__main__":
    main()
