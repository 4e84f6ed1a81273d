"""Record the histories that newer code has to replay: `python -m tests.replay.record`.

Plays one scenario per lifecycle on a real server and writes each workflow's history to
`histories/`. Record anew only with a change guarded by `workflow.patched`, and keep the old files.
"""

import argparse
import asyncio
import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from activities.candidates import MAX_AGE
from client import CallerContext, TicklessClient
from client.sealing import KEY_FILE, create_key_file
from domain.identifiers import CONTROL_ID, routine_workflow_id, session_workflow_id
from domain.lease_queue_state import LeaseKind, RequestLease
from domain.queueing import QueueMode
from domain.runs import run_id, run_workflow_id, scheduled_occurrence
from domain.session_messages import QueueOptions
from domain.session_requests import SessionView
from domain.timestamps import format_timestamp
from tests.replay.record_disturbed import record_disturbed
from tests.replay.record_goal_brakes import record_goal_brakes
from tests.replay.record_goals import record_goals
from tests.replay.record_jobs import record_jobs
from tests.replay.record_sessions import record_sessions
from tests.support.conversations import conversation
from tests.support.gateway import gateway_under_test
from tests.support.harness import Harness, running_harness, running_server, until
from tests.support.model_steps import Hang, Reply, server_error, unauthorized
from tests.support.webhooks import HOOKS, hook, signed

FOLDER = Path(__file__).parent / "histories"


async def record(prefix: str) -> None:
    """Play every scenario and write its histories."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with running_server(folder) as server, running_harness(folder, server) as harness:
            await _scheduled(harness, prefix)
            await _queued_and_cancelled(harness, prefix)
            await _failing(harness, prefix)
            await _paused_system(harness, prefix)
            await _life(harness, prefix)
            await _backfill(harness, prefix)
            await _lost(harness, prefix)
            await _session(harness, prefix)
            await _conversation(harness, prefix)
            await _webhook(harness, prefix)
            await _event(harness, prefix)
            await _maintenance(harness, prefix)
            await _probe(harness, prefix)
            await _ledger(harness, prefix)
            await _listener(harness, prefix)
            await record_jobs(harness, prefix, _save)
            await record_sessions(harness, prefix, _save)
            await _goals(harness, prefix)
    with tempfile.TemporaryDirectory() as name:
        await record_disturbed(Path(name), prefix, _save)


async def record_only_goals(prefix: str) -> None:
    """Play the scenarios of goals and write their histories."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with running_server(folder) as server, running_harness(folder, server) as harness:
            await _goals(harness, prefix)


async def _goals(harness: Harness, prefix: str) -> None:
    await record_goals(harness, prefix, _save)
    await record_goal_brakes(harness, prefix, _save)


async def _scheduled(harness: Harness, prefix: str) -> None:
    at = (datetime.now(UTC) + timedelta(seconds=2)).replace(microsecond=0)
    routine = await harness.routine(
        server_error(), Reply("Good morning."), schedule={"run_at": format_timestamp(at)}
    )
    run = run_id(routine, scheduled_occurrence(at))
    await harness.tickless.runs.wait_until_started(run)
    await harness.tickless.runs.wait(run)

    async def ended() -> bool:
        answer = await harness.tickless.routines.get(routine)
        return answer.routine.paused_reason == "schedule_ended"

    await until(ended, "the one-shot has ended")
    await _save(harness, run_workflow_id(run), f"{prefix}-run-scheduled-with-failover")
    await _save(harness, routine_workflow_id(routine), f"{prefix}-routine-one-shot")


async def _queued_and_cancelled(harness: Harness, prefix: str) -> None:
    routine = await harness.routine(Hang("begun", 1), Reply("Second."))
    first = await harness.tickless.runs.trigger(routine)
    await harness.models.wait_for(
        lambda: any(routine in " ".join(call.texts) for call in harness.models.calls)
    )
    second = await harness.tickless.runs.trigger(routine)
    await harness.tickless.runs.cancel(first.run_id)
    await harness.tickless.runs.wait(second.run_id)
    await _save(harness, first.workflow_id, f"{prefix}-run-cancelled")
    await _save(harness, second.workflow_id, f"{prefix}-run-queued")
    await _save(harness, routine_workflow_id(routine), f"{prefix}-routine-queue")


async def _failing(harness: Harness, prefix: str) -> None:
    routine = await harness.routine(unauthorized())
    views = [await harness.run_once(routine) for _ in range(3)]
    await _save(harness, views[0].record.workflow_id, f"{prefix}-run-failed")
    await _save(harness, views[2].record.workflow_id, f"{prefix}-run-failed-and-paused")
    await _save(harness, routine_workflow_id(routine), f"{prefix}-routine-paused-by-failures")


async def _paused_system(harness: Harness, prefix: str) -> None:
    await harness.tickless.system.pause_all("for the record")
    await harness.tickless.system.resume_all()
    await _save(harness, CONTROL_ID, f"{prefix}-control")


async def _life(harness: Harness, prefix: str) -> None:
    routine = await harness.routine(
        schedule={"cron_expr": "30 2 * * *", "timezone": "Europe/Berlin"}
    )
    await harness.tickless.routines.pause(routine)
    await harness.tickless.routines.resume(routine)
    handle = harness.client.get_workflow_handle(routine_workflow_id(routine))
    before = (await handle.describe()).run_id
    await handle.signal("upgrade")

    async def renewed() -> bool:
        return (await handle.describe()).run_id != before

    await until(renewed, "continued as new")
    await harness.tickless.routines.delete(routine, purge=True)
    await handle.result()
    await _save(
        harness, routine_workflow_id(routine), f"{prefix}-routine-life", run_id_of_workflow=before
    )
    await _save(harness, routine_workflow_id(routine), f"{prefix}-routine-continued-and-purged")


async def _backfill(harness: Harness, prefix: str) -> None:
    routine = await harness.routine(
        Reply("One."), Reply("Two."), schedule={"cron_expr": "0 9 * * *"}
    )
    days = ("2026-03-02T09:00:00Z", "2026-03-03T09:00:00Z")
    answer = await harness.tickless.routines.backfill(routine, *days)
    for run in answer.runs:
        await harness.tickless.runs.wait_until_started(run.run_id)
        await harness.tickless.runs.wait(run.run_id)
    await _save(harness, run_workflow_id(answer.runs[1].run_id), f"{prefix}-run-backfill")
    await _save(harness, routine_workflow_id(routine), f"{prefix}-routine-backfill")


async def _lost(harness: Harness, prefix: str) -> None:
    routine = await harness.routine(Hang("begun", 1), Reply("Next."))
    lost = await harness.tickless.runs.trigger(routine)
    await harness.models.wait_for(
        lambda: any(routine in " ".join(call.texts) for call in harness.models.calls)
    )
    await harness.client.get_workflow_handle(lost.workflow_id).terminate("for the record")
    await harness.run_once(routine)
    handle = routine_workflow_id(routine)

    async def told() -> bool:
        events = await harness.events(handle)
        return events.count("ACTIVITY_TASK_COMPLETED") >= 2

    await until(told, "the lost run is told")
    await _save(harness, handle, f"{prefix}-routine-lost-run")


async def _session(harness: Harness, prefix: str) -> None:
    """Two runs of one session, the first one interrupted by a user's turn that never comes."""
    given = harness.settings.context.model_dump(exclude_none=True)
    context = CallerContext.model_validate({**given, "session_key": "chat-record"})
    tickless = TicklessClient(harness.client, context)
    runs: list[str] = []
    for steps in ((Hang("half", 1), Reply("Again.")), (Reply("Second."),)):
        name = harness.name()
        harness.scripts.on(name, *steps)
        await tickless.routines.create(
            {"prompt": f"Do {name}.", "trigger": {"type": "manual"}}, name=name
        )
        runs.append((await tickless.runs.trigger(name)).run_id)
    session = session_workflow_id("chat-record")
    handle = harness.client.get_workflow_handle(session)

    async def both() -> bool:
        view: SessionView = await handle.query("view", result_type=SessionView)
        return view.active and view.waiting == 1

    await until(both, "one holds, one waits")
    turn = RequestLease(
        owner="user-turn", request_id="u", kind=LeaseKind.USER, lease_seconds=60, checked=True
    )
    await handle.execute_update("request", turn)
    for run in runs:
        await tickless.runs.wait(run)
    await _save(harness, run_workflow_id(runs[0]), f"{prefix}-run-interrupted")
    await _save(harness, session, f"{prefix}-session")


async def _webhook(harness: Harness, prefix: str) -> None:
    """A delivery, its secret sealed, and the same one again."""
    create_key_file(harness.folder / KEY_FILE)
    settings = harness.settings.model_copy(update={"webhooks_enabled": True})
    tickless = TicklessClient.of_settings(harness.client, settings, {})
    name = await hook(tickless, harness)
    with_settings = Harness(**{**vars(harness), "settings": settings})
    body = b'{"action": "opened", "number": 42}'
    async with gateway_under_test(with_settings) as gateway, gateway.client("") as sender:

        async def known() -> bool:
            return (await sender.post(f"{HOOKS}/{name}")).status_code != 404

        await until(known, "the path is known")
        for _ in range(2):
            answer = await sender.post(
                f"{HOOKS}/{name}", content=body, headers=signed(body, "delivery-1")
            )
            assert answer.status_code == 202, answer.text
    run = answer.json()["run_id"]
    await tickless.runs.wait(run)
    await _save(harness, run_workflow_id(run), f"{prefix}-run-webhook")
    await _save(harness, routine_workflow_id(name), f"{prefix}-routine-webhook")


async def _event(harness: Harness, prefix: str) -> None:
    """A system event with filters fires a routine, and its run's own event another one."""
    source = harness.name()
    free = {"cooldown_seconds": 0}
    first = await harness.routine(
        Reply("Looked."),
        trigger={
            "type": "system_event",
            "source": source,
            "event_type": "issue.*",
            "filters": {"number": 42},
        },
        guardrails=free,
    )
    heard = await harness.routine(
        Reply("Heard."),
        trigger={
            "type": "system_event",
            "source": "tickless",
            "event_type": "run.completed",
            "filters": {"routine_id": first},
        },
        guardrails=free,
    )

    # The workers have heard of both by then.
    await asyncio.sleep(MAX_AGE.total_seconds())

    async def fired() -> bool:
        emitted = await harness.tickless.events.emit(source, "issue.opened", {"number": 42})
        return emitted.matched == 1

    await until(fired, "the routine listens")
    for routine, kind in ((first, "run-event"), (heard, "run-event-of-a-run")):
        run = await _first_run(harness, routine)
        await _save(harness, run_workflow_id(run), f"{prefix}-{kind}")
    await _save(harness, routine_workflow_id(first), f"{prefix}-routine-event")


async def _first_run(harness: Harness, routine: str) -> str:
    """Wait for the first run of a routine to come and to end."""
    found: list[str] = []

    async def ended() -> bool:
        runs = await harness.tickless.routines.runs(routine)
        found[:] = [run.id for run in runs if run.finished_at is not None]
        return bool(found)

    await until(ended, "it has run")
    await harness.tickless.runs.wait(found[-1])
    return found[-1]


async def _conversation(harness: Harness, prefix: str) -> None:
    """Messages in most modes, a stop, a failed turn, a run that yields, and a new execution."""
    chat = conversation(
        harness,
        Hang("half", 1),
        Reply("[[reply_to_current]] With what joined."),
        Hang("half", 1),
        Reply("Instead."),
        unauthorized(),
        Reply("Collected."),
    )
    steer, interrupt = (
        QueueOptions(mode=mode, debounce_ms=30) for mode in (QueueMode.STEER, QueueMode.INTERRUPT)
    )
    await chat.send("First")
    await harness.models.wait_for(lambda: len(chat.asked()) == 1)
    await chat.send("This too", options=steer)
    await chat.settled("m2")
    await chat.send("Next")
    await harness.models.wait_for(lambda: len(chat.asked()) == 3)
    await chat.send("No, this", options=interrupt)
    await chat.settled("m4")
    before = (await chat.handle.describe()).run_id
    await chat.send("Fails")
    await chat.send("Waits", options=QueueOptions(debounce_ms=2_000))
    await chat.send("x" * 5_000, options=QueueOptions(debounce_ms=2_000))
    await chat.handle.signal("upgrade")

    async def renewed() -> bool:
        return (await chat.handle.describe()).run_id != before

    await until(renewed, "continued as new")
    await chat.settled("m7")
    # A run that yields to a message, then one that is stopped.
    given = harness.settings.context.model_dump(exclude_none=True)
    context = CallerContext.model_validate({**given, "session_key": chat.key})
    tickless = TicklessClient(harness.client, context)
    name = harness.name()
    harness.scripts.on(name, Hang("half", 1))
    await tickless.routines.create(
        {"prompt": f"Do {name}.", "trigger": {"type": "manual"}}, name=name
    )
    run = (await tickless.runs.trigger(name)).run_id

    def requests() -> int:
        return sum(name in " ".join(call.texts) for call in harness.models.calls)

    await harness.models.wait_for(lambda: requests() == 1)
    await chat.send("A word")
    await harness.models.wait_for(lambda: requests() == 2)
    await chat.handle.execute_update("stop")
    await tickless.runs.wait(run)
    await _save(harness, chat.handle.id, f"{prefix}-session-talks", run_id_of_workflow=before)
    await _save(harness, chat.handle.id, f"{prefix}-session-talks-on")


async def _maintenance(harness: Harness, prefix: str) -> None:
    await harness.tickless.watchdog.once()
    async for execution in harness.client.list_workflows("WorkflowType = 'Maintenance'"):
        await _save(harness, execution.id, f"{prefix}-maintenance")
        return


async def _probe(harness: Harness, prefix: str) -> None:
    async for execution in harness.client.list_workflows("WorkflowType = 'CancellationProbe'"):
        await _save(harness, execution.id, f"{prefix}-cancellation-probe")
        return


async def _ledger(harness: Harness, prefix: str) -> None:
    await harness.tickless.deliveries.list()
    async for execution in harness.client.list_workflows("WorkflowType = 'Ledger'"):
        await _save(harness, execution.id, f"{prefix}-ledger")
        return


async def _listener(harness: Harness, prefix: str) -> None:
    """A routine that listens to something else than at first, and is paused by a person."""
    routine = await harness.routine(trigger={"type": "event", "pattern": "a"})
    routines = harness.tickless.routines
    await routines.patch(routine, {"trigger": {"type": "event", "pattern": "b"}})
    await routines.patch(routine, {"trigger": {"type": "webhook", "allow_unsigned": True}})
    await routines.pause(routine)
    await _save(harness, routine_workflow_id(routine), f"{prefix}-routine-listener-changed")


async def _save(
    harness: Harness, workflow_id: str, name: str, *, run_id_of_workflow: str | None = None
) -> None:
    handle = harness.client.get_workflow_handle(workflow_id, run_id=run_id_of_workflow)
    history = json.loads((await handle.fetch_history()).to_json())
    _forget_machine(history)
    document = {"workflow_id": workflow_id, "history": history}
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _forget_machine(value: object) -> None:
    """Take out who ran it and where: replay looks at none of that."""
    if isinstance(value, dict):
        value.pop("stackTrace", None)
        if value.get("kind") == "TASK_QUEUE_KIND_STICKY":
            value["name"] = "sticky"
        for key, item in value.items():
            if key in {"identity", "binaryChecksum"}:
                value[key] = "worker"
            else:
                _forget_machine(item)
    elif isinstance(value, list):
        for item in value:
            _forget_machine(item)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Record histories.")
    parser.add_argument("prefix", help="the date of the recording, 2026-11-21")
    parser.add_argument("--goals", action="store_true", help="those of goals, and no others")
    FOLDER.mkdir(exist_ok=True)
    given = parser.parse_args()
    asyncio.run((record_only_goals if given.goals else record)(given.prefix))
