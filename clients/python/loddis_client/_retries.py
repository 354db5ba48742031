"""When to try again, and how long to wait before."""

from __future__ import annotations

import random
from dataclasses import dataclass

from loddis_client._errors import UsageError

__all__ = ["RetryPolicy"]

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Tries after the first one, for a server that is full or cannot be reached.

    Detecting in a frame changes nothing on the server, so such a request may be sent again where it got lost. One that
    changes a stream is not repeatable, see `Request`.

    Attributes:
        retries: How many.

    Raises:
        UsageError: Fewer than none.
    """

    retries: int

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise UsageError(f"retries must be at least 0, got {self.retries}")

    def pause_s(self, attempt: int, *, retry_after_s: float | None = None) -> float | None:
        """Give the seconds to wait after failed attempt number `attempt` (from 0); ``None``: give up.

        The pause doubles from try to try, and is stretched by up to half at random so that clients that failed together
        do not come back together. What the server asked for is kept, up to 5 s.
        """
        if attempt >= self.retries:
            return None
        wanted = FIRST_PAUSE_S * 2**attempt if retry_after_s is None else retry_after_s
        return min(LONGEST_PAUSE_S, wanted * (1 + random.random() / 2))
