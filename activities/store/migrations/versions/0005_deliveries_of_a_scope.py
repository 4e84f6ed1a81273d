"""Deliveries belong to a scope, and are found by what their channel calls them.

Source: triggers-and-actions.md §2 and §9, automation.md §10.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

# Compared by code point on every database, as SQLite does by itself.
_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the column and its indexes; what a run has said belongs to the scope of its thread."""
    op.add_column("outbox", sa.Column("scope", _KEY))
    op.execute(
        "UPDATE outbox SET scope = (SELECT threads.scope FROM runs JOIN threads "
        "ON threads.id = runs.thread_id WHERE runs.id = outbox.run_id)"
    )
    op.create_index("ix_outbox_scope_created_at", "outbox", ["scope", "created_at"])
    op.create_index("ix_outbox_message_id", "outbox", ["message_id"])
