"""How many loader processes a training has where nobody says."""

from __future__ import annotations

import shutil
import signal
from collections import namedtuple
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lightning_fabric import Fabric

from loddis_trainer import building
from loddis_trainer.building import build_loader, open_mixture
from loddis_trainer.data import loader_processes
from loddis_trainer.data.loader_processes import interrupts_wait, suggest_loader_processes
from support.fitting import short_run, write_dark_and_bright

MIB = 2**20
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def roomy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(64 * MIB, 0, 64 * MIB))
    return tmp_path


@pytest.mark.parametrize(("cores", "trainings", "expected"), [(1, 1, 0), (2, 1, 1), (16, 1, 8), (64, 1, 8), (16, 4, 2)])
def test_half_of_the_cores_prepare_frames_and_trainings_share_them(
    roomy: Path, cores: int, trainings: int, expected: int
) -> None:
    found = suggest_loader_processes(MIB // 2, trainings=trainings, cores=cores, shared_memory=roomy)
    assert found == expected


@pytest.mark.parametrize(("batch_mib", "expected"), [(1, 8), (2, 7), (4, 3), (8, 1), (9, 0), (100, 0)])
def test_as_many_as_their_batches_fit_into_half_of_shared_memory(roomy: Path, batch_mib: int, expected: int) -> None:
    """A container has 64 MiB, and two trainings may start at once."""
    assert suggest_loader_processes(batch_mib * MIB, cores=32, shared_memory=roomy) == expected


def test_a_machine_without_a_place_for_shared_memory_has_no_limit(tmp_path: Path) -> None:
    assert suggest_loader_processes(2**50, cores=8, shared_memory=tmp_path / "none") == 4


@pytest.fixture
def heard() -> Iterator[None]:
    """Let Ctrl-C interrupt, as in a terminal; what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
def test_an_interrupt_waits_until_processes_have_started() -> None:
    done = []

    def start() -> None:
        with interrupts_wait():
            signal.raise_signal(signal.SIGINT)
            done.append("the rest of the block")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        start()
    assert done
    assert signal.getsignal(signal.SIGINT) is before
    with interrupts_wait():
        pass
    with pytest.raises(ValueError, match="a fault"), interrupts_wait():
        raise ValueError("a fault")
    assert signal.getsignal(signal.SIGINT) is before


def test_where_interrupts_are_ignored_they_stay_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts_wait():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_thread_beside_the_main_one_leaves_interrupts_alone() -> None:
    with ThreadPoolExecutor(1) as pool:

        def handler_within() -> object:
            with interrupts_wait():
                return signal.getsignal(signal.SIGINT)

        assert pool.submit(handler_within).result() is signal.getsignal(signal.SIGINT)


def test_more_processes_than_cores_are_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(building, "available_cores", lambda: 2)
    write_dark_and_bright(tmp_path, videos=2, frames=6)
    fabric = Fabric(accelerator="cpu", devices=1)
    for workers, told in ((2, ""), (3, "3 loader processes share 2 cores")):
        config = short_run(tmp_path, workers=workers)
        build_loader(config, open_mixture(config, "train", progress=False), fabric)
        assert told in caplog.text
        assert bool(told) == bool(caplog.text)


def test_a_training_takes_what_it_is_told_or_else_what_suits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader_processes, "available_cores", lambda: 6)
    write_dark_and_bright(tmp_path, videos=2, frames=6)
    fabric = Fabric(accelerator="cpu", devices=1)
    for asked, expected in ((None, 3), (0, 0), (5, 5)):
        config = short_run(tmp_path, workers=asked)
        assert build_loader(config, open_mixture(config, "train", progress=False), fabric).workers == expected
