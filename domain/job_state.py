"""What a job remembers from one step to the next, and through continue-as-new.

Owns the models. What changes them is `domain.job_book`'s and `domain.job_approvals`'.
Source: DESIGN §3 rule 10, triggers-and-actions.md §6.

Invariants:
    1. Transcripts, arguments and outputs are not here; they stay in the store.
    2. It stays below 256 KiB: what may be long is here once, and messages are bounded together.
"""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from domain.approvals import Approval
from domain.job_messages import StartJob
from domain.jobs import JobRecord
from domain.tool_specs import AskedCall


class TextOnly(StrEnum):
    """Why the next model call offers no tools."""

    LIMIT = "limit"
    TOOL_CALLS = "tool_calls"
    REPEATS = "repeats"
    EMPTY = "empty"


class Ask(BaseModel):
    """One model call as it was planned; kept until it is answered, however often it is made.

    `taken` is how many of the waiting messages are in the prompt, which is not repeated here.
    """

    model_config = ConfigDict(frozen=True)

    text_only: TextOnly | None = None
    taken: int = 0


class JobApproval(BaseModel):
    """An approval of a job's call, and which reminders were sent.

    The arguments are in the ledger's row: `approval` has none.
    """

    approval: Approval
    call_id: str
    reminded: int = 0


class BatchCall(BaseModel):
    """A call of the batch that is being carried out.

    `mark` is what tells repetitions of a call; `failed` is null until there is a result.
    """

    call: AskedCall
    sequence: int
    failed: bool | None = None
    mark: str = ""


class Batch(BaseModel):
    """The calls of one answer; the message holds their arguments."""

    message_id: str
    calls: list[BatchCall]


class JobState(BaseModel):
    """Everything a job carries; its input.

    `schema_version` grows when a field changes its meaning; new fields have defaults instead.

    Attributes:
        start: As it was wanted; the texts from outside go once they are in the thread.
        record: As it stands, without the description; null before it began.
        nonce: What marks the texts from outside in the first prompt.
        opened: The task is in the thread.
        messages: Steering messages that wait.
        said: Digests of the newest messages that came with a key, by the key's.
        notes: What the loop itself has to say with the next call.
        asking: The model call that is being made.
        batch: The calls that are being carried out.
        tools: Names that are offered; null until asked for.
        read_only: Those of them that change nothing.
        tool_calls: How many calls the model has asked for.
        executed: How many of them ran; the limit is of these.
        tool_actions: How many of those did something besides steering a goal.
        repeated: How often the same failing batch came in a row, known by `last_batch`.
        empty: Empty answers in a row.
        text_only: Why the next call offers no tools.
        approvals: The newest ones, decided or not.
        wants_pause: A pause takes effect at the next step.
        cancel_wanted: Why the job is to end as cancelled; it does nothing more.
        elapsed_seconds: Working time so far.
        cooling: Models not to be called before a time, in seconds of the epoch.
        model_calls: Numbers the model calls, so that no two have one id.
        slot: The token of the slot it holds.
        slot_turn: Numbers its requests for a slot.
        stalled: Somebody was told that it is stuck.
        answer_id, model, warnings: Of the answer.
        timed_out: Its working time was used up.
    """

    schema_version: int = 1
    start: StartJob
    record: JobRecord | None = None
    nonce: str = ""
    opened: bool = False
    messages: list[str] = []
    said: dict[str, str] = {}
    notes: list[str] = []
    asking: Ask | None = None
    batch: Batch | None = None
    tools: list[str] | None = None
    read_only: list[str] = []
    tool_calls: int = 0
    executed: int = 0
    tool_actions: int = 0
    repeated: int = 0
    last_batch: str = ""
    empty: int = 0
    text_only: TextOnly | None = None
    approvals: list[JobApproval] = []
    wants_pause: bool = False
    cancel_wanted: str | None = None
    elapsed_seconds: float = 0
    cooling: dict[str, float] = {}
    model_calls: int = 0
    slot: str | None = None
    slot_turn: int = 0
    stalled: bool = False
    answer_id: str | None = None
    model: str | None = None
    warnings: list[str] = []
    timed_out: bool = False
