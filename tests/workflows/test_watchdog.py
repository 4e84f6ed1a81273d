"""The watchdog on a real server: what is late or stuck is found and told once."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from client.watchdog import PATIENCE
from domain.errors import DomainError, ErrorKind
from domain.identifiers import (
    ENTITIES_QUEUE,
    RUNS_QUEUE,
    SERVED_QUEUES,
    WATCH_QUEUE,
    maintenance_id,
    schedule_id,
)
from domain.maintenance import MaintenanceReport
from domain.timestamps import format_timestamp
from tests.support.harness import Harness, running_harness, running_server, until
from tests.support.model_steps import Reply
from worker.temporal_server import DevServer

GRACE = {"TICKLESS_WATCHDOG_GRACE_SECONDS": "1"}


@pytest.fixture(scope="module")
async def own_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DevServer]:
    """The watchdog looks at all scopes, so what other tests leave behind would be found."""
    async with running_server(tmp_path_factory.mktemp("watchdog-server")) as running:
        yield running


@pytest.fixture(scope="module")
async def watched(
    own_server: DevServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Harness]:
    folder = tmp_path_factory.mktemp("watched")
    async with running_harness(folder, own_server, queues=SERVED_QUEUES, **GRACE) as running:
        yield running


def _alerts(harness: Harness, routine: str) -> list[dict[str, Any]]:
    if not harness.deliveries.exists():
        return []
    lines = map(json.loads, harness.deliveries.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line["key"].startswith(f"watchdog/{routine}/")]


async def _found(harness: Harness, routine: str) -> list[dict[str, Any]]:
    report = await harness.tickless.watchdog.once()
    values = report.model_dump(mode="json", exclude_none=True)
    return [item for item in values["alerts"] if item["routine"] == routine]


async def test_what_does_not_fire_is_told_once(watched: Harness) -> None:
    """Somebody pauses the Schedule behind the routine's back."""
    at = (datetime.now(UTC) + timedelta(seconds=2)).replace(microsecond=0)
    routine = await watched.routine(schedule={"run_at": format_timestamp(at)}, title="Ferns")
    await watched.client.get_schedule_handle(schedule_id(routine)).pause()

    found: list[dict[str, Any]] = []

    async def overdue() -> bool:
        found.extend(await _found(watched, routine))
        return bool(found)

    await until(overdue, "it is found")
    assert (found[0]["kind"], found[0]["told"], found[0]["silent"]) == ("overdue", True, False)
    assert found[0]["overdue_by"] >= 1
    again = await _found(watched, routine)
    assert [(item["kind"], item["told"]) for item in again] == [("overdue", False)]
    (alert,) = _alerts(watched, routine)
    assert alert["run_id"] is None
    assert "Ferns: overdue by" in alert["text"]
    assert f"Planned for {format_timestamp(at)}." in alert["text"]
    await watched.tickless.routines.delete(routine, purge=True)
    assert await _found(watched, routine) == []


async def test_a_routine_that_fires_is_no_suspect(watched: Harness) -> None:
    """Its own next time has passed; its run tells of the next one, so it is not even asked."""
    at = (datetime.now(UTC) + timedelta(seconds=2)).replace(microsecond=0)
    routine = await watched.routine(
        Reply("Done."), schedule={"every_seconds": 60}, next_run_at=format_timestamp(at)
    )

    async def ran() -> bool:
        runs = await watched.tickless.routines.runs(routine)
        return bool(runs) and runs[0].finished_at is not None

    await until(ran, "it fired")
    # From now on its first time lies further back than the grace.
    while datetime.now(UTC) < at + timedelta(seconds=3):  # noqa: ASYNC110 - a time, no event
        await asyncio.sleep(0.1)

    async def unsuspected() -> bool:
        return (await watched.tickless.watchdog.once()).looked_at == 0

    await until(unsuspected, "the run's next time is listed")


async def test_what_does_not_end_is_told(tmp_path: Path) -> None:
    """No worker serves models: the run counts as running, and waits."""
    at = (datetime.now(UTC) + timedelta(seconds=2)).replace(microsecond=0)
    queues = (ENTITIES_QUEUE, RUNS_QUEUE, WATCH_QUEUE)
    async with (
        running_server(tmp_path) as server,
        running_harness(tmp_path, server, queues=queues, **GRACE) as harness,
    ):
        routine = await harness.routine(
            schedule={"every_seconds": 60},
            next_run_at=format_timestamp(at),
            guardrails={"run_timeout_seconds": 1},
        )
        found: list[dict[str, Any]] = []

        async def stuck() -> bool:
            found.extend(await _found(harness, routine))
            return bool(found)

        await until(stuck, "it is found")
        assert (found[0]["kind"], found[0]["told"]) == ("stuck", True)
        assert found[0]["running_for"] >= 2
        (alert,) = _alerts(harness, routine)
        assert "stuck, running for" in alert["text"]


async def test_a_schedule_has_the_rounds_done(watched: Harness) -> None:
    described = await watched.client.get_schedule_handle(maintenance_id("watchdog")).describe()
    assert described.schedule.spec.intervals[0].every == timedelta(seconds=60)
    assert described.schedule.policy.overlap.name == "SKIP"
    await watched.tickless.watchdog.once()

    async def listed() -> bool:
        return await watched.tickless.watchdog.last() is not None

    await until(listed, "the round is listed")


async def test_an_unknown_job_is_reported(watched: Harness) -> None:
    report: MaintenanceReport = await watched.client.execute_workflow(
        "Maintenance",
        {"name": "no-such"},
        id=f"maintenance/no-such-{watched.name()}",
        task_queue=WATCH_QUEUE,
        result_type=MaintenanceReport,
    )
    assert "no-such" in (report.error or "")


async def test_without_a_worker_a_round_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert timedelta(seconds=15) == PATIENCE
    monkeypatch.setattr("client.watchdog.PATIENCE", timedelta(seconds=1))
    async with (
        running_server(tmp_path) as server,
        running_harness(tmp_path, server, queues=()) as harness,
    ):
        assert await harness.tickless.watchdog.last() is None
        with pytest.raises(DomainError) as caught:
            await harness.tickless.watchdog.once()
    assert (caught.value.kind, caught.value.field) == (ErrorKind.UNAVAILABLE, "worker")
    assert WATCH_QUEUE in caught.value.message
