"""A worker is killed while a reply is on its way: nothing is delivered twice or claimed falsely."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from activities.delivery_steps import SENDER_DIED
from activities.file_locks import locked
from domain.deliveries import Delivery, DeliveryStatus
from tests.chaos.stage import assert_counted, assert_happened_once, ended, ledger, lines, staged
from tests.support.harness import Harness, until
from tests.support.model_steps import Reply
from tests.support.receiver import SECRET, Hang, Receiver, running_receiver
from tests.support.worker_process import worker_process

pytestmark = pytest.mark.chaos

HELD = "held.jsonl"


def _webhook(name: str, receiver: Receiver, *, deduplicates: bool) -> dict[str, str]:
    """The settings of a webhook channel."""
    prefix = f"TICKLESS_CHANNELS__{name.upper()}__"
    return {
        f"{prefix}TYPE": "webhook",
        f"{prefix}URL": receiver.url,
        f"{prefix}SECRET": SECRET,
        f"{prefix}TIMEOUT_SECONDS": "60",
        f"{prefix}DEDUPLICATES": str(deduplicates).lower(),
    }


async def _reply_to(harness: Harness, channel: str, target: str = "") -> str:
    """Start a run whose reply goes to a channel; returns its id."""
    route = {"receive_id_type": channel, "receive_id": target}
    routine = await harness.routine(Reply(f"For {channel}."), notify={"route": route})
    return (await harness.tickless.runs.trigger(routine)).run_id


@contextmanager
def _holding(harness: Harness, name: str) -> Generator[None]:
    """Keep the file channel from writing to a file; what waits for it has begun its attempt."""
    path = harness.deliveries.with_name(name)
    with path.open("a+b") as file, locked(file, timedelta(seconds=1)):
        yield


async def _row(harness: Harness, run: str) -> Delivery | None:
    async with ledger(harness) as store:
        return await store.outbox.get(f"{run}/final")


async def _reaches(harness: Harness, run: str, status: DeliveryStatus) -> None:
    """Wait until the outbox says so of the reply."""
    async with ledger(harness) as store:

        async def holds() -> bool:
            row = await store.outbox.get(f"{run}/final")
            return row is not None and row.status == status

        await until(holds, f"the delivery of {run} is {status}")


async def test_killed_while_the_receivers_hold_the_request(tmp_path: Path) -> None:
    async with running_receiver() as plain, running_receiver() as knowing:
        plain.script.append(Hang())
        knowing.script.append(Hang())
        channels = {
            **_webhook("plain", plain, deduplicates=False),
            **_webhook("knowing", knowing, deduplicates=True),
        }
        # What a receiver gets is counted, so the runs say nothing but their reply.
        async with staged(tmp_path, TICKLESS_START_NOTICES="false", **channels) as (_, harness):
            async with worker_process(harness, "first") as first:
                with _holding(harness, HELD):
                    unknown = await _reply_to(harness, "plain", "alerts")
                    repeated = await _reply_to(harness, "knowing", "alerts")
                    file = await _reply_to(harness, "file", HELD)
                    await plain.arrived.wait()
                    await knowing.arrived.wait()
                    await _reaches(harness, file, DeliveryStatus.UNKNOWN)
                    await first.kill()
            async with worker_process(harness, "second"):
                await _assert_unknown(harness, unknown, plain)
                await _assert_repeated(harness, repeated, knowing)
                await _assert_one_line(harness, file, HELD, attempts=2)


async def _assert_unknown(harness: Harness, run: str, receiver: Receiver) -> None:
    view = await ended(harness, run)
    await assert_happened_once(harness, view)
    (delivery,) = view.deliveries
    assert (delivery.status, delivery.error) == (DeliveryStatus.UNKNOWN, SENDER_DIED)
    assert len(receiver.contents()) == 1, "not sent again"
    row = await _row(harness, run)
    assert row is not None
    assert (row.attempts, row.error, row.sent_at) == (1, SENDER_DIED, None)
    await assert_counted(harness, view.record.routine_id, 1)


async def _assert_repeated(harness: Harness, run: str, receiver: Receiver) -> None:
    view = await ended(harness, run)
    await assert_happened_once(harness, view)
    (delivery,) = view.deliveries
    assert (delivery.status, delivery.error) == (DeliveryStatus.SENT, None)
    assert [item["key"] for item in receiver.contents()] == [f"{run}/final"] * 2
    assert {item.headers["webhook-id"] for item in receiver.requests} == {f"{run}/final"}
    await assert_counted(harness, view.record.routine_id, 1)


async def _assert_one_line(harness: Harness, run: str, name: str, *, attempts: int) -> None:
    view = await ended(harness, run)
    await assert_happened_once(harness, view)
    (delivery,) = view.deliveries
    assert (delivery.status, delivery.error) == (DeliveryStatus.SENT, None)
    (line,) = lines(harness, run, name)
    assert line["key"] == f"{run}/final"
    row = await _row(harness, run)
    assert row is not None
    assert row.attempts == attempts
    await assert_counted(harness, view.record.routine_id, 1)
