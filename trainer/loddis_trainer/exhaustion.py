"""What a training says where the machine has too little for it: memory, disk, open files."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from loddis_trainer.errors import TrainingError

__all__ = ["names_the_file", "says_what_is_short"]

ADVICE = "lower batch_size, size_hw or crop_hw"
WORKERS = "lower workers (0: no loader processes)"
OUT_OF_MEMORY = f"out of memory: {ADVICE}"


@contextmanager
def says_what_is_short() -> Iterator[None]:
    """Turn a lack of memory or files, here or in a process that loads for this one, into an error that says what helps.

    Raises:
        TrainingError: There was too little memory, too few files may be open, or a loader process was killed.
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise TrainingError(OUT_OF_MEMORY) from error
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise TrainingError(f"too many open files: raise the limit (ulimit -n), or {WORKERS}") from error
        if error.errno == errno.ENOMEM:
            raise TrainingError(OUT_OF_MEMORY) from error
        raise
    except RuntimeError as error:  # torch has no type of its own for these
        text = str(error)
        if "DefaultCPUAllocator" in text:
            raise TrainingError(OUT_OF_MEMORY) from error
        if "DataLoader worker (pid" in text:  # not what a worker raised, which says "in DataLoader worker process"
            raise TrainingError(
                f"a loader process ended, perhaps killed for want of memory: {WORKERS}, or {ADVICE}"
            ) from error
        raise


@contextmanager
def names_the_file(path: Path) -> Iterator[None]:
    """Put the name of a file to an error of writing it, as that of a full disk names none by itself.

    Raises:
        OSError: The one from within, with the name.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
