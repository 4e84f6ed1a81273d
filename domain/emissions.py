"""Events and messages as somebody hands them in.

Owns reading them and their limits. What they match is `domain.trigger_matching`'s, what they start
`domain.event_fires`'. Source: triggers-and-actions.md §2.

Invariant: what is read here is Unicode text and finite JSON of limited size.
"""

import re
from collections.abc import Mapping
from typing import Final, cast

from pydantic import BaseModel, ConfigDict

from domain.errors import DomainError, ErrorKind
from domain.fields import FieldReader, is_unicode, shown
from domain.guardrails import canonical_json
from domain.pushed_triggers import MAX_NAME_CHARS
from domain.trigger_matching import IncomingMessage, SystemEvent

MAX_PAYLOAD_BYTES: Final = 65_536
MAX_ID_CHARS: Final = 255
MAX_PERSON_CHARS: Final = 512
MAX_SELF_IDS: Final = 32
MAX_MESSAGE_BYTES: Final = 1_048_576
EVERY_SCOPE: Final = "all"

_NAME = re.compile(r"[A-Za-z0-9_.:/-]+")
_NAME_RULE = f"must have 1 to {MAX_NAME_CHARS} letters, digits and _ . : / -"
# A command of the chat, which is not for routines; `/etc/hosts` is none.
_COMMAND = re.compile(r"\s*/[A-Za-z][A-Za-z0-9_-]*(?:@\S+)?(?:\s|\Z)")


class EmittedEvent(BaseModel):
    """An event on its way to the routines that listen.

    `id` makes an emission idempotent. `about` is the routine whose runs a built-in event tells of;
    it does not hear of itself.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    source: str
    event_type: str
    payload: dict[str, object] = {}
    hop: int = 0
    about: str | None = None

    def as_matched(self) -> SystemEvent:
        """What matching needs to know of it."""
        return SystemEvent(
            source=self.source, event_type=self.event_type, payload=self.payload, hop=self.hop
        )


class ReceivedMessage(BaseModel):
    """A message of a user as its channel's adapter hands it in.

    `id` is the channel's own; `self_ids` are the names under which the adapter itself writes.
    """

    model_config = ConfigDict(frozen=True)

    channel: str
    id: str
    text: str = ""
    author_id: str | None = None
    author_name: str | None = None
    is_self: bool = False
    self_ids: list[str] = []

    @property
    def is_command(self) -> bool:
        """Whether it is a slash command, which fires nothing."""
        return _COMMAND.match(self.text) is not None

    def as_matched(self) -> IncomingMessage:
        """What matching needs to know of it."""
        return IncomingMessage(
            channel=self.channel, text=self.text, author_id=self.author_id, is_self=self.is_self
        )


def read_event(body: object, new_id: str) -> tuple[EmittedEvent, bool]:
    """Read an event from outside; its hop is 0.

    Args:
        body: The JSON object.
        new_id: The event's id when the body names none.

    Returns:
        The event, and whether it is for the routines of every scope.

    Raises:
        DomainError: The first problem; `payload_too_large` on `payload`.
    """
    FieldReader.of(body, "body")
    reader = FieldReader(cast("Mapping[str, object]", body), "")
    reader.refuse_unknown(("source", "event_type", "payload", "id", "scope"))
    source, event_type = _read_name(reader, "source"), _read_name(reader, "event_type")
    payload = reader.check(lambda: _payload(reader.raw("payload"))) or {}
    given = reader.text("id")
    if given is not None and len(given) > MAX_ID_CHARS:
        reader.invalid("id", f"must have 1 to {MAX_ID_CHARS} characters, not {len(given)}")
    scope = reader.choice("scope", [EVERY_SCOPE], "")
    reader.close()
    event = EmittedEvent(id=given or new_id, source=source, event_type=event_type, payload=payload)
    return event, scope == EVERY_SCOPE


def read_message(body: object) -> ReceivedMessage:
    """Read a message; its text is kept verbatim.

    Raises:
        DomainError: The first problem; `payload_too_large` on `text`.
    """
    FieldReader.of(body, "body")
    reader = FieldReader(cast("Mapping[str, object]", body), "")
    reader.refuse_unknown(tuple(ReceivedMessage.model_fields))
    message = {
        "channel": reader.required_text("channel", max_chars=MAX_NAME_CHARS),
        "id": reader.required_text("id", max_chars=MAX_ID_CHARS),
        "text": reader.check(lambda: _text(reader.raw("text"))) or "",
        "author_id": _read_person(reader, "author_id"),
        "author_name": _read_person(reader, "author_name"),
        "is_self": reader.boolean("is_self", default=False),
        "self_ids": _read_self_ids(reader),
    }
    reader.close()
    return ReceivedMessage.model_validate(message)


def _payload(value: object) -> dict[str, object]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _invalid("payload", f"must be a JSON object, not {shown(value)}")
    found = dict(cast("Mapping[str, object]", value))
    try:
        size = len(canonical_json(found))
    except (TypeError, ValueError, RecursionError):
        raise _invalid("payload", "must be a JSON object; something in it is no JSON") from None
    if size > MAX_PAYLOAD_BYTES:
        raise _too_large("payload", MAX_PAYLOAD_BYTES, size)
    return found


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _invalid("text", f"must be a string, not {shown(value)}")
    if not is_unicode(value):
        raise _invalid("text", "must be Unicode text; it holds half of a surrogate pair")
    size = len(value.encode())
    if size > MAX_MESSAGE_BYTES:
        raise _too_large("text", MAX_MESSAGE_BYTES, size)
    return value


def _read_name(reader: FieldReader, key: str) -> str:
    name = reader.required_text(key)
    if name and (len(name) > MAX_NAME_CHARS or not _NAME.fullmatch(name)):
        reader.invalid(key, f"{_NAME_RULE}, not {shown(name)}")
    return name


def _read_person(reader: FieldReader, key: str) -> str | None:
    text = reader.text(key)
    if text is not None and len(text) > MAX_PERSON_CHARS:
        reader.invalid(key, f"must have at most {MAX_PERSON_CHARS} characters, not {len(text)}")
    return text


def _read_self_ids(reader: FieldReader) -> list[str]:
    found: list[str] = []
    for item in reader.items("self_ids", "ids") or ():
        if not isinstance(item, str) or not is_unicode(item) or len(item) > MAX_PERSON_CHARS:
            reader.invalid("self_ids", f"must be a list of ids; {shown(item)} is none")
        else:
            found.append(item)
    if len(found) > MAX_SELF_IDS:
        reader.invalid("self_ids", f"must have at most {MAX_SELF_IDS} ids, not {len(found)}")
    return found


def _invalid(field: str, wrong: str) -> DomainError:
    return DomainError(ErrorKind.INVALID_FIELD, field, f"{field} {wrong}")


def _too_large(field: str, most: int, size: int) -> DomainError:
    message = f"{field} must have at most {most} bytes of UTF-8, not {size}"
    return DomainError(ErrorKind.PAYLOAD_TOO_LARGE, field, message)
