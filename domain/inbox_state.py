"""What a session remembers of the messages of its users, from one execution to the next.

Owns the models of the inbox: what waits, the turn that runs, what has still to be written down,
what was answered to whom. What changes them is `domain.inbox`'s.
Source: chat-policies.md §3.6, DESIGN §3 rules 4, 10 and 12.

Invariant: the state stays far below 512 KiB in a payload: texts that wait for long are in the store
(`kept`), the number of messages is capped, and so is what is remembered of former ones.
"""

from functools import cached_property
from typing import Any

from pydantic import (
    AwareDatetime,
    BaseModel,
    Field,
    SerializerFunctionWrapHandler,
    field_serializer,
    model_serializer,
)

from domain.inbound_records import InboundRecord, MessageFate
from domain.queueing import QueueMode
from domain.scopes import Scope
from domain.session_messages import InboundMessage, MessageDecision, QueueOptions
from domain.turns import TurnStage, TurnStatus


class QueuedMessage(BaseModel):
    """A message that waits, or that a turn answers.

    Attributes:
        message: As it came, its attachments written into its text; without text when `kept`.
        received_at: When it came.
        mode: How it is to be treated; resolved when it came.
        bytes: Of its text in UTF-8.
        weight: Of its text as JSON, which may be more.
        about_bytes: Of all the rest of it as JSON, with what is remembered of it.
        text_hash: Tells equal texts.
        preview: Its beginning, on one line.
        kept: Its text is in the store.
        joined: Messages that a person has merged into this one.
    """

    message: InboundMessage
    received_at: AwareDatetime
    mode: QueueMode
    bytes: int
    weight: int
    about_bytes: int = 0
    text_hash: str = ""
    preview: str = ""
    kept: bool = False
    joined: list["QueuedMessage"] = []

    @field_serializer("message")
    def _without_defaults(self, message: InboundMessage) -> dict[str, Any]:
        """Most fields of most messages are empty, and many messages may wait."""
        return message.model_dump(mode="json", exclude_defaults=True)

    @property
    def id(self) -> str:
        """The platform's id of the message."""
        return self.message.message_id

    @property
    def parts(self) -> list["QueuedMessage"]:
        """The message and those merged into it, in order."""
        return [self, *(part for one in self.joined for part in one.parts)]


class SteeredMessage(BaseModel):
    """A message that joined a turn; `queued` if it waits for a turn of its own as well."""

    item: QueuedMessage
    queued: bool = False


class RunningTurn(BaseModel):
    """The turn that runs.

    Attributes:
        turn_id: Its id.
        since: When it began.
        about: The message it answers; of several the last, of none the one that comes next.
        items: What it answers; empty when it only tells what was dropped.
        collect: The items are joined under one title.
        summary: What was dropped before it.
        summary_commands: All who said that may command.
        steered: What joined it.
        stage: The step it is at.
        cancel: Why it is to end; null while it is not.
    """

    turn_id: str
    since: AwareDatetime
    about: QueuedMessage
    items: list[QueuedMessage]
    collect: bool = False
    summary: str = ""
    summary_commands: bool = True
    steered: list[SteeredMessage] = []
    stage: TurnStage = TurnStage.GATE
    cancel: str | None = None


class EndedTurn(BaseModel):
    """A turn that is over; `text` is whole for the newest, else a preview (`truncated`).

    `message_ids` are its first ones, as far as they are little together.
    """

    turn_id: str
    message_ids: list[str]
    status: TurnStatus
    text: str = ""
    truncated: bool = False
    error: str | None = None
    finished_at: AwareDatetime


class RememberedMessage(BaseModel):
    """What was answered to a message when it came, and where it is now.

    `duplicate_of` is the message that waited already and said the same, whose answer this one got.
    """

    message_id: str
    at: AwareDatetime
    decision: MessageDecision
    reason: str = ""
    position: int | None = None
    turn_id: str | None = None
    retryable: bool = False
    request_id: str = ""
    digest: str = ""
    fate: MessageFate = MessageFate.WAITING
    fate_turn_id: str | None = None
    duplicate_of: str = ""

    @cached_property
    def weight(self) -> int:
        """Its bytes as JSON."""
        return len(self.model_dump_json().encode())

    def end(self, fate: MessageFate, turn_id: str | None) -> None:
        """Note where the message has ended."""
        self.fate, self.fate_turn_id = fate, turn_id
        vars(self).pop("weight", None)

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """There are a thousand of them."""
        given: dict[str, Any] = handler(self)
        fields = type(self).model_fields
        return {
            name: value
            for name, value in given.items()
            if fields[name].is_required() or value != fields[name].default
        }


class InboxState(BaseModel):
    """Everything an inbox carries from one execution of its session to the next.

    Attributes:
        scope: Whose the session is; set by its first message.
        options: What was set for this session.
        waiting: What waits, in the order of its turns.
        revision: Grows with every change of `waiting`.
        drain_at: When what waits is answered, unless more comes.
        turn: The turn that runs.
        lines: One line for each of the newest messages that were dropped and summarised.
        lines_dropped: How many those were.
        lines_command: The senders of all of them may command.
        settled: What came to its end and has still to be written to the store.
        remembered: Answers to messages, oldest first.
        ended: The newest turns, oldest first.
        counts: How many messages came to each end, ever.
        last_at: When the last message came or turn ended.
    """

    scope: Scope | None = None
    options: QueueOptions = QueueOptions()
    waiting: list[QueuedMessage] = []
    revision: int = 0
    drain_at: AwareDatetime | None = None
    turn: RunningTurn | None = None
    lines: list[str] = []
    lines_dropped: int = 0
    lines_command: bool = True
    settled: list[InboundRecord] = []
    remembered: list[RememberedMessage] = []
    ended: list[EndedTurn] = []
    counts: dict[MessageFate, int] = Field(default_factory=dict[MessageFate, int])
    last_at: AwareDatetime | None = None

    def clear_lines(self) -> None:
        """Forget what was dropped and summarised."""
        self.lines, self.lines_dropped, self.lines_command = [], 0, True
