"""What an inbox carries along stays within one payload, whatever people send."""

from typing import Any

import pytest

from domain.errors import DomainError, ErrorKind
from domain.inbound_records import MessageFate
from domain.inbox import MAX_ABOUT_BYTES, MAX_LINES_BYTES
from domain.inbox_edit import MAX_TURN_BYTES
from domain.inbox_memory import KEPT_BYTES
from domain.inbox_texts import cut_to_bytes, json_bytes
from domain.inbox_turns import (
    KEPT_IDS_BYTES,
    KEPT_TEXT_BYTES,
    KEPT_TURNS_BYTES,
    mark_kept,
    rows_to_keep,
)
from domain.lease_queue import KEPT_BYTES as LEASE_BYTES
from domain.lease_queue import LeaseQueue
from domain.lease_queue_state import LeaseKind, LeaseQueueState, RequestLease
from domain.queueing import QueueDropPolicy, QueueMode
from domain.session_messages import MAX_TEXT_BYTES, MessageDecision, QueueOptions
from domain.session_requests import SessionState
from tests.support.inboxes import KEY, START, Desk, inbound

# What weighs most in JSON of all that a text may hold.
HEAVY = "\x01"


def _size(desk: Desk, leases: LeaseQueueState | None = None) -> int:
    """Of the state that goes through continue-as-new: what has ended is written before."""
    while rows := rows_to_keep(desk.state, KEY):
        mark_kept(desk.state, rows)
    desk.state.settled = []
    state = SessionState(
        key=KEY, inbox=desk.state, rules=desk.rules, leases=leases or LeaseQueueState()
    )
    found = state.model_dump_json()
    assert SessionState.model_validate_json(found) == state
    return len(found.encode())


@pytest.mark.parametrize("cap", [20, 200])
def test_the_state_of_a_busy_session_is_far_below_512_kib(cap: int) -> None:
    desk = Desk(settings={"cap": cap})
    for number in range(1_500):
        desk.send(
            f"${number:04}:" + "i" * 24,
            "text " * 200,
            digest="d" * 32,
            request_id="r" * 26,
            sender_label="Ann",
            chat_id="c" * 40,
        )
    desk.end(text="y" * 100_000)
    assert len(desk.waiting) >= min(cap, 130)
    assert _size(desk) < 400 * 1024


def _full() -> Desk:
    """An inbox with all of it as large as can be."""
    desk = Desk(settings={"cap": 200})
    # Turns of many messages with long ids, ended with the heaviest answers.
    for turn in range(12):
        desk.send(f"turn {turn}")
        for number in range(200):
            desk.send(f"{turn}-{number}-".ljust(255, HEAVY), "x")
        desk.end(text=HEAVY * 30_000)
        desk.later()
        desk.take()
        desk.end(text=HEAVY * 30_000)
    # A full queue of messages that say much about themselves, and lines of those before them.
    desk.send("running")
    for number in range(400):
        desk.send(
            f"last-{number}-".ljust(255, HEAVY),
            f"{number} ".ljust(250, HEAVY),
            conversation_label="ü" * (number * 10),
            request_id=HEAVY * 100,
            digest="d" * 64,
        )
    desk.end(text=HEAVY * 30_000)
    return desk


def test_the_state_stays_below_400_kib_with_all_of_it_as_large_as_can_be() -> None:
    desk = _full()
    state = desk.state
    about = sum(item.about_bytes for item in state.waiting)
    lines = sum(json_bytes(line) for line in state.lines)
    turns = sum(len(one.model_dump_json()) for one in state.ended)
    ended = sum(one.weight for one in state.remembered if one.fate != MessageFate.WAITING)
    # Each is full.
    assert 0.9 * MAX_ABOUT_BYTES < about <= MAX_ABOUT_BYTES
    assert 0.9 * MAX_LINES_BYTES < lines <= MAX_LINES_BYTES
    assert 0.7 * KEPT_TURNS_BYTES < turns <= KEPT_TURNS_BYTES
    # What ended since the last message came is still to be forgotten.
    assert 0.9 * KEPT_BYTES < ended <= KEPT_BYTES + 2_000
    assert _size(desk) < 400 * 1024


def test_a_full_session_with_a_full_queue_for_it_stays_below_512_kib() -> None:
    leases = LeaseQueue(LeaseQueueState())
    now = START

    def ask(number: int, kind: LeaseKind) -> str:
        owner = f"routine-run/{'r' * 63}/e-{number:032}"
        request = RequestLease(
            owner=owner, request_id=f"{owner}:1", kind=kind, lease_seconds=4_000, checked=True
        )
        leases.request(request, now)
        return owner

    # Far more runs than one routine may have have come and gone, and as many wait for a user.
    for number in range(300):
        leases.release(ask(number, LeaseKind.AUTOMATION), now)
    for number in range(300, 401):
        ask(number, LeaseKind.AUTOMATION)
    ask(401, LeaseKind.USER)
    state = leases.state
    assert (len(state.holders), len(state.waiting), len(state.interrupts)) == (1, 101, 1)
    remembered = sum(len(one.model_dump_json().encode()) for one in state.remembered)
    assert 0.5 * LEASE_BYTES < remembered <= LEASE_BYTES
    assert _size(_full(), state) < 512 * 1024


def test_large_messages_make_room_for_themselves() -> None:
    desk = Desk(settings={"cap": 200})
    desk.send("a")
    for number in range(130):
        desk.send(f"small{number}")
    assert len(desk.waiting) == 130
    for number in range(200):
        desk.send(f"large{number}", conversation_label="ü" * 4_000)
        assert sum(item.about_bytes for item in desk.state.waiting) <= MAX_ABOUT_BYTES
    assert desk.waiting[-1] == "large199"
    assert len(desk.waiting) > 10
    assert desk.state.counts[MessageFate.DROPPED] == 330 - len(desk.waiting)


def test_a_large_message_does_not_push_others_out_where_the_new_one_gives_way() -> None:
    desk = Desk(settings={"cap": 200, "drop": QueueDropPolicy.NEW})
    desk.send("a")
    for number in range(30):
        answer = desk.send(f"m{number}", conversation_label="ü" * 4_000)
    assert (answer.decision, answer.retryable) == (MessageDecision.DROP, True)
    assert desk.waiting[0] == "m0"


def test_the_ids_the_error_and_the_text_of_an_ended_turn_are_cut() -> None:
    desk = Desk()
    desk.send("a" * 255)
    for number in range(10):
        options = QueueOptions(mode=QueueMode.STEER)
        desk.send(f"{number}".ljust(255, "b"), options=options)
    desk.end(text=HEAVY * 16_000)
    (ended,) = desk.state.ended
    assert KEPT_IDS_BYTES * 0.8 < sum(map(json_bytes, ended.message_ids)) <= KEPT_IDS_BYTES
    assert KEPT_TEXT_BYTES - 6 <= json_bytes(ended.text) <= KEPT_TEXT_BYTES
    assert ended.truncated


def test_a_text_is_cut_by_its_bytes_in_json() -> None:
    assert cut_to_bytes("abc", 5) == "abc"
    assert cut_to_bytes("abc", 4) == "ab"
    assert cut_to_bytes(f"a{HEAVY}b", 8) == "a"
    assert cut_to_bytes("abc", 1) == ""


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"text": HEAVY * MAX_TEXT_BYTES}, "text"),
        ({"text": "x", "media_urls": ["https://e.org/" + "y" * 8_000] * 32}, "media_urls"),
        ({"text": "x", "sender_label": "ü" * 16_384}, "message"),
    ],
)
def test_what_is_too_heavy_for_a_payload_is_refused(fields: dict[str, Any], field: str) -> None:
    desk = Desk()
    desk.send("a")
    before = desk.state.model_copy(deep=True)
    message = inbound("b").model_copy(update=fields)
    with pytest.raises(DomainError) as caught:
        desk.send(message)
    assert (caught.value.kind, caught.value.field) == (ErrorKind.PAYLOAD_TOO_LARGE, field)
    assert "as JSON" in caught.value.message
    assert desk.state == before
    # A signal has no answer: the refusal is noted, in few bytes.
    for _ in range(2):
        desk.inbox.refuse(message, caught.value, desk.now)
    (row,) = desk.state.settled
    assert (row.status, row.reason) == (MessageFate.DROPPED, "payload_too_large")
    assert row.weight < 2_000


def test_the_largest_text_of_letters_or_lines_is_taken() -> None:
    desk = Desk()
    desk.send("a", "\n" + '"' * (MAX_TEXT_BYTES - 1))
    assert desk.state.turn is not None
    assert desk.state.turn.items[0].weight <= MAX_TURN_BYTES


def test_an_end_is_counted_though_its_message_is_not_remembered() -> None:
    desk = Desk()
    desk.send("a")
    desk.state.remembered = []
    desk.end()
    assert desk.state.counts == {MessageFate.ANSWERED: 1}
