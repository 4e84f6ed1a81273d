"""What is said to a session on the command line: by arguments and flags, or as JSON.

Owns reading it, standard input included. What is accepted is decided by `domain.session_bodies`;
values are handed on as they were given. Source: automation.md §13.
"""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from client.cli.routine_body import MAX_BODY_BYTES, STANDARD_INPUT, read_json

if TYPE_CHECKING:
    from domain.errors import DomainError


def message_body(
    text: str | None, source: str | None, message_id: str | None, options: Mapping[str, object]
) -> dict[str, Any]:
    """The body of a message.

    Args:
        text: What to say; `-` or nothing is standard input.
        source: A file of JSON in place of all else, or `-` for standard input.
        message_id: The message's id.
        options: How the queue is to treat it.

    Raises:
        DomainError: `invalid_field` on `body` for JSON beside other things.
    """
    flags: dict[str, Any] = {} if message_id is None else {"message_id": message_id}
    if options:
        flags["options"] = dict(options)
    if source is None:
        return {"text": _piped() if text in {None, STANDARD_INPUT} else text, **flags}
    if text is not None or flags:
        raise _json_alone()
    return read_json(None, source) or {}


def change_body(
    source: str | None, flags: Mapping[str, object], revision: object
) -> dict[str, Any] | None:
    """The change of a queue; null when none is asked for.

    Args:
        source: A file of JSON in place of flags, or `-` for standard input.
        flags: What was given by flags, lists of ids as they were written.
        revision: What the queue's revision has to be; null is any.

    Raises:
        DomainError: `invalid_field` on `body` for JSON beside flags.
    """
    if source is not None:
        if flags or revision is not None:
            raise _json_alone()
        return read_json(None, source)
    if not flags and revision is None:
        return None
    change = {name: _ids(value) for name, value in flags.items()}
    return change if revision is None else {**change, "revision": revision}


def _ids(value: object) -> object:
    """The ids of a list in which each item may hold several, with commas between."""
    if not isinstance(value, list):
        return value
    texts = [str(item) for item in value]  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType] - Typer gives texts
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]


def _piped() -> str:
    """Standard input; nothing at a terminal, where nobody knows that he is waited for."""
    if sys.stdin.isatty():
        return ""
    return sys.stdin.read(MAX_BODY_BYTES + 1).removesuffix("\n")


def _json_alone() -> "DomainError":
    from domain.errors import DomainError, ErrorKind

    message = "body: give all of it by --json, or nothing"
    return DomainError(ErrorKind.INVALID_FIELD, "body", message)
