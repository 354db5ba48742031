"""What the store of events raises, and how the databases' own errors are told apart.

EventStoreError
├── StoreUnavailableError   it does not work now, and may later: locked, full, out of reach, corrupt
├── SchemaError             it is of another release, or not of Loddis
└── EventRefusedError       it works, and does not take this event
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from sqlalchemy import exc

from loddis_runtime.errors import LoddisError

__all__ = ["EventRefusedError", "EventStoreError", "Fault", "SchemaError", "StoreUnavailableError", "translated_errors"]

Fault = Literal["locked", "full", "unreachable", "corrupt"]

SQLITE_FAULTS: dict[int, Fault] = {
    sqlite3.SQLITE_BUSY: "locked",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_CORRUPT: "corrupt",
    sqlite3.SQLITE_NOTADB: "corrupt",
}
POSTGRESQL_FAULTS: dict[str, Fault] = {
    "53100": "full",  # disk_full
    "55P03": "locked",  # lock_not_available
    "57014": "locked",  # query_canceled, which is how statement_timeout ends a statement
    "XX001": "corrupt",  # data_corrupted
    "XX002": "corrupt",  # index_corrupted
}


class EventStoreError(LoddisError):
    """The event database cannot be used."""


class StoreUnavailableError(EventStoreError):
    """The event database does not work now; it is worth trying again.

    Attributes:
        fault: What is wrong with it.
    """

    def __init__(self, fault: Fault, cause: str) -> None:
        super().__init__(f"the event database is {fault}: {cause}")
        self.fault = fault

    @property
    def is_passing(self) -> bool:
        """Whether it may work again by itself, so that a server starts without it."""
        return self.fault != "corrupt"


class SchemaError(EventStoreError):
    """The event database is of another release, or its tables are not Loddis's."""


class EventRefusedError(EventStoreError):
    """The event database works, but does not take what it was given."""


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise the databases' own errors as those of this module; none holds values or the database's address."""
    try:
        yield
    except (exc.DataError, exc.IntegrityError) as error:
        raise EventRefusedError(_cause(error)) from None
    except exc.DBAPIError as error:
        raise StoreUnavailableError(_fault(error), _cause(error)) from None
    except exc.StatementError as error:  # a value that the driver cannot pass on
        raise EventRefusedError(_cause(error)) from None
    except exc.TimeoutError:
        raise StoreUnavailableError("unreachable", "all connections are in use") from None
    except OSError as error:
        raise StoreUnavailableError("unreachable", f"{error.strerror}: {error.filename}") from None


def _fault(error: exc.DBAPIError) -> Fault:
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        code: int = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        return SQLITE_FAULTS.get(code & 0xFF, "unreachable")  # the low byte; the rest is detail
    return POSTGRESQL_FAULTS.get(getattr(cause, "sqlstate", None) or "", "unreachable")


def _cause(error: exc.StatementError) -> str:
    lines = str(error.orig).splitlines()
    return lines[0] if lines else type(error.orig).__name__
