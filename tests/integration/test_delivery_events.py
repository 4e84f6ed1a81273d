"""Texts whose fate nobody knows are told as events, by each activity that sends.

A receiver takes a text and gives no answer; a routine listens to `delivery.unknown`. Source:
triggers-and-actions.md §2 and §9.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from temporalio.testing import ActivityEnvironment

from activities.alerts import AlertActivities, SendAlert
from activities.announcements import Announcer
from activities.candidates import MAX_AGE
from activities.channels.webhook import WebhookSender
from activities.deliveries import DeliveryActivities, FinishRun
from activities.emitting import Emitter
from activities.messenger import Messenger
from activities.store import Store, open_store
from client.context import CallerContext
from client.tickless import TicklessClient
from domain.channels import WebhookChannel
from domain.deliveries import Part
from domain.runs import RunStatus
from domain.scopes import Route
from domain.watchdog import Alert, AlertKind
from tests.support.harness import Harness, until
from tests.support.ledger_rows import NOON, run_record, thread
from tests.support.receiver import SECRET, Drop, running_receiver

OPS = Route(receive_id_type="ops")


@dataclass
class Ward:
    """A scope of its own: who sends in it, and who hears what became of it."""

    store: Store
    messenger: Messenger
    emitter: Emitter
    tickless: TicklessClient
    scope: str
    routine: str
    listener: str

    async def heard(self) -> list[tuple[str, int]]:
        """What the listener was told, and after how many runs."""
        runs = await self.tickless.routines.runs(self.listener)
        return [(run.trigger_detail, run.hop) for run in runs]

    async def hears(self) -> None:
        async def has_heard() -> bool:
            return bool(await self.heard())

        await until(has_heard, "it is told")


@pytest.fixture
async def ward(harness: Harness, tmp_path: Path) -> AsyncIterator[Ward]:
    user, listener, routine = harness.name(), harness.name(), harness.name()
    context = CallerContext(actor_user_id=user, receive_id_type="file")
    tickless = TicklessClient(harness.client, context)
    trigger = {
        "type": "system_event",
        "source": "tickless",
        "event_type": "delivery.unknown",
        "filters": {"routine_id": routine, "route": "ops"},
    }
    guardrails = {"cooldown_seconds": 0, "max_concurrent": 10}
    body = {"prompt": "Look.", "trigger": trigger, "guardrails": guardrails}
    await tickless.routines.create(body, name=listener)
    async with (
        running_receiver() as receiver,
        httpx.AsyncClient() as http,
        await open_store(f"sqlite:///{tmp_path / 'ledger.db'}") as store,
    ):
        receiver.script.extend([Drop()] * 9)
        spec = WebhookChannel(type="webhook", url=receiver.url, secret=SecretStr(SECRET))
        messenger = Messenger({"ops": WebhookSender(spec, http)}, "ops")
        emitter = Emitter(harness.client)

        async def is_listed() -> bool:
            found = await emitter._candidates.current(trigger["type"], None)  # type: ignore[arg-type]
            return found.get(listener) is not None

        await until(is_listed, "it listens", seconds=3 * MAX_AGE.total_seconds())
        yield Ward(store, messenger, emitter, tickless, f"user:{user}", routine, listener)


async def test_of_a_run(ward: Ward) -> None:
    run = f"{ward.routine}/m-1"
    request = FinishRun(
        record=run_record(run, thread_id="t", status=RunStatus.ATTENTION, hop=2),
        thread=thread("t", scope=ward.scope),
        parts=[Part(part="final", route=OPS, text="Done.")],
    )
    sends = DeliveryActivities(ward.store, ward.messenger, ward.emitter)
    # As after a worker that died before it could say how it went.
    answers: list[Any] = [
        await ActivityEnvironment().run(sends.finish_run, request) for _ in range(2)
    ]

    assert [answer.deliveries[0].status for answer in answers] == ["unknown"] * 2
    await ward.hears()
    assert await ward.heard() == [("tickless:delivery.unknown", 3)], "once"


async def test_of_a_start_notice(ward: Ward) -> None:
    run = f"{ward.routine}/m-1"
    await ward.store.runs.put(run_record(run))
    part = Part(part="start", route=OPS, text="It begins.")
    announcer = Announcer(ward.store, ward.messenger, ward.emitter)
    said = announcer.prepare(part, run, scope=ward.scope, hop=0)
    await ward.store.write(said.begin)
    await said.send()
    await ward.hears()
    assert await ward.heard() == [("tickless:delivery.unknown", 1)]


async def test_of_an_alert(ward: Ward) -> None:
    request = SendAlert(
        routine_id=ward.routine,
        title="News",
        route=OPS,
        alert=Alert(kind=AlertKind.OVERDUE, overdue_by=180),
        since=NOON,
        at=NOON,
        scope=ward.scope,
    )
    alerts = AlertActivities(ward.store, ward.messenger, emitter=ward.emitter)
    assert await ActivityEnvironment().run(alerts.send_alert, request) is False
    await ward.hears()
    assert await ward.heard() == [("tickless:delivery.unknown", 0)]
