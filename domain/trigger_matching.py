"""Whether a message or an event fires a routine.

Owns the two tests and their order. Does not find the routines to test nor start runs; that is the
gateway's. Source: triggers-and-actions.md §2.

Invariants:
    1. What the adapter itself said matches nothing, before any other test.
    2. Nothing is folded, trimmed or globbed but a message's channel and a trailing `.*` of a type.
"""

import json
import math
from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from domain.trigger_models import EventTrigger, SystemEventTrigger
from domain.trigger_pattern import compile_pattern

MAX_TEXT_BYTES = 65_536
HOP_LIMIT = 8


def _joined_surrogates(value: object) -> object:
    r"""A text without surrogates: pairs become their character, halves the replacement character.

    JSON can spell them (`"\ud83d"`), but UTF-8 cannot, and so neither can a pattern or a payload.
    """
    if not isinstance(value, str):
        return value
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class IncomingMessage(BaseModel):
    """What matching needs to know of a message."""

    model_config = ConfigDict(frozen=True)

    channel: str | None = None
    text: Annotated[str, BeforeValidator(_joined_surrogates)] = ""
    author_id: str | None = None
    is_self: bool = False


class MessageMismatch(StrEnum):
    """Why a message does not match, in the order of the tests."""

    SELF = "self"
    CHANNEL = "channel"
    PATTERN = "pattern"


class EventMatch(BaseModel):
    """Whether a message matched; a group that took no part is null."""

    model_config = ConfigDict(frozen=True)

    matched: bool
    reason: MessageMismatch | None = None
    groups: list[str | None] = []
    named_groups: dict[str, str | None] = {}
    matched_text: str | None = None
    truncated: bool = False


class SystemEvent(BaseModel):
    """An emitted event; `hop` counts the runs between it and the outside world."""

    model_config = ConfigDict(frozen=True)

    source: str
    event_type: str
    payload: dict[str, object] | None = None
    hop: int = 0


class EventMismatch(StrEnum):
    """Why an event does not match, in the order of the tests."""

    SOURCE = "source"
    EVENT_TYPE = "event_type"
    FILTER = "filter"
    HOP_LIMIT = "hop_limit"


class SystemEventMatch(BaseModel):
    """Whether an event matched; `filter` is the first one that refused it."""

    model_config = ConfigDict(frozen=True)

    matched: bool
    reason: EventMismatch | None = None
    filter: str | None = None


def match_event(
    trigger: EventTrigger,
    message: IncomingMessage | Mapping[str, object],
    self_ids: Collection[str] = (),
) -> EventMatch:
    """Test a message against a trigger.

    Args:
        trigger: The event trigger of a routine.
        message: The message; as JSON it may hold texts that are no valid Unicode.
        self_ids: Ids under which the adapter itself writes.

    Returns:
        The match with its groups, or the first reason against it.
    """
    if not isinstance(message, IncomingMessage):
        message = IncomingMessage.model_validate(message)
    text = message.text.encode()
    truncated = len(text) > MAX_TEXT_BYTES
    if truncated:
        # What is cut off inside a character is dropped with it.
        text = text[:MAX_TEXT_BYTES].decode("utf-8", "ignore").encode()
    reason = None
    if message.is_self or (message.author_id and message.author_id in self_ids):
        reason = MessageMismatch.SELF
    elif trigger.channel and _folded(trigger.channel) != _folded(message.channel):
        reason = MessageMismatch.CHANNEL
    match = None if reason else compile_pattern(trigger.pattern).search(text)
    if match is None:
        reason = reason or MessageMismatch.PATTERN
        return EventMatch(matched=False, reason=reason, truncated=truncated)
    return EventMatch(
        matched=True,
        groups=[_text(group) for group in match.groups()],
        named_groups={name.decode(): _text(group) for name, group in match.groupdict().items()},
        matched_text=_text(match.group()),
        truncated=truncated,
    )


def match_system_event(
    trigger: SystemEventTrigger,
    event: SystemEvent | Mapping[str, object],
    hop_limit: int = HOP_LIMIT,
) -> SystemEventMatch:
    """Test an event against a trigger.

    Args:
        trigger: The system-event trigger of a routine.
        event: The event.
        hop_limit: Highest hop that is delivered. It is asked last, so that `hop_limit` names
            exactly the routines that would have matched.
    """
    if not isinstance(event, SystemEvent):
        event = SystemEvent.model_validate(event)
    refusing = None
    reason = None
    if event.source != trigger.source:
        reason = EventMismatch.SOURCE
    elif not _type_matches(trigger.event_type, event.event_type):
        reason = EventMismatch.EVENT_TYPE
    elif (refusing := _refusing_filter(trigger.filters, event.payload or {})) is not None:
        reason = EventMismatch.FILTER
    elif event.hop > hop_limit:
        reason = EventMismatch.HOP_LIMIT
    return SystemEventMatch(matched=reason is None, reason=reason, filter=refusing)


def render_scalar(value: object) -> str | None:
    """A string as it is, a boolean or number as its JSON text; null for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return json.dumps(value) if isinstance(value, bool | int | float) else None


def _refusing_filter(filters: Mapping[str, str], payload: Mapping[str, object]) -> str | None:
    for key, wanted in filters.items():
        if render_scalar(payload.get(key)) != wanted:
            return key
    return None


def _type_matches(wanted: str, event_type: str) -> bool:
    if not wanted.endswith(".*"):
        return event_type == wanted
    prefix = wanted.removesuffix("*")
    return event_type.startswith(prefix) and len(event_type) > len(prefix)


def _folded(channel: str | None) -> str:
    return (channel or "").strip().lower()


def _text(group: bytes | None) -> str | None:
    return None if group is None else group.decode("utf-8", "replace")
