"""Runs the revisions on the connection that ``entrepot.catalog.revision.upgrade`` hands over; there is no
command-line use.
"""

from alembic import context

from entrepot.catalog.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
