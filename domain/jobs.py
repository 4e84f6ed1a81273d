"""A job: an agent that works in a loop of model and tool calls until it has an answer.

Owns what a job can be (`JobStatus`), what can happen to it (`transition`) and the row of the
table `jobs`. The loop itself is `domain.job_book`'s, the run that waits for a job `domain.runs`'.
Source: triggers-and-actions.md §6.

Invariants:
    1. A job that ended stays as it ended; only a cancelled one may be cancelled again.
    2. Whatever the table of `transition` does not name is refused, naming the status.
"""

from enum import StrEnum
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict

from domain.threads import Thread, ThreadKind
from domain.tools import SandboxMode
from domain.transitions import follow

WORKFLOW_PREFIX: Final = "job/"
SESSION_PREFIX: Final = "job:"
MAX_RECOVERIES: Final = 3


class JobStatus(StrEnum):
    """Where a job stands, or how it ended."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    WAITING_APPROVAL = "waiting_approval"
    STUCK = "stuck"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL_STATUSES = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})


class JobEvent(StrEnum):
    """What happens to a job."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    NEED_APPROVAL = "need_approval"
    DECIDED = "decided"
    COMPLETE = "complete"
    FAIL = "fail"
    STALL = "stall"
    RECOVER = "recover"
    CANCEL = "cancel"


class JobWaiting(StrEnum):
    """What a job that does not run waits for."""

    SLOT = "slot"
    APPROVAL = "approval"
    BUDGET = "budget"
    SYSTEM_PAUSED = "system_paused"


class JobRecord(BaseModel):
    """One row of `jobs`; unknown is null, never 0.

    Attributes:
        id: `job_` and a ULID.
        run_id: The run it works for; null for a job started by hand or by a goal.
        routine_id: The routine of that run.
        goal_id: The goal it is an iteration of.
        iteration: Model calls that were answered.
        recoveries: Steps that stalled and were done again.
        attempts: Calls of models, the repeated ones counted.
        session_key: `job:<id>`: a job speaks in a conversation of its own.
        thread_id: The thread it works in, also another one than its own; null: not written yet.
        user_id: Whose rate limits its tools count for.
        scope: In its text form, `user:me`.
        result: The answer.
        sandbox_mode: Where its tools run that need a sandbox; null until its tools are known.
        limit_reached: The answer was asked for because the iterations were used up.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    run_id: str | None = None
    routine_id: str | None = None
    goal_id: str | None = None
    title: str
    description: str
    status: JobStatus = JobStatus.PENDING
    iteration: int = 0
    max_iterations: int = 25
    recoveries: int = 0
    attempts: int = 0
    session_key: str
    thread_id: str | None = None
    user_id: str = ""
    scope: str
    created_at: AwareDatetime
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None
    waiting_for: JobWaiting | None = None
    result: str | None = None
    error: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_micros: int | None = None
    limit_reached: bool = False
    sandbox_mode: SandboxMode | None = None
    revision: int = 0


_TRANSITIONS: Final[dict[tuple[str, str], JobStatus]] = {
    (JobStatus.PENDING, JobEvent.START): JobStatus.RUNNING,
    (JobStatus.PENDING, JobEvent.PAUSE): JobStatus.PAUSED,
    (JobStatus.PENDING, JobEvent.CANCEL): JobStatus.CANCELLED,
    (JobStatus.RUNNING, JobEvent.PAUSE): JobStatus.PAUSED,
    (JobStatus.RUNNING, JobEvent.NEED_APPROVAL): JobStatus.WAITING_APPROVAL,
    (JobStatus.RUNNING, JobEvent.COMPLETE): JobStatus.COMPLETED,
    (JobStatus.RUNNING, JobEvent.FAIL): JobStatus.FAILED,
    (JobStatus.RUNNING, JobEvent.STALL): JobStatus.STUCK,
    (JobStatus.RUNNING, JobEvent.CANCEL): JobStatus.CANCELLED,
    (JobStatus.PAUSED, JobEvent.RESUME): JobStatus.PENDING,
    (JobStatus.PAUSED, JobEvent.CANCEL): JobStatus.CANCELLED,
    (JobStatus.WAITING_APPROVAL, JobEvent.DECIDED): JobStatus.PENDING,
    (JobStatus.WAITING_APPROVAL, JobEvent.PAUSE): JobStatus.PAUSED,
    (JobStatus.WAITING_APPROVAL, JobEvent.CANCEL): JobStatus.CANCELLED,
    (JobStatus.STUCK, JobEvent.RECOVER): JobStatus.RUNNING,
    (JobStatus.STUCK, JobEvent.CANCEL): JobStatus.CANCELLED,
    (JobStatus.CANCELLED, JobEvent.CANCEL): JobStatus.CANCELLED,
}


def transition(
    status: str, event: str, recoveries: int = 0, max_recoveries: int = MAX_RECOVERIES
) -> JobStatus:
    """What an event makes of a job.

    Args:
        status: Where it stands.
        event: What happens.
        recoveries: How often it recovered before.
        max_recoveries: How often it may; a `recover` beyond that fails it.

    Raises:
        DomainError: `conflict` on `status` when the status has no such event.
    """
    following = follow(_TRANSITIONS, status, event)
    if event == JobEvent.RECOVER and recoveries >= max_recoveries:
        return JobStatus.FAILED
    return following


def job_workflow_id(job_id: str) -> str:
    """The workflow id of a job."""
    return WORKFLOW_PREFIX + job_id


def job_session_key(job_id: str) -> str:
    """The key of the conversation a job has with itself."""
    return SESSION_PREFIX + job_id


def job_thread(job: JobRecord) -> Thread:
    """The thread a job works in: the one it was given, or its own."""
    return Thread(
        id=job.thread_id or job.id,
        scope=job.scope,
        session_key=job.session_key,
        kind=ThreadKind.JOB,
        created_at=job.created_at,
    )
