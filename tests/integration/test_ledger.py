"""Questions to the ledger from outside: deliveries of a scope, resent and resolved, by all ways.

Rows are put into the harness's own store; the workers that answer are its own. Source:
triggers-and-actions.md §9, DESIGN §3 (Lists).
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

import client.ledger
from activities.store import Store, open_store
from client.context import CallerContext
from client.tickless import TicklessClient
from domain.deliveries import DeliveryStatus
from domain.errors import DomainError
from domain.ledger_requests import FindOwnMessage, OwnMessage
from domain.scopes import Route
from tests.support.command import command
from tests.support.gateway import API, assert_problem, gateway_under_test
from tests.support.harness import Harness
from tests.support.ledger_rows import NOON, run_record
from tests.support.ledger_rows import delivery as delivery_row
from tests.support.routines import assert_refused

FILE = Route(receive_id_type="file")


@dataclass
class Desk:
    """A caller with a scope of its own, and the store in which its deliveries are."""

    harness: Harness
    store: Store
    user: str
    tickless: TicklessClient

    async def put(self, status: DeliveryStatus, text: str = "Hello.", at: int = 0) -> str:
        """A delivery of this caller, so many seconds after noon; returns its id."""
        run = f"{self.harness.name()}/m-1"
        await self.store.runs.put(run_record(run))
        row = delivery_row(
            "final",
            run,
            route=FILE,
            text=text,
            scope=f"user:{self.user}",
            created_at=NOON + timedelta(seconds=at),
        )
        await self.store.outbox.enqueue(row)
        if status != DeliveryStatus.PENDING:
            await self.store.outbox.settle(row.occurrence_id, status, error="who knows")
        return row.occurrence_id

    def written(self, key: str) -> list[dict[str, Any]]:
        """What the channel `file` has of a key."""
        lines = self.harness.deliveries.read_text(encoding="utf-8").splitlines()
        return [row for row in map(json.loads, lines) if row["key"] == key]


@pytest.fixture
async def desk(harness: Harness) -> AsyncIterator[Desk]:
    user = harness.name()
    context = CallerContext(actor_user_id=user, receive_id_type="file")
    async with await open_store(harness.environ["TICKLESS_STORE__URL"]) as store:
        yield Desk(harness, store, user, TicklessClient(harness.client, context))


async def refused(call: Any) -> DomainError:
    with pytest.raises(DomainError) as caught:
        await call
    return caught.value


async def test_deliveries_are_listed_by_scope_and_status_in_pages(desk: Desk) -> None:
    oldest = await desk.put(DeliveryStatus.SENT, at=0)
    unknown = await desk.put(DeliveryStatus.UNKNOWN, text="x" * 5_000, at=1)
    newest = await desk.put(DeliveryStatus.FAILED, at=2)

    first = await desk.tickless.deliveries.list(limit=2)
    rest = await desk.tickless.deliveries.list(limit=2, cursor=first.next_cursor)
    assert [item.occurrence_id for item in first.deliveries] == [newest, unknown]
    assert (first.deliveries[1].truncated, len(first.deliveries[1].text)) == (True, 200)
    assert [item.occurrence_id for item in rest.deliveries] == [oldest]
    assert rest.next_cursor is None
    of_status = await desk.tickless.deliveries.list(status="unknown")
    assert [item.occurrence_id for item in of_status.deliveries] == [unknown]
    whole = await desk.tickless.deliveries.get(unknown)
    assert (whole.text, whole.truncated, whole.route) == ("x" * 5_000, False, "file")

    # Somebody else sees none of them, in the words of what never was.
    other = desk.harness.tickless.deliveries
    assert unknown not in {item.occurrence_id for item in (await other.list()).deliveries}
    for call in (other.get, other.resend):
        assert_refused(await refused(call(unknown)), "not_found", "id", unknown)
    assert_refused(await refused(other.resolve(unknown, "sent")), "not_found", "id", unknown)
    assert_refused(await refused(other.get("nobody/m-1/final")), "not_found", "id", "nobody")


async def test_what_did_not_arrive_is_sent_again(desk: Desk) -> None:
    failed = await desk.put(DeliveryStatus.FAILED, text="Once more.")
    first = await desk.tickless.deliveries.resend(failed, idempotency_key="k")
    again = await desk.tickless.deliveries.resend(failed, idempotency_key="k")
    second = await desk.tickless.deliveries.resend(failed)

    assert (first.occurrence_id, first.status) == (f"{failed}/resend-1", "sent")
    assert again == first
    assert second.occurrence_id == f"{failed}/resend-2"
    assert [row["text"] for row in desk.written(f"{failed}/resend-1")] == ["Once more."]
    assert len(desk.written(f"{failed}/resend-2")) == 1
    assert desk.written(failed) == []
    error = await refused(desk.tickless.deliveries.resend(first.occurrence_id))
    assert_refused(error, "conflict", "status", "sent", "unknown", "failed")
    assert (await desk.tickless.deliveries.get(failed)).status == "failed"


async def test_a_person_says_how_it_ended(desk: Desk) -> None:
    arrived = await desk.put(DeliveryStatus.UNKNOWN)
    lost = await desk.put(DeliveryStatus.UNKNOWN)
    assert (await desk.tickless.deliveries.resolve(arrived, "sent")).status == "sent"
    assert (await desk.tickless.deliveries.resolve(lost, "failed")).error == "who knows"
    error = await refused(desk.tickless.deliveries.resolve(lost, "sent"))
    assert_refused(error, "conflict", "status", "failed", "unknown")
    assert error.accepted == ["unknown"]
    resent = await desk.tickless.deliveries.resend(lost)
    assert resent.status == "sent"


@pytest.mark.parametrize(
    ("given", "field", "contains"),
    [
        ({"status": "lost"}, "status", "suppressed"),
        ({"limit": 0}, "limit", "200"),
        ({"cursor": "!"}, "cursor", "next_cursor"),
    ],
)
async def test_bad_input(desk: Desk, given: dict[str, Any], field: str, contains: str) -> None:
    error = await refused(desk.tickless.deliveries.list(**given))
    assert_refused(error, "invalid_field", field, contains)
    error = await refused(desk.tickless.deliveries.resolve("a/m-1/final", "lost"))
    assert_refused(error, "invalid_field", "status", "sent", "failed")


async def test_without_a_worker(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.ledger, "RUNS_QUEUE", "nobody")
    monkeypatch.setattr(client.ledger, "PATIENCE", timedelta(seconds=1))
    error = await refused(desk.tickless.deliveries.list())
    assert_refused(error, "unavailable", "worker", "tickless worker", "nothing was changed")


async def test_our_own_messages_are_known(desk: Desk) -> None:
    key = await desk.put(DeliveryStatus.PENDING)
    name = desk.harness.name()
    await desk.store.outbox.settle(key, DeliveryStatus.SENT, message_id=name)
    calls = client.ledger.LedgerCalls(desk.harness.client)
    assert (await calls.ask(FindOwnMessage(message_id=name), OwnMessage)).ours
    assert not (await calls.ask(FindOwnMessage(message_id="none"), OwnMessage)).ours


async def test_over_http(desk: Desk) -> None:
    unknown = await desk.put(DeliveryStatus.UNKNOWN)
    path = f"{API}/deliveries/{unknown.replace('/', '%2F')}"
    async with gateway_under_test(desk.harness, "gateway-deliveries") as gateway:
        reading = gateway.token("read", actor_user_id=desk.user, receive_id_type="file")
        running = gateway.token("run", actor_user_id=desk.user, receive_id_type="file")
        async with gateway.client(reading) as reader, gateway.client(running) as runner:
            listed = await reader.get(f"{API}/deliveries", params={"status": "unknown"})
            assert [item["occurrence_id"] for item in listed.json()["deliveries"]] == [unknown]
            assert (await reader.get(path)).json()["status"] == "unknown"
            assert_problem(await reader.post(f"{path}/resend"), 403, "permission_denied", "scope")
            resent = await runner.post(f"{path}/resend", headers={"Idempotency-Key": "1"})
            assert (resent.status_code, resent.json()["status"]) == (202, "sent"), resent.text
            of_resent = await reader.get(f"{path}%2Fresend-1")
            assert of_resent.json() == resent.json()
            solved = await runner.post(f"{path}/resolve", json={"status": "sent"})
            assert (solved.status_code, solved.json()["status"]) == (200, "sent"), solved.text
            again = await runner.post(f"{path}/resolve", json={"status": "failed"})
            assert_problem(again, 409, "conflict", "status", "sent")
            bad = await runner.post(f"{path}/resolve", json={"status": "lost"})
            assert_problem(bad, 400, "invalid_field", "status", "sent")
        async with gateway.client() as other:
            assert_problem(await other.get(path), 404, "not_found", "id", unknown)


async def test_on_the_command_line(desk: Desk) -> None:
    unknown = await desk.put(DeliveryStatus.UNKNOWN, text="Line one.\nLine two.")
    me = {"TICKLESS_CONTEXT__ACTOR_USER_ID": desk.user}

    listed = await command(desk.harness, "delivery", "list", "--status", "unknown", environ=me)
    assert [item["occurrence_id"] for item in listed.json["deliveries"]] == [unknown]
    shown = await command(desk.harness, "delivery", "get", unknown, terminal=True, environ=me)
    assert "Line two." in shown.out
    assert "who knows" in shown.out
    neither = await command(desk.harness, "delivery", "resolve", unknown, environ=me)
    assert neither.code == 2
    assert neither.problem["accepted"] == ["--sent", "--failed"]
    resent = await command(desk.harness, "delivery", "resend", unknown, environ=me)
    assert resent.json["occurrence_id"] == f"{unknown}/resend-1"
    await command(desk.harness, "delivery", "resolve", unknown, "--failed", environ=me)
    table = await command(desk.harness, "delivery", "list", terminal=True, environ=me)
    rows = {line.split()[0]: line.split()[1] for line in table.out.splitlines()[1:]}
    assert rows == {unknown: "failed", f"{unknown}/resend-1": "sent"}
    empty = await command(
        desk.harness, "delivery", "list", "--status", "pending", terminal=True, environ=me
    )
    assert (empty.out, empty.err) == ("", "No deliveries.\n")
