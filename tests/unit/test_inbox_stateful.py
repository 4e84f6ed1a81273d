"""The promise of the inbox under any order of events: nothing is lost, nothing is answered twice.

The machine keeps its own account of every message, from the answers and rows alone, and compares it
with the inbox after each step. Each step continues on a copy of the state that went through JSON,
as after continue-as-new.
"""

from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from domain.chat_settings import ChatSettings, SessionRules
from domain.inbound_records import InboundRecord
from domain.inbox import Inbox
from domain.inbox_edit import edit_queue
from domain.inbox_memory import KEPT_FOR
from domain.inbox_state import EndedTurn, InboxState
from domain.inbox_turns import (
    cancel_turn,
    end_turn,
    mark_kept,
    rows_to_keep,
    take_turn,
    turn_records,
    unsteer,
)
from domain.queueing import QueueDropPolicy, QueueMode
from domain.session_messages import EditQueue, MessageDecision, QueueOptions
from domain.turns import TurnStage, TurnStatus
from tests.support.inboxes import KEY, inbound

TEXTS = ["hello", "stop", "hello again", "x" * 3_000]


class Messages(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = datetime(2026, 3, 1, 9, tzinfo=UTC)
        self.accepted: dict[str, MessageDecision] = {}
        self.arrived: dict[str, datetime] = {}
        self.ended: dict[str, InboundRecord] = {}
        self.ends = 0
        self.turns = 0
        self.state = InboxState()
        self.known = SessionRules()
        self.told = False

    @initialize(
        cap=st.integers(1, 4),
        drop=st.sampled_from(QueueDropPolicy),
        mode=st.sampled_from(QueueMode),
        told=st.booleans(),
    )
    def begin(self, cap: int, drop: QueueDropPolicy, mode: QueueMode, told: bool) -> None:
        chat = ChatSettings(cap=cap, drop=drop, mode=mode, debounce_ms=100)
        self.known, self.told = SessionRules(chat=chat), told

    def _inbox(self) -> Inbox:
        self.state = InboxState.model_validate_json(self.state.model_dump_json())
        return Inbox(self.state, KEY, self.known if self.told else None)

    def _turn_id(self) -> str:
        self.turns += 1
        return f"{KEY}/t-{self.turns}"

    # What comes

    @rule(
        mode=st.none() | st.sampled_from(QueueMode),
        text=st.sampled_from(TEXTS),
        allowed=st.booleans(),
        heartbeat=st.booleans(),
        given=st.booleans(),
        twice=st.booleans(),
    )
    def send(
        self,
        mode: QueueMode | None,
        text: str,
        allowed: bool,
        heartbeat: bool,
        given: bool,
        twice: bool,
    ) -> None:
        message_id = f"m{len(self.accepted)}"
        message = inbound(
            message_id,
            text,
            options=QueueOptions(mode=mode),
            command_authorized=allowed,
            is_heartbeat=heartbeat,
            id_given=given,
        )
        arrival = self._inbox().accept(message, self.now, self._turn_id())
        self.accepted[message_id] = arrival.answer.decision
        self.arrived[message_id] = self.now
        if arrival.stop:
            cancel_turn(self.state, "stopped by user")
        self._flush()
        if twice and arrival.answer.decision != MessageDecision.DROP:
            again = self._inbox().accept(message, self.now, self._turn_id())
            assert again.answer == arrival.answer.model_copy(update={"duplicate": True})
            assert not self.state.settled

    @precondition(lambda self: self.accepted)
    @rule(pick=st.integers(0, 10_000))
    def send_again(self, pick: int) -> None:
        message_id = f"m{pick % len(self.accepted)}"
        forgotten = self.now - self.arrived[message_id] >= KEPT_FOR
        refused = self.accepted[message_id] == MessageDecision.DROP
        if message_id in self.ended and (forgotten or refused):
            self._come_anew(message_id)
            return
        before = self.state.model_dump_json(exclude={"remembered"})
        arrival = self._inbox().accept(inbound(message_id), self.now, self._turn_id())
        assert arrival.answer.duplicate
        assert arrival.answer.decision == self.accepted[message_id]
        assert self.state.model_dump_json(exclude={"remembered"}) == before

    def _come_anew(self, message_id: str) -> None:
        """What was refused, or is forgotten, is a message like any other."""
        del self.ended[message_id]
        arrival = self._inbox().accept(inbound(message_id), self.now, self._turn_id())
        assert not arrival.answer.duplicate
        self.accepted[message_id] = arrival.answer.decision
        self.arrived[message_id] = self.now
        self._flush()

    @rule(seconds=st.sampled_from([0.05, 0.2, 3_600, 90_000]))
    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    # What the session does

    @precondition(lambda self: not self.told)
    @rule()
    def learn(self) -> None:
        self._inbox().learn(self.known, self.now)
        self.told = True
        self._flush()

    @rule()
    def drain(self) -> None:
        self._inbox()
        take_turn(self.state, self.known, self.now, self._turn_id())

    @precondition(lambda self: self.state.turn is not None)
    @rule()
    def deliver(self) -> None:
        assert self.state.turn is not None
        self.state.turn.stage = TurnStage.DELIVERY

    @precondition(lambda self: self.state.turn is not None)
    @rule(late=st.integers(0, 2), failed=st.booleans())
    def end(self, late: int, failed: bool) -> None:
        self._inbox()
        turn = self.state.turn
        assert turn is not None
        status = TurnStatus.FAILED if failed else TurnStatus.ANSWERED
        if turn.cancel is not None:
            status = TurnStatus.CANCELLED
        else:
            unsteer(self.state, max(len(turn.steered) - late, 0))
        rows = turn_records(KEY, turn, status, self.now, None)
        self._note(rows)
        ids = [row.message_id for row in rows]
        ended = EndedTurn(
            turn_id=turn.turn_id, message_ids=ids, status=status, finished_at=self.now
        )
        end_turn(self.state, rows, ended)

    @rule()
    def keep(self) -> None:
        self._inbox()
        mark_kept(self.state, rows_to_keep(self.state, KEY))

    # What a person does

    @precondition(lambda self: self.state.waiting)
    @rule(data=st.data())
    def edit(self, data: st.DataObject) -> None:
        self._inbox()
        ids = [item.id for item in self.state.waiting]
        order = data.draw(st.lists(st.sampled_from(ids), unique=True))
        drop = data.draw(st.lists(st.sampled_from(ids), unique=True, max_size=1))
        rest = [one for one in ids if one not in drop]
        merge = rest[:2] if len(rest) > 1 and data.draw(st.booleans()) else []
        edit_queue(self.state, KEY, EditQueue(order=order, drop=drop, merge=merge), self.now)
        self._flush()

    # The accounts

    def _flush(self) -> None:
        self._note(self.state.settled)
        self.state.settled = []

    def _note(self, rows: list[InboundRecord]) -> None:
        for row in rows:
            assert row.message_id not in self.ended, f"{row.message_id} ended twice"
            self.ended[row.message_id] = row
            self.ends += 1

    @invariant()
    def every_message_is_in_one_place(self) -> None:
        waiting = [part.id for item in self.state.waiting for part in item.parts]
        turn = self.state.turn
        items = turn.items if turn else []
        steered = [one.item for one in turn.steered if not one.queued] if turn else []
        active = [part.id for item in [*items, *steered] for part in item.parts]
        places = [*waiting, *active, *self.ended]
        assert sorted(places) == sorted(self.accepted)

    @invariant()
    def the_queue_keeps_its_cap(self) -> None:
        # What joined too late is put back though the queue may be full.
        assert not self.told or len(self.state.waiting) <= self.known.chat.cap + 2

    @invariant()
    def ends_are_counted(self) -> None:
        assert sum(self.state.counts.values()) == self.ends


TestMessages = Messages.TestCase
TestMessages.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
