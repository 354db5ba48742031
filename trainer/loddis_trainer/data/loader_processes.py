"""Processes that prepare the batches of a training: how many where nobody says, how they start, what they give.

Frames come through memory that a training and its processes share: anonymous, so that it takes neither of /dev/shm, of
which containers have 64 MiB, nor file descriptors, names and sockets, as sharing tensors would. All else of a batch,
and what went wrong, comes by a pipe as plain data. So there is nothing in handing over that could fail in a thread
which only prints it, while the training waits for ever.

Legend: B batch, T frames of the window, H W network pixels, M ground truths of all B frames.
"""

from __future__ import annotations

import mmap
import signal
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from loddis_runtime.engines.threads import available_cores
from loddis_runtime.errors import LoddisError
from loddis_trainer.data.batch import Batch, collate
from loddis_trainer.data.samples import Draw, TrainingSamples

__all__ = ["batches_of_processes", "interrupts_wait", "suggest_loader_processes"]

MOST = 8
AHEAD = 2  # batches that each prepares before they are asked for


def suggest_loader_processes(*, trainings: int = 1, cores: int | None = None) -> int:
    """Give one for every two cores, and at most eight; 0 where the process that trains should prepare frames itself.

    Args:
        trainings: Processes that train on this machine, each with loader processes of its own.
        cores: That all of them share; those that this process may use if none are given.
    """
    return min(MOST, (available_cores() if cores is None else cores) // (2 * trainings))


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


def batches_of_processes(
    samples: TrainingSamples, batches: Sequence[Sequence[Draw]], *, workers: int
) -> Iterator[Batch]:
    """Prepare batches in processes that are forked now, and give them in their order.

    Args:
        samples: Looked up in the processes.
        batches: What each is to hold.
        workers: Processes, at least 1.

    Raises:
        LoddisError: A process met it; so with OSError and MemoryError, each as it was raised there.
        RuntimeError: Another fault of a process, with its traceback, or a process ended.
    """
    if not batches:
        return
    # Those that are being prepared, and the one that is being taken: the next is begun while this is not copied yet.
    places = min(len(batches), workers * AHEAD + 1)
    shape = (places, max(len(one) for one in batches), samples.window, *(samples.crop_hw or samples.size_hw))
    memory = mmap.mmap(-1, int(np.prod(shape)) * torch.float32.itemsize)
    frames = torch.frombuffer(memory, dtype=torch.float32).view(shape)
    with interrupts_wait(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")  # more processes than cores
        # Those need none of its threads, and locks that one of these may be holding are made anew after a fork.
        warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork")
        arriving: Iterator[_Prepared | _Fault] = iter(
            DataLoader(
                _Preparation(samples, batches, frames),
                batch_size=None,
                num_workers=workers,
                prefetch_factor=AHEAD,
                collate_fn=_as_it_is,
                multiprocessing_context="fork",  # what is shared is inherited
                generator=torch.Generator(),  # else it takes a number out of the training's chances
            )
        )
    for number, one in enumerate(arriving):
        if isinstance(one, _Fault):
            raise one.error
        yield one.batch(frames[number % places])


class _Prepared(NamedTuple):
    """A batch whose frames are in shared memory: its other parts as plain data."""

    boxes_xyxy: NDArray[np.float32]  # (M, 4)
    class_ids: NDArray[np.int64]  # (M,)
    counts: list[int]  # of targets, B of them
    domain_ids: list[int]
    names: list[str]

    @classmethod
    def of(cls, batch: Batch) -> _Prepared:
        """Give all of a batch but its frames."""
        return cls(
            torch.cat(batch.boxes_xyxy).numpy(),
            torch.cat(batch.class_ids).numpy(),
            [len(boxes) for boxes in batch.boxes_xyxy],
            batch.domain_ids.tolist(),
            batch.names,
        )

    def batch(self, frames: Tensor) -> Batch:
        """Give the batch, with frames of its own; `frames` ``(≥ B, T, H, W)`` are where they lie."""
        return Batch(
            frames[: len(self.names)].clone(),
            list(torch.split(torch.from_numpy(self.boxes_xyxy), self.counts)),
            list(torch.split(torch.from_numpy(self.class_ids), self.counts)),
            torch.tensor(self.domain_ids),
            self.names,
        )


class _Fault(NamedTuple):
    """What a process met instead."""

    error: Exception


class _Preparation(Dataset["_Prepared | _Fault"]):
    """Batches by their number, each in its place of the shared memory ``(places, ≥ B, T, H, W)``."""

    def __init__(self, samples: TrainingSamples, batches: Sequence[Sequence[Draw]], frames: Tensor) -> None:
        self.samples, self.batches, self.frames = samples, batches, frames

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> _Prepared | _Fault:
        draws = self.batches[number]
        try:
            out = self.frames[number % len(self.frames), : len(draws)]
            return _Prepared.of(collate([self.samples[draw] for draw in draws], out=out))
        except (LoddisError, OSError, MemoryError) as error:
            error.add_note(f"in a loader process:\n{traceback.format_exc()}")
            return _Fault(error.with_traceback(None))


def _as_it_is(prepared: Any) -> Any:
    """Leave arrays what they are; they would be made tensors."""
    return prepared
