"""A run: how it is named, what state it can be in, what the ledger keeps of it.

Owns run ids, occurrences and the record of the table `runs`. Does not decide whether a run may
start (`domain.guardrails`) nor what its reply means (`domain.outcome`).
Source: automation.md §2, triggers-and-actions.md §9 and §10.

Invariants:
    1. A run's id is `<routine>/<occurrence>` and its workflow id is `routine-run/` plus that.
    2. The same fire always gets the same id.
"""

import hashlib
from datetime import datetime
from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict

from domain.timestamps import format_timestamp, whole_second

WORKFLOW_PREFIX = "routine-run/"


class FireKind(StrEnum):
    """What made a run fire."""

    SCHEDULE = "schedule"
    BACKFILL = "backfill"
    EVENT = "event"
    SYSTEM_EVENT = "system_event"
    WEBHOOK = "webhook"
    MANUAL = "manual"


class RunStatus(StrEnum):
    """Where a run is, or how it ended (triggers-and-actions.md §9)."""

    RUNNING = "running"
    QUEUED = "queued"
    OK = "ok"
    ATTENTION = "attention"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    SKIPPED = "skipped"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"


OPEN_STATUSES = frozenset({RunStatus.RUNNING, RunStatus.QUEUED, RunStatus.INTERRUPTED})


class RunRecord(BaseModel):
    """One row of the ledger's table `runs`; unknown is null, never 0."""

    model_config = ConfigDict(frozen=True)

    id: str
    routine_id: str
    workflow_id: str
    trigger_type: FireKind
    trigger_detail: str = ""
    occurred_at: AwareDatetime
    scheduled_at: AwareDatetime | None = None
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None
    status: RunStatus
    reason: str | None = None
    duplicate_of: str | None = None
    stands_for: int = 1
    attempts: int = 0
    hop: int = 0
    result: str | None = None
    summary: str | None = None
    error: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_micros: int | None = None
    warnings: list[str] = []
    job_id: str | None = None
    thread_id: str | None = None


class KeptRun(RunRecord):
    """A run as its routine keeps it: the record, and what else its readers ask for.

    `retry_at` is when a refused fire would have passed, `message_ids` what channels call the texts
    that were sent.
    """

    retry_at: AwareDatetime | None = None
    message_ids: list[str] = []


def run_id(routine_id: str, occurrence: str) -> str:
    """The id of a routine's run."""
    return f"{routine_id}/{occurrence}"


def run_workflow_id(run: str) -> str:
    """The workflow id of a run id."""
    return WORKFLOW_PREFIX + run


def run_id_of_workflow(workflow_id: str) -> str:
    """The run id of a workflow id; the text itself when it is no run's workflow id."""
    return workflow_id.removeprefix(WORKFLOW_PREFIX)


def routine_of_run(run: str) -> str:
    """The routine's id in a run id."""
    return run.partition("/")[0]


def scheduled_occurrence(nominal: datetime) -> str:
    """`s-<nominal time>`, spelled as the server spells it in a scheduled workflow's id."""
    return "s-" + format_timestamp(whole_second(nominal))


def backfill_occurrence(at: datetime) -> str:
    """`b-<time>`."""
    return "b-" + format_timestamp(whole_second(at))


def manual_occurrence(actor_id: str, idempotency_key: str | None, ulid: str) -> str:
    """`m-<32 hex>` of actor and key, or `m-<ULID>` without a key."""
    return "m-" + (hex32(f"{actor_id}\n{idempotency_key}") if idempotency_key else ulid)


def hex32(text: str) -> str:
    """The first 32 digits of the sha256 of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
