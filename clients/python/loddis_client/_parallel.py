"""Many frames at once: what `detect_many` has in common, and the threads of the client that waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from loddis_client._errors import LoddisClientError, UsageError
from loddis_client._models import DetectionResult

__all__ = ["check_many", "in_parallel"]


def check_many(*, concurrency: int, on_error: str) -> None:
    """Refuse options of `detect_many` that make no sense."""
    if concurrency < 1:
        raise UsageError(f"concurrency must be at least 1, got {concurrency}")
    if on_error not in ("raise", "yield"):
        raise UsageError(f"on_error must be 'raise' or 'yield', got {on_error!r}")


def in_parallel(
    one: Any, frames: Iterable[Any], *, concurrency: int, ordered: bool
) -> Iterator[DetectionResult | LoddisClientError]:
    """Do frames side by side, and give what comes of them in their order or as it comes."""
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="loddis-client")
    running: deque[Future[DetectionResult | LoddisClientError]] = deque()
    try:
        for frame in frames:
            running.append(pool.submit(one, frame))
            if len(running) >= concurrency:
                yield _next_done(running, ordered=ordered).result()
        while running:
            yield _next_done(running, ordered=ordered).result()
    finally:
        for future in running:
            future.cancel()
        pool.shutdown(wait=True)


def _next_done(running: deque[Future[Any]], *, ordered: bool) -> Future[Any]:
    if ordered:
        return running.popleft()
    done = next(iter(wait(running, return_when=FIRST_COMPLETED).done))
    running.remove(done)
    return done
