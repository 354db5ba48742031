"""The processes that prepare frames: how many there should be where nobody says, and how they start."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loddis_runtime.engines.threads import available_cores

__all__ = ["interrupts_wait", "suggest_loader_processes"]

# Where batches are handed over. Containers have 64 MiB of it, unless told otherwise.
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
MOST = 8
BATCHES_EACH = 2  # that a process prepares ahead
BATCHES_AT_WORK = 2  # the one of the step, and the one that comes next
LARGEST_SHARE = 0.5  # of the free shared memory: another training may be starting too


def suggest_loader_processes(
    batch_bytes: int, *, trainings: int = 1, cores: int | None = None, shared_memory: Path = SHARED_MEMORY
) -> int:
    """Give one for every two cores and at most eight, as far as the batches that they hold fit into shared memory.

    Args:
        batch_bytes: Of a batch's frames.
        trainings: Processes that train on this machine, each with loader processes of its own.
        cores: That all of them share; those that this process may use if none are given.
        shared_memory: Where it is mounted; a machine without such a place has no limit.

    Returns:
        0 where the process that trains should prepare frames itself.
    """
    share = (available_cores() if cores is None else cores) // (2 * trainings)
    if not shared_memory.is_dir():
        return min(MOST, share)
    batches = int(LARGEST_SHARE * shutil.disk_usage(shared_memory).free) // (batch_bytes * trainings)
    return max(0, min(MOST, share, (batches - BATCHES_AT_WORK) // BATCHES_EACH))


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Keep Ctrl-C until the block is over: in the midst of a fork it may be lost, or end the child alone.

    A process that is started within the block takes no notice of Ctrl-C later either; who started it has to end it.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)
