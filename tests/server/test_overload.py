"""Asked for more than it can do, the server stays itself: it refuses at once, and is as quick for those it lets in."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from loddis_runtime.detector import Detector, PreparedFrame
from support.benchmark_modules import benchmark_module, run_benchmark
from support.frame_files import spot_frame
from support.live_server import LiveServer, settings_for

RUN_S = 0.1  # of the network: long beside all else, so that a busy machine does not decide what is measured
ATTEMPTS = 3  # of a load, while the machine does other work: the last one counts, whatever it was like


class SteadyNetwork:
    """Lets the network take a known time and no processor, so that a load measures the queue alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gains_by_batches = False
        self._overrun_s = 0.0
        infer = Detector.infer
        steady = self

        def infer_steadily(detector: Detector, prepared: Sequence[PreparedFrame]) -> NDArray[np.float32]:
            ends = time.perf_counter() + RUN_S * (1 if steady.gains_by_batches else len(prepared))
            raw = infer(detector, prepared)
            time.sleep(max(0.0, ends - time.perf_counter()))
            steady._overrun_s = max(steady._overrun_s, time.perf_counter() - ends)
            return raw

        monkeypatch.setattr(Detector, "infer", infer_steadily)

    def reset_overrun(self) -> float:
        """Give by how much the worst run took longer than it was to, seconds, and forget it."""
        overrun_s, self._overrun_s = self._overrun_s, 0.0
        return overrun_s


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> SteadyNetwork:
    return SteadyNetwork(monkeypatch)


@pytest.mark.parametrize("gains_by_batches", [False, True])
def test_at_four_times_the_capacity_who_is_let_in_waits_no_longer_than_one_run(
    repository: Path, network: SteadyNetwork, gains_by_batches: bool
) -> None:
    generator = benchmark_module("load_generator")
    network.gains_by_batches = gains_by_batches
    capacity = (4 if gains_by_batches else 1) / RUN_S  # frames a second, in batches of four
    with LiveServer(settings_for(repository, max_batch_size=4, queue_capacity=8)) as server:
        requests = [generator.detect_request(spot_frame((40, 30), dtype=np.uint16), server.url)]
        for attempt in range(ATTEMPTS):
            alone = asyncio.run(generator.closed_loop(server.url, requests, clients=1, seconds=1.0))
            load = asyncio.run(generator.open_loop(server.url, requests, rate=4 * capacity, seconds=4.0))
            # Who is late with the load itself, or with the sleep that is the network's, measures the machine.
            if max(load.worst_lag_s, network.reset_overrun()) < 0.2 * RUN_S or attempt == ATTEMPTS - 1:
                break
    assert {answer.status for answer in load.answers} == {200, 503}
    assert all(answer.retry_after_s is not None for answer in load.answers if answer.status == 503)
    settled_s = 1.5  # the burst at the start is let in whole, and worked off by then
    admitted = load.latencies_ms(200, after_s=settled_s)
    # Of medians, and with some to spare: machines that do other work have tails of their own.
    assert np.median(admitted) <= 2.3 * np.median(alone.latencies_ms(200))
    assert np.median(load.latencies_ms(503, after_s=settled_s)) < RUN_S * 1e3
    assert len(admitted) >= 0.7 * (load.seconds - settled_s) * capacity  # the network is kept busy, in full batches


def test_the_overload_benchmark_finds_a_server_that_refuses_in_good_order(tmp_path: Path) -> None:
    out = tmp_path / "overload.json"
    done = run_benchmark(
        "overload", "--seconds", "0.5", "--overload-seconds", "3", "--threads", "1", "--json", str(out)
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text())
    assert figures["saturation"].keys() == {"1", "4"}
    assert figures["saturation"]["4"]["generator, share of a core"] < 0.5
    overload = figures["overload"]
    assert not overload["server ended"]
    assert overload["answers by status"].keys() <= {"200", "503"}
    assert overload["answers by status"]["200"] > 0
    assert overload["refusals without Retry-After"] == 0
    # Machines that do other work are slow at both: a refusal is still no matter of running the network.
    assert overload["refusal p50, ms"] < figures["unloaded"]["p99, ms"]
    assert overload["memory growth"] < 0.1
