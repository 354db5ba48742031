"""A server in use for half an hour: what it holds must not grow. Exits with 1 if it does.

    python benchmarks/soak.py --json benchmarks/results/soak.json

A burst brings the server's pools of threads to their size, mixed traffic warms it up, and it rests, without a
connection; then comes the traffic that counts, and another rest. Memory is judged by the median slope between any two
of its samples under that traffic (Theil-Sen), times its length: no single spike, nor a lucky last sample, decides it.
Threads, files and child processes are judged at rest: there may be no more of them than at the first rest.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from machine import describe_machine, keep_result
from process_watch import ProcessSample, Watch, sample_process, theil_sen_slope
from rich.console import Console
from rich.table import Table
from soak_traffic import fill_pools, run_traffic
from soak_visit import Tally

from loddis_server.local import RunningServer, running_server_process

WARM_UP_SHARE = 0.2  # of the whole time
REST_S = 6.0  # a second more than the server lingers on a connection whose body it did not want
REST_LIMIT_S = 30.0
IDLE_S = 2.0  # after which a stream ends: some do under the traffic, and all do at rest
KEPT_SAMPLES = 120  # in the JSON
HELD = ("threads", "files", "children")


def main() -> None:
    """Soak, print, write JSON if asked; exit with 1 if anything grew or failed."""
    options = parse_options()
    seconds = 60 * options.minutes
    warm_up_s = WARM_UP_SHARE * seconds
    tally = Tally()
    with tempfile.TemporaryDirectory() as scratch, serving(options.model, Path(scratch)) as server:
        traffic = partial(run_traffic, server.url, tally=tally, folder=Path(scratch))
        asyncio.run(fill_pools(server.url))
        asyncio.run(traffic(seconds=warm_up_s, seed=options.seed))
        first = rest(server.pid, None)
        with Watch(server.pid) as watch:
            asyncio.run(traffic(seconds=seconds - warm_up_s, seed=options.seed + 1))
        last = rest(server.pid, first)
    result = {
        "machine": describe_machine("onnxruntime", "numpy", "fastapi", "uvicorn"),
        "model": options.model,
        "minutes": options.minutes,
        "answers": dict(sorted(tally.statuses.items())),
        **judge(watch.samples, first, last, tally.faults, memory_limit=options.memory_limit),
    }
    show(result)
    keep_result(result, options.json)
    sys.exit(1 if result["failures"] else 0)


def parse_options() -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="sky-nano", help="shipped name")
    parser.add_argument("--minutes", type=float, default=30.0, help="of traffic, warm-up included")
    parser.add_argument(
        "--memory-limit", type=float, default=0.02, help="growth of memory that is let pass, as a share"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the traffic")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args()


def serving(model: str, folder: Path) -> AbstractContextManager[RunningServer]:
    """Run a server that may read the videos of a folder, and ends idle streams before it is looked at."""
    settings = {
        "LODDIS_LOG_LEVEL": "warning",
        "LODDIS_SOURCES": json.dumps({"folders": [str(folder)]}),
        "LODDIS_STREAMS": json.dumps({"idle_timeout_s": IDLE_S}),
    }
    return running_server_process(model, settings=settings, log=folder / "log")


def rest(pid: int, before: ProcessSample | None) -> ProcessSample:
    """Look at a server that has no connection any more.

    Args:
        pid: Of the server.
        before: What it held at an earlier rest: it gets some more time to come down to that.
    """
    ends = time.monotonic() + REST_LIMIT_S
    time.sleep(REST_S)
    sample = sample_process(pid)
    while before is not None and grown(before, sample) and time.monotonic() < ends:
        time.sleep(REST_S / 10)
        sample = sample_process(pid)
    return sample


def grown(before: ProcessSample, after: ProcessSample) -> list[str]:
    """Name what there is more of."""
    return [name for name in HELD if getattr(after, name) > getattr(before, name)]


def judge(
    samples: Sequence[ProcessSample],
    first: ProcessSample,
    last: ProcessSample,
    faults: Sequence[str],
    *,
    memory_limit: float,
) -> dict[str, Any]:
    """Say what grew.

    Args:
        samples: Under the traffic that counts, oldest first.
        first: At the rest before it.
        last: At the rest after it.
        faults: What clients saw and should not have.
        memory_limit: Growth that is let pass, as a share of what was resident at first.

    Returns:
        Figures, and under `failures` a sentence for each that is not as it should be.
    """
    times_s = [sample.time_s for sample in samples]
    resident = [float(sample.resident_bytes) for sample in samples]
    growth = theil_sen_slope(times_s, resident) * (times_s[-1] - times_s[0]) / resident[0]
    failures = [*faults]
    if growth >= memory_limit:
        failures.append(f"memory grew by {growth:.1%}, the limit is {memory_limit:.1%}")
    failures += [
        f"{name} at rest: {getattr(first, name)} before the traffic, {getattr(last, name)} after it"
        for name in grown(first, last)
    ]
    step = -(-len(samples) // KEPT_SAMPLES)
    return {
        "memory growth": round(growth, 4),
        "resident MB": [round(value / 1e6, 1) for value in resident[::step]],
        "at rest": {name: [getattr(first, name), getattr(last, name)] for name in HELD},
        "most at once": {name: max(getattr(sample, name) for sample in samples) for name in HELD},
        "processor share": round((samples[-1].processor_s - samples[0].processor_s) / (times_s[-1] - times_s[0]), 2),
        "failures": failures,
    }


def show(result: dict[str, Any]) -> None:
    """Print the figures for people."""
    table = Table(title=f"{result['minutes']:g} minutes of {result['model']} on {result['machine']['processor']}")
    table.add_column("")
    table.add_column("before", justify="right")
    table.add_column("after", justify="right")
    for name, (before, after) in result["at rest"].items():
        table.add_row(f"{name} at rest", str(before), str(after))
    table.add_row("resident under traffic, MB", str(result["resident MB"][0]), str(result["resident MB"][-1]))
    table.add_row("growth of memory, robust", "", f"{result['memory growth']:.2%}")
    table.add_row("requests", "", str(sum(result["answers"].values())))
    console = Console()
    console.print(table)
    for failure in result["failures"]:
        console.print(f"FAILED {failure}", markup=False)


if __name__ == "__main__":
    main()
