"""A thread: what was said in one conversation, in order.

Owns the row models of the tables `threads`, `messages` and `compactions`.
Source: triggers-and-actions.md §10, chat-policies.md §6.
"""

from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from domain.messages import Role


class ThreadKind(StrEnum):
    """Whose conversation a thread is."""

    SESSION = "session"
    ROUTINE = "routine"
    JOB = "job"
    GOAL = "goal"


class Thread(BaseModel):
    """One row of `threads`; `scope` in its text form, `user:me`."""

    model_config = ConfigDict(frozen=True)

    id: str
    scope: str
    session_key: str = ""
    kind: ThreadKind
    created_at: AwareDatetime


class ThreadMessage(BaseModel):
    """One row of `messages`; `sequence` (1, 2, …) is given by the store, so it is null before."""

    model_config = ConfigDict(frozen=True)

    id: str
    thread_id: str
    sequence: int | None = None
    role: Role
    content: str
    tool_calls: list[dict[str, Any]] | None = None
    llm_call_id: str | None = None
    created_at: AwareDatetime


class Compaction(BaseModel):
    """One row of `compactions`: what stands for the beginning of a thread in later prompts.

    `id` is `<thread id>/<sequence>`. `summary` stands for the messages up to and including
    `sequence`, `dropped` of them since the compaction before.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    thread_id: str
    sequence: int
    summary: str
    dropped: int
    created_at: AwareDatetime
