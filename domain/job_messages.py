"""What a job is started with, what it can be told, and what it shows and answers.

Owns the payloads of the workflow `Job`. What it remembers is `domain.job_state`'s.
Source: DESIGN §3, triggers-and-actions.md §6 and §8.

Invariant: every message can be sent as plain JSON, and where it says nothing, not at all.
"""

from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict, StrictInt

from domain.approvals import Approval
from domain.errors import DomainError, ErrorKind
from domain.fields import FieldReader
from domain.jobs import JobRecord, JobStatus
from domain.prompts import UntrustedText
from domain.runs import RunRecord
from domain.scopes import Route, Scope

MAX_MESSAGE_BYTES: Final = 16_384
MAX_MESSAGES: Final = 20
# Of all messages that wait, together: they are in the state of the job.
MAX_WAITING_BYTES: Final = 65_536


class StartJob(BaseModel):
    """A job as it is wanted.

    Attributes:
        record: Its row as it begins: id, title, description, whose it is.
        scope: Whose workspace and tools it has.
        route: Where it asks for approvals and, unless somebody waits for it, says its result.
        owner: The workflow that waits for its end: a run or a goal.
        run: The row of that run, written in one transaction with the job's.
        result_session: The chat's session, held while the result is said; blank for none.
        timeout_seconds: Of work; waiting costs nothing.
        step_timeout_seconds: Of one step.
        step_heartbeat_seconds: Silence after which the worker of a step is taken for dead.
        approval_timeout_seconds: How long an answer is waited for.
        allowed_tools: Exactly these; null: all that need nobody to attend.
        max_tool_calls, max_tokens_total, max_cost_micros: Limits; null: none.
        untrusted: Texts from outside that its prompts quote.
        hop: Of what fired the run.
        needs_slot: It waits for one of the deployment's slots; not so one call without tools.
    """

    model_config = ConfigDict(frozen=True)

    record: JobRecord
    scope: Scope
    route: Route
    owner: str | None = None
    run: RunRecord | None = None
    result_session: str = ""
    timeout_seconds: int = 3600
    step_timeout_seconds: int = 300
    step_heartbeat_seconds: int = 30
    approval_timeout_seconds: int = 604_800
    allowed_tools: list[str] | None = None
    max_tool_calls: int | None = None
    max_tokens_total: int | None = None
    max_cost_micros: int | None = None
    untrusted: list[UntrustedText] = []
    hop: int = 0
    needs_slot: bool = True


class JobStage(StrEnum):
    """What a job does, in words a person reads."""

    SLOT = "waiting for a slot"
    MODEL = "waiting for the model"
    TOOLS = "calling tools"
    APPROVAL = "waiting for an approval"
    PAUSED = "paused"
    BUDGET = "waiting for its budget"
    SYSTEM_PAUSED = "everything is paused"
    SESSION = "waiting for the chat to say its result"
    ENDED = "ended"


class JobView(BaseModel):
    """The answer of the query `view`; `messages` are steering messages that wait.

    The approvals come without arguments: those are in the ledger.
    """

    model_config = ConfigDict(frozen=True)

    record: JobRecord
    stage: JobStage
    messages: int = 0
    tool_calls: int = 0
    approvals: list[Approval] = []
    warnings: list[str] = []


class JobEnded(BaseModel):
    """How a job ended: the workflow's result, and what its owner is signalled.

    `message_id` is the answer in the thread; `timed_out` says that its working time was used up,
    which `elapsed_seconds` is; `tool_actions` are the calls that ran, without those that steer a
    goal.
    """

    model_config = ConfigDict(frozen=True)

    job_id: str
    status: JobStatus
    text: str = ""
    message_id: str | None = None
    model: str | None = None
    error: str | None = None
    timed_out: bool = False
    limit_reached: bool = False
    iteration: int = 0
    attempts: int = 0
    tool_calls: int = 0
    tool_actions: int = 0
    elapsed_seconds: float = 0
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_micros: int | None = None
    thread_id: str | None = None
    warnings: list[str] = []


class CancelJob(BaseModel):
    """Ask a job to end as cancelled; may be left out altogether."""

    model_config = ConfigDict(frozen=True)

    reason: str = "cancelled by user"


class SteerJob(BaseModel):
    """A message for a job, read before its next step; the same `key` is the same message."""

    model_config = ConfigDict(frozen=True)

    text: str
    key: str | None = None


class DecideApproval(BaseModel):
    """What a person says to an approval.

    Attributes:
        decision: `approve` or `deny`.
        digest: The arguments the person has seen; others than these are not decided.
        decided_by: The preferred id of the person.
        always: Later calls of this tool in this version by the routine's runs do not ask.
    """

    model_config = ConfigDict(frozen=True)

    approval_id: str
    decision: str
    reason: str | None = None
    digest: str | None = None
    decided_by: str | None = None
    always: bool = False


class ExtendApproval(BaseModel):
    """Give an approval more time."""

    model_config = ConfigDict(frozen=True)

    approval_id: str
    seconds: StrictInt


def validate_message(text: object) -> str:
    """Check a steering message.

    Raises:
        DomainError: On `text`.
    """
    reader = FieldReader({"text": text}, "")
    message = reader.required_text("text", max_bytes=MAX_MESSAGE_BYTES)
    reader.close()
    return message


def refused_by_status(status: JobStatus, what: str) -> DomainError:
    """The conflict of a request that the job's status does not allow."""
    return DomainError(
        ErrorKind.CONFLICT, "status", f"status is {status}: {what} is not possible any more"
    )
