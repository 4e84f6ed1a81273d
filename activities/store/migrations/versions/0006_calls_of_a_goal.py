"""The jobs of a goal are found by the goal: what their tools brought is its evidence.

Source: automation.md §9.
"""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the index."""
    op.create_index("ix_jobs_goal_id", "jobs", ["goal_id"])
