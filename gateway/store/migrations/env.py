"""What alembic runs to reach the database: over the connection, and in the transaction, of `gateway.store.schema`."""

from alembic import context

from gateway.store.people_tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=False,
)
"""Both databases can undo `CREATE TABLE`, but alembic must not begin or commit anything: the transaction around this
one is the caller's.
"""
context.run_migrations()
