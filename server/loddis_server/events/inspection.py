"""What a server would find in its event database: looked at, with nothing made and nothing changed."""

from __future__ import annotations

from pathlib import Path

from loddis_server.events.database import connect_to_read
from loddis_server.events.errors import translated_errors
from loddis_server.events.schema import find_versions
from loddis_server.events.settings import EventSettings

__all__ = ["inspect_database"]


def inspect_database(settings: EventSettings) -> str:
    """Say what state the event database is in.

    Args:
        settings: That say where it is.

    Raises:
        ConfigError: Its driver is not installed.
        SchemaError: It is of a newer release, or not of Loddis.
        StoreUnavailableError: It does not work now; a server starts without it, unless it is corrupt.
    """
    url = settings.url
    is_sqlite = url.get_backend_name() == "sqlite"
    name = f"SQLite, {url.database}" if is_sqlite else "PostgreSQL"
    with translated_errors():
        if is_sqlite and not Path(url.database or "").exists():
            return f"{name}: is made at the start"
        engine = connect_to_read(url, lock_timeout_s=settings.lock_timeout_s)
        try:
            schema = find_versions(engine)
        finally:
            engine.dispose()
    if schema.is_current:
        return f"{name}: schema {schema.current}, of this release"
    if schema.current is None:
        return f"{name}: empty, its tables are made at the start"
    return f"{name}: schema {schema.current} becomes {schema.newest} at the start"
