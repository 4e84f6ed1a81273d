"""Deliveries that belong to no run: alerts of the watchdog.

Source: automation.md §11, triggers-and-actions.md §10.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

# Compared by code point on every database, as SQLite does by itself.
_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Let `run_id` be null; SQLite can only do so by making the table anew."""
    with op.batch_alter_table("outbox") as outbox:
        outbox.alter_column("run_id", existing_type=_KEY, nullable=True)
