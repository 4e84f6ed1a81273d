"""Health, readiness, figures, and the gateway's own watch, with and without workers."""

import json
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from client.gateway.queues import look_at_queues
from client.gateway.watch import QueueWatch
from tests.support.gateway import API, assert_problem, gateway_under_test
from tests.support.harness import Harness, running_harness, running_server, until
from tests.support.receiver import Answer, Receiver, running_receiver
from worker.process import running_workers

QUEUES = ("tickless-entities", "tickless", "tickless-llm", "tickless-tools", "tickless-watch")
# Each queue but those of model calls and tool calls has two kinds of tasks.
KINDS = 8
SOON = timedelta(milliseconds=100)


@pytest.fixture(scope="module")
async def idle(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Harness]:
    """A server that no worker serves."""
    async with (
        running_server(tmp_path_factory.mktemp("idle-server")) as server,
        running_harness(tmp_path_factory.mktemp("idle"), server, queues=()) as harness,
    ):
        yield harness


def watch_of(harness: Harness, receiver: Receiver | None = None, **given: Any) -> QueueWatch:
    return QueueWatch(
        harness.client,
        target="here",
        alert_url=receiver.url if receiver else None,
        **{"interval": SOON, "grace": timedelta(), **given},
    )


async def test_with_workers_it_is_ready(harness: Harness) -> None:
    async with (
        gateway_under_test(harness, "gateway-ready") as running,
        running.client("") as http,
    ):
        answer = await http.get("/healthz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})

        async def ready() -> bool:
            return (await http.get("/readyz")).status_code == 200

        await until(ready, "the workers poll")
        answer = await http.get("/readyz")
        assert answer.json()["ready"] is True
        queues = answer.json()["queues"]
        assert {queue["queue"] for queue in queues} == set(QUEUES)
        assert all(queue["pollers"] >= 1 for queue in queues)
        assert_problem(await http.get("/readyz?x=1"), 400, "unknown_field", "x")

        figures = await http.get("/metrics")
        assert figures.headers["content-type"].startswith("text/plain")
        ours = [line for line in figures.text.splitlines() if line.startswith("tickless_")]
        assert "tickless_ready 1.0" in ours
        assert 'tickless_queue_pollers{kind="activity",queue="tickless-llm"} 1.0' in ours
        count = 'tickless_http_requests_total{method="GET",route="/healthz",status="200"}'
        assert f"{count} 1.0" in ours
        await http.get("/nowhere/else")
        unknown = 'tickless_http_requests_total{method="GET",route="unknown",status="404"} 1.0'
        assert unknown in (await http.get("/metrics")).text


async def test_without_workers_it_says_what_is_missing(idle: Harness) -> None:
    async with (
        gateway_under_test(idle, "gateway-idle", watch_of(idle)) as running,
        running.client("") as http,
    ):
        assert (await http.get("/healthz")).status_code == 200
        answer = await http.get("/readyz")
        problem = assert_problem(
            answer, 503, "unavailable", "pollers.tickless-entities.workflow", "tickless worker"
        )
        assert answer.headers["retry-after"]
        assert all(queue in answer.text for queue in QUEUES)
        assert len(problem["errors"]) == KINDS
        assert "tickless_ready 0.0" in (await http.get("/metrics")).text


async def test_from_elsewhere_figures_need_a_token(
    idle: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This machine has no other address that a test may use: loopback plays one.
    monkeypatch.setattr("client.gateway.auth.is_loopback", lambda _host: False)
    async with gateway_under_test(idle, "gateway-elsewhere") as running:
        for path in ("/healthz", "/readyz", "/metrics"):
            async with running.client("") as nobody:
                answer = await nobody.get(path)
                assert_problem(answer, 401, "unauthenticated", "authorization")
            async with running.client(running.secrets["run"]) as runner:
                assert_problem(await runner.get(path), 403, "permission_denied", "scope", "read")
            async with running.client(running.secrets["read"]) as reader:
                assert (await reader.get(path)).status_code in {200, 503}


async def test_the_watch_posts_once_and_again_when_it_comes_back(idle: Harness) -> None:
    async with running_receiver() as receiver:
        watch = watch_of(idle, receiver)
        async with gateway_under_test(idle, "gateway-alerts", watch):

            async def told() -> bool:
                return bool(receiver.requests)

            await until(told, "an alert")
            for _ in range(5):
                await watch.look(timedelta())
            assert len(receiver.requests) == 1
            alert = json.loads(receiver.requests[0].body)
            assert alert["type"] == "tickless.gateway.alert"
            assert alert["target"] == "here"
            assert len(alert["problems"]) == KINDS
            assert "tickless worker" in alert["text"]


async def test_an_alert_that_is_refused_is_tried_again(
    idle: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_receiver() as receiver:
        receiver.script.extend([Answer(500), Answer(500), Answer(200)])
        with caplog.at_level(logging.INFO):
            async with gateway_under_test(idle, "gateway-refused", watch_of(idle, receiver)):

                async def accepted() -> bool:
                    return len(receiver.requests) == 3

                await until(accepted, "three posts")
        assert caplog.text.count("the alert was refused") == 2
        assert caplog.text.count("something is wrong") == KINDS
        assert not _leaks(caplog), "the address is a secret"


async def test_an_alert_that_nobody_takes_stops_nothing(
    idle: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    watch = QueueWatch(
        idle.client,
        target="here",
        alert_url="http://127.0.0.1:9/private",
        interval=SOON,
        grace=timedelta(),
    )
    async with gateway_under_test(idle, "gateway-silent", watch):

        async def tried() -> bool:
            return caplog.text.count("could not be posted") >= 2

        await until(tried, "two tries")
    assert not _leaks(caplog)


def _leaks(caplog: pytest.LogCaptureFixture) -> list[str]:
    ours = [record for record in caplog.records if record.name.startswith("client")]
    assert ours
    return [record.getMessage() for record in ours if "private" in record.getMessage()]


async def test_workers_may_take_their_time_at_the_start(
    idle: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_receiver() as receiver:
        watch = watch_of(idle, receiver, grace=timedelta(seconds=1))
        async with gateway_under_test(idle, "gateway-patient", watch) as running:
            async with running.client("") as http:
                assert (await http.get("/readyz")).status_code == 503
            assert not receiver.requests

            async def told() -> bool:
                return bool(receiver.requests)

            await until(told, "the time is over")
    assert "something is wrong" in caplog.text


async def test_work_that_waits_is_told(idle: Harness) -> None:
    handle = await idle.client.start_workflow("Nobody", id="nobody", task_queue=QUEUES[1])
    watch = watch_of(idle, max_backlog_age=timedelta(milliseconds=200))
    try:

        async def waits() -> bool:
            problems = await watch.look(timedelta())
            return "backlog.tickless.workflow" in [problem.field for problem in problems]

        await until(waits, "the backlog is seen")
        state = next(
            state
            for state in await look_at_queues(idle.client)
            if (state.queue, state.kind) == ("tickless", "workflow")
        )
        assert state.backlog == 1
        assert state.backlog_seconds >= 0.2
    finally:
        await handle.terminate()


async def test_the_watch_sees_workers_come_and_go(
    idle: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with gateway_under_test(idle, "gateway-back", watch_of(idle)) as running:

        async def missed() -> bool:
            return caplog.text.count("something is wrong") == KINDS

        await until(missed, "they are missed")
        workers = running_workers(idle.client, idle.settings, {}, list(QUEUES))
        async with workers, running.client("") as http:

            async def fine() -> bool:
                return (await http.get("/readyz")).status_code == 200

            await until(fine, "the workers are seen")

            async def logged() -> bool:
                return caplog.text.count("all right again") == KINDS

            await until(logged, "the log tells it")


async def test_an_outage_of_the_server(tmp_path: Path) -> None:
    """503 within seconds while it is gone, everything as before when it is back."""
    async with (
        running_server(tmp_path, db_file=tmp_path / "temporal.db") as server,
        running_harness(tmp_path / "harness", server) as harness,
        gateway_under_test(harness, watch=watch_of(harness)) as running,
        running.client() as http,
    ):
        body = {"id": "kept", "prompt": "x", "trigger": {"type": "manual"}}
        created = await http.post(f"{API}/routines", json=body)
        assert created.status_code == 201, created.text
        await server.stop()
        await _is_unavailable(http)
        await server.start()
        await _is_back(http)


async def _is_unavailable(http: httpx.AsyncClient) -> None:
    async def noticed() -> bool:
        return (await http.get(f"{API}/system")).status_code == 503

    await until(noticed, "the outage is noticed", 5)
    for method, path in (
        ("GET", "/routines"),
        ("POST", "/routines"),
        ("GET", "/routines/kept"),
        ("PATCH", "/routines/kept"),
        ("POST", "/routines/kept/trigger"),
        ("GET", "/runs/kept%2Fm-1"),
        ("GET", "/runs/kept%2Fm-1/events"),
        ("GET", "/system"),
        ("POST", "/system/pause"),
    ):
        answer = await http.request(method, API + path, timeout=5)
        assert_problem(answer, 503, "unavailable", "temporal", "nothing was changed")
        assert int(answer.headers["retry-after"]) >= 1
    assert (await http.get("/healthz")).status_code == 200
    assert_problem(await http.get("/readyz", timeout=8), 503, "unavailable", "temporal")
    preview = {"schedule": {"every_seconds": 60}}
    assert (await http.post(f"{API}/schedules/preview", json=preview)).status_code == 200


async def _is_back(http: httpx.AsyncClient) -> None:
    async def back() -> bool:
        answer = await http.patch(f"{API}/routines/kept", json={"title": "still there"})
        return answer.status_code == 200

    await until(back, "the server is back", 60)
    answer = await http.get(f"{API}/routines/kept")
    assert answer.json()["routine"]["title"] == "still there"
