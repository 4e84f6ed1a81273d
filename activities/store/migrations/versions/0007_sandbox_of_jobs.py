"""Jobs say where their tools run that need a sandbox.

Source: triggers-and-actions.md §7.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column; of former jobs nobody knows."""
    op.add_column("jobs", sa.Column("sandbox_mode", sa.Text()))
