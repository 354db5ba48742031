"""How frames gather into batches, and what happens to those that fail, wait too long, or are given up."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest

from loddis_server.batching import Batcher, StoppedError

TIMEOUT_S = 20.0


class FakeJob:
    """A job that remembers how it ended."""

    def __init__(self, number: int = 0, *, key: str = "model", poisonous: bool = False) -> None:
        self.number = number
        self.key = key
        self.poisonous = poisonous
        self.abandoned = False
        self.error: Exception | None = None
        self.ended = threading.Event()

    def fail(self, error: Exception) -> None:
        self.error = error
        self.ended.set()


class FakeNetwork:
    """A network that runs when it is allowed to, and remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.entered = threading.Event()
        self.may_run = threading.Event()
        self.may_run.set()

    def run(self, batch: Sequence[FakeJob]) -> None:
        self.entered.set()
        assert self.may_run.wait(TIMEOUT_S)
        self.batches.append([job.number for job in batch])
        if any(job.poisonous for job in batch):
            raise ValueError("poison")
        for job in batch:
            job.ended.set()

    def hold(self) -> None:
        """Let the next batch wait."""
        self.entered.clear()
        self.may_run.clear()


@pytest.fixture
def network() -> FakeNetwork:
    return FakeNetwork()


@pytest.fixture
def batcher(network: FakeNetwork) -> Iterator[Batcher[FakeJob]]:
    batcher = Batcher(network.run, max_batch_size=3)
    batcher.start()
    yield batcher
    network.may_run.set()
    batcher.stop(timeout_s=TIMEOUT_S)
    assert not batcher.alive


def wait_for(*jobs: FakeJob) -> None:
    for job in jobs:
        assert job.ended.wait(TIMEOUT_S), f"job {job.number} did not end"


def test_frames_gather_while_the_network_is_busy(network: FakeNetwork, batcher: Batcher[FakeJob]) -> None:
    jobs = [FakeJob(number) for number in range(6)]
    network.hold()
    batcher.submit(jobs[0])
    assert network.entered.wait(TIMEOUT_S)
    for job in jobs[1:]:
        batcher.submit(job)
    assert batcher.depth == 5
    assert batcher.busy_s > 0
    network.may_run.set()
    wait_for(*jobs)
    assert network.batches == [[0], [1, 2, 3], [4, 5]]


def test_models_do_not_share_a_batch_and_keep_their_turn(network: FakeNetwork, batcher: Batcher[FakeJob]) -> None:
    network.hold()
    first = FakeJob(0)
    batcher.submit(first)
    assert network.entered.wait(TIMEOUT_S)
    jobs = [FakeJob(number, key=key) for number, key in enumerate("abab", start=1)]
    for job in jobs:
        batcher.submit(job)
    network.may_run.set()
    wait_for(first, *jobs)
    assert network.batches == [[0], [1, 3], [2, 4]]


def test_a_bad_frame_fails_alone(network: FakeNetwork, batcher: Batcher[FakeJob]) -> None:
    network.hold()
    first = FakeJob(0)
    batcher.submit(first)
    assert network.entered.wait(TIMEOUT_S)
    jobs = [FakeJob(1), FakeJob(2, poisonous=True), FakeJob(3)]
    for job in jobs:
        batcher.submit(job)
    network.may_run.set()
    wait_for(*jobs)
    assert [type(job.error) for job in jobs] == [type(None), ValueError, type(None)]
    after = FakeJob(4)
    batcher.submit(after)
    wait_for(after)
    assert after.error is None


def test_what_is_given_up_is_not_run(network: FakeNetwork, batcher: Batcher[FakeJob]) -> None:
    network.hold()
    jobs = [FakeJob(number) for number in range(4)]
    batcher.submit(jobs[0])
    assert network.entered.wait(TIMEOUT_S)
    for job in jobs[1:]:
        batcher.submit(job)
    jobs[1].abandoned = jobs[3].abandoned = True
    network.may_run.set()
    wait_for(jobs[0], jobs[2])
    after = FakeJob(5)
    batcher.submit(after)
    wait_for(after)
    assert network.batches == [[0], [2], [5]]


def test_a_lone_frame_does_not_wait_for_a_deadline(network: FakeNetwork) -> None:
    batcher = Batcher(network.run, max_batch_size=3, deadline_s=3600.0, on_the_way=lambda: 0)
    batcher.start()
    job = FakeJob()
    batcher.submit(job)
    wait_for(job)
    batcher.stop(timeout_s=TIMEOUT_S)


def test_a_batch_waits_for_frames_on_their_way_until_it_is_full(network: FakeNetwork) -> None:
    batcher = Batcher(network.run, max_batch_size=2, deadline_s=3600.0, on_the_way=lambda: 1)
    batcher.start()
    jobs = [FakeJob(0), FakeJob(1)]
    batcher.submit(jobs[0])
    assert not jobs[0].ended.wait(0.05)
    batcher.submit(jobs[1])
    wait_for(*jobs)
    assert network.batches == [[0, 1]]
    batcher.stop(timeout_s=TIMEOUT_S)


def test_a_batch_closes_at_its_deadline(network: FakeNetwork) -> None:
    batcher = Batcher(network.run, max_batch_size=2, deadline_s=0.02, on_the_way=lambda: 1)
    batcher.start()
    job = FakeJob()
    batcher.submit(job)
    wait_for(job)
    batcher.stop(timeout_s=TIMEOUT_S)


def test_stopping_fails_what_waits_and_what_comes_later(network: FakeNetwork) -> None:
    batcher = Batcher(network.run, max_batch_size=1)
    batcher.start()
    network.hold()
    running, waiting, late = FakeJob(0), FakeJob(1), FakeJob(2)
    batcher.submit(running)
    assert network.entered.wait(TIMEOUT_S)
    batcher.submit(waiting)
    batcher.stop(timeout_s=0.0)
    batcher.submit(late)
    assert isinstance(waiting.error, StoppedError)
    assert isinstance(late.error, StoppedError)
    network.may_run.set()
    wait_for(running)
    assert running.error is None
    batcher.stop(timeout_s=TIMEOUT_S)
    assert not batcher.alive
    assert batcher.busy_s == 0


def test_a_batcher_that_never_started_can_be_stopped(network: FakeNetwork) -> None:
    Batcher(network.run, max_batch_size=1).stop(timeout_s=0.0)


def test_lanes_run_batches_side_by_side() -> None:
    together = threading.Barrier(2, timeout=TIMEOUT_S)

    def run(batch: Sequence[FakeJob]) -> None:
        together.wait()  # both lanes must be here at once
        for job in batch:
            job.ended.set()

    batcher: Batcher[FakeJob] = Batcher(run, max_batch_size=1, lanes=2)
    batcher.start()
    jobs = [FakeJob(number) for number in range(6)]
    for job in jobs:
        batcher.submit(job)
    wait_for(*jobs)
    batcher.stop(timeout_s=TIMEOUT_S)
    assert not batcher.alive
    assert batcher.busy_s == 0


def test_a_lane_that_hangs_shows_while_the_others_go_on(network: FakeNetwork) -> None:
    first = threading.Event()

    def run(batch: Sequence[FakeJob]) -> None:
        if batch[0].number == 0:
            first.set()
            assert network.may_run.wait(TIMEOUT_S)
        for job in batch:
            job.ended.set()

    batcher: Batcher[FakeJob] = Batcher(run, max_batch_size=1, lanes=2)
    batcher.start()
    network.hold()
    slow, quick = FakeJob(0), FakeJob(1)
    batcher.submit(slow)
    assert first.wait(TIMEOUT_S)
    batcher.submit(quick)
    wait_for(quick)
    assert batcher.busy_s > 0
    network.may_run.set()
    wait_for(slow)
    batcher.stop(timeout_s=TIMEOUT_S)
