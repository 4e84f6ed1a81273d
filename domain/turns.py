"""A chat turn: the answer to one or more messages of a user. A row of the table `turns`.

Owns the row model and its states. When a turn begins is `domain.inbox`'s, what it says
`domain.replies`'. Source: chat-policies.md §3 and §5, automation.md §8.
"""

from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict


class TurnStatus(StrEnum):
    """How a turn stands.

    `answered` had something to say, `silent` had not; `cancelled` was stopped by its user.
    """

    RUNNING = "running"
    ANSWERED = "answered"
    SILENT = "silent"
    FAILED = "failed"
    CANCELLED = "cancelled"


class TurnRecord(BaseModel):
    """One row of `turns`; token counts and cost are null where unknown.

    `id` is `<session key>/t-<ULID>`, `workflow_id` the session's, `result` the id of the answer in
    the thread.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    session_key: str
    workflow_id: str
    thread_id: str | None = None
    status: TurnStatus = TurnStatus.RUNNING
    started_at: AwareDatetime
    finished_at: AwareDatetime | None = None
    result: str | None = None
    summary: str | None = None
    error: str | None = None
    attempts: int = 0
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_micros: int | None = None
    warnings: list[str] = []
