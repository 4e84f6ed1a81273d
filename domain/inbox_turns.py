"""The turns of an inbox: when what waits is answered, what joins a turn, how it ends.

Owns draining the queue and the turn that runs. What a turn says is `domain.chat_replies`'.
Source: chat-policies.md §3.6 (Steer, Draining) and §5.5.

Invariants:
    1. One turn runs at a time.
    2. When a turn ends so do its messages; one that joined too late waits again, as the next.
    3. All that a turn asks at once fits into one payload.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from domain.chat_settings import SessionRules
from domain.inbound_records import InboundRecord, MessageFate
from domain.inbox_edit import MAX_TURN_BYTES, replace_waiting
from domain.inbox_fates import Ending, book, record, records
from domain.inbox_state import (
    EndedTurn,
    InboxState,
    QueuedMessage,
    RunningTurn,
    SteeredMessage,
)
from domain.inbox_texts import PREVIEW_CHARS, cut_to_bytes, json_bytes, summary_text
from domain.queueing import QueueMode, elide_queue_text
from domain.replies import resolve_queue_thread_key
from domain.session_messages import InboundMessage
from domain.turns import TurnStage, TurnStatus

KEPT_TURNS: Final = 20
KEPT_TEXT_CHARS: Final = 16_000
# As JSON; of all turns together, of the newest text, of the ids and of the error of one.
KEPT_TURNS_BYTES: Final = 49_152
KEPT_TEXT_BYTES: Final = 32_768
KEPT_IDS_BYTES: Final = 2_048
KEPT_ERROR_BYTES: Final = 2_048
# A text up to this size may go through continue-as-new with what waits; others are in the store.
SMALL_BYTES: Final = 2_048
SMALL_BYTES_TOGETHER: Final = 32_768
KEEP_BYTES_AT_ONCE: Final = 262_144

_FATES: Final = {
    TurnStatus.ANSWERED: MessageFate.ANSWERED,
    TurnStatus.SILENT: MessageFate.ANSWERED,
    TurnStatus.FAILED: MessageFate.FAILED,
    TurnStatus.CANCELLED: MessageFate.ABORTED,
}


# Beginning


def begin_turn(state: InboxState, item: QueuedMessage, now: datetime, turn_id: str) -> None:
    """Begin a turn that answers one message."""
    state.turn = RunningTurn(turn_id=turn_id, since=now, about=item, items=[item])


def is_due(state: InboxState, now: datetime) -> bool:
    """Whether something waits that is to be answered now."""
    quiet = state.drain_at is None or state.drain_at <= now
    return state.turn is None and bool(state.waiting) and quiet


def take_turn(
    state: InboxState, rules: SessionRules, now: datetime, turn_id: str
) -> RunningTurn | None:
    """Begin the next turn with what waits; null when nothing is due.

    Args:
        state: Changed in place.
        rules: The settings.
        now: The session's clock.
        turn_id: The id of the turn that may begin.
    """
    if not is_due(state, now):
        return None
    head = state.waiting[0]
    summary = summary_text(state.lines, state.lines_dropped) if state.lines_dropped else ""
    collect = head.mode == QueueMode.COLLECT
    items = [head]
    if collect:
        items = _collected(state.waiting, rules)
    elif summary:
        # What was dropped is told alone, and first.
        items = []
    state.turn = RunningTurn(
        turn_id=turn_id,
        since=now,
        about=items[-1] if items else head,
        items=items,
        collect=collect,
        summary=summary,
        summary_commands=state.lines_command,
    )
    state.clear_lines()
    if items:
        due = state.drain_at
        replace_waiting(state, state.waiting[len(items) :])
        state.drain_at = due if state.waiting else None
    return state.turn


def _collected(waiting: Sequence[QueuedMessage], rules: SessionRules) -> list[QueuedMessage]:
    """The longest head whose answers go to the same place, as far as one turn can take it."""
    head = _place(waiting[0], rules)
    items: list[QueuedMessage] = []
    weight = 0
    for item in waiting:
        weight += sum(part.weight for part in item.parts)
        fits = not items or weight <= MAX_TURN_BYTES
        if item.mode != QueueMode.COLLECT or _place(item, rules) != head or not fits:
            break
        items.append(item)
    return items


def _place(item: QueuedMessage, rules: SessionRules) -> tuple[object, ...]:
    message = item.message
    mode = rules.chat.threads(message.route.receive_id_type)
    key = resolve_queue_thread_key(mode, message.thread_id, message.message_id)
    return key, message.route


# While it runs


def steer_turn(state: InboxState, item: QueuedMessage) -> SteeredMessage | None:
    """Let a message join the turn that runs; null when it cannot any more."""
    turn = state.turn
    if turn is None or turn.cancel is not None or turn.stage == TurnStage.DELIVERY:
        return None
    there = [*turn.items, *(one.item for one in turn.steered), item]
    if sum(part.weight for one in there for part in one.parts) > MAX_TURN_BYTES:
        return None
    steered = SteeredMessage(item=item)
    turn.steered.append(steered)
    return steered


def cancel_turn(state: InboxState, reason: str) -> RunningTurn | None:
    """End the turn that runs; null when there is none, or its answer is being delivered."""
    turn = state.turn
    if turn is None or turn.stage == TurnStage.DELIVERY:
        return None
    turn.cancel = turn.cancel or reason
    return turn


def may_use_tools(turn: RunningTurn) -> bool:
    """Whether everybody whose words a turn holds may command, and none of them is a machine.

    A turn that only tells what was dropped answers nobody.
    """
    beats = any(message.is_heartbeat for message in _asked(turn))
    return is_commanded(turn) and turn.summary_commands and not beats


def is_commanded(turn: RunningTurn) -> bool:
    """Whether everybody whose messages a turn answers may command."""
    asked = _asked(turn)
    return bool(asked) and all(message.command_authorized for message in asked)


def _asked(turn: RunningTurn) -> list[InboundMessage]:
    items = [*turn.items, *(one.item for one in turn.steered)]
    return [part.message for item in items for part in item.parts]


def unsteer(state: InboxState, heard: int) -> None:
    """Put what joined the turn after its answer was there back, as what comes next.

    Args:
        state: Changed in place.
        heard: How many of the steered messages the answer takes into account.
    """
    turn = state.turn
    if turn is None or len(turn.steered) <= heard:
        return
    late = [one.item for one in turn.steered[heard:] if not one.queued]
    turn.steered = turn.steered[:heard]
    if late:
        replace_waiting(state, [*late, *state.waiting])


# The end


def turn_records(
    key: str, turn: RunningTurn, status: TurnStatus, at: datetime, reason: str | None
) -> list[InboundRecord]:
    """How the messages of a turn end with it.

    Args:
        key: The key of the session's gate.
        turn: The turn.
        status: How it ends.
        at: When.
        reason: Why, for turns that were cancelled or have failed.
    """
    fate = _FATES[status]
    answered = fate == MessageFate.ANSWERED
    rows: list[InboundRecord] = []
    for item in turn.items:
        own = MessageFate.MERGED if answered and item is not turn.items[-1] else fate
        rows += records(key, item, Ending(own, at, reason, turn.turn_id))
    joined = MessageFate.STEERED if answered else fate
    for one in turn.steered:
        if not one.queued:
            rows += records(key, one.item, Ending(joined, at, reason, turn.turn_id))
    return rows


def end_turn(state: InboxState, rows: Iterable[InboundRecord], ended: EndedTurn) -> None:
    """Book the end of the turn that runs."""
    for row in rows:
        book(state, row)
    state.turn = None
    state.last_at = ended.finished_at
    older = [_previewed(one) for one in state.ended]
    state.ended = _newest([*older, _kept(ended)][-KEPT_TURNS:])


def amend_turn(
    state: InboxState,
    before: Iterable[InboundRecord],
    rows: Iterable[InboundRecord],
    ended: EndedTurn,
) -> None:
    """Book that a turn has ended otherwise than it seemed.

    Args:
        state: Changed in place.
        before: How its messages ended at first.
        rows: How they ended.
        ended: The turn.
    """
    for row in before:
        state.counts[row.status] -= 1
    for row in rows:
        book(state, row)
    kept = _kept(ended)
    state.ended = [kept if one.turn_id == ended.turn_id else one for one in state.ended]


def _kept(ended: EndedTurn) -> EndedTurn:
    """A turn with as much of its texts as is kept."""
    cut = cut_to_bytes(ended.text[:KEPT_TEXT_CHARS], KEPT_TEXT_BYTES)
    return ended.model_copy(
        update={
            "text": cut,
            "truncated": len(cut) < len(ended.text),
            "message_ids": _first_ids(ended.message_ids),
            "error": ended.error and cut_to_bytes(ended.error, KEPT_ERROR_BYTES),
        }
    )


def _first_ids(ids: Sequence[str]) -> list[str]:
    first: list[str] = []
    weight = 0
    for one in ids:
        weight += json_bytes(one) + 1
        if weight > KEPT_IDS_BYTES:
            break
        first.append(one)
    return first


def _newest(turns: list[EndedTurn]) -> list[EndedTurn]:
    """The newest turns, as many as fit."""
    weight = 0
    for number, one in enumerate(reversed(turns)):
        weight += len(one.model_dump_json().encode())
        if weight > KEPT_TURNS_BYTES:
            return turns[len(turns) - number :]
    return turns


def _previewed(ended: EndedTurn) -> EndedTurn:
    text = elide_queue_text(ended.text, PREVIEW_CHARS)
    return ended.model_copy(
        update={"text": text, "truncated": ended.truncated or text != ended.text}
    )


# What is too large to be carried along


def rows_to_keep(state: InboxState, key: str) -> list[InboundRecord]:
    """The next texts of waiting messages that have to be in the store; empty when all are."""
    parts = [part for item in state.waiting for part in item.parts if not part.kept]
    large = [part for part in parts if part.weight > SMALL_BYTES]
    if not large and sum(part.weight for part in parts) > SMALL_BYTES_TOGETHER:
        large = parts
    rows: list[InboundRecord] = []
    weight = 0
    for part in large:
        weight += part.weight
        if rows and weight > KEEP_BYTES_AT_ONCE:
            break
        rows.append(record(key, part, None, MessageFate.WAITING))
    return rows


def mark_kept(state: InboxState, rows: Iterable[InboundRecord]) -> None:
    """The texts of these rows are in the store: what still waits lets go of them."""
    ids = {row.message_id for row in rows}
    for item in state.waiting:
        for part in item.parts:
            if part.id in ids and not part.kept:
                part.message = part.message.model_copy(update={"text": ""})
                part.kept = True
