"""When what waits is answered, how it is joined, what a session carries and forgets."""

from datetime import datetime, timedelta

from ulid import ULID

from domain.inbound_records import MessageFate
from domain.inbox_state import EndedTurn, InboxState
from domain.inbox_turns import (
    KEEP_BYTES_AT_ONCE,
    KEPT_TEXT_CHARS,
    KEPT_TURNS,
    amend_turn,
    cancel_turn,
    is_commanded,
    is_due,
    mark_kept,
    may_use_tools,
    rows_to_keep,
    turn_records,
    unsteer,
)
from domain.queueing import QueueMode
from domain.scopes import Route
from domain.session_messages import InboundMessage, QueueOptions
from domain.session_requests import (
    AskTurn,
    SessionState,
    TurnAnswer,
    session_queue,
    session_view,
    turn_answer,
)
from domain.turns import RANDOM_BITS, TurnStage, TurnStatus, turn_id
from tests.support.inboxes import KEY, START, Desk, fates


def _after_one_turn(desk: Desk, *messages: str | InboundMessage) -> None:
    """These messages wait, and no turn runs."""
    desk.send("first")
    for one in messages:
        desk.send(one)
    desk.end()


def test_what_waits_is_answered_once_nothing_came_for_a_while() -> None:
    desk = Desk(settings={"debounce_ms": 1_000})
    _after_one_turn(desk, "a")
    desk.later(0.9)
    desk.send("b")
    desk.later(0.9)
    assert desk.take() == []
    desk.later(0.1)
    assert desk.take() == ["a", "b"]
    # One turn at a time.
    desk.send("c")
    desk.later()
    assert not is_due(desk.state, desk.now)


def test_collected_messages_are_joined_under_one_title() -> None:
    desk = Desk()
    _after_one_turn(desk, "a", "b")
    desk.later()
    desk.take()
    assert desk.text() == (
        "Messages that came while you were busy:\n\n"
        "---\n\nQueued #1\n\ntext of a\n\n---\n\nQueued #2\n\ntext of b"
    )
    assert fates(desk.end()) == {"a": MessageFate.MERGED, "b": MessageFate.ANSWERED}


def test_one_collected_message_is_asked_as_it_is() -> None:
    desk = Desk()
    _after_one_turn(desk, "a")
    desk.later()
    desk.take()
    assert desk.text() == "text of a"


def test_collect_joins_only_what_is_answered_in_the_same_place() -> None:
    desk = Desk()
    desk.send("first")
    desk.send("a", thread_id="t")
    desk.send("b", thread_id="t")
    desk.send("c")
    desk.send("d", route=Route(receive_id_type="file"))
    desk.send("e", route=Route(receive_id_type="file"))
    desk.in_mode(QueueMode.FOLLOWUP, "f")
    desk.end()
    desk.later()
    taken: list[list[str]] = []
    while one := desk.take():
        taken.append(one)
        desk.end()
    assert taken == [["a", "b"], ["c"], ["d", "e"], ["f"]]


def test_a_thread_for_every_message_joins_nothing() -> None:
    desk = Desk(settings={"thread_reply_mode": "always"})
    _after_one_turn(desk, "a", "b")
    desk.later()
    assert desk.take() == ["a"]


def test_collect_takes_as_much_as_fits_into_one_payload() -> None:
    desk = Desk()
    desk.send("first")
    for one in "abcd":
        desk.send(one, one * 60_000)
    desk.end()
    desk.later()
    assert desk.take() == ["a", "b", "c"]


def test_other_modes_take_one_at_a_time() -> None:
    desk = Desk()
    desk.send("first")
    desk.in_mode(QueueMode.FOLLOWUP, "a")
    desk.in_mode(QueueMode.BACKLOG, "b")
    desk.end()
    desk.later()
    assert desk.take() == ["a"]
    desk.end()
    assert desk.take() == ["b"]


def test_the_summary_of_what_was_dropped_heads_collected_messages() -> None:
    desk = Desk(settings={"cap": 1})
    _after_one_turn(desk, "a", "b")
    desk.later()
    assert desk.take() == ["b"]
    assert desk.text() == (
        "Messages that came while you were busy:\n\n"
        "1 message was dropped because too many waited:\n- text of a\n\n"
        "---\n\nQueued #1\n\ntext of b"
    )
    desk.end()
    assert (desk.state.lines, desk.state.lines_dropped) == ([], 0)


def test_other_modes_are_told_what_was_dropped_first_and_alone() -> None:
    desk = Desk(settings={"cap": 1, "mode": "followup"})
    _after_one_turn(desk, "a", "b", "c")
    desk.later()
    assert desk.take() == []
    assert desk.state.turn is not None
    assert desk.text() == "2 messages were dropped because too many waited:\n- text of b"
    assert desk.state.turn.about.id == "c"
    assert desk.end() == []
    assert desk.take() == ["c"]


def test_a_turn_that_fails_or_is_stopped_ends_its_messages_so() -> None:
    for status, fate in (
        (TurnStatus.FAILED, MessageFate.FAILED),
        (TurnStatus.CANCELLED, MessageFate.ABORTED),
        (TurnStatus.SILENT, MessageFate.ANSWERED),
    ):
        desk = Desk()
        desk.send("a")
        desk.in_mode(QueueMode.STEER, "b")
        joined = MessageFate.STEERED if fate == MessageFate.ANSWERED else fate
        assert fates(desk.end(status)) == {"a": fate, "b": joined}
        assert desk.state.counts[fate] >= 1


def test_what_joined_after_the_answer_was_there_comes_next() -> None:
    desk = Desk()
    desk.send("a")
    desk.in_mode(QueueMode.FOLLOWUP, "b")
    desk.in_mode(QueueMode.STEER, "c", "d")
    desk.in_mode(QueueMode.STEER_BACKLOG, "e")
    unsteer(desk.state, 1)
    assert desk.waiting == ["d", "b", "e"]
    assert fates(desk.end()) == {"a": MessageFate.ANSWERED, "c": MessageFate.STEERED}
    unsteer(desk.state, 0)
    assert desk.waiting == ["d", "b", "e"]


def test_what_waits_already_is_not_put_back_twice() -> None:
    desk = Desk()
    desk.send("a")
    desk.in_mode(QueueMode.STEER_BACKLOG, "b")
    revision = desk.state.revision
    unsteer(desk.state, 0)
    assert (desk.waiting, desk.state.revision) == (["b"], revision)
    assert fates(desk.end()) == {"a": MessageFate.ANSWERED}


def test_only_a_turn_that_is_not_being_delivered_is_stopped() -> None:
    desk = Desk()
    assert cancel_turn(desk.state, "stop") is None
    desk.send("a")
    turn = cancel_turn(desk.state, "stop")
    assert turn is not None
    assert cancel_turn(desk.state, "again") is turn
    assert turn.cancel == "stop"
    turn.stage = TurnStage.DELIVERY
    assert cancel_turn(desk.state, "too late") is None


# What goes through continue-as-new


def test_large_texts_go_to_the_store_before_the_state_travels() -> None:
    desk = Desk()
    desk.send("first")
    for number in range(20):
        desk.send(f"m{number}", f"{number} " + "x" * 65_000)
    desk.end()
    kept: list[str] = []
    while rows := rows_to_keep(desk.state, KEY):
        assert sum(len(row.text or "") for row in rows) <= KEEP_BYTES_AT_ONCE
        kept += [row.message_id for row in rows]
        mark_kept(desk.state, rows)
    assert kept == [f"m{number}" for number in range(20)]
    assert len(desk.state.model_dump_json()) < 64 * 1024
    desk.later()
    assert desk.take() == ["m0", "m1", "m2"]
    assert "[the text of this message is not known any more]" in desk.text()
    assert "from the store" in desk.text({"m0": "from the store"})
    row = desk.end()[0]
    assert (row.message_id, row.text) == ("m0", None)


def test_small_texts_stay_as_long_as_they_are_little_together() -> None:
    desk = Desk(settings={"cap": 200})
    desk.send("first")
    for number in range(15):
        desk.send(f"m{number}", "x" * 2_000)
    assert rows_to_keep(desk.state, KEY) == []
    for number in range(15, 30):
        desk.send(f"m{number}", "x" * 2_000)
    assert len(rows_to_keep(desk.state, KEY)) == 30


def test_only_the_newest_turn_is_remembered_whole() -> None:
    desk = Desk()
    for number in range(KEPT_TURNS + 2):
        desk.send(f"m{number}")
        desk.end(text=f"{number} " + "z" * 20_000)
    kept = desk.state.ended
    assert len(kept) == KEPT_TURNS
    assert (len(kept[-1].text), kept[-1].truncated) == (KEPT_TEXT_CHARS, True)
    assert (len(kept[-2].text), kept[-2].truncated) == (160, True)


# What readers see


def _session(state: InboxState) -> SessionState:
    return SessionState(key=KEY, inbox=state)


def test_the_queue_as_its_readers_see_it() -> None:
    desk = Desk()
    desk.send("a")
    desk.send("b", "line one\nline two " + "é" * 300, sender_label="Bo", thread_id="7")
    queue = session_queue(_session(desk.state))
    (message,) = queue.messages
    assert message.model_dump(exclude={"preview"}) == {
        "message_id": "b",
        "sender_label": "Bo",
        "received_at": START,
        "bytes": 618,
        "mode": QueueMode.COLLECT,
        "thread": "7",
    }
    assert message.preview.startswith("line one line two é")
    assert len(message.preview) == 160
    assert queue.revision == 1
    assert queue.turn is not None
    assert (queue.turn.turn_id, queue.turn.message_ids) == ("chat/t-1", ["a"])


def test_the_view_counts_and_shows_the_last_answer() -> None:
    desk = Desk(settings={"cap": 2})
    empty = session_view(_session(desk.state))
    assert (empty.scope, empty.thread_id, empty.last) == (None, None, None)
    _after_one_turn(desk, "a", "b", "c")
    desk.later()
    desk.take()
    desk.end(text="word " * 100)
    view = session_view(_session(desk.state))
    assert (view.scope, view.thread_id) == ("user:me", "session:user:me/chat")
    assert (view.answered, view.merged, view.dropped, view.queued) == (2, 1, 1, 0)
    assert view.last is not None
    assert (len(view.last.text), view.last.truncated) == (160, True)


def test_what_became_of_a_message_can_be_asked() -> None:
    desk = Desk()
    desk.send("a")
    desk.send("b")

    def asked(message_id: str = "", turn: str = "") -> TurnAnswer:
        return turn_answer(_session(desk.state), AskTurn(message_id=message_id, turn_id=turn))

    assert asked("nobody") == TurnAnswer()
    assert asked("a") == TurnAnswer(fate="waiting", turn_id="chat/t-1", message_ids=["a"])
    assert asked("b") == TurnAnswer(fate="waiting")
    desk.end(text="Yes.")
    answer = asked("a")
    assert (answer.settled, answer.fate, answer.text) == (True, "answered", "Yes.")
    assert asked(turn="chat/t-1") == answer.model_copy(update={"fate": ""})
    desk.send("stop-1", "stop")
    assert asked("stop-1") == TurnAnswer(settled=True, fate="aborted")


def test_ids_of_turns_are_ulids_in_the_order_of_time() -> None:
    at = datetime.fromisoformat("2026-03-01T09:00:00+00:00")
    first = turn_id("chat", at, (1 << RANDOM_BITS) - 1)
    later = turn_id("chat", at + timedelta(milliseconds=1), 0)
    assert first < later
    assert ULID.from_str(first.rpartition("-")[2]).datetime == at
    assert later.endswith("0" * 16)


def test_what_the_model_has_heard_is_not_said_again() -> None:
    desk = Desk()
    desk.send("a")
    desk.in_mode(QueueMode.STEER, "b", "c")
    assert desk.text() == "text of a\n\ntext of b\n\ntext of c"
    assert desk.text(heard=0) == "text of b\n\ntext of c"
    assert desk.text(heard=1) == "text of c"
    assert desk.text(heard=2) == ""


def test_tools_are_for_those_who_may_command() -> None:
    desk = Desk()
    desk.send("a")
    turn = desk.state.turn
    assert turn is not None
    assert may_use_tools(turn)
    desk.send("b", options=QueueOptions(mode=QueueMode.STEER), command_authorized=False)
    assert not may_use_tools(turn)
    # What only tells of dropped messages answers nobody.
    assert not may_use_tools(turn.model_copy(update={"items": [], "steered": []}))


def test_words_of_somebody_who_may_not_command_lend_no_tools_when_they_are_summed_up() -> None:
    desk = Desk(settings={"cap": 1, "drop": "summarize", "debounce_ms": 0})
    desk.send("a")
    desk.send("b", command_authorized=False)
    desk.send("c")
    desk.travel()
    desk.end()
    desk.take()
    turn = desk.state.turn
    assert turn is not None
    assert "text of b" in desk.text()
    assert not may_use_tools(turn)
    assert is_commanded(turn)
    # The next summary is another's.
    desk.send("e")
    desk.send("f")
    desk.end()
    desk.take()
    turn = desk.state.turn
    assert turn is not None
    assert "text of e" in desk.text()
    assert may_use_tools(turn)


def test_nobody_attends_a_heartbeat() -> None:
    desk = Desk()
    desk.send("a", is_heartbeat=True)
    turn = desk.state.turn
    assert turn is not None
    assert not may_use_tools(turn)
    assert is_commanded(turn)


def test_a_turn_that_ended_otherwise_than_it_seemed_is_amended() -> None:
    desk = Desk()
    desk.send("a")
    turn = desk.state.turn
    assert turn is not None
    before = desk.end()
    desk.send("b")
    desk.end()
    rows = turn_records(KEY, turn, TurnStatus.FAILED, desk.now, "refused")
    failed = EndedTurn(
        turn_id=turn.turn_id,
        message_ids=["a"],
        status=TurnStatus.FAILED,
        error="refused",
        finished_at=desk.now,
    )
    amend_turn(desk.state, before, rows, failed)
    assert desk.state.counts == {MessageFate.ANSWERED: 1, MessageFate.FAILED: 1}
    state = SessionState(key=KEY, inbox=desk.state)
    answer = turn_answer(state, AskTurn(message_id="a"))
    assert (answer.status, answer.fate, answer.error) == (TurnStatus.FAILED, "failed", "refused")
    assert turn_answer(state, AskTurn(message_id="b")).status == TurnStatus.ANSWERED
