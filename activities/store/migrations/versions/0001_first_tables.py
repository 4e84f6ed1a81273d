"""The tables of routines: threads, runs, llm_calls, messages, outbox.

Source: triggers-and-actions.md §10.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# Compared by code point on every database, as SQLite does by itself.
_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables, those that others refer to first."""
    _create_threads()
    _create_runs()
    _create_llm_calls()
    _create_messages()
    _create_outbox()


def _create_threads() -> None:
    op.create_table(
        "threads",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("session_key", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_threads"),
    )


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("routine_id", _KEY, nullable=False),
        sa.Column("workflow_id", _KEY, nullable=False),
        sa.Column("trigger_type", sa.Text, nullable=False),
        sa.Column("trigger_detail", sa.Text, nullable=False),
        sa.Column("occurred_at", _INSTANT, nullable=False),
        sa.Column("scheduled_at", _INSTANT),
        sa.Column("started_at", _INSTANT),
        sa.Column("finished_at", _INSTANT),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("duplicate_of", _KEY),
        sa.Column("stands_for", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("hop", sa.Integer, nullable=False),
        sa.Column("result", _KEY),
        sa.Column("summary", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("tokens_in", sa.BigInteger),
        sa.Column("tokens_out", sa.BigInteger),
        sa.Column("cost_micros", sa.BigInteger),
        sa.Column("warnings", sa.JSON, nullable=False),
        sa.Column("job_id", _KEY),
        sa.Column("thread_id", _KEY),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("workflow_id", name="uq_runs_workflow_id"),
        sa.ForeignKeyConstraint(["thread_id"], ["threads.id"], name="fk_runs_thread_id"),
    )
    op.create_index("ix_runs_routine_id_occurred_at", "runs", ["routine_id", "occurred_at"])
    op.create_index("ix_runs_occurred_at", "runs", ["occurred_at"])
    op.create_index("ix_runs_thread_id", "runs", ["thread_id"])


def _create_llm_calls() -> None:
    op.create_table(
        "llm_calls",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("run_id", _KEY),
        sa.Column("job_id", _KEY),
        sa.Column("goal_id", _KEY),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("tokens_in", sa.BigInteger),
        sa.Column("tokens_out", sa.BigInteger),
        sa.Column("cache_read_tokens", sa.BigInteger),
        sa.Column("cache_write_tokens", sa.BigInteger),
        sa.Column("cost_micros", sa.BigInteger),
        sa.Column("price_version", sa.Text),
        sa.Column("latency_ms", sa.BigInteger),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("started_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_llm_calls"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_llm_calls_run_id"),
    )
    op.create_index("ix_llm_calls_run_id", "llm_calls", ["run_id"])
    op.create_index("ix_llm_calls_started_at", "llm_calls", ["started_at"])


def _create_messages() -> None:
    op.create_table(
        "messages",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("thread_id", _KEY, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("tool_calls", sa.JSON),
        sa.Column("llm_call_id", _KEY),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_messages"),
        sa.UniqueConstraint("thread_id", "sequence", name="uq_messages_thread_id_sequence"),
        sa.ForeignKeyConstraint(["thread_id"], ["threads.id"], name="fk_messages_thread_id"),
        sa.ForeignKeyConstraint(["llm_call_id"], ["llm_calls.id"], name="fk_messages_llm_call_id"),
    )
    op.create_index("ix_messages_llm_call_id", "messages", ["llm_call_id"])


def _create_outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("occurrence_id", _KEY, nullable=False),
        sa.Column("run_id", _KEY, nullable=False),
        sa.Column("receive_id_type", sa.Text, nullable=False),
        sa.Column("receive_id", sa.Text, nullable=False),
        sa.Column("part", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("message_id", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("sent_at", _INSTANT),
        sa.PrimaryKeyConstraint("occurrence_id", name="pk_outbox"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_outbox_run_id"),
    )
    op.create_index("ix_outbox_run_id", "outbox", ["run_id"])
    op.create_index("ix_outbox_status_created_at", "outbox", ["status", "created_at"])
