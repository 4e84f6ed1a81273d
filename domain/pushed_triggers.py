"""Triggers that something outside fires: event, system_event, webhook.

Owns reading them. What they match is `domain.trigger_matching`'s, the forms of a secret are
`domain.webhook_secrets`', how a delivery is verified is `domain.webhooks`'.
Source: triggers-and-actions.md §1 to §3.

Invariants:
    1. A pattern of a validated trigger compiles.
    2. A webhook has a secret, or says that it is unsigned.
"""

import re
from collections.abc import Mapping
from typing import cast

from domain.fields import FieldReader, is_unicode, shown
from domain.trigger_matching import render_scalar
from domain.trigger_models import EventTrigger, SystemEventTrigger, WebhookScheme, WebhookTrigger
from domain.trigger_pattern import compile_pattern
from domain.webhook_secrets import read_secret

MAX_FILTERS = 32
MAX_NAME_CHARS = 200
MAX_PATH_CHARS = 128
# Ids that the service assigns begin so, and an id is its routine's path by default.
RESERVED_PATH_PREFIX = "routine_"

_SOURCE = re.compile(r"[A-Za-z0-9_.:/-]+")
_EVENT_TYPE = re.compile(r"[A-Za-z0-9_.:/-]+(\.\*)?")
_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_NAME_RULE = f"must have 1 to {MAX_NAME_CHARS} letters, digits and _ . : / -"


def read_event(reader: FieldReader) -> EventTrigger:
    """Read an event trigger; the pattern is kept verbatim."""
    channel = reader.text("channel")
    pattern = reader.raw("pattern")
    reader.check(lambda: compile_pattern(pattern, reader.field("pattern")))
    reader.close()
    return EventTrigger(channel=channel and channel.lower(), pattern=cast("str", pattern))


def read_system_event(reader: FieldReader) -> SystemEventTrigger:
    """Read a system-event trigger; filter values become texts."""
    source = _read_name(reader, "source", _SOURCE, "")
    event_type = _read_name(
        reader, "event_type", _EVENT_TYPE, "; a trailing .* stands for any longer type"
    )
    filters = _read_filters(reader, "filters")
    reader.close()
    return SystemEventTrigger(source=source, event_type=event_type, filters=filters)


def read_webhook(reader: FieldReader) -> WebhookTrigger:
    """Read a webhook trigger; whether its path is taken is not known here."""
    path = _read_path(reader, "path")
    field = reader.field("secret")
    before = len(reader.problems)
    secret = reader.check(lambda: read_secret(reader.raw("secret"), field))
    if (
        secret is None
        and len(reader.problems) == before
        and reader.raw("allow_unsigned") is not True
    ):
        reader.missing("secret", "or set allow_unsigned to true to take unsigned deliveries")
    scheme = WebhookScheme(reader.choice("scheme", list(WebhookScheme), WebhookScheme.AUTO))
    allow_unsigned = reader.boolean("allow_unsigned", default=False)
    reader.close()
    return WebhookTrigger(path=path, secret=secret, scheme=scheme, allow_unsigned=allow_unsigned)


def _read_name(reader: FieldReader, key: str, pattern: re.Pattern[str], hint: str) -> str:
    name = reader.required_text(key)
    if name and (len(name) > MAX_NAME_CHARS or not pattern.fullmatch(name)):
        reader.invalid(key, f"{_NAME_RULE}{hint}; not {shown(name)}")
    return name


def _read_filters(reader: FieldReader, key: str) -> dict[str, str]:
    given = reader.raw(key)
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        reader.invalid(key, f"must be a JSON object of texts, not {shown(given)}")
        return {}
    items = cast("Mapping[str, object]", given)
    if len(items) > MAX_FILTERS:
        reader.invalid(key, f"must have at most {MAX_FILTERS} keys, not {len(items)}")
        return {}
    filters: dict[str, str] = {}
    for name, value in items.items():
        text = render_scalar(value)
        if text is None or not is_unicode(name + text):
            wrong = f"must be a string, a number or a boolean, not {shown(value)}"
            reader.invalid(f"{key}.{name}", wrong, ["string", "number", "boolean"])
        else:
            filters[name] = text
    return filters


def _read_path(reader: FieldReader, key: str) -> str | None:
    path = reader.text(key)
    if path is None:
        return None
    if len(path) > MAX_PATH_CHARS or not _SEGMENT.fullmatch(path):
        reader.invalid(
            key,
            f"must be one URL segment of 1 to {MAX_PATH_CHARS} letters, digits and . _ -, "
            f"without a leading dot, not {shown(path)}",
        )
    elif path.startswith(RESERVED_PATH_PREFIX):
        reader.invalid(key, f"must not begin with {RESERVED_PATH_PREFIX}: ids begin so")
    return path
