"""What requests to sessions hold and their answers look like, for the API's description.

Owns the models that only HTTP has. Bodies are described here and read by `domain.session_bodies`,
which tells better what is wrong with them. Source: automation.md §13, chat-policies.md §2 and §3.
"""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from client.gateway.events import EventRun
from domain.session_messages import MessageDecision
from domain.session_requests import SessionView, TurnAnswer


class QueueOptionsBody(BaseModel):
    """How the queue treats messages; what is left out falls to session, channel and setting."""

    model_config = ConfigDict(extra="forbid")

    mode: (
        Literal["interrupt", "backlog", "steer", "followup", "collect", "steer-backlog"] | None
    ) = Field(default=None, description="What a message does that comes during a turn.")
    debounce_ms: int | None = Field(
        default=None, ge=0, le=600_000, description="How long it must be quiet before an answer."
    )
    cap: int | None = Field(default=None, ge=1, le=200, description="How many messages may wait.")
    drop: Literal["old", "new", "summarize"] | None = Field(
        default=None, description="What gives way when the queue is full."
    )


class SessionMessageBody(BaseModel):
    """A message of a user; who sends it, and where the answer goes, the request's context says."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"text": "What is on today?", "options": {"mode": "collect"}}]
        },
    )

    text: str | None = Field(
        default=None, max_length=65_536, description="At most 65536 bytes; or `media_urls`."
    )
    message_id: str | None = Field(
        default=None, max_length=255, description="The platform's: the same id is the same message."
    )
    options: QueueOptionsBody | None = None
    sender_id: str | None = Field(default=None, max_length=512, description="Else the actor.")
    sender_label: str | None = Field(default=None, max_length=512)
    command_authorized: bool | None = Field(
        default=None,
        description="Whether the sender may stop what runs and have tools used; left out: yes.",
    )
    is_heartbeat: bool | None = Field(default=None, description="A machine's; interrupts nothing.")
    allow_duplicate: bool | None = None
    provider: str | None = Field(default=None, max_length=200)
    surface: str | None = Field(default=None, max_length=200)
    chat_type: str | None = Field(default=None, max_length=200)
    chat_id: str | None = Field(default=None, max_length=512)
    conversation_label: str | None = Field(default=None, max_length=512)
    message_id_full: str | None = Field(default=None, max_length=512)
    reply_to_id: str | None = Field(default=None, max_length=255)
    thread_id: str | None = Field(default=None, max_length=255)
    thread_starter_body: str | None = Field(default=None, max_length=65_536)
    media_urls: list[str] | None = Field(default=None, max_length=32)
    media_types: list[str] | None = Field(default=None, max_length=32)
    timestamp_ms: int | None = Field(default=None, ge=0)
    is_self: bool | None = Field(default=None, description="The adapter wrote it: it goes nowhere.")
    self_ids: list[str] | None = Field(
        default=None, max_length=32, description="The ids under which the adapter writes."
    )


class QueueEditBody(BaseModel):
    """A change of what waits, by message ids: all of it or nothing."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"clear": True}]})

    order: list[str] | None = Field(default=None, description="Shall be next, in this order.")
    drop: list[str] | None = Field(default=None, description="Are taken out.")
    merge: list[str] | None = Field(default=None, description="Become one, under the first's id.")
    clear: bool | None = Field(default=None, description="Everything that waits is taken out.")
    options: QueueOptionsBody | None = Field(
        default=None, description="For messages of this session that say nothing themselves."
    )
    revision: int | None = Field(
        default=None, ge=0, description="The queue's own, or the change is refused."
    )


class StopBody(BaseModel):
    """Why; may be left out."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": "that is enough"}]}
    )

    reason: str | None = Field(default=None, max_length=200)


class SessionList(BaseModel):
    """A page of sessions, newest first; `next_cursor` while there is more."""

    sessions: list[SessionView]
    count: int
    next_cursor: str | None = None


class SessionAnswer(SessionView):
    """A session as it is now."""

    ui_url: str


class SessionMessageAccepted(BaseModel):
    """A message that Temporal has.

    `decision` is null while no worker has taken it up; `runs` are those of routines that it has
    fired, and `warnings` say if those could not be reached; `answer` is what `wait` has waited for.
    """

    message_id: str
    session_key: str
    workflow_id: str
    decision: MessageDecision | None
    reason: str
    position: int | None
    turn_id: str | None
    retryable: bool
    duplicate: bool
    status_url: str
    ui_url: str
    runs: list[EventRun]
    warnings: list[str]
    answer: TurnAnswer | None = None


# Models that no operation names by itself.
DESCRIBED: Final[tuple[type[BaseModel], ...]] = (SessionMessageBody, QueueEditBody, StopBody)
