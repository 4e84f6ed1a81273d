"""The activity that ends a chat turn: what is written, what is sent, and when it gives up."""

from dataclasses import dataclass
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.channels import Outgoing, Refused
from activities.failures import DELIVERY_REFUSED
from activities.messenger import Messenger
from activities.store import Store
from activities.store.outbox import DeliveryFilter
from activities.turns import (
    TURN_ATTEMPTS,
    TURN_RETRY_MAX,
    FinishTurn,
    TurnActivities,
    TurnFinished,
)
from domain.chat_replies import ReplyTo
from domain.chat_settings import SessionRules
from domain.deliveries import DeliveryStatus
from domain.inbound_records import InboundRecord, MessageFate, inbound_id
from domain.inbox_texts import TextBlock
from domain.scopes import Route
from domain.threads import ThreadMessage
from domain.turns import TurnRecord, TurnStatus
from tests.support.ledger_rows import NOON, message, thread

pytest_plugins = ["tests.support.databases"]

KEY = "chat"
TURN = f"{KEY}/t-1"


@dataclass
class Line:
    """A channel that is busy as often as told: real ones are not at will."""

    busy: int = 0
    calls: int = 0
    said: str = ""
    deduplicates: bool = False
    threads: bool = False
    speaks: bool = False
    retry_seconds: float = 60

    async def send(self, message: Outgoing) -> str:
        self.calls += 1
        if self.calls <= self.busy:
            raise Refused("busy", retryable=True)
        self.said = message.text
        return "1"


async def _finish(store: Store, line: Line, request: FinishTurn) -> TurnFinished:
    messenger = Messenger({"line": line}, "line", clock=lambda: NOON)
    activities = TurnActivities(store, messenger, SessionRules())
    return await ActivityEnvironment().run(activities.finish_turn, request)


def _row(message_id: str, status: MessageFate, **fields: Any) -> InboundRecord:
    given: dict[str, Any] = {
        "id": inbound_id(KEY, message_id),
        "session_key": KEY,
        "message_id": message_id,
        "status": status,
        "received_at": NOON,
    }
    return InboundRecord.model_validate({**given, **fields})


def _request(status: TurnStatus = TurnStatus.ANSWERED, **fields: Any) -> FinishTurn:
    record = TurnRecord(
        id=TURN,
        session_key=KEY,
        workflow_id=f"session/{KEY}",
        thread_id="thread-1",
        status=status,
        started_at=NOON,
        finished_at=NOON,
    )
    to = ReplyTo(route=Route(receive_id_type="line"), message_id="m1")
    return FinishTurn(record=record, thread=thread(), to=to, **fields)


async def _turn(store: Store) -> TurnRecord:
    found = await store.turns.get(TURN)
    assert found is not None
    return found


async def _said(store: Store) -> list[ThreadMessage]:
    return await store.threads.messages("thread-1")


async def test_an_answer_that_is_gone_is_a_failed_turn_with_a_notice(store: Store) -> None:
    line = Line()
    row = _row("m1", MessageFate.ANSWERED, turn_id=TURN, text="Hello", settled_at=NOON)
    finished = await _finish(store, line, _request(answer_id="gone", inbound=[row]))
    assert finished.status == TurnStatus.FAILED
    assert "'gone' is not in the store" in (finished.error or "")
    assert "'gone' is not in the store" in line.said
    assert (await _turn(store)).status == TurnStatus.FAILED
    assert await store.inbound.counts(KEY) == {MessageFate.FAILED: 1}


async def test_a_channel_that_refuses_holds_a_session_for_about_a_minute(store: Store) -> None:
    await store.threads.ensure(thread())
    await store.threads.append([message("answer")])
    line = Line(busy=100)
    request = _request(answer_id="answer")
    for _ in range(TURN_ATTEMPTS - 1):
        with pytest.raises(ApplicationError) as caught:
            await _finish(store, line, request)
        assert (caught.value.type, caught.value.non_retryable) == (DELIVERY_REFUSED, False)
        assert caught.value.next_retry_delay == TURN_RETRY_MAX
    finished = await _finish(store, line, request)
    assert (finished.status, line.calls) == (TurnStatus.FAILED, TURN_ATTEMPTS)
    assert "could not be delivered" in (finished.error or "")
    (row,) = await store.outbox.listing(DeliveryFilter(), 9)
    assert row.status == DeliveryStatus.FAILED
    # Once more, and nothing is sent.
    assert (await _finish(store, line, request)).status == TurnStatus.FAILED
    assert line.calls == TURN_ATTEMPTS


async def test_a_channel_that_was_busy_for_a_moment_gets_the_answer(store: Store) -> None:
    await store.threads.ensure(thread())
    await store.threads.append([message("answer")])
    line = Line(busy=TURN_ATTEMPTS - 1)
    for _ in range(line.busy):
        with pytest.raises(ApplicationError):
            await _finish(store, line, _request(answer_id="answer"))
    finished = await _finish(store, line, _request(answer_id="answer"))
    assert (finished.status, line.said) == (TurnStatus.ANSWERED, "answer")


async def test_what_was_said_is_put_together_from_the_rows_and_the_store(store: Store) -> None:
    await store.inbound.put([_row("kept", MessageFate.WAITING, text="From the store.")])
    ended: dict[str, Any] = {"turn_id": TURN, "settled_at": NOON}
    request = _request(
        TurnStatus.CANCELLED,
        inbound=[
            _row("kept", MessageFate.ABORTED, **ended),
            _row("m1", MessageFate.ABORTED, text="From the row.", **ended),
        ],
        blocks=[
            TextBlock(text="Title:"),
            TextBlock(message_id="kept"),
            TextBlock(message_id="m1"),
            TextBlock(message_id="unknown"),
        ],
    )
    for _ in range(2):
        await _finish(store, Line(), request)
    (said,) = await _said(store)
    assert said.role == "user"
    assert said.content == (
        "Title:\n\nFrom the store.\n\nFrom the row.\n\n"
        "[the text of this message is not known any more]"
    )


async def test_what_was_said_may_come_as_a_whole(store: Store) -> None:
    await _finish(store, Line(), _request(TurnStatus.CANCELLED, said="Hello"))
    await _finish(store, Line(), _request(TurnStatus.CANCELLED))
    assert [one.content for one in await _said(store)] == ["Hello"]
