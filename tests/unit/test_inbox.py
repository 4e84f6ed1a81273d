"""What happens to a message when it comes: modes, duplicates, full queues, words that stop."""

from datetime import timedelta
from typing import Any

import pytest

from domain.errors import DomainError, ErrorKind
from domain.inbound_records import MessageFate
from domain.inbox_memory import KEPT_ANSWERS, memory_of
from domain.queueing import QueueDropPolicy, QueueMode
from domain.scopes import Route, Scope, ScopeKind
from domain.session_messages import MAX_TEXT_BYTES, MessageDecision, QueueOptions
from domain.turns import TurnStage, TurnStatus
from tests.support.inboxes import KEY, Desk, fates, inbound

WAITING_MODES = [QueueMode.FOLLOWUP, QueueMode.COLLECT, QueueMode.BACKLOG]


def test_the_first_message_begins_a_turn_at_once() -> None:
    desk = Desk()
    answer = desk.send("a")
    assert (answer.decision, answer.reason) == (MessageDecision.RUN_NOW, "no_active_run")
    assert answer.turn_id == "chat/t-1"
    assert answer.workflow_id == "session/chat"
    assert desk.state.turn is not None
    assert (desk.state.turn.turn_id, desk.text()) == ("chat/t-1", "text of a")
    assert fates(desk.end()) == {"a": MessageFate.ANSWERED}


@pytest.mark.parametrize("mode", WAITING_MODES)
def test_a_message_waits_while_a_turn_runs(mode: QueueMode) -> None:
    desk = Desk()
    desk.send("a")
    (answer, second) = desk.in_mode(mode, "b", "c")
    assert (answer.decision, answer.reason) == (MessageDecision.ENQUEUE, f"{mode}_mode")
    assert (answer.position, second.position) == (1, 2)
    assert desk.waiting == ["b", "c"]


def test_what_waits_is_not_overtaken_though_no_turn_runs() -> None:
    desk = Desk()
    desk.send("a")
    desk.send("b")
    desk.end()
    assert desk.send("c").decision == MessageDecision.ENQUEUE
    assert desk.waiting == ["b", "c"]


def test_an_interrupt_ends_the_turn_and_clears_the_queue() -> None:
    desk = Desk()
    desk.send("a")
    desk.send("b")
    (answer,) = desk.in_mode(QueueMode.INTERRUPT, "c")
    assert (answer.decision, answer.reason) == (MessageDecision.INTERRUPT, "interrupt_mode")
    assert answer.turn_id is None
    assert desk.state.turn is not None
    assert desk.state.turn.cancel
    assert desk.settled() == {"b": MessageFate.DROPPED}
    assert fates(desk.end(TurnStatus.CANCELLED)) == {"a": MessageFate.ABORTED}
    # It does not wait for silence.
    assert desk.take() == ["c"]


def test_an_interrupt_while_messages_only_wait_begins_at_once() -> None:
    desk = Desk()
    desk.send("a")
    desk.send("b")
    desk.end()
    (answer,) = desk.in_mode(QueueMode.INTERRUPT, "c")
    assert answer.turn_id is not None
    assert desk.state.turn is not None
    assert [item.id for item in desk.state.turn.items] == ["c"]
    assert desk.settled() == {"b": MessageFate.DROPPED}


def test_an_interrupt_does_not_end_an_answer_that_is_being_delivered() -> None:
    desk = Desk()
    desk.send("a")
    assert desk.state.turn is not None
    desk.state.turn.stage = TurnStage.DELIVERY
    desk.in_mode(QueueMode.INTERRUPT, "b")
    assert desk.state.turn.cancel is None
    assert desk.waiting == ["b"]


def test_a_heartbeat_waits_in_every_mode() -> None:
    for mode in QueueMode:
        desk = Desk()
        desk.send("a")
        options = QueueOptions(mode=mode)
        answer = desk.send("b", options=options, is_heartbeat=True)
        assert (answer.decision, answer.reason) == (MessageDecision.ENQUEUE, "heartbeat_backlog")
        assert desk.waiting == ["b"]


def test_steering_joins_the_turn_and_is_not_queued() -> None:
    desk = Desk()
    desk.send("a")
    (answer,) = desk.in_mode(QueueMode.STEER, "b")
    assert (answer.decision, answer.turn_id) == (MessageDecision.STEER, "chat/t-1")
    assert (desk.waiting, desk.text()) == ([], "text of a\n\ntext of b")
    assert fates(desk.end()) == {"a": MessageFate.ANSWERED, "b": MessageFate.STEERED}


def test_steer_backlog_joins_and_waits_as_well() -> None:
    desk = Desk()
    desk.send("a")
    (answer,) = desk.in_mode(QueueMode.STEER_BACKLOG, "b")
    assert (answer.decision, answer.position) == (MessageDecision.STEER, 1)
    assert "text of b" in desk.text()
    assert fates(desk.end()) == {"a": MessageFate.ANSWERED}
    desk.later()
    assert desk.take() == ["b"]
    assert fates(desk.end()) == {"b": MessageFate.ANSWERED}


def test_steer_backlog_that_finds_no_room_has_joined_all_the_same() -> None:
    desk = Desk(settings={"cap": 1, "drop": "new"})
    desk.send("a")
    desk.send("b")
    (answer,) = desk.in_mode(QueueMode.STEER_BACKLOG, "c")
    assert (answer.decision, answer.position) == (MessageDecision.STEER, None)
    assert fates(desk.end()) == {"a": MessageFate.ANSWERED, "c": MessageFate.STEERED}


@pytest.mark.parametrize("why", ["delivery", "cancelled", "large"])
def test_steering_that_comes_too_late_waits(why: str) -> None:
    desk = Desk()
    desk.send("a", "x" * 60_000)
    turn = desk.state.turn
    assert turn is not None
    if why == "delivery":
        turn.stage = TurnStage.DELIVERY
    elif why == "cancelled":
        turn.cancel = "stopped by user"
    else:
        for number in range(2):
            desk.send(f"l{number}", "x" * 60_000, options=QueueOptions(mode=QueueMode.STEER))
    last = desk.send("b", "y" * 30_000, options=QueueOptions(mode=QueueMode.STEER))
    assert (last.decision, last.reason) == (MessageDecision.ENQUEUE, "steer_mode")
    assert desk.waiting == ["b"]


# The same message again


def test_a_repetition_gets_the_first_answer() -> None:
    desk = Desk()
    first = desk.send("a", request_id="r1")
    desk.end()
    again = desk.send("a", request_id="r2")
    assert again == first.model_copy(update={"duplicate": True})
    assert again.request_id == "r1"
    assert desk.state.turn is None


def test_the_same_id_with_another_text_is_a_conflict() -> None:
    desk = Desk()
    desk.send("a", digest="one")
    with pytest.raises(DomainError) as caught:
        desk.send("a", digest="two")
    assert (caught.value.kind, caught.value.field) == (ErrorKind.CONFLICT, "message_id")
    # A digest that is not known is not compared.
    assert desk.send("a").duplicate


def test_answers_are_remembered_for_a_day_and_through_json() -> None:
    desk = Desk()
    first = desk.send("a" * 200)
    desk.end()
    desk.later(23 * 3600)
    desk.travel()
    assert desk.send("a" * 200) == first.model_copy(update={"duplicate": True})
    desk.later(2 * 3600)
    assert not desk.send("a" * 200).duplicate


def test_the_newest_thousand_and_all_that_wait_are_remembered() -> None:
    desk = Desk(settings={"cap": 1})
    desk.send("first")
    for number in range(KEPT_ANSWERS + 5):
        desk.send(f"m{number}")
    assert len(desk.state.remembered) <= KEPT_ANSWERS + 2
    assert memory_of(desk.state, "first") is not None  # its turn still runs
    assert memory_of(desk.state, "m0") is None


def test_the_same_text_without_a_platform_id_waits_once() -> None:
    desk = Desk()
    desk.send("a")
    first = desk.send("b", "the same", id_given=False)
    second = desk.send("c", "the same", id_given=False)
    assert second == first.model_copy(update={"duplicate": True})
    assert (desk.waiting, desk.settled()) == (["b"], {"c": MessageFate.DROPPED})
    # Redelivered, it is counted and written no second time, also when the first is over.
    assert desk.send("c", "the same", id_given=False) == second
    desk.end()
    desk.later()
    desk.take()
    desk.end()
    assert desk.send("c", "the same", id_given=False) == second
    assert desk.state.counts[MessageFate.DROPPED] == len(desk.state.settled) == 1
    kept = memory_of(desk.state, "c")
    assert kept is not None
    assert kept.fate == MessageFate.DROPPED


def test_a_dropped_duplicate_outlives_the_memory_of_what_it_repeats() -> None:
    desk = Desk()
    desk.send("a")
    desk.send("b", "the same", id_given=False)
    desk.later(20 * 3600)
    desk.send("c", "the same", id_given=False)
    desk.end()
    desk.take()
    desk.end()
    desk.later(5 * 3600)
    again = desk.send("c", "the same", id_given=False)
    assert (again.message_id, again.decision) == ("b", MessageDecision.ENQUEUE)
    assert memory_of(desk.state, "b") is None


def test_only_the_same_text_of_the_same_sender_without_ids_is_a_duplicate() -> None:
    desk = Desk()
    desk.send("a")
    desk.send("b", "the same", id_given=False)
    desk.send("d", "the same", id_given=False, allow_duplicate=True)
    desk.send("e", "the same", id_given=False, sender_id="somebody else")
    desk.send("f", "the same")
    assert desk.waiting == ["b", "d", "e", "f"]


# Words that stop


def test_an_abort_word_stops_and_is_not_queued() -> None:
    desk = Desk()
    desk.send("a")
    answer = desk.send("b", "Stop!")
    assert (answer.decision, answer.reason) == (MessageDecision.ABORT, "abort_trigger")
    assert (desk.stops, desk.waiting) == (1, [])
    assert desk.settled() == {"b": MessageFate.ABORTED}


def test_an_abort_word_of_somebody_else_is_ignored() -> None:
    desk = Desk()
    desk.send("a")
    answer = desk.send("b", "stop", command_authorized=False)
    assert (answer.decision, answer.reason) == (MessageDecision.IGNORE, "abort_not_authorized")
    assert (desk.stops, desk.waiting) == (0, [])
    assert desk.settled() == {"b": MessageFate.IGNORED}


# A full queue


def test_a_full_queue_drops_its_oldest() -> None:
    desk = Desk(settings={"cap": 2, "drop": "old"})
    for one in "abcd":
        desk.send(one)
    assert (desk.waiting, desk.settled()) == (["c", "d"], {"b": MessageFate.DROPPED})
    assert desk.state.lines == []


def test_a_full_queue_drops_the_newest_which_may_come_again() -> None:
    desk = Desk(settings={"cap": 1, "drop": "new"})
    desk.send("a")
    desk.send("b")
    answer = desk.send("c")
    assert (answer.decision, answer.reason, answer.retryable) == (
        MessageDecision.DROP,
        "queue_full",
        True,
    )
    assert desk.settled() == {"c": MessageFate.DROPPED}
    desk.end()
    desk.later()
    desk.take()
    assert desk.send("c").decision == MessageDecision.ENQUEUE


def test_a_full_queue_keeps_one_line_of_each_of_the_newest() -> None:
    desk = Desk(settings={"cap": 2, "drop": "summarize"})
    desk.send("a")
    for number in range(6):
        desk.send(f"m{number}", f"line {number}\n" + "x" * 500)
    assert (desk.waiting, desk.state.lines_dropped) == (["m4", "m5"], 4)
    assert [len(line) for line in desk.state.lines] == [160, 160]
    assert [line[:6] for line in desk.state.lines] == ["line 2", "line 3"]


# Before the settings are known


def _early(settings: dict[str, Any], count: int = 4, **fields: Any) -> Desk:
    """A turn `a` that waits for the settings, and messages that came meanwhile."""
    desk = Desk(settings=settings)
    desk.inbox.rules = None
    desk.send("a")
    for number in range(count):
        desk.send(f"m{number}", **fields)
        desk.later(1)
    return desk


def test_until_the_settings_are_known_only_what_is_said_with_a_message_holds() -> None:
    assert _early({"cap": 1}).waiting == ["m0", "m1", "m2", "m3"]
    desk = _early({}, options=QueueOptions(cap=2, mode=QueueMode.FOLLOWUP, debounce_ms=5))
    assert desk.waiting == ["m2", "m3"]
    assert desk.state.waiting[0].mode == QueueMode.FOLLOWUP
    desk.state.options = QueueOptions(cap=1, drop=QueueDropPolicy.NEW)
    assert desk.send("b").reason == "queue_full"
    assert desk.waiting == ["m2", "m3"]


@pytest.mark.parametrize(
    ("drop", "left", "lines"),
    [("old", ["m2", "m3"], 0), ("new", ["m0", "m1"], 0), ("summarize", ["m2", "m3"], 2)],
)
def test_what_waits_is_treated_by_the_settings_once_they_are_known(
    drop: str, left: list[str], lines: int
) -> None:
    desk = _early({"cap": 2, "drop": drop, "mode": "followup", "debounce_ms": 9_000})
    last = desk.state.waiting[int(left[-1][1:])].received_at
    desk.inbox.learn(desk.rules, desk.now)
    assert (desk.waiting, desk.state.lines_dropped) == (left, lines)
    assert {item.mode for item in desk.state.waiting} == {QueueMode.FOLLOWUP}
    assert desk.state.drain_at == last + timedelta(seconds=9)
    gone = {"m0", "m1", "m2", "m3"} - set(left)
    assert desk.settled() == dict.fromkeys(gone, MessageFate.DROPPED)
    # The first answers stay.
    again = desk.send("m0")
    assert (again.decision, again.reason) == (MessageDecision.ENQUEUE, "collect_mode")


def test_the_settings_may_say_that_what_waits_interrupts() -> None:
    desk = _early({"mode": "interrupt"})
    desk.inbox.learn(desk.rules, desk.now)
    assert desk.state.turn is not None
    assert desk.state.turn.cancel
    assert desk.waiting == ["m3"]
    assert desk.settled() == dict.fromkeys(["m0", "m1", "m2"], MessageFate.DROPPED)
    assert desk.state.drain_at == desk.now


def test_the_settings_may_say_that_what_waits_joins_the_turn() -> None:
    desk = _early({"mode": "steer"}, count=2)
    desk.inbox.learn(desk.rules, desk.now)
    assert (desk.waiting, desk.text()) == ([], "text of a\n\ntext of m0\n\ntext of m1")


def test_what_has_joined_the_turn_does_not_join_it_again() -> None:
    desk = _early({}, count=2, options=QueueOptions(mode=QueueMode.STEER_BACKLOG))
    desk.inbox.learn(desk.rules, desk.now)
    assert desk.waiting == ["m0", "m1"]
    assert desk.text() == "text of a\n\ntext of m0\n\ntext of m1"
    assert fates(desk.end()) == {"a": MessageFate.ANSWERED}


def test_without_a_turn_nothing_is_interrupted_by_the_settings() -> None:
    desk = _early({"mode": "interrupt"}, count=2)
    desk.end()
    desk.inbox.learn(desk.rules, desk.now)
    assert desk.waiting == ["m0", "m1"]
    idle = _early({}, count=0)
    idle.inbox.learn(idle.rules, idle.now)
    assert (idle.waiting, idle.state.revision) == ([], 0)


# Where the settings come from


def test_each_option_comes_from_message_session_channel_and_setting() -> None:
    desk = Desk(
        settings={
            "mode": "backlog",
            "debounce_ms": 4_000,
            "channels": {"console": {"mode": "followup", "debounce_ms": 3_000}},
        }
    )
    desk.send("a")
    assert desk.send("b").reason == "followup_mode"
    assert desk.send("c", route=Route(receive_id_type="file")).reason == "backlog_mode"
    assert desk.state.drain_at == desk.now + timedelta(seconds=4)
    desk.state.options = QueueOptions(mode=QueueMode.COLLECT, debounce_ms=-1)
    assert desk.send("d").reason == "collect_mode"
    assert desk.state.drain_at == desk.now
    assert desk.send("e", options=QueueOptions(mode=QueueMode.STEER)).reason == "steer_mode"
    # A cap that is no number of messages says nothing.
    desk.send("f", options=QueueOptions(cap=0, drop=QueueDropPolicy.NEW))
    assert desk.waiting == ["b", "c", "d", "f"]


# What is no message of this session


@pytest.mark.parametrize(
    ("fields", "kind", "field"),
    [
        ({"text": "x" * (MAX_TEXT_BYTES + 1)}, ErrorKind.PAYLOAD_TOO_LARGE, "text"),
        ({"text": " \n"}, ErrorKind.MISSING_FIELD, "text"),
        ({"session_key": "another"}, ErrorKind.NOT_FOUND, "session_key"),
        ({"session_key": "chat|thread:7"}, ErrorKind.NOT_FOUND, "session_key"),
        ({"scope": Scope(kind=ScopeKind.USER, id="you")}, ErrorKind.NOT_FOUND, "session_key"),
    ],
)
def test_what_is_refused_changes_nothing(
    fields: dict[str, Any], kind: ErrorKind, field: str
) -> None:
    desk = Desk()
    desk.send("a")
    before = desk.state.model_copy(deep=True)
    with pytest.raises(DomainError) as caught:
        desk.send("b", **fields)
    assert (caught.value.kind, caught.value.field) == (kind, field)
    assert desk.state == before


def test_what_a_signal_brought_and_was_refused_is_noted_if_it_was_a_message() -> None:
    desk = Desk()
    for message in (inbound("a", "x" * (MAX_TEXT_BYTES + 1)), inbound("b", session_key="another")):
        with pytest.raises(DomainError) as caught:
            desk.send(message)
        for _ in range(2):
            desk.inbox.refuse(message, caught.value, desk.now)
    (row,) = desk.state.settled
    assert (row.message_id, row.status, row.reason) == ("a", "dropped", "payload_too_large")
    assert row.text == "x" * 160


def test_a_message_may_be_nothing_but_attachments() -> None:
    desk = Desk()
    desk.send(
        inbound("a").model_copy(
            update={
                "text": "",
                "media_urls": ["https://example.org/1.png", "https://example.org/2"],
                "media_types": ["image/png"],
            }
        )
    )
    assert desk.text() == (
        "[attachment: image/png https://example.org/1.png]\n[attachment: https://example.org/2]"
    )


def test_the_key_may_have_any_form() -> None:
    assert Desk().send("a", session_key=f"{KEY}|message:9").decision == MessageDecision.RUN_NOW
