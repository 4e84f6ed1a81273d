"""What is said to a session from outside: messages of users, changes of its queue, a stop.

Owns the payloads of the updates `send`, `edit_queue` and `stop` and their answers. What becomes of
a message is `domain.inbox`'s. Source: chat-policies.md §2 and §3, automation.md §8, DESIGN §3.
"""

from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from domain.queueing import QueueDropPolicy, QueueMode
from domain.scopes import Route, Scope

MAX_TEXT_BYTES: Final = 65_536
MAX_ID_CHARS: Final = 255


class QueueOptions(BaseModel):
    """How the queue treats one message; null falls to the session, the channel, the setting."""

    model_config = ConfigDict(frozen=True)

    mode: QueueMode | None = None
    debounce_ms: int | None = None
    cap: int | None = None
    drop: QueueDropPolicy | None = None


class InboundMessage(BaseModel):
    """A message of a user, as its channel's adapter hands it in.

    Attributes:
        message_id: The platform's own; in one conversation it names one message.
        text: At most 64 KiB.
        session_key: The conversation.
        scope: Whose workspace and routines it sees.
        route: Where the answer goes.
        sender_id: Who wrote it.
        sender_label: A name people can write.
        command_authorized: Whether the sender may stop what runs, and have tools used.
        is_heartbeat: From a machine that keeps the session warm: never interrupts.
        id_given: The id is the platform's. Else whoever handed the message in made it, and the same
            text of the same sender that waits is the same message.
        allow_duplicate: Queued though an equal message waits.
        options: How the queue treats it.
        request_id: Names one handing-in of it; the answer echoes that of the first.
        digest: Of what it says, made by whoever hands it in: the same id with another one is a
            conflict. Blank is never compared.
        provider, surface, chat_type, chat_id, conversation_label, message_id_full, reply_to_id,
        thread_id, thread_starter_body, media_urls, media_types, timestamp_ms: As in
            `domain.inbound.InboundContext`.
    """

    model_config = ConfigDict(frozen=True)

    message_id: str = Field(min_length=1, max_length=MAX_ID_CHARS)
    text: str
    session_key: str
    scope: Scope
    route: Route
    sender_id: str = ""
    sender_label: str = ""
    command_authorized: bool = True
    is_heartbeat: bool = False
    id_given: bool = True
    allow_duplicate: bool = False
    options: QueueOptions = QueueOptions()
    request_id: str = ""
    digest: str = ""
    provider: str = ""
    surface: str = ""
    chat_type: str = ""
    chat_id: str = ""
    conversation_label: str = ""
    message_id_full: str = ""
    reply_to_id: str = ""
    thread_id: str = ""
    thread_starter_body: str = ""
    media_urls: list[str] = []
    media_types: list[str] = []
    timestamp_ms: int = 0


class MessageDecision(StrEnum):
    """What became of a message when it arrived.

    `run_now` began a turn, `interrupt` did so by ending the one that ran, `steer` joined it,
    `enqueue` waits, `drop` was refused by a full queue, `abort` stopped what ran, `ignore` was an
    abort phrase of somebody who may not stop.
    """

    RUN_NOW = "run_now"
    INTERRUPT = "interrupt"
    STEER = "steer"
    ENQUEUE = "enqueue"
    DROP = "drop"
    ABORT = "abort"
    IGNORE = "ignore"


class MessageAccepted(BaseModel):
    """The answer to a message; a repetition gets the first one, with `duplicate`.

    Attributes:
        reason: As `domain.queueing` names it.
        position: Its place among those that wait, 1 is next; null when it does not wait.
        turn_id: The turn that answers it, once one has begun.
        retryable: With `drop`: the queue is full now, later it may not be.
        request_id, digest: Those of the message that was taken. The server itself repeats the
            answer to a known update id, so by these a caller sees that it was another's.
    """

    model_config = ConfigDict(frozen=True)

    message_id: str
    session_key: str
    workflow_id: str
    decision: MessageDecision
    reason: str = ""
    position: int | None = None
    turn_id: str | None = None
    retryable: bool = False
    duplicate: bool = False
    request_id: str = ""
    digest: str = ""


class EditQueue(BaseModel):
    """Change what waits, by message ids; all or nothing.

    Attributes:
        order: The ids that shall be next, in this order; the others follow as they are.
        drop: Taken out, and recorded as dropped by a person.
        merge: Made one message: texts in this order, under the id of the first.
        clear: Everything that waits is dropped.
        options: How messages of this session are treated that say nothing themselves.
        revision: Refused with a conflict unless it is the queue's.
    """

    model_config = ConfigDict(frozen=True)

    order: list[str] = []
    drop: list[str] = []
    merge: list[str] = []
    clear: bool = False
    options: QueueOptions | None = None
    revision: int | None = None


class StopSession(BaseModel):
    """Stop what speaks in the session: the turn that runs, or the automation that holds it."""

    model_config = ConfigDict(frozen=True)

    reason: str = "stopped by user"


class Stopped(BaseModel):
    """What a stop reached: `turn`, `automation`, or null, then nothing was changed."""

    model_config = ConfigDict(frozen=True)

    stopped: str | None = None
    owner: str | None = None
