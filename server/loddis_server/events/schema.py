"""The schema of the database: found out, brought up to this release, or refused."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text
from sqlalchemy.engine import Connection

from loddis_server.events.database import writing
from loddis_server.events.errors import SchemaError
from loddis_server.events.tables import metadata

__all__ = ["VERSION_TABLE", "SchemaVersions", "find_versions", "upgrade"]

VERSION_TABLE = "event_schema"
MIGRATIONS = Path(__file__).parent / "migrations"
UPGRADE_LOCK = 0x10DD15  # of PostgreSQL, held while the schema is looked at and changed

_alembic = threading.Lock()  # Alembic holds what it works on in a module: one database at a time


@dataclass(frozen=True, slots=True)
class SchemaVersions:
    """Of a database.

    Attributes:
        current: That it has; None if there is nothing of Loddis in it.
        newest: That this release brings it to.
    """

    current: str | None
    newest: str

    @property
    def is_current(self) -> bool:
        """Whether there is nothing to do."""
        return self.current == self.newest


def upgrade(engine: Engine) -> None:
    """Bring a database to the schema of this release, in one transaction that no other server can get between.

    Args:
        engine: Of the database.

    Raises:
        SchemaError: It is of a newer release, or holds tables of the same names that are not Loddis's.
        sqlalchemy.exc.DBAPIError: The database cannot be used.
    """
    config = _config()
    script = ScriptDirectory.from_config(config)
    with writing(engine).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
        if _versions(connection, script).is_current:
            return
        config.attributes["connection"] = connection
        with _alembic:
            command.upgrade(config, "head")


def find_versions(engine: Engine) -> SchemaVersions:
    """Find out which schema a database has, and change nothing.

    Args:
        engine: Of the database.

    Raises:
        SchemaError: As `upgrade`.
        sqlalchemy.exc.DBAPIError: The database cannot be used.
    """
    with engine.connect() as connection:
        return _versions(connection, ScriptDirectory.from_config(_config()))


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _versions(connection: Connection, script: ScriptDirectory) -> SchemaVersions:
    """Find out the version of the schema, and refuse what no migration leads on from."""
    current = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()
    newest = script.get_current_head()
    if current is None:
        if taken := sorted(metadata.tables.keys() & set(inspect(connection).get_table_names())):
            raise SchemaError(f"the event database holds tables that are not Loddis's: {', '.join(taken)}")
    elif current not in {revision.revision for revision in script.walk_revisions()}:
        raise SchemaError(
            f"the event database has schema version {current[:32]}, this release knows up to "
            f"{newest}: run the release that wrote it, or another database"
        )
    return SchemaVersions(current, str(newest))
