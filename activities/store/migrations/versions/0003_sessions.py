"""The tables of conversations: turns, inbound, compactions; and of budgets: budget_entries.

Source: triggers-and-actions.md §10 and §11, automation.md §8, chat-policies.md §6.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

# Compared by code point on every database, as SQLite does by itself.
_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables, those that others refer to first."""
    _create_turns()
    _create_inbound()
    _create_compactions()
    _name_turns_in_calls()
    _create_budget_entries()


def _create_turns() -> None:
    op.create_table(
        "turns",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("session_key", _KEY, nullable=False),
        sa.Column("workflow_id", _KEY, nullable=False),
        sa.Column("thread_id", _KEY),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("started_at", _INSTANT, nullable=False),
        sa.Column("finished_at", _INSTANT),
        sa.Column("result", _KEY),
        sa.Column("summary", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("tokens_in", sa.BigInteger),
        sa.Column("tokens_out", sa.BigInteger),
        sa.Column("cost_micros", sa.BigInteger),
        sa.Column("warnings", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_turns"),
        sa.ForeignKeyConstraint(["thread_id"], ["threads.id"], name="fk_turns_thread_id"),
    )
    op.create_index("ix_turns_session_key_started_at", "turns", ["session_key", "started_at"])


def _create_inbound() -> None:
    op.create_table(
        "inbound",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("session_key", _KEY, nullable=False),
        sa.Column("message_id", _KEY, nullable=False),
        sa.Column("sender_id", sa.Text, nullable=False),
        sa.Column("sender_label", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("turn_id", _KEY),
        sa.Column("received_at", _INSTANT, nullable=False),
        sa.Column("settled_at", _INSTANT),
        sa.PrimaryKeyConstraint("id", name="pk_inbound"),
        sa.ForeignKeyConstraint(["turn_id"], ["turns.id"], name="fk_inbound_turn_id"),
    )
    op.create_index(
        "ix_inbound_session_key_received_at", "inbound", ["session_key", "received_at"]
    )
    op.create_index("ix_inbound_turn_id", "inbound", ["turn_id"])


def _create_compactions() -> None:
    op.create_table(
        "compactions",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("thread_id", _KEY, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("dropped", sa.Integer, nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_compactions"),
        sa.ForeignKeyConstraint(["thread_id"], ["threads.id"], name="fk_compactions_thread_id"),
    )
    op.create_index("ix_compactions_thread_id_sequence", "compactions", ["thread_id", "sequence"])


def _name_turns_in_calls() -> None:
    if op.get_bind().dialect.name == "sqlite":
        # A batch would drop the old table, to which messages refer, and SQLite refuses that; it can
        # add a column with its reference in place.
        op.execute(
            "ALTER TABLE llm_calls ADD COLUMN turn_id TEXT"
            " CONSTRAINT fk_llm_calls_turn_id REFERENCES turns (id)"
        )
    else:
        op.add_column("llm_calls", sa.Column("turn_id", _KEY))
        op.create_foreign_key("fk_llm_calls_turn_id", "llm_calls", "turns", ["turn_id"], ["id"])
    op.create_index("ix_llm_calls_turn_id", "llm_calls", ["turn_id"])


def _create_budget_entries() -> None:
    op.create_table(
        "budget_entries",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("scope", _KEY, nullable=False),
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("call_id", _KEY, nullable=False),
        sa.Column("reserved", sa.BigInteger, nullable=False),
        sa.Column("spent", sa.BigInteger),
        sa.Column("settled_at", _INSTANT),
        sa.PrimaryKeyConstraint("id", name="pk_budget_entries"),
        sa.ForeignKeyConstraint(["call_id"], ["llm_calls.id"], name="fk_budget_entries_call_id"),
    )
    op.create_index("ix_budget_entries_scope_day", "budget_entries", ["scope", "day"])
