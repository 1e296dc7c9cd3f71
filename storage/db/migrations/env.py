"""Alembic's entry point: runs the migrations on the connection that `storage.db.engine.migrate` passes in."""

from alembic import context

from storage.db.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
