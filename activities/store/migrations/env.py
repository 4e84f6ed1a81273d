"""What Alembic runs around the scripts: uses the connection, and the transaction, of the migrator.

Owns nothing else; it is executed by Alembic and never imported.
"""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
