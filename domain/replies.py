"""Replies: which message an answer is attached to, and in which thread it goes.

Owns the reply and thread modes and the choice of the target. Sending is an activity's.

Invariants:
    1. No mode loses a payload or changes the order.

Source: chat-policies.md §5, after the public package beeper/ai-bridge `pkg/runtime`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum


class ReplyToMode(StrEnum):
    """Which payloads of an answer are attached to a message (chat-policies.md §5.1)."""

    OFF = "off"
    FIRST = "first"
    ALL = "all"


class ThreadReplyMode(StrEnum):
    """When an answer goes to a thread (chat-policies.md §5.1)."""

    OFF = "off"
    INBOUND = "inbound"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class ReplyPayload:
    """One message of an answer.

    Attributes:
        text: Its text.
        media_url: Its attachment.
        media_urls: All its attachments, when there are several.
        reply_to_id: The message it is attached to, or `""`.
        reply_to_tag: A tag of the model chose that message.
        reply_to_current: A tag asked for the message being answered.
        audio_as_voice: Send it as a voice message.
        is_error: It reports an error.
    """

    text: str = ""
    media_url: str = ""
    media_urls: Sequence[str] = ()
    reply_to_id: str = ""
    reply_to_tag: bool = False
    reply_to_current: bool = False
    audio_as_voice: bool = False
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class ReplyThreadPolicy:
    """Which attachments to messages are kept.

    Attributes:
        mode: The mode of the channel.
        allow_explicit_when_mode_off: With mode `off`, keep those that a tag asked for.
    """

    mode: ReplyToMode = ReplyToMode.OFF
    allow_explicit_when_mode_off: bool = False


@dataclass(frozen=True, slots=True)
class ReplyTarget:
    """Where an answer goes.

    Attributes:
        reply_to_id: The message it is attached to, or `""`.
        thread_root: The thread it goes to, or `""`.
        reason: A stable code that says why.
    """

    reply_to_id: str = ""
    thread_root: str = ""
    reason: str = ""


def normalize_reply_to_mode(raw: str | None) -> ReplyToMode:
    """Read a reply mode; unknown is `off` (chat-policies.md §5.2)."""
    name = (raw or "").strip().lower()
    return next((mode for mode in ReplyToMode if mode == name), ReplyToMode.OFF)


def normalize_thread_reply_mode(raw: str | None) -> ThreadReplyMode:
    """Read a thread mode; unknown is `inbound` (chat-policies.md §5.2)."""
    name = (raw or "").strip().lower()
    return next((mode for mode in ThreadReplyMode if mode == name), ThreadReplyMode.INBOUND)


def apply_reply_to_mode(
    payloads: Iterable[ReplyPayload], policy: ReplyThreadPolicy
) -> list[ReplyPayload]:
    """Keep or take away what the payloads are attached to (chat-policies.md §5.3).

    Args:
        payloads: The messages of an answer, in order.
        policy: Which attachments are kept.

    Returns:
        A copy of each payload, in the same order.
    """
    result: list[ReplyPayload] = []
    is_first = True
    for payload in payloads:
        copy = replace(
            payload,
            text=payload.text or "",
            media_url=payload.media_url or "",
            reply_to_id=payload.reply_to_id or "",
        )
        if not copy.reply_to_id.strip():
            pass
        elif _keeps_target(copy, policy, is_first):
            is_first = False
        else:
            copy = replace(copy, reply_to_id="", reply_to_tag=False, reply_to_current=False)
        result.append(copy)
    return result


def _keeps_target(payload: ReplyPayload, policy: ReplyThreadPolicy, is_first: bool) -> bool:
    if policy.mode == ReplyToMode.ALL:
        return True
    if policy.mode == ReplyToMode.FIRST:
        return is_first
    is_explicit = payload.reply_to_tag or payload.reply_to_current
    return policy.allow_explicit_when_mode_off and is_explicit


def resolve_inbound_reply_target(
    mode: ThreadReplyMode | None,
    reply_to_id: str | None,
    thread_root_id: str | None,
    event_id: str | None,
) -> ReplyTarget:
    """Choose where the answer to a message goes (chat-policies.md §5.4).

    Args:
        mode: The thread mode of the channel; `None` is `inbound`.
        reply_to_id: The message that the inbound one answers.
        thread_root_id: The thread the inbound message is in.
        event_id: The inbound message.

    Returns:
        The target and its reason.
    """
    reply_to = (reply_to_id or "").strip()
    root = (thread_root_id or "").strip()
    if mode == ThreadReplyMode.OFF:
        return ReplyTarget(reply_to, "", "threading_off")
    if mode == ThreadReplyMode.ALWAYS:
        thread = root or (event_id or "").strip()
        return ReplyTarget(thread, thread, "threading_always")
    if root:
        return ReplyTarget(root, root, "threading_inbound_thread")
    return ReplyTarget(reply_to, "", "threading_inbound_reply")


def resolve_queue_thread_key(
    mode: ThreadReplyMode | None, thread_root_id: str | None, event_id: str | None
) -> str:
    """The key by which queued messages may be joined (chat-policies.md §5.5).

    Args:
        mode: The thread mode of the channel; `None` is `inbound`.
        thread_root_id: The thread a message is in.
        event_id: The message.

    Returns:
        The thread the answer would go to, or `""`.
    """
    return resolve_inbound_reply_target(mode, "", thread_root_id, event_id).thread_root
