"""The tables of jobs and tools: jobs, job_actions, approvals, standing_grants.

Source: triggers-and-actions.md §6, §7, §8 and §10.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

# Compared by code point on every database, as SQLite does by itself.
_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables, those that others refer to first; then what refers to them."""
    _create_jobs()
    _create_approvals()
    _create_job_actions()
    _create_standing_grants()
    # Two circles are closed here. Their later half is looked at when the transaction ends, so that
    # both rows can be written in one, in any order.
    _refer("runs", "job_id", "jobs", deferred=True)
    _refer("llm_calls", "job_id", "jobs", deferred=False)
    op.create_index("ix_llm_calls_job_id", "llm_calls", ["job_id"])


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("run_id", _KEY),
        sa.Column("routine_id", _KEY),
        sa.Column("goal_id", _KEY),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("iteration", sa.Integer, nullable=False),
        sa.Column("max_iterations", sa.Integer, nullable=False),
        sa.Column("recoveries", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("session_key", sa.Text, nullable=False),
        sa.Column("thread_id", _KEY),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("started_at", _INSTANT),
        sa.Column("finished_at", _INSTANT),
        sa.Column("waiting_for", sa.Text),
        sa.Column("result", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("tokens_in", sa.BigInteger),
        sa.Column("tokens_out", sa.BigInteger),
        sa.Column("cost_micros", sa.BigInteger),
        sa.Column("limit_reached", sa.Boolean, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint("run_id", name="uq_jobs_run_id"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_jobs_run_id"),
        sa.ForeignKeyConstraint(["thread_id"], ["threads.id"], name="fk_jobs_thread_id"),
    )
    op.create_index("ix_jobs_status_created_at", "jobs", ["status", "created_at"])
    op.create_index("ix_jobs_created_at", "jobs", ["created_at"])


def _create_approvals() -> None:
    op.create_table(
        "approvals",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("tool", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("arguments", sa.JSON, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("run_id", _KEY),
        sa.Column("job_id", _KEY),
        sa.Column("action_id", _KEY),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("requested_at", _INSTANT, nullable=False),
        sa.Column("expires_at", _INSTANT, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("decided_by", sa.Text),
        sa.Column("decided_at", _INSTANT),
        sa.Column("reason", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_approvals"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_approvals_run_id"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_approvals_job_id"),
    )
    op.create_index("ix_approvals_status_requested_at", "approvals", ["status", "requested_at"])
    op.create_index("ix_approvals_run_id", "approvals", ["run_id"])
    op.create_index("ix_approvals_job_id", "approvals", ["job_id"])


def _create_job_actions() -> None:
    op.create_table(
        "job_actions",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("run_id", _KEY),
        sa.Column("turn_id", _KEY),
        sa.Column("job_id", _KEY),
        sa.Column("user_id", _KEY, nullable=False),
        sa.Column("tool", _KEY, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("arguments", sa.JSON, nullable=False),
        sa.Column("arguments_digest", sa.Text, nullable=False),
        sa.Column("output", sa.Text),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("approval_id", _KEY),
        sa.Column("truncated", sa.Boolean, nullable=False),
        sa.Column("original_bytes", sa.BigInteger),
        sa.Column("duration_ms", sa.BigInteger),
        sa.Column("cost_micros", sa.BigInteger),
        sa.Column("started_at", _INSTANT, nullable=False),
        sa.Column("finished_at", _INSTANT),
        sa.Column("caller", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_job_actions"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_job_actions_run_id"),
        sa.ForeignKeyConstraint(["turn_id"], ["turns.id"], name="fk_job_actions_turn_id"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_actions_job_id"),
        sa.ForeignKeyConstraint(
            ["approval_id"], ["approvals.id"], name="fk_job_actions_approval_id"
        ),
    )
    op.create_index("ix_job_actions_run_id_sequence", "job_actions", ["run_id", "sequence"])
    op.create_index("ix_job_actions_turn_id", "job_actions", ["turn_id"])
    op.create_index("ix_job_actions_job_id_sequence", "job_actions", ["job_id", "sequence"])
    op.create_index(
        "ix_job_actions_user_id_tool_started_at", "job_actions", ["user_id", "tool", "started_at"]
    )
    op.create_index("ix_job_actions_started_at", "job_actions", ["started_at"])
    _refer("approvals", "action_id", "job_actions", deferred=True)


def _create_standing_grants() -> None:
    op.create_table(
        "standing_grants",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("routine_id", _KEY, nullable=False),
        sa.Column("tool", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("granted_by", sa.Text, nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_standing_grants"),
    )
    op.create_index("ix_standing_grants_routine_id", "standing_grants", ["routine_id"])


def _refer(table: str, column: str, other: str, *, deferred: bool) -> None:
    """Make a column that nothing has been written to so far refer to another table."""
    name = f"fk_{table}_{column}"
    when = " DEFERRABLE INITIALLY DEFERRED" if deferred else ""
    if op.get_bind().dialect.name == "sqlite":
        # It can neither give a column a reference nor, in a transaction, drop a table that others
        # refer to; but it can take a column away and add one with its reference.
        op.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        op.execute(
            f"ALTER TABLE {table} ADD COLUMN {column} TEXT"
            f" CONSTRAINT {name} REFERENCES {other} (id){when}"
        )
    else:
        op.execute(
            f"ALTER TABLE {table} ADD CONSTRAINT {name}"
            f" FOREIGN KEY ({column}) REFERENCES {other} (id){when}"
        )
