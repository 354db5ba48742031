"""How many processes should prepare frames, where nobody says."""

from __future__ import annotations

import shutil
from pathlib import Path

from loddis_runtime.engines.threads import available_cores

__all__ = ["suggest_loader_processes"]

# Where batches are handed over. Containers have 64 MiB of it, unless told otherwise.
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
MOST = 8
BATCHES_EACH = 2  # that a process prepares ahead
BATCHES_AT_WORK = 2  # the one of the step, and the one that comes next


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
    batches = shutil.disk_usage(shared_memory).free // (batch_bytes * trainings)
    return max(0, min(MOST, share, (batches - BATCHES_AT_WORK) // BATCHES_EACH))
