"""Turns and messages of sessions in the ledger, on SQLite and on PostgreSQL."""

from datetime import timedelta
from typing import Any

import pytest

from activities.store import Store, StoreError
from domain.inbound_records import InboundRecord, MessageFate, inbound_id
from domain.turns import TurnRecord, TurnStatus
from tests.support.ledger_rows import NOON, thread

pytest_plugins = ["tests.support.databases"]

KEY = "chat|thread:7"
TURN = f"{KEY}/t-1"


def _turn(**fields: Any) -> TurnRecord:
    given: dict[str, Any] = {
        "id": TURN,
        "session_key": KEY,
        "workflow_id": f"session/{KEY}",
        "started_at": NOON,
    }
    return TurnRecord.model_validate({**given, **fields})


def _row(message_id: str = "m1", **fields: Any) -> InboundRecord:
    given: dict[str, Any] = {
        "id": inbound_id(KEY, message_id),
        "session_key": KEY,
        "message_id": message_id,
        "text": f"text of {message_id}",
        "status": MessageFate.WAITING,
        "received_at": NOON,
    }
    return InboundRecord.model_validate({**given, **fields})


async def test_a_turn_comes_back_as_it_was_put(store: Store) -> None:
    await store.threads.ensure(thread())
    record = _turn(
        thread_id="thread-1",
        status=TurnStatus.FAILED,
        finished_at=NOON,
        result="message-1",
        summary="Ünïcode",
        error="none",
        attempts=2,
        tokens_in=2**40,
        tokens_out=0,
        cost_micros=2**50,
        warnings=["voice"],
    )
    await store.turns.put(record)
    assert await store.turns.get(TURN) == record
    assert await store.turns.of_session(KEY) == [record]
    assert await store.turns.get("nobody") is None
    with pytest.raises(StoreError):
        await store.turns.put(_turn(id="other", thread_id="no thread"))


async def test_a_turn_that_ended_does_not_run_again(store: Store) -> None:
    await store.turns.put(_turn())
    await store.turns.put(_turn(status=TurnStatus.ANSWERED, finished_at=NOON))
    await store.turns.put(_turn())
    stored = await store.turns.get(TURN)
    assert stored is not None
    assert stored.status == TurnStatus.ANSWERED
    # Its answer could not be delivered after all.
    await store.turns.put(_turn(status=TurnStatus.FAILED, error="nobody there"))
    stored = await store.turns.get(TURN)
    assert stored is not None
    assert (stored.status, stored.error) == (TurnStatus.FAILED, "nobody there")


async def test_the_text_of_a_message_that_waits_is_kept(store: Store) -> None:
    await store.turns.put(_turn())
    await store.inbound.put([_row(), _row("m2")])
    ids = [inbound_id(KEY, one) for one in ("m1", "m2", "m3")]
    assert await store.inbound.texts(ids) == {"m1": "text of m1", "m2": "text of m2"}
    answered = _row(text=None, status=MessageFate.ANSWERED, turn_id=TURN, settled_at=NOON)
    for _ in range(2):
        await store.inbound.put([answered])
    await store.inbound.put([_row()])
    (first, second) = await store.inbound.of_session(KEY)
    assert first == answered.model_copy(update={"text": "text of m1"})
    assert second.status == MessageFate.WAITING
    assert await store.inbound.counts(KEY) == {MessageFate.ANSWERED: 1, MessageFate.WAITING: 1}


async def test_an_id_that_comes_again_reads_the_text_of_the_newest(store: Store) -> None:
    await store.turns.put(_turn())
    ended: dict[str, Any] = {"status": MessageFate.ANSWERED, "turn_id": TURN, "settled_at": NOON}
    await store.inbound.put([_row(**ended)])
    later = NOON + timedelta(days=2)
    again = _row(text="of today", sender_label="Ann", received_at=later)
    await store.inbound.put([again])
    # A write of the former message that was held up on its way comes too late.
    await store.inbound.put([_row()])
    # What has ended stays ended.
    (row,) = await store.inbound.of_session(KEY)
    assert row == again.model_copy(update=ended)
    assert await store.inbound.texts([row.id]) == {"m1": "of today"}
    await store.inbound.put([again.model_copy(update={"text": None})])
    assert await store.inbound.texts([row.id]) == {"m1": "of today"}


async def test_a_message_comes_to_one_end_unless_it_was_dropped(store: Store) -> None:
    await store.turns.put(_turn())
    dropped = _row(status=MessageFate.DROPPED, reason="queue_full", settled_at=NOON)
    answered = _row(status=MessageFate.ANSWERED, turn_id=TURN, settled_at=NOON)
    await store.inbound.put([dropped])
    await store.inbound.put([answered])
    await store.inbound.put([dropped])
    assert await store.inbound.counts(KEY) == {MessageFate.ANSWERED: 1}


async def test_the_messages_of_a_turn_fail_with_its_delivery(store: Store) -> None:
    await store.turns.put(_turn())
    answered: dict[str, Any] = {"status": MessageFate.ANSWERED, "turn_id": TURN, "settled_at": NOON}
    await store.inbound.put([_row(**answered), _row("m2")])
    await store.write(lambda ledger: ledger.inbound.fail_turn(TURN, "nobody there"))
    (first, second) = await store.inbound.of_session(KEY)
    assert (first.status, first.reason) == (MessageFate.FAILED, "nobody there")
    assert second.status == MessageFate.WAITING


async def test_a_message_names_a_turn_that_exists(store: Store) -> None:
    with pytest.raises(StoreError):
        await store.inbound.put([_row(turn_id="no turn")])
    assert await store.inbound.of_session(KEY) == []
