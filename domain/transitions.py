"""Tables that say which event leads where, and how whatever they do not name is refused.

Owns the lookup and the wording of the refusal; the tables belong to their nouns. Sources:
triggers-and-actions.md §6 and §8, automation.md §9.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import TypeVar

from domain.errors import DomainError, ErrorKind

_Status = TypeVar("_Status", bound=StrEnum)


def follow(
    table: Mapping[tuple[str, str], _Status],
    status: str,
    event: str,
    told: Collection[str] | None = None,
) -> _Status:
    """The status an event leads to.

    Args:
        table: What follows each status and event; a pair that is missing is refused.
        status: The present one.
        event: What happens.
        told: The events that a refusal may name, those people can ask for; null for all.

    Raises:
        DomainError: `conflict` on `status`, naming the status and the events it accepts.
    """
    following = table.get((status, event))
    if following is not None:
        return following
    known = [known for present, known in table if present == status]
    accepted = [event for event in known if told is None or event in told]
    hint = f"accepted: {', '.join(accepted)}" if accepted else "it accepts nothing more"
    message = f"status is {status}: {event} is not possible; {hint}"
    raise DomainError(ErrorKind.CONFLICT, "status", message, accepted)
