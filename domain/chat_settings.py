"""How conversations behave where nobody says otherwise: the queue, replies, threads and tools.

Owns the settings section `chat` and which of several sources decides. What the values mean is
`domain.queueing`'s and `domain.replies`'. Source: chat-policies.md §3.6 and §5,
triggers-and-actions.md §7.

Invariant: every field is resolved by itself: message, session, channel, setting, in this order.
"""

from collections.abc import Iterable
from typing import Final, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from domain.queueing import (
    DEFAULT_QUEUE_CAP,
    DEFAULT_QUEUE_DEBOUNCE_MS,
    DEFAULT_QUEUE_DROP,
    DEFAULT_QUEUE_MODE,
    QueueDropPolicy,
    QueueMode,
    QueueSettings,
)
from domain.replies import ReplyToMode, ThreadReplyMode
from domain.session_messages import QueueOptions

# What waits goes through continue-as-new in one payload, which has to stay well below 512 KiB.
MAX_CAP: Final = 200
MAX_DEBOUNCE_MS: Final = 600_000
MAX_TOOL_ROUNDS: Final = 20

T = TypeVar("T")


class ChannelChat(BaseModel):
    """How conversations of one channel behave; null falls to the setting for all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: QueueMode | None = Field(default=None, description="As `chat.mode`.")
    debounce_ms: int | None = Field(
        default=None, ge=0, le=MAX_DEBOUNCE_MS, description="As `chat.debounce_ms`."
    )
    cap: int | None = Field(default=None, ge=1, le=MAX_CAP, description="As `chat.cap`.")
    drop: QueueDropPolicy | None = Field(default=None, description="As `chat.drop`.")
    reply_to_mode: ReplyToMode | None = Field(default=None, description="As `chat.reply_to_mode`.")
    thread_reply_mode: ThreadReplyMode | None = Field(
        default=None, description="As `chat.thread_reply_mode`."
    )


class ChatSettings(BaseModel):
    """How conversations behave, and the channels where that is different."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: QueueMode = Field(
        default=DEFAULT_QUEUE_MODE,
        description="What a message does that comes while an answer is being written: interrupt, "
        "steer, followup, collect, steer-backlog, backlog.",
    )
    debounce_ms: int = Field(
        default=DEFAULT_QUEUE_DEBOUNCE_MS,
        ge=0,
        le=MAX_DEBOUNCE_MS,
        description="How long nothing may have come before waiting messages are answered.",
    )
    cap: int = Field(
        default=DEFAULT_QUEUE_CAP, ge=1, le=MAX_CAP, description="How many messages may wait."
    )
    drop: QueueDropPolicy = Field(
        default=DEFAULT_QUEUE_DROP,
        description="What gives way when too many wait: old, new, or summarize (the old ones, of "
        "which one line each is kept).",
    )
    reply_to_mode: ReplyToMode = Field(
        default=ReplyToMode.OFF,
        description="Which answers hang under the message they answer: off, first, all. A model "
        "may ask for it with a tag in any case.",
    )
    thread_reply_mode: ThreadReplyMode = Field(
        default=ThreadReplyMode.INBOUND,
        description="When an answer goes to a thread: off, inbound (its message is in one), "
        "always.",
    )
    tools: bool = Field(
        default=True,
        description="Whether answers may use tools. Not with the local model, unless it is set.",
    )
    max_tool_rounds: int = Field(
        default=8,
        ge=1,
        le=MAX_TOOL_ROUNDS,
        description="How often the model may call tools for one answer.",
    )
    channels: dict[str, ChannelChat] = Field(
        default={}, description="Channels by name where conversations behave differently."
    )

    def queue(
        self, message: QueueOptions, session: QueueOptions, channel_name: str
    ) -> QueueSettings:
        """The queue's settings for one message.

        Args:
            message: What the message says itself.
            session: What was set for its session.
            channel_name: Where its answer goes.
        """
        channel = self.channels.get(channel_name, ChannelChat())
        sources = (message, session, channel)
        return QueueSettings(
            mode=_first([one.mode for one in sources], self.mode),
            debounce_ms=max(_first([one.debounce_ms for one in sources], self.debounce_ms), 0),
            # A cap that is no number of messages says nothing.
            cap=min(_first([_positive(one.cap) for one in sources], self.cap), MAX_CAP),
            drop_policy=_first([one.drop for one in sources], self.drop),
        )

    def replies(self, channel_name: str) -> ReplyToMode:
        """Which answers in a channel hang under their message."""
        channel = self.channels.get(channel_name, ChannelChat())
        return channel.reply_to_mode or self.reply_to_mode

    def threads(self, channel_name: str) -> ThreadReplyMode:
        """When an answer in a channel goes to a thread."""
        channel = self.channels.get(channel_name, ChannelChat())
        return channel.thread_reply_mode or self.thread_reply_mode


class SessionRules(BaseModel):
    """What a session has to know of the settings; its worker tells it."""

    model_config = ConfigDict(frozen=True)

    chat: ChatSettings = ChatSettings()
    run_timeout_seconds: int = 600

    @classmethod
    def of(cls, chat: ChatSettings, run_timeout_seconds: int, *, local_model: bool) -> Self:
        """The rules of these settings.

        Args:
            chat: The section.
            run_timeout_seconds: The longest answer.
            local_model: The local model answers: too small to choose among tools, it answers worse
                for being told of them.
        """
        if local_model and "tools" not in chat.model_fields_set:
            chat = chat.model_copy(update={"tools": False})
        return cls(chat=chat, run_timeout_seconds=run_timeout_seconds)


def _first(given: Iterable[T | None], otherwise: T) -> T:
    return next((value for value in given if value is not None), otherwise)


def _positive(cap: int | None) -> int | None:
    return cap if cap is not None and cap > 0 else None
