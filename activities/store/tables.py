"""The tables of the ledger as the code sees them.

Owns names, columns, keys and references. How a database gets them is the migrations' business; a
test holds the two together. The rows' models are in `domain`. Source: triggers-and-actions.md §10.

Invariants:
    1. A table's columns are the fields of its domain model, by the same names; a route is two.
    2. Every primary key is natural, so that a repeated write meets its own row.
    3. Money is whole micros of USD; unknown is null.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
    false,
)

from activities.store.column_types import Instant, Key, StoredText

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _later(target: str) -> ForeignKey:
    """A reference that closes a circle: enforced when the transaction ends."""
    return ForeignKey(target, deferrable=True, initially="DEFERRED", use_alter=True)


threads = Table(
    "threads",
    metadata,
    Column("id", Key, primary_key=True),
    Column("scope", StoredText, nullable=False),
    Column("session_key", StoredText, nullable=False),
    Column("kind", StoredText, nullable=False),
    Column("created_at", Instant, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Key, primary_key=True),
    Column("routine_id", Key, nullable=False),
    Column("workflow_id", Key, nullable=False),
    Column("trigger_type", StoredText, nullable=False),
    Column("trigger_detail", StoredText, nullable=False),
    Column("occurred_at", Instant, nullable=False),
    Column("scheduled_at", Instant),
    Column("started_at", Instant),
    Column("finished_at", Instant),
    Column("status", StoredText, nullable=False),
    Column("reason", StoredText),
    Column("duplicate_of", Key),
    Column("stands_for", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("hop", Integer, nullable=False),
    Column("result", Key),
    Column("summary", StoredText),
    Column("error", StoredText),
    Column("tokens_in", BigInteger),
    Column("tokens_out", BigInteger),
    Column("cost_micros", BigInteger),
    Column("warnings", JSON, nullable=False),
    # The job refers to its run as well: looked at when the transaction ends.
    Column("job_id", Key, _later("jobs.id")),
    Column("thread_id", Key, ForeignKey("threads.id")),
    UniqueConstraint("workflow_id"),
    Index(None, "routine_id", "occurred_at"),
    Index(None, "occurred_at"),
    Index(None, "thread_id"),
)

turns = Table(
    "turns",
    metadata,
    Column("id", Key, primary_key=True),
    Column("session_key", Key, nullable=False),
    Column("workflow_id", Key, nullable=False),
    Column("thread_id", Key, ForeignKey("threads.id")),
    Column("status", StoredText, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("result", Key),
    Column("summary", StoredText),
    Column("error", StoredText),
    Column("attempts", Integer, nullable=False),
    Column("tokens_in", BigInteger),
    Column("tokens_out", BigInteger),
    Column("cost_micros", BigInteger),
    Column("warnings", JSON, nullable=False),
    Index(None, "session_key", "started_at"),
)

inbound = Table(
    "inbound",
    metadata,
    Column("id", Key, primary_key=True),
    Column("session_key", Key, nullable=False),
    Column("message_id", Key, nullable=False),
    Column("sender_id", StoredText, nullable=False),
    Column("sender_label", StoredText, nullable=False),
    Column("text", StoredText, nullable=False),
    Column("status", StoredText, nullable=False),
    Column("reason", StoredText),
    Column("turn_id", Key, ForeignKey("turns.id")),
    Column("received_at", Instant, nullable=False),
    Column("settled_at", Instant),
    Index(None, "session_key", "received_at"),
    Index(None, "turn_id"),
)

compactions = Table(
    "compactions",
    metadata,
    Column("id", Key, primary_key=True),
    Column("thread_id", Key, ForeignKey("threads.id"), nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("summary", StoredText, nullable=False),
    Column("dropped", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Index(None, "thread_id", "sequence"),
)

llm_calls = Table(
    "llm_calls",
    metadata,
    Column("id", Key, primary_key=True),
    Column("run_id", Key, ForeignKey("runs.id")),
    Column("turn_id", Key, ForeignKey("turns.id")),
    Column("job_id", Key, ForeignKey("jobs.id")),
    Column("goal_id", Key),
    Column("sequence", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("model", StoredText, nullable=False),
    Column("provider", StoredText, nullable=False),
    Column("purpose", StoredText, nullable=False),
    Column("tokens_in", BigInteger),
    Column("tokens_out", BigInteger),
    Column("cache_read_tokens", BigInteger),
    Column("cache_write_tokens", BigInteger),
    Column("cost_micros", BigInteger),
    Column("price_version", StoredText),
    Column("latency_ms", BigInteger),
    Column("status", StoredText, nullable=False),
    Column("error", StoredText),
    Column("started_at", Instant, nullable=False),
    Index(None, "run_id"),
    Index(None, "turn_id"),
    Index(None, "job_id"),
    Index(None, "started_at"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Key, primary_key=True),
    Column("run_id", Key, ForeignKey("runs.id")),
    Column("routine_id", Key),
    Column("goal_id", Key),
    Column("title", StoredText, nullable=False),
    Column("description", StoredText, nullable=False),
    Column("status", StoredText, nullable=False),
    Column("iteration", Integer, nullable=False),
    Column("max_iterations", Integer, nullable=False),
    Column("recoveries", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("session_key", StoredText, nullable=False),
    Column("thread_id", Key, ForeignKey("threads.id")),
    Column("user_id", StoredText, nullable=False),
    Column("scope", StoredText, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("finished_at", Instant),
    Column("waiting_for", StoredText),
    Column("result", StoredText),
    Column("error", StoredText),
    Column("tokens_in", BigInteger),
    Column("tokens_out", BigInteger),
    Column("cost_micros", BigInteger),
    Column("limit_reached", Boolean, nullable=False),
    Column("sandbox_mode", StoredText),
    Column("revision", Integer, nullable=False),
    UniqueConstraint("run_id"),
    Index(None, "status", "created_at"),
    Index(None, "created_at"),
    Index(None, "goal_id"),
)

approvals = Table(
    "approvals",
    metadata,
    Column("id", Key, primary_key=True),
    Column("tool", StoredText, nullable=False),
    Column("version", StoredText, nullable=False),
    Column("arguments", JSON, nullable=False),
    Column("digest", StoredText, nullable=False),
    Column("run_id", Key, ForeignKey("runs.id")),
    Column("job_id", Key, ForeignKey("jobs.id")),
    Column("action_id", Key, _later("job_actions.id")),
    Column("scope", StoredText, nullable=False),
    Column("requested_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("status", StoredText, nullable=False),
    Column("decided_by", StoredText),
    Column("decided_at", Instant),
    Column("reason", StoredText),
    Index(None, "status", "requested_at"),
    Index(None, "run_id"),
    Index(None, "job_id"),
)

job_actions = Table(
    "job_actions",
    metadata,
    Column("id", Key, primary_key=True),
    Column("sequence", Integer, nullable=False),
    Column("run_id", Key, ForeignKey("runs.id")),
    Column("turn_id", Key, ForeignKey("turns.id")),
    Column("job_id", Key, ForeignKey("jobs.id")),
    Column("user_id", Key, nullable=False),
    Column("tool", Key, nullable=False),
    Column("version", StoredText, nullable=False),
    Column("arguments", JSON, nullable=False),
    Column("arguments_digest", StoredText, nullable=False),
    Column("output", StoredText),
    Column("status", StoredText, nullable=False),
    Column("error", StoredText),
    Column("approval_id", Key, ForeignKey("approvals.id")),
    Column("truncated", Boolean, nullable=False),
    Column("original_bytes", BigInteger),
    Column("duration_ms", BigInteger),
    Column("cost_micros", BigInteger),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("caller", StoredText, nullable=False),
    Index(None, "run_id", "sequence"),
    Index(None, "turn_id"),
    Index(None, "job_id", "sequence"),
    Index(None, "user_id", "tool", "started_at"),
    Index(None, "started_at"),
)

standing_grants = Table(
    "standing_grants",
    metadata,
    Column("id", Key, primary_key=True),
    Column("routine_id", Key, nullable=False),
    Column("tool", StoredText, nullable=False),
    Column("version", StoredText, nullable=False),
    Column("granted_by", StoredText, nullable=False),
    Column("created_at", Instant, nullable=False),
    Index(None, "routine_id"),
)

budget_entries = Table(
    "budget_entries",
    metadata,
    Column("id", Key, primary_key=True),
    Column("scope", Key, nullable=False),
    Column("day", StoredText, nullable=False),
    Column("call_id", Key, ForeignKey("llm_calls.id"), nullable=False),
    Column("reserved", BigInteger, nullable=False),
    Column("spent", BigInteger),
    Column("settled_at", Instant),
    Index(None, "scope", "day"),
)

messages = Table(
    "messages",
    metadata,
    Column("id", Key, primary_key=True),
    Column("thread_id", Key, ForeignKey("threads.id"), nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("role", StoredText, nullable=False),
    Column("content", StoredText, nullable=False),
    Column("tool_calls", JSON(none_as_null=True)),
    Column("llm_call_id", Key, ForeignKey("llm_calls.id")),
    Column("created_at", Instant, nullable=False),
    UniqueConstraint("thread_id", "sequence"),
    Index(None, "llm_call_id"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("occurrence_id", Key, primary_key=True),
    Column("run_id", Key, ForeignKey("runs.id")),
    Column("receive_id_type", StoredText, nullable=False),
    Column("receive_id", StoredText, nullable=False),
    Column("part", StoredText, nullable=False),
    Column("text", StoredText, nullable=False),
    Column("status", StoredText, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("message_id", StoredText),
    Column("error", StoredText),
    Column("created_at", Instant, nullable=False),
    Column("sent_at", Instant),
    Column("scope", Key),
    Column("reply_to", StoredText),
    Column("audio_as_voice", Boolean, nullable=False, server_default=false()),
    Index(None, "run_id"),
    Index(None, "status", "created_at"),
    Index(None, "scope", "created_at"),
    Index(None, "message_id"),
)
