"""A chat turn: the answer to one or more messages of a user. A row of the table `turns`.

Owns the row model, its states, its steps and its id. When a turn begins is `domain.inbox_turns`',
what it says `domain.chat_replies`'. Source: chat-policies.md §3 and §5, automation.md §8.
"""

from datetime import datetime
from enum import StrEnum
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict

RANDOM_BITS: Final = 80

_BASE32: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID_CHARS: Final = 26


class TurnStage(StrEnum):
    """The step a turn is at, in words a person reads."""

    GATE = "waiting for the session"
    MODEL = "waiting for the model"
    TOOLS = "calling tools"
    SYSTEM_PAUSED = "everything is paused"
    DELIVERY = "delivering"


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


def turn_id(session_key: str, at: datetime, random: int) -> str:
    """The id of a turn, `<session key>/t-<ULID>`; ids of later turns sort behind.

    Args:
        session_key: The key of the session's gate.
        at: When the turn begins.
        random: `RANDOM_BITS` random bits.
    """
    number = (int(at.timestamp() * 1000) << RANDOM_BITS) | (random & ((1 << RANDOM_BITS) - 1))
    digits = [_BASE32[(number >> (5 * place)) & 31] for place in reversed(range(_ULID_CHARS))]
    return f"{session_key}/t-{''.join(digits)}"
