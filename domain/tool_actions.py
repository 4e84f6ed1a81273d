"""A call of a tool as the audit keeps it: a row of the table `job_actions`.

Owns the row model and its states. How a call is made is `activities.tools.dispatch`'s, what is
masked in it `domain.redaction`'s. Source: triggers-and-actions.md §7 and §10.

Invariant: arguments and output are masked before they get here; the raw ones are kept nowhere.
"""

from enum import StrEnum
from typing import Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict

# The error of a call whose worker died, or whose caller ended without it.
LOST: Final = "lost"


class ActionStatus(StrEnum):
    """How a call ended.

    `started` is written before a tool runs. Who finds it later knows that the call may have had its
    effect: `unknown` unless the tool may be run twice.
    """

    STARTED = "started"
    OK = "ok"
    FAILED = "failed"
    REJECTED = "rejected"
    TIMED_OUT = "timed_out"
    UNKNOWN = "unknown"


class ActionRecord(BaseModel):
    """One row of `job_actions`; calls of runs without a job and of chats are kept there too.

    Attributes:
        id: The same for every attempt of a call.
        sequence: Of the call in its run or job, from 1.
        run_id, turn_id, job_id: Who called; all null for a call by HTTP.
        user_id: Whose rate limit it counted for.
        arguments: Masked.
        arguments_digest: `domain.approvals.digest` of the real ones.
        output: What the model is shown, masked.
        error: The kind of refusal or failure, such as `invalid_arguments`.
        approval_id: The approval under which it ran, or by which it did not.
        truncated: Part of the output was left out.
        original_bytes: Of the output, in UTF-8.
        caller: `channel:<name>`, `routine:<id>`, `job:<id>`, `goal:<id>` or `api`.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    sequence: int
    run_id: str | None = None
    turn_id: str | None = None
    job_id: str | None = None
    user_id: str = ""
    tool: str
    version: str = ""
    arguments: dict[str, Any] = {}
    arguments_digest: str = ""
    output: str | None = None
    status: ActionStatus
    error: str | None = None
    approval_id: str | None = None
    truncated: bool = False
    original_bytes: int | None = None
    duration_ms: int | None = None
    cost_micros: int | None = None
    started_at: AwareDatetime
    finished_at: AwareDatetime | None = None
    caller: str
