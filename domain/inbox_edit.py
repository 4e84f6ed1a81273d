"""What a person changes in a session's queue: order, dropping, merging.

Owns checking and doing a change. What comes in by itself is `domain.inbox`'s.
Source: chat-policies.md §3, automation.md §8.

Invariants:
    1. All or nothing: a change that is refused changes nothing.
    2. What is dropped has come to its end; what is merged waits on, in what it was merged into.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from domain.errors import DomainError, ErrorKind
from domain.inbound_records import MessageFate
from domain.inbox_fates import Ending, settle
from domain.inbox_state import InboxState, QueuedMessage
from domain.session_messages import EditQueue

MAX_TURN_BYTES: Final = 196_608
DROPPED_BY_PERSON: Final = "dropped_by_user"


def edit_queue(state: InboxState, key: str, edit: EditQueue, now: datetime) -> None:
    """Change what waits.

    Raises:
        DomainError: `conflict` on `revision`, `invalid_field` on the list that names what does not
            wait; nothing was changed.
    """
    _check(state, edit)
    dropped = set(edit.drop)
    first = [_of(state.waiting, one) for one in edit.order]
    line = [*first, *(item for item in state.waiting if item.id not in set(edit.order))]
    gone = [item for item in line if edit.clear or item.id in dropped]
    line = [item for item in line if item not in gone]
    if edit.merge:
        line = _merged(line, edit.merge)
    for item in gone:
        settle(state, key, item, Ending(MessageFate.DROPPED, now, DROPPED_BY_PERSON))
    if edit.options is not None:
        state.options = edit.options
    replace_waiting(state, line)


def replace_waiting(state: InboxState, line: list[QueuedMessage]) -> None:
    """Set what waits; nothing waits for a summary that would come alone."""
    state.waiting = line
    state.revision += 1
    if not line:
        state.clear_lines()
        state.drain_at = None


def _check(state: InboxState, edit: EditQueue) -> None:
    if edit.revision is not None and edit.revision != state.revision:
        message = f"revision is {state.revision} by now, not {edit.revision}: look again"
        raise DomainError(ErrorKind.CONFLICT, "revision", message, [str(state.revision)])
    ids = [item.id for item in state.waiting]
    for field, named in (("order", edit.order), ("drop", edit.drop), ("merge", edit.merge)):
        for one in named:
            if one not in ids:
                raise _invalid(field, f"names {one!r}, which does not wait", ids)
        if len(set(named)) < len(named):
            raise _invalid(field, "names a message twice", ids)
    if edit.merge:
        _check_merge(state, edit)


def _check_merge(state: InboxState, edit: EditQueue) -> None:
    if len(edit.merge) == 1:
        raise _invalid("merge", "names one message, and takes at least two", ())
    if edit.clear or set(edit.merge) & set(edit.drop):
        raise _invalid("merge", "names a message that is to be dropped", ())
    items = [_of(state.waiting, one) for one in edit.merge]
    head = items[0].message
    if any((one.message.route, one.message.scope) != (head.route, head.scope) for one in items):
        raise DomainError(
            ErrorKind.CONFLICT, "merge", "merge names messages whose answers go to different places"
        )
    size = sum(part.weight for item in items for part in item.parts)
    if size > MAX_TURN_BYTES:
        raise DomainError(
            ErrorKind.PAYLOAD_TOO_LARGE,
            "merge",
            f"merge makes a message of {size} bytes; one turn takes {MAX_TURN_BYTES}",
        )


def _merged(line: list[QueuedMessage], ids: list[str]) -> list[QueuedMessage]:
    head, *others = [_of(line, one) for one in ids]
    whole = head.model_copy(update={"joined": [*head.joined, *others]})
    return [whole if item is head else item for item in line if item not in others]


def _of(line: Iterable[QueuedMessage], message_id: str) -> QueuedMessage:
    return next(item for item in line if item.id == message_id)


def _invalid(field: str, what: str, accepted: Iterable[str]) -> DomainError:
    return DomainError(ErrorKind.INVALID_FIELD, field, f"{field} {what}", accepted)
