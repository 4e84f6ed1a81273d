"""Deliveries keep how they are sent, so that what is sent again is sent so again.

Source: triggers-and-actions.md §9.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the columns; of former texts nobody knows, so they are sent again as plain ones."""
    op.add_column("outbox", sa.Column("reply_to", sa.Text()))
    op.add_column(
        "outbox",
        sa.Column("audio_as_voice", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
