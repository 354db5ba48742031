"""The event database, where it does not work: said in the same words by every route that needs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from loddis_server.events import StoreUnavailableError
from loddis_server.problems import EVENTS_UNAVAILABLE, ProblemError

__all__ = ["database_refusals"]


@contextmanager
def database_refusals() -> Iterator[None]:
    """Turn what the database cannot do now into a problem that says when to come back."""
    try:
        yield
    except StoreUnavailableError as error:
        raise ProblemError(EVENTS_UNAVAILABLE, f"the event database is {error.fault}") from error
