"""What somebody asks of a session, as JSON: a message, a change of its queue, a stop.

Owns reading the three and their limits; the keys of sessions, too. What becomes of a message is
`domain.inbox`'s, what a key means `domain.session`'s. Source: chat-policies.md §2 and §3,
automation.md §8 and §13.

Invariants:
    1. What is read here is Unicode text of limited size, and every mode and policy is a known one.
    2. Who sends, in which scope and where answers go come from the caller's context, never from
       the body.
"""

from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from typing import Final, TypeVar, cast

from pydantic import BaseModel, ConfigDict

from domain.chat_settings import MAX_CAP, MAX_DEBOUNCE_MS
from domain.errors import DomainError, ErrorKind
from domain.fields import FieldReader, is_unicode, shown
from domain.guardrails import content_hash
from domain.queueing import (
    QueueDropPolicy,
    QueueMode,
    normalize_queue_drop_policy,
    normalize_queue_mode,
)
from domain.scopes import Route, Scope
from domain.session import visibility_key
from domain.session_messages import (
    MAX_ID_CHARS,
    MAX_TEXT_BYTES,
    EditQueue,
    InboundMessage,
    QueueOptions,
    StopSession,
)

# A workflow id may have 1,000 bytes, an id of a turn is longer than its session's key.
MAX_KEY_BYTES: Final = 512
MAX_PERSON_CHARS: Final = 512
MAX_WORD_CHARS: Final = 200
MAX_ITEMS: Final = 32
MAX_URL_CHARS: Final = 2_048
MAX_EDITED: Final = 1_000
MAX_REASON_CHARS: Final = 200
# The year 2286, in milliseconds.
MAX_TIMESTAMP_MS: Final = 9_999_999_999_999

# Short texts of a message, and how many characters each may have.
_WORDS: Final[Mapping[str, int]] = {
    "sender_id": MAX_PERSON_CHARS,
    "sender_label": MAX_PERSON_CHARS,
    "provider": MAX_WORD_CHARS,
    "surface": MAX_WORD_CHARS,
    "chat_type": MAX_WORD_CHARS,
    "chat_id": MAX_PERSON_CHARS,
    "conversation_label": MAX_PERSON_CHARS,
    "message_id_full": MAX_PERSON_CHARS,
    "reply_to_id": MAX_ID_CHARS,
    "thread_id": MAX_ID_CHARS,
}
_FLAGS: Final[Mapping[str, bool]] = {
    "command_authorized": True,
    "is_heartbeat": False,
    "allow_duplicate": False,
}
MESSAGE_FIELDS: Final = (
    "message_id",
    "text",
    *_WORDS,
    *_FLAGS,
    "thread_starter_body",
    "media_urls",
    "media_types",
    "timestamp_ms",
    "options",
    "is_self",
    "self_ids",
)

_Word = TypeVar("_Word", bound=StrEnum)


class Speaker(BaseModel):
    """What the caller's context says of whoever hands a message in.

    `sender_id`, `chat_type` and `chat_id` are used where the message does not say.
    """

    model_config = ConfigDict(frozen=True)

    scope: Scope
    route: Route
    sender_id: str = ""
    chat_type: str = ""
    chat_id: str = ""


class GivenMessage(BaseModel):
    """A message as it was given.

    Attributes:
        message: What the session is told.
        is_self: The channel's adapter wrote it itself: it goes nowhere.
        self_ids: The ids under which the adapter writes.
    """

    model_config = ConfigDict(frozen=True)

    message: InboundMessage
    is_self: bool = False
    self_ids: list[str] = []

    @property
    def is_echo(self) -> bool:
        """Whether it is what the adapter itself has said."""
        return self.is_self or self.message.sender_id in self.self_ids


def read_session_key(value: object) -> str:
    """Check the key of a session: `base` or `base|thread:<id>`, in any of its forms.

    Raises:
        DomainError: `missing_field` or `invalid_field` on `key`.
    """
    reader = FieldReader({"key": value}, "")
    key = reader.required_text("key", max_bytes=MAX_KEY_BYTES)
    if key and not key.isprintable():
        reader.invalid("key", "must have printable characters only")
    elif key and not visibility_key(key):
        reader.missing("key", "a session's key is base or base|thread:ID, and its base is blank")
    reader.close()
    return key


def read_inbound(
    body: object, *, key: str, speaker: Speaker, new_id: str, request_id: str = ""
) -> GivenMessage:
    """Read a message to a session; its text is kept verbatim.

    Args:
        body: The JSON object.
        key: The session's key.
        speaker: Who hands it in.
        new_id: The message's id when the body names none.
        request_id: Names this handing-in.

    Raises:
        DomainError: The first problem; `payload_too_large` on `text` or `thread_starter_body`.
    """
    reader = _reader(body, MESSAGE_FIELDS)
    message_id = _read_id(reader, "message_id")
    before = len(reader.problems)
    text = _read_long(reader, "text")
    media_urls = _read_list(reader, "media_urls", MAX_ITEMS, MAX_URL_CHARS)
    if not text and not media_urls and len(reader.problems) == before:
        reader.missing("text", "a message has a text or media_urls")
    given: dict[str, object] = {
        "text": text,
        **{name: _read_word(reader, name, most) for name, most in _WORDS.items()},
        **{name: reader.boolean(name, default=usual) for name, usual in _FLAGS.items()},
        "thread_starter_body": _read_long(reader, "thread_starter_body"),
        "media_urls": media_urls,
        "media_types": _read_list(reader, "media_types", MAX_ITEMS, MAX_WORD_CHARS),
        "timestamp_ms": reader.integer("timestamp_ms", 0, MAX_TIMESTAMP_MS, 0),
        "options": reader.check(lambda: _read_options(reader.raw("options"))) or QueueOptions(),
    }
    is_self = reader.boolean("is_self", default=False)
    self_ids = _read_list(reader, "self_ids", MAX_ITEMS, MAX_PERSON_CHARS)
    reader.close()
    for name in ("sender_id", "chat_type", "chat_id"):
        given[name] = given[name] or getattr(speaker, name)
    message = InboundMessage.model_validate(
        {
            **given,
            "message_id": message_id or new_id,
            "id_given": message_id is not None,
            "session_key": key,
            "scope": speaker.scope,
            "route": speaker.route,
            "request_id": request_id,
        }
    )
    found = message.model_copy(update={"digest": _digest(message)})
    return GivenMessage(message=found, is_self=is_self, self_ids=self_ids)


def read_queue_edit(body: object) -> EditQueue:
    """Read a change of a queue.

    Raises:
        DomainError: The first problem; `missing_field` on `order` when it changes nothing.
    """
    reader = _reader(body, tuple(EditQueue.model_fields))
    lists = {
        name: _read_list(reader, name, MAX_EDITED, MAX_ID_CHARS)
        for name in ("order", "drop", "merge")
    }
    for name, ids in lists.items():
        twice = next((one for one in ids if ids.count(one) > 1), None)
        if twice is not None:
            reader.invalid(name, f"names {shown(twice)} twice")
    if len(lists["merge"]) == 1:
        reader.invalid("merge", "must name at least 2 messages, not 1")
    both = next((one for one in lists["merge"] if one in lists["drop"]), None)
    if both is not None:
        reader.invalid("merge", f"names {shown(both)}, which drop names too")
    clear = reader.boolean("clear", default=False)
    if clear and any(lists.values()):
        reader.invalid("clear", "goes without order, drop and merge: nothing is left for them")
    options = reader.check(lambda: _read_options(reader.raw("options")))
    revision = reader.optional_integer("revision", 0)
    if not clear and not any(lists.values()) and options is None and not reader.problems:
        reader.missing("order", "a change has at least one of order, drop, merge, clear, options")
    reader.close()
    return EditQueue(
        order=lists["order"],
        drop=lists["drop"],
        merge=lists["merge"],
        clear=clear,
        options=options,
        revision=revision,
    )


def read_stop(body: object) -> StopSession:
    """Read a stop.

    Raises:
        DomainError: The first problem.
    """
    reader = _reader(body, tuple(StopSession.model_fields))
    reason = _read_word(reader, "reason", MAX_REASON_CHARS)
    reader.close()
    return StopSession(reason=reason) if reason else StopSession()


def _reader(body: object, accepted: Collection[str]) -> FieldReader:
    FieldReader.of(body, "body")
    reader = FieldReader(cast("Mapping[str, object]", body), "")
    reader.refuse_unknown(accepted)
    return reader


def _read_options(value: object) -> QueueOptions | None:
    """How messages are treated; what it does not say is null, as is what is not there.

    Raises:
        DomainError: The first problem on `options.…`.
    """
    if value is None:
        return None
    reader = FieldReader.of(value, "options")
    reader.refuse_unknown(tuple(QueueOptions.model_fields))
    options = QueueOptions(
        mode=_read_choice(reader, "mode", QueueMode, normalize_queue_mode),
        debounce_ms=reader.optional_integer("debounce_ms", 0, MAX_DEBOUNCE_MS),
        cap=reader.optional_integer("cap", 1, MAX_CAP),
        drop=_read_choice(reader, "drop", QueueDropPolicy, normalize_queue_drop_policy),
    )
    reader.close()
    return options


def _read_choice(
    reader: FieldReader, key: str, words: type[_Word], read: Callable[[str], _Word | None]
) -> _Word | None:
    text = reader.text(key)
    if text is None:
        return None
    found = read(text)
    if found is None:
        accepted = [word.value for word in words]
        reader.invalid(key, f"must be one of {', '.join(accepted)}, not {shown(text)}", accepted)
    return found


def _read_id(reader: FieldReader, key: str) -> str | None:
    text = reader.text(key)
    if text is not None and (len(text) > MAX_ID_CHARS or not text.isprintable()):
        reader.invalid(
            key, f"must have 1 to {MAX_ID_CHARS} printable characters, not {shown(text)}"
        )
    return text


def _read_word(reader: FieldReader, key: str, most: int) -> str:
    text = reader.text(key) or ""
    if len(text) > most:
        reader.invalid(key, f"must have at most {most} characters, not {len(text)}")
    return text


def _read_long(reader: FieldReader, key: str) -> str:
    """A text of people, as it was given."""
    value = reader.raw(key)
    if reader.text(key) is None:
        # Blank, or wrong and recorded.
        return ""
    text = cast("str", value)
    size = len(text.encode())
    if size > MAX_TEXT_BYTES:
        reader.check(lambda: _too_large(key, size))
    return text


def _too_large(key: str, size: int) -> None:
    raise DomainError(
        ErrorKind.PAYLOAD_TOO_LARGE,
        key,
        f"{key} must have at most {MAX_TEXT_BYTES} bytes of UTF-8, not {size}",
    )


def _read_list(reader: FieldReader, key: str, most: int, chars: int) -> list[str]:
    found: list[str] = []
    for item in reader.items(key, "texts") or ():
        if not isinstance(item, str) or not is_unicode(item) or not 1 <= len(item) <= chars:
            wrong = f"must be a list of texts of 1 to {chars} characters; {shown(item)} is none"
            reader.invalid(key, wrong)
        else:
            found.append(item)
    if len(found) > most:
        reader.invalid(key, f"must have at most {most} items, not {len(found)}")
        return []
    return found


def _digest(message: InboundMessage) -> str:
    """Of what is said and how it is to be treated: names of people may change between two tries."""
    said = message.model_dump(
        mode="json",
        include={"text", "options", "sender_id", "reply_to_id", "thread_id", "media_urls"},
    )
    return content_hash(said)[:32]
