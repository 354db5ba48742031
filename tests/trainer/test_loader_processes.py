"""How many loader processes a training has where nobody says, how they start, and what they give."""

from __future__ import annotations

import signal
import subprocess
import sys
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

OPENED = """
import errno, gc, hashlib, multiprocessing, os, resource, signal, sys, tempfile
from pathlib import Path
from loddis_runtime.intensity import FullRange
from loddis_trainer.data import AugmentConfig, DataError, EpochPlan, Mixture, TrainingLoader, TrainingSamples
root = Path(sys.argv[1])
mixture = Mixture.open(
    ["dark"], ["bright"], split="train", seed=0, data_root=root, cache_dir=root / "cache", progress=False
)
changes = AugmentConfig(flip=0.5, scale=0.2, shift=0.1, gain=0.2, offset=0.1, noise=0.02)
def load(samples=TrainingSamples, *, workers, batch_size=5, steps=12):
    asked = samples(mixture, size_hw=(64, 64), window=1, intensity=FullRange(), augmentation=changes, seed=0)
    plan = EpochPlan(batch_size=batch_size, steps_per_epoch=steps)
    return TrainingLoader(asked, plan, workers=workers).epoch(1)
"""
DIGESTS = """
tempfile.tempdir = "/nowhere/" + 100 * "x"
for workers in (0, 1, 2):
    digest = hashlib.sha256()
    for batch in list(load(workers=workers)):
        digest.update(batch.frames.numpy().tobytes() + "".join(batch.names).encode())
        for boxes, labels in zip(batch.boxes_xyxy, batch.class_ids, strict=True):
            digest.update(boxes.numpy().tobytes() + labels.numpy().tobytes())
        digest.update(batch.domain_ids.numpy().tobytes())
    print(digest.hexdigest())
"""
FEW_FILES = """
opened, most = len(os.listdir("/proc/self/fd")), resource.getrlimit(resource.RLIMIT_NOFILE)[1]
for more in range(40):
    if os.fork():
        os.wait()  # one after the other, each with the files of the first
        continue
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened + more, most))
    try:
        print(sum(len(batch.boxes_xyxy) for batch in load(workers=1, batch_size=48, steps=2)), flush=True)
    except OSError as error:
        print(errno.errorcode[error.errno], flush=True)
    os._exit(0)
"""
FAULTS = """
for fault in (DataError("a frame is gone"), OSError(errno.EMFILE, "no more"), MemoryError(), KeyError("a plain fault")):
    class Faulty(TrainingSamples):
        def __getitem__(self, draw):
            raise fault
    try:
        list(load(Faulty, workers=1))
    except Exception as error:
        print(type(error).__name__, str(error).splitlines()[-1:], sep=": ")
"""
INTERRUPTED = """
signal.signal(signal.SIGINT, signal.default_int_handler)
start, started = multiprocessing.Process.start, []
def interrupted(process):
    start(process)
    started.append(process)
    signal.raise_signal(signal.SIGINT)
multiprocessing.context.ForkProcess.start = interrupted
try:
    next(load(workers=2))
except KeyboardInterrupt:
    print("interrupted after", len(started))
print([process.is_alive() for process in started], signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dark_and_bright(tmp_path_factory.mktemp("domains"), videos=2, frames=6)


def in_own_process(script: str, domains: Path) -> list[str]:
    """Give the lines that a script prints: loader processes are forked, and that of the tests is full of threads."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", OPENED + script, str(domains)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_batches_do_not_depend_on_the_number_of_processes(domains: Path) -> None:
    """Nor do they change when later ones come; no temporary folder is needed."""
    digests = in_own_process(DIGESTS, domains)
    assert len(digests) == 3
    assert len(set(digests)) == 1


def test_too_few_files_are_told_of_and_a_large_batch_needs_no_more_than_a_small_one(domains: Path) -> None:
    """Sooner or later the limit is enough; nowhere on the way does a training wait for ever."""
    given = in_own_process(FEW_FILES, domains)
    assert len(given) == 40
    assert given[0] == "EMFILE"
    assert given == sorted(given, reverse=True)
    assert given[-20:] == ["96"] * 20


def test_faults_of_a_process_are_raised_as_they_were_there(domains: Path) -> None:
    assert in_own_process(FAULTS, domains) == [
        "DataError: ['a frame is gone']",
        "OSError: ['[Errno 24] no more']",
        "MemoryError: []",
        "KeyError: [\"KeyError: 'a plain fault'\"]",
    ]


def test_ctrl_c_while_they_start_ends_all_of_them(domains: Path) -> None:
    assert in_own_process(INTERRUPTED, domains) == ["interrupted after 2", "[False, False] True"]


@pytest.mark.parametrize(("cores", "trainings", "expected"), [(1, 1, 0), (2, 1, 1), (16, 1, 8), (64, 1, 8), (16, 4, 2)])
def test_half_of_the_cores_prepare_frames_and_trainings_share_them(cores: int, trainings: int, expected: int) -> None:
    assert suggest_loader_processes(trainings=trainings, cores=cores) == expected


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
