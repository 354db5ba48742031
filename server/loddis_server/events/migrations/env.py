"""What Alembic runs: the migrations, on the connection and in the transaction that `schema.upgrade` holds."""

from alembic import context

from loddis_server.events.schema import VERSION_TABLE
from loddis_server.events.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
context.run_migrations()
