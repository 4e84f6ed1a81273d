"""Runs over HTTP: trigger, read, wait, follow, cancel; previews and the system pause."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.support.gateway import API, GatewayUnderTest, assert_problem, gateway_under_test
from tests.support.harness import Harness, until
from tests.support.model_steps import Reply
from tests.support.server_events import Event, events_of

ROUTINES = f"{API}/routines"


@pytest.fixture(scope="module")
async def gateway(harness: Harness) -> AsyncIterator[GatewayUnderTest]:
    async with gateway_under_test(harness, "gateway-runs") as running:
        yield running


@pytest.fixture
async def http(gateway: GatewayUnderTest) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway.client() as client:
        yield client


def address(run_id: str) -> str:
    return f"{API}/runs/{quote(run_id, safe='')}"


async def test_a_run_from_trigger_to_end(http: httpx.AsyncClient, harness: Harness) -> None:
    name = await harness.routine(Reply(text="Water the plants."))
    started = await http.post(f"{ROUTINES}/{name}/trigger")
    assert started.status_code == 202
    answer = started.json()
    assert answer["run_id"].startswith(f"{name}/m-")
    assert answer["workflow_id"] == "routine-run/" + answer["run_id"]
    assert answer["status_url"] == address(answer["run_id"]) == started.headers["location"]
    assert "%2F" in answer["status_url"]
    assert (answer["duplicate"], answer["verdict"]["decision"]) == (False, "run")
    assert "definition" not in answer["verdict"]

    ended = await http.get(answer["status_url"], params={"wait": "30s"})
    assert ended.status_code == 200
    run = ended.json()
    assert (run["record"]["status"], run["text"]) == ("attention", "Water the plants.")
    assert run["record"]["id"] == answer["run_id"]
    assert run["ui_url"] == answer["ui_url"]
    runs = (await http.get(f"{ROUTINES}/{name}/runs", params={"limit": 5})).json()
    assert [item["id"] for item in runs["runs"]] == [answer["run_id"]]
    assert runs["count"] == 1


async def test_a_trigger_can_wait_for_the_end(
    gateway: GatewayUnderTest, http: httpx.AsyncClient, harness: Harness
) -> None:
    name = await harness.routine(Reply(text="Done."))
    answer = await http.post(f"{ROUTINES}/{name}/trigger", params={"wait": "30s"}, json={})
    assert answer.status_code == 202
    assert answer.json()["run"]["text"] == "Done."
    async with gateway.client(gateway.secrets["run"]) as runner:
        answer = await runner.post(f"{ROUTINES}/{name}/trigger?wait=1s")
        assert_problem(answer, 403, "permission_denied", "scope", "read")


async def test_waiting_has_an_end(http: httpx.AsyncClient, harness: Harness) -> None:
    gate = threading.Event()
    name = await harness.routine(Reply(text="late", chunks=2, gate=gate))
    try:
        answer = await http.post(f"{ROUTINES}/{name}/trigger?wait=1")
        assert (answer.status_code, answer.json()["run"]) == (202, None)
        run = await http.get(answer.json()["status_url"], params={"wait": "1s"})
        assert (run.status_code, run.json()["record"]["status"]) == (200, "running")
        for wait in ("soon", "121s", "3m", "-1", ""):
            bad = await http.get(answer.json()["status_url"], params={"wait": wait})
            assert_problem(bad, 400, "invalid_field", "wait")
    finally:
        gate.set()


async def test_the_same_key_is_the_same_run(http: httpx.AsyncClient, harness: Harness) -> None:
    name = await harness.routine(Reply(text="ROUTINE_OK"))
    key = {"Idempotency-Key": "once"}
    first = (await http.post(f"{ROUTINES}/{name}/trigger?wait=30s", headers=key)).json()
    again = (await http.post(f"{ROUTINES}/{name}/trigger", headers=key)).json()
    assert (first["duplicate"], again["duplicate"]) == (False, True)
    assert first["run_id"] == again["run_id"]


async def test_a_refused_trigger_names_the_reason(
    http: httpx.AsyncClient, harness: Harness
) -> None:
    name = await harness.routine()
    await http.post(f"{ROUTINES}/{name}/pause")
    answer = await http.post(f"{ROUTINES}/{name}/trigger")
    assert_problem(answer, 409, "conflict", "status", "paused", "force")
    forced = await http.post(f"{ROUTINES}/{name}/trigger", json={"force": True})
    assert forced.status_code == 202


async def test_a_run_is_cancelled(http: httpx.AsyncClient, harness: Harness) -> None:
    gate = threading.Event()
    name = await harness.routine(Reply(text="never", chunks=2, gate=gate))
    try:
        run = (await http.post(f"{ROUTINES}/{name}/trigger")).json()["run_id"]
        bad = await http.post(f"{address(run)}/cancel", json={"reason": 7})
        assert_problem(bad, 400, "invalid_field", "reason")
        answer = await http.post(f"{address(run)}/cancel", json={"reason": "not today"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["record"]["status"] == "cancelled"
        again = await http.post(f"{address(run)}/cancel")
        assert again.json()["record"] == answer.json()["record"]
    finally:
        gate.set()


@pytest.mark.parametrize("run", ["x%2Fm-1", "nobody%2Fs-2026-01-01T00:00:00Z", "x", "x%2Fy", "ä"])
@pytest.mark.parametrize(("method", "part"), [("GET", ""), ("GET", "/events"), ("POST", "/cancel")])
async def test_an_unknown_run(http: httpx.AsyncClient, run: str, method: str, part: str) -> None:
    answer = await http.request(method, f"{API}/runs/{run}{part}")
    assert_problem(answer, 404, "not_found", "id")


async def test_a_run_of_another_scope_is_unknown(
    gateway: GatewayUnderTest, harness: Harness
) -> None:
    name = await harness.routine()
    view = await harness.run_once(name)
    async with gateway.client(X_Tickless_Actor_User_Id="somebody") as stranger:
        for method, part in (("GET", ""), ("GET", "/events"), ("POST", "/cancel")):
            answer = await stranger.request(method, address(view.record.id) + part)
            problem = assert_problem(answer, 404, "not_found", "id")
            assert problem["detail"] == view.record.id


# ---- backfills and the watchdog


async def test_a_backfill_makes_up_for_times(http: httpx.AsyncClient, harness: Harness) -> None:
    name = await harness.routine(schedule={"cron_expr": "0 * * * *"})
    body = {"start": "2026-03-01T09:00:00Z", "end": "2026-03-01T11:30:00Z"}
    address_of_it = f"{ROUTINES}/{name}/backfill"
    dry = await http.post(address_of_it, json={**body, "dry_run": True})
    assert dry.status_code == 200, dry.text
    assert (await http.get(f"{ROUTINES}/{name}/runs")).json()["count"] == 0
    started = await http.post(address_of_it, json=body)
    assert started.status_code == 202, started.text
    runs = started.json()["runs"]
    assert dry.json() == {"runs": runs, "dry_run": True}
    assert [run["scheduled_at"] for run in runs] == [
        f"2026-03-01T{hour}:00:00Z" for hour in ("09", "10", "11")
    ]

    async def all_ended() -> bool:
        found = (await http.get(f"{ROUTINES}/{name}/runs")).json()["runs"]
        return [run["status"] for run in found] == ["ok"] * 3

    await until(all_ended, "three runs")
    for run in runs:
        answer = await http.get(run["status_url"])
        assert answer.json()["record"]["trigger_type"] == "backfill"


@pytest.mark.parametrize(
    ("body", "kind", "field"),
    [
        ({}, "missing_field", "start"),
        ({"start": "x", "end": "2026-03-01T11:30:00Z"}, "invalid_field", "start"),
        ({"start": "2026-03-01T11:30:00Z", "end": 5}, "invalid_field", "end"),
        ({"start": "2026-03-01T11:30:00Z", "from": 5}, "unknown_field", "from"),
        (
            {"start": "2026-03-01T11:30:00Z", "end": "2026-03-01T11:00:00Z"},
            "invalid_field",
            "end",
        ),
        (
            {"start": "2026-03-01T11:30:00Z", "end": "2026-03-02T11:00:00Z", "dry_run": "no"},
            "invalid_field",
            "dry_run",
        ),
    ],
)
async def test_bad_backfills(
    http: httpx.AsyncClient, harness: Harness, body: dict[str, Any], kind: str, field: str
) -> None:
    name = await harness.routine(schedule={"cron_expr": "0 * * * *"})
    answer = await http.post(f"{ROUTINES}/{name}/backfill", json=body)
    assert_problem(answer, 400, kind, field)


async def test_the_watchdog_of_all_scopes(http: httpx.AsyncClient) -> None:
    looked = await http.get(f"{API}/watchdog", params={"once": "true"})
    assert looked.status_code == 200, looked.text
    assert looked.json()["at"]
    assert "alerts" in looked.json()
    last = await http.get(f"{API}/watchdog")
    assert last.status_code == 200
    assert_problem(
        await http.get(f"{API}/watchdog", params={"once": "x"}), 400, "invalid_field", "once"
    )


# ---- live text


async def test_live_text_comes_with_its_position(http: httpx.AsyncClient, harness: Harness) -> None:
    text = "Zeile eins: äöü 🌱\nZeile zwei."
    gate = threading.Event()
    name = await harness.routine(Reply(text=text, chunks=2, gate=gate))
    run = (await http.post(f"{ROUTINES}/{name}/trigger")).json()["run_id"]
    seen: list[Event] = []
    async with http.stream("GET", f"{address(run)}/events") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for event in events_of(answer):
            seen.append(event)
            if event.name in {"text", "stage"}:
                gate.set()
    had = 0
    for event in seen:
        if event.name == "text":
            assert event.data["offset"] == had
            had += len(event.data["text"])
            assert event.id == str(had)
    assert "".join(event.data["text"] for event in seen if event.name == "text") == text
    assert seen[-1].name == "end"
    assert seen[-1].data["record"]["status"] == "attention"
    assert seen[-1].data["text"] == text

    headers = {"Last-Event-ID": "12"}
    async with http.stream("GET", f"{address(run)}/events", headers=headers) as answer:
        late = [event async for event in events_of(answer)]
    assert [event.name for event in late] == ["text", "end"]
    assert late[0].data == {"offset": 12, "text": text[12:]}
    headers = {"Last-Event-ID": str(len(text))}
    async with http.stream("GET", f"{address(run)}/events", headers=headers) as answer:
        assert [event.name async for event in events_of(answer)] == ["end"]


@pytest.mark.parametrize("last", ["-1", "x", "1.5", "9" * 40])
async def test_a_bad_position(http: httpx.AsyncClient, harness: Harness, last: str) -> None:
    name = await harness.routine()
    view = await harness.run_once(name)
    headers = {"Last-Event-ID": last}
    answer = await http.get(f"{address(view.record.id)}/events", headers=headers)
    assert_problem(answer, 400, "invalid_field", "last_event_id", ">= 0")


async def test_a_reader_who_leaves_takes_its_watcher_along(
    http: httpx.AsyncClient, harness: Harness
) -> None:
    gate = threading.Event()
    name = await harness.routine(Reply(text="a b c", chunks=3, gate=gate))
    run = (await http.post(f"{ROUTINES}/{name}/trigger")).json()["run_id"]

    async def streams(count: int) -> bool:
        return f"tickless_live_streams {count}.0" in (await http.get("/metrics")).text

    try:
        async with http.stream("GET", f"{address(run)}/events") as answer:
            # Held on to: without it the stream would be closed at once.
            events = events_of(answer)
            await anext(events)
            await until(lambda: streams(1), "it reads")
            watching = _tasks()
            assert watching
        await until(lambda: streams(0), "it has left")

        async def gone() -> bool:
            return not watching & _tasks()

        await until(gone, "its watcher has ended")
    finally:
        gate.set()


def _tasks() -> set["asyncio.Task[Any]"]:
    return {task for task in asyncio.all_tasks() if "_next" in repr(task.get_coro())}


async def test_the_end_of_the_gateway_ends_streams_and_waiting(harness: Harness) -> None:
    gate = threading.Event()
    name = await harness.routine(Reply(text="a b c", chunks=3, gate=gate))
    run = (await harness.tickless.runs.trigger(name)).run_id
    try:
        async with gateway_under_test(harness, "gateway-ending") as running:
            http = running.client()
            stream = http.stream("GET", f"{address(run)}/events")
            answer = await stream.__aenter__()
            events = events_of(answer)
            await anext(events)
            waiting = asyncio.create_task(http.get(address(run), params={"wait": "60s"}))
            metrics = 'tickless_http_requests_total{method="GET",route="/metrics",status="200"} 1.0'
            await until(lambda: _shows(http, metrics), "the gateway serves")
            begun = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - begun < 8
        assert [event.name async for event in events if event.name == "end"] == []
        assert (await waiting).json()["record"]["status"] == "running"
        await stream.__aexit__(None, None, None)
        await http.aclose()
    finally:
        gate.set()


async def _shows(http: httpx.AsyncClient, line: str) -> bool:
    return line in (await http.get("/metrics")).text


# ---- previews


async def test_a_preview(http: httpx.AsyncClient) -> None:
    body = {"schedule": {"every_seconds": 3600}, "count": 2, "after": "2026-03-01T09:00:00Z"}
    answer = await http.post(f"{API}/schedules/preview", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["occurrences"] == ["2026-03-01T10:00:00Z", "2026-03-01T11:00:00Z"]
    cron = {"schedule": {"cron_expr": "0 9 * * *", "timezone": "Europe/Berlin"}}
    assert len((await http.post(f"{API}/schedules/preview", json=cron)).json()["occurrences"]) == 5


@pytest.mark.parametrize(
    ("body", "kind", "field", "contains"),
    [
        ({}, "missing_field", "schedule", "every_seconds"),
        ({"schedule": {"every_seconds": 60}, "count": 0}, "invalid_field", "count", "50"),
        ({"schedule": {"every_seconds": 60}, "count": 51}, "invalid_field", "count", "50"),
        ({"schedule": {"every_seconds": 60}, "after": "x"}, "invalid_field", "after", "RFC 3339"),
        ({"schedule": {"every_seconds": 60}, "after": 5}, "invalid_field", "after", "RFC 3339"),
        ({"schedule": {"cron_expr": "x"}}, "invalid_field", "schedule.cron_expr", "5 fields"),
        ({"schedule": "daily", "count": 1}, "invalid_field", "schedule", ""),
    ],
)
async def test_bad_previews(
    http: httpx.AsyncClient, body: dict[str, Any], kind: str, field: str, contains: str
) -> None:
    answer = await http.post(f"{API}/schedules/preview", json=body)
    assert_problem(answer, 400, kind, field, contains)


# ---- the system


async def test_everything_is_paused_and_goes_on(http: httpx.AsyncClient, harness: Harness) -> None:
    name = await harness.routine()
    try:
        answer = await http.post(f"{API}/system/pause", json={"reason": "holiday"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["paused"] is True
        found = (await http.get(f"{API}/system")).json()
        assert (found["paused"], found["reason"]) == (True, "holiday")

        async def refused() -> bool:
            answer = await http.post(f"{ROUTINES}/{name}/trigger?wait=10s")
            return answer.status_code == 409 and "system" in answer.json()["detail"]

        await until(refused, "workers look once a second", 20)
    finally:
        answer = await http.post(f"{API}/system/resume")
    assert answer.json()["paused"] is False
    for body in ({"reason": 5}, {"reason": "x" * 201}):
        bad = await http.post(f"{API}/system/pause", json=body)
        assert_problem(bad, 400, "invalid_field", "reason")
    bad = await http.post(f"{API}/system/pause", json={"why": "x"})
    assert_problem(bad, 400, "unknown_field", "why", "reason")
    assert (await http.get(f"{API}/system")).json()["paused"] is False
