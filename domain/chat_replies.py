"""The answer of a chat turn on its way out: what is sent, and under which message.

Owns applying directives, reply mode and thread mode to a complete answer, and the words of a turn
that failed. Sending is `activities.turns`'. Source: chat-policies.md §1.4, §5.3 and §5.4.

Invariants:
    1. A silent answer sends nothing.
    2. A tag of the model is honoured in every reply mode, a thread in every reply mode too.
"""

from typing import Final

from pydantic import BaseModel, ConfigDict

from domain.deliveries import FINAL_PART, Part
from domain.directives import parse_reply_directives
from domain.replies import (
    ReplyPayload,
    ReplyTarget,
    ReplyThreadPolicy,
    ReplyToMode,
    ThreadReplyMode,
    apply_reply_to_mode,
    resolve_inbound_reply_target,
)
from domain.scopes import Route

FAILURE_PART: Final = "failure"
NO_VOICE: Final = "voice: the channel sends no voice messages, so the answer was sent as text"
NOTHING_LEFT: Final = "the answer was empty apart from its tags"


class ReplyTo(BaseModel):
    """Where the answer of a turn goes.

    Attributes:
        route: The channel and its target.
        message_id: The message that is answered.
        reply_to_id: The message that one answers.
        thread_id: The thread it is in.
        reply_to_mode: Of the channel.
        thread_reply_mode: Of the channel.
    """

    model_config = ConfigDict(frozen=True)

    route: Route
    message_id: str
    reply_to_id: str = ""
    thread_id: str = ""
    reply_to_mode: ReplyToMode = ReplyToMode.OFF
    thread_reply_mode: ThreadReplyMode = ThreadReplyMode.INBOUND


class ChatReply(BaseModel):
    """What a turn has to say: nothing, when `part` is null, for the reason `error` if there is one.

    Attributes:
        part: The text to send.
        audio_as_voice: The model wants it to be spoken.
        error: The turn failed, because nothing is left to send.
    """

    model_config = ConfigDict(frozen=True)

    part: Part | None = None
    audio_as_voice: bool = False
    error: str | None = None


def chat_reply(text: str, to: ReplyTo, *, mark: str = "") -> ChatReply:
    """What is sent of an answer.

    Args:
        text: The whole answer, tags included.
        to: Where it goes.
        mark: Said under an answer that is not whole.
    """
    said = parse_reply_directives(text, to.message_id)
    if said.is_silent:
        return ChatReply()
    if not said.text.strip():
        return ChatReply(error=NOTHING_LEFT, audio_as_voice=said.audio_as_voice)
    body = f"{said.text}\n{mark}" if mark else said.text
    target = _target(to)
    payload = ReplyPayload(
        text=body,
        reply_to_id=said.reply_to_id or target.reply_to_id or to.message_id,
        reply_to_tag=bool(said.reply_to_explicit_id),
        reply_to_current=said.reply_to_current,
    )
    policy = ReplyThreadPolicy(to.reply_to_mode, allow_explicit_when_mode_off=True)
    (kept,) = apply_reply_to_mode([payload], policy)
    part = Part(
        part=FINAL_PART,
        route=to.route,
        reply_to=kept.reply_to_id or target.thread_root or None,
        audio_as_voice=said.audio_as_voice,
        text=body,
    )
    return ChatReply(part=part, audio_as_voice=said.audio_as_voice)


def failure_part(error: str, to: ReplyTo) -> Part:
    """What a user is told whose message could not be answered."""
    return Part(
        part=FAILURE_PART,
        route=to.route,
        reply_to=_target(to).thread_root or None,
        text=f"I could not answer: {error}\nSend it again to try once more.",
    )


def _target(to: ReplyTo) -> ReplyTarget:
    return resolve_inbound_reply_target(
        to.thread_reply_mode, to.reply_to_id, to.thread_id, to.message_id
    )
