"""Spoiled files and bombs against the decoders, in a process that may die of them, and a sample over HTTP.

    python benchmarks/fuzz_decoders.py --cases 10000 --json benchmarks/results/fuzz_decoders.json
    python benchmarks/fuzz_decoders.py --seed 0 --case 4711      # one case alone, as a report names it

A body is decoded or refused with a problem document; all else is a failure: another exception, a crash, processor time
over the limit, memory over the limit, memory that grows. Every case follows from seed and number alone.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
import httpx
from fuzz_seeds import HARMLESS_BOMBS, Body, bombs, seeds
from machine import describe_machine, keep_result
from mutations import mutate
from process_watch import Watch, resident_bytes, theil_sen_slope
from rich.console import Console

from loddis_server.bodies import plan_body
from loddis_server.local import running_server_process
from loddis_server.problems import ProblemError

Decoder = Callable[[Body], str]

MAX_PIXELS = 2**20
PROCESSOR_LIMIT_S = 2.0  # of one body; the largest that is let in takes a tenth of it
SILENCE_LIMIT_S = 60.0  # after which the process is taken to hang
# What one small body may take while it is decoded: its pixels a few times over, and the tables of a decoder.
PEAK_LIMIT_BYTES = 16 * MAX_PIXELS
# A bomb is refused by what it says: no more than its own bytes again, and some for what the interpreter does.
BOMB_PEAK_BYTES = 8 * 2**20
GROWTH_LIMIT = 0.02  # of memory, from the end of the first quarter on
REPORT_EVERY = 50


@dataclass(frozen=True, slots=True)
class Failure:
    """What should not have happened."""

    case: str
    """Number of the case, or name of the bomb."""
    body: str
    """Format and variant that it was made from."""
    cause: str
    """What happened."""


def main() -> None:
    """Fuzz, print, write JSON if asked; exit with 1 if anything failed."""
    options = parse_options()
    console = Console()
    if options.case is not None:
        named = {bomb.name: bomb for bomb in bombs()}
        body = named[options.case] if options.case in named else case_of(options.seed, int(options.case))
        console.print(f"{body.name}, {len(body.content)} bytes, {dict(body.headers)}", markup=False)
        console.print(decode(body), markup=False)
        return
    failures, outcomes, memory = fuzz(options.seed, options.cases)
    failures += drop_bombs()
    statuses, server_failures = fuzz_over_http(options.seed, options.cases, options.http)
    failures += server_failures
    result = {
        "machine": describe_machine("numpy", "opencv-python-headless"),
        "seed": options.seed,
        "cases": options.cases,
        "outcomes": outcomes,
        "bombs": len(list(bombs())),
        "memory": memory,
        "http": statuses,
        "failures": [{"case": failure.case, "body": failure.body, "cause": failure.cause} for failure in failures],
    }
    console.print_json(json.dumps({name: result[name] for name in ("outcomes", "http", "memory", "bombs")}))
    for failure in failures:
        console.print(
            f"FAILED {failure.body}: {failure.cause}\n"
            f"  python benchmarks/fuzz_decoders.py --seed {options.seed} --case '{failure.case}'",
            markup=False,
        )
    keep_result(result, options.json)
    sys.exit(1 if failures else 0)


def parse_options() -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cases", type=int, default=10_000, help="spoiled bodies that are decoded in process")
    parser.add_argument("--http", type=int, default=1000, help="of these, sent to a server as well")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations")
    parser.add_argument("--case", help="run this one alone, in this process: a number, or the name of a bomb")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args()


def case_of(seed: int, number: int) -> Body:
    """Make the body of a case."""
    rng = random.Random(f"{seed}:{number}")
    pool = seeds()
    return mutate(rng, pool[number % len(pool)], pool)


def decode(body: Body) -> str:
    """Decode a body as the server does; give the outcome.

    Returns:
        The slug of the problem, or `frame`.
    """
    try:
        plan_body(body.headers, max_pixels=MAX_PIXELS)(body.content).read()
    except ProblemError as error:
        return error.kind.slug
    return "frame"


def fuzz(seed: int, cases: int, decoder: Decoder = decode) -> tuple[list[Failure], dict[str, int], dict[str, float]]:
    """Decode all cases in a process of their own; start another after one that died.

    Args:
        seed: Of the mutations.
        cases: How many.
        decoder: Gives the outcome of a body; a function of a module.

    Returns:
        Failures, how often each outcome was, and what became of memory.
    """
    failures: list[Failure] = []
    outcomes: Counter[str] = Counter()
    levels: list[tuple[float, float]] = []  # number of the case, resident bytes; of the last process
    number = 0
    context = multiprocessing.get_context("spawn")
    while number < cases:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_decode_from, args=(sender, decoder, seed, number, cases), daemon=True)
        process.start()
        sender.close()
        levels.clear()
        cause = "the process died"
        try:
            while number < cases:
                if not receiver.poll(SILENCE_LIMIT_S):
                    cause = f"no end after {SILENCE_LIMIT_S:g} s"
                    break
                number, outcome, fault, resident = receiver.recv()
                outcomes[outcome] += 1
                levels.append((number, resident))
                if fault:
                    failures.append(Failure(str(number), case_of(seed, number).name, fault))
                number += 1
        except EOFError:
            pass
        process.kill()
        process.join()
        if number < cases:
            failures.append(Failure(str(number), case_of(seed, number).name, f"{cause}, status {process.exitcode}"))
            number += 1
    memory = _growth(levels)
    if memory["growth"] > GROWTH_LIMIT:
        failures.append(Failure("all", "all", f"memory grew by {memory['growth']:.1%}"))
    return failures, dict(outcomes.most_common()), memory


def _growth(levels: list[tuple[float, float]]) -> dict[str, float]:
    """Say by how much memory grew after the first quarter: by the robust slope, for the rest of the cases."""
    settled = levels[len(levels) // 4 :]
    if not settled:
        return {"growth": 0.0, "resident_mb": 0.0}
    numbers, resident = zip(*settled, strict=True)
    grown = theil_sen_slope(numbers, resident) * (numbers[-1] - numbers[0]) / resident[0]
    return {"growth": round(grown, 4), "resident_mb": round(resident[-1] / 1e6, 1)}


def _decode_from(sender: Connection, decoder: Decoder, seed: int, first: int, cases: int) -> None:
    """Decode cases one after the other, and tell of each: number, outcome, what was wrong, resident bytes."""
    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    for number in range(first, cases):
        body = case_of(seed, number)
        fault = ""
        before = reset_peak()
        started = time.process_time()
        try:
            outcome = decoder(body)
        except Exception:
            outcome, fault = "failed", traceback.format_exc(limit=-3)
        seconds = time.process_time() - started
        taken = peak_bytes() - before
        if seconds > PROCESSOR_LIMIT_S:
            fault = f"{seconds:.1f} s of processor time"
        elif taken > PEAK_LIMIT_BYTES + len(body.content):
            fault = f"{taken / 2**20:.0f} MiB of memory for {len(body.content)} bytes"
        sender.send((number, outcome, fault, resident_bytes(_self_pid())))


def drop_bombs() -> list[Failure]:
    """Decode every bomb, in little memory and time."""
    failures = []
    for bomb in bombs():
        before = reset_peak()
        started = time.process_time()
        outcome = decode(bomb)
        seconds, taken = time.process_time() - started, peak_bytes() - before
        if (outcome == "frame") != (bomb.name in HARMLESS_BOMBS):
            failures.append(Failure(bomb.name, bomb.name, f"the outcome is {outcome}"))
        if taken > BOMB_PEAK_BYTES + len(bomb.content) or seconds > PROCESSOR_LIMIT_S:
            failures.append(Failure(bomb.name, bomb.name, f"{taken / 2**20:.0f} MiB, {seconds:.1f} s"))
    return failures


def fuzz_over_http(seed: int, cases: int, wanted: int) -> tuple[dict[str, int], list[Failure]]:
    """Send some of the cases, and all bombs, to a real server."""
    failures: list[Failure] = []
    statuses: Counter[str] = Counter()
    numbers = range(0, cases, max(1, cases // wanted)) if wanted else range(0)
    settings = {"LODDIS_MAX_FRAME_PIXELS": str(MAX_PIXELS), "LODDIS_LOG_LEVEL": "error"}
    with (
        tempfile.TemporaryDirectory() as scratch,
        running_server_process("sky-nano", settings=settings, log=Path(scratch) / "log") as server,
        httpx.Client(base_url=server.url, timeout=SILENCE_LIMIT_S, trust_env=False) as client,
        Watch(server.pid, interval_s=0.5) as watch,
    ):
        named = [(str(number), case_of(seed, number)) for number in numbers]
        for name, body in [*named, *((bomb.name, bomb) for bomb in bombs())]:
            headers = [(header.encode(), text.encode("latin-1", "replace")) for header, text in body.headers.items()]
            try:
                status = client.post("/v1/detect", content=body.content, headers=headers).status_code
            except httpx.LocalProtocolError:  # a header that no client of HTTP sends
                continue
            except httpx.HTTPError as error:
                failures.append(Failure(name, body.name, f"no answer: {error!r}"))
                continue
            statuses[str(status)] += 1
            if status >= 500 and status != 503:
                failures.append(Failure(name, body.name, f"answered {status}"))
    if watch.is_gone:
        failures.append(Failure("all", "all", "the server ended"))
    return dict(sorted(statuses.items())), failures


def reset_peak() -> int:
    """Begin to measure the peak of resident memory anew; give what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")
    return resident_bytes(_self_pid())


def peak_bytes() -> int:
    """Give the peak of resident memory since `reset_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def _self_pid() -> int:
    return multiprocessing.current_process().pid or 0


if __name__ == "__main__":
    main()
