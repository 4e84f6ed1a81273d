"""A run from its fire to its outcome, on a real server with real workers and an HTTP model."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from activities import search_attributes as attributes
from activities.runs import run_attributes
from domain.deliveries import DeliveryStatus
from domain.errors import DomainError, ErrorKind
from domain.identifiers import RUNS_QUEUE, routine_workflow_id, schedule_id
from domain.notices import FILTERED_MARK
from domain.run_start import StartRun
from domain.run_view import RunStage, RunView
from domain.runs import FireKind, RunStatus, run_id, run_workflow_id, scheduled_occurrence
from domain.timestamps import format_timestamp
from tests.support.harness import Harness, until
from tests.support.model_steps import (
    Disconnect,
    Hang,
    Reply,
    Usage,
    empty,
    garbage,
    llama_overflow,
    openai_overflow,
    rate_limited,
    server_error,
    unauthorized,
)


async def _outcome(harness: Harness, routine: str) -> tuple[str | None, int, int]:
    answer = await harness.tickless.routines.get(routine)
    found = answer.routine
    return found.last_result, found.run_count, found.consecutive_failures


def _delivered(harness: Harness, run: str, *, start: bool = False) -> list[dict[str, str]]:
    """What was sent for a run, without its start notice, or that alone."""
    if not harness.deliveries.exists():
        return []
    lines = harness.deliveries.read_text(encoding="utf-8").splitlines()
    sent = [json.loads(line) for line in lines]
    return [item for item in sent if item["run_id"] == run and (item["part"] == "start") is start]


async def test_a_reply_is_delivered_once_and_recorded(harness: Harness) -> None:
    routine = await harness.routine(Reply("The boiler leaks.", usage=Usage(120, 9)))

    view = await harness.run_once(routine)

    record = view.record
    assert record.status == RunStatus.ATTENTION
    assert view.text == "The boiler leaks."
    assert (record.tokens_in, record.tokens_out, record.attempts) == (120, 9, 1)
    assert record.cost_micros is None, "no price is known, so no cost is"
    assert view.model == "first"
    assert [item.status for item in view.deliveries] == [DeliveryStatus.SENT]
    (delivered,) = _delivered(harness, record.id)
    assert delivered["key"] == f"{record.id}/final"
    assert "The boiler leaks." in delivered["text"]
    last_result, run_count, failures = await _outcome(harness, routine)
    assert last_result is not None
    assert last_result.startswith("ok: ")
    assert (run_count, failures) == (1, 0)
    (listed,) = await harness.tickless.routines.runs(routine)
    assert listed.id == record.id
    assert listed.status == RunStatus.ATTENTION


async def test_a_reply_that_a_filter_cut_says_so(harness: Harness) -> None:
    routine = await harness.routine(Reply("The boiler", finish_reason="content_filter"))

    view = await harness.run_once(routine)

    (delivered,) = _delivered(harness, view.record.id)
    assert delivered["text"].splitlines()[1:3] == ["The boiler", FILTERED_MARK]


async def test_a_silent_reply_is_ok_and_not_sent(harness: Harness) -> None:
    routine = await harness.routine(Reply("ROUTINE_OK"))

    view = await harness.run_once(routine)

    assert view.record.status == RunStatus.OK
    assert view.deliveries == []
    assert _delivered(harness, view.record.id) == []


async def test_context_files_reach_the_model_and_missing_ones_are_told(harness: Harness) -> None:
    name = harness.name()
    folder = harness.settings.workspace
    (folder / f"{name}.md").write_text("Water the ferns.", encoding="utf-8")
    harness.scripts.on(name, Reply("Done."))
    await harness.tickless.routines.create(
        {
            "action": {
                "type": "lightweight",
                "prompt": f"Look after {name}.",
                "context_paths": [f"{name}.md", "absent.md"],
            },
            "trigger": {"type": "manual"},
        },
        name=name,
    )

    view = await harness.run_once(name)

    (call,) = [call for call in harness.models.calls if name in " ".join(call.texts)]
    prompt = "\n".join(call.texts)
    assert "Water the ferns." in prompt
    assert "[missing: absent.md]" in prompt
    assert any("absent.md" in warning for warning in view.record.warnings)


async def test_template_variables_are_those_of_the_start(harness: Harness) -> None:
    name = harness.name()
    harness.scripts.on(name, Reply("Done."))
    created = await harness.tickless.routines.create(
        {"prompt": f"{name} {{{{date}}}} {{{{colour}}}}", "trigger": {"type": "manual"}}, name=name
    )
    assert any("colour" in warning for warning in created.warnings)

    view = await harness.run_once(name)

    assert view.record.started_at is not None
    (call,) = [call for call in harness.models.calls if name in " ".join(call.texts)]
    prompt = " ".join(call.texts)
    assert f"{view.record.started_at:%Y-%m-%d}" in prompt
    assert "{{colour}}" in prompt


async def test_a_schedule_fires_and_the_run_is_named_by_its_time(harness: Harness) -> None:
    at = (datetime.now(UTC) + timedelta(seconds=2)).replace(microsecond=0)
    routine = await harness.routine(
        Reply("Good morning."), schedule={"run_at": format_timestamp(at)}
    )
    run = run_id(routine, scheduled_occurrence(at))

    await harness.tickless.runs.wait_until_started(run)
    view = await harness.tickless.runs.wait(run)

    assert view.record.trigger_type == FireKind.SCHEDULE
    assert view.record.scheduled_at == at
    assert view.record.status == RunStatus.ATTENTION

    async def paused() -> bool:
        found = (await harness.tickless.routines.get(routine)).routine
        return found.paused_reason == "schedule_ended"

    await until(paused, "a one-shot is paused after its run")
    description = await harness.client.get_schedule_handle(schedule_id(routine)).describe()
    # An interval as long as its instant's distance from the epoch fires again after as long.
    left = [time for time in description.info.next_action_times if time.year < 2080]
    assert left == [], "its Schedule has nothing left to fire"


async def test_failures_are_told_once_and_pause_the_routine_at_the_third(
    harness: Harness,
) -> None:
    routine = await harness.routine(unauthorized())

    views = [await harness.run_once(routine) for _ in range(3)]

    assert [view.record.status for view in views] == [RunStatus.FAILED] * 3
    parts = [[item.occurrence_id.rpartition("/")[2] for item in v.deliveries] for v in views]
    assert parts == [["first_failure"], [], ["routine_paused"]]
    answer = await harness.tickless.routines.get(routine)
    assert (answer.routine.status, answer.routine.paused_reason) == ("paused", "failures")
    assert answer.routine.consecutive_failures == 3
    with pytest.raises(DomainError) as refused:
        await harness.tickless.runs.trigger(routine)
    assert refused.value.kind == ErrorKind.CONFLICT
    assert refused.value.field == "status"
    assert "paused" in refused.value.message
    assert "force" in refused.value.message

    resumed = await harness.tickless.routines.resume(routine)
    assert (resumed.routine.status, resumed.routine.consecutive_failures) == ("active", 0)


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (unauthorized(), "refused the credentials"),
        (openai_overflow(), "too long for the model"),
        (llama_overflow(), "too long for the model"),
    ],
    ids=["401", "overflow-openai", "overflow-llama"],
)
async def test_what_cannot_be_repeated_fails_at_once(
    harness: Harness, step: Hang, error: str
) -> None:
    routine = await harness.routine(step)

    view = await harness.run_once(routine)

    assert view.record.status == RunStatus.FAILED
    assert error in (view.record.error or "")


@pytest.mark.parametrize(
    "step", [rate_limited("30"), server_error(), server_error(503)], ids=["429", "500", "503"]
)
async def test_the_next_model_answers_at_once(harness: Harness, step: Reply) -> None:
    routine = await harness.routine(step, Reply("From the other one."))

    view = await harness.run_once(routine)

    assert view.record.status == RunStatus.ATTENTION
    assert view.model == "second"


async def test_the_last_model_is_retried_as_it_asks(harness: Harness) -> None:
    routine = await harness.routine(server_error(), rate_limited("1"), Reply("At last."))

    view = await harness.run_once(routine)

    assert view.text == "At last."
    assert view.record.attempts == 2


@pytest.mark.parametrize(
    "step", [Disconnect("half", 2), garbage(), empty()], ids=["disconnect", "garbage", "empty"]
)
async def test_a_broken_answer_is_asked_for_again(harness: Harness, step: Reply) -> None:
    routine = await harness.routine(step, Reply("Whole."))

    view = await harness.run_once(routine)

    assert view.record.status == RunStatus.ATTENTION
    assert view.text == "Whole."


async def test_the_run_timeout_ends_a_hanging_model(harness: Harness) -> None:
    routine = await harness.routine(Hang("begun", 1), guardrails={"run_timeout_seconds": 1})

    view = await harness.run_once(routine)

    assert view.record.status == RunStatus.TIMED_OUT
    assert view.record.error == "run timed out after 1s"
    _, run_count, failures = await _outcome(harness, routine)
    assert (run_count, failures) == (1, 1)


async def test_cancel_closes_the_connection_and_uncounts_the_run(harness: Harness) -> None:
    routine = await harness.routine(Hang("begun", 1))
    started = await harness.tickless.runs.trigger(routine)
    await harness.models.wait_for(
        lambda: any(routine in " ".join(call.texts) for call in harness.models.calls)
    )

    view = await harness.tickless.runs.cancel(started.run_id, reason="enough")

    assert view.record.status == RunStatus.CANCELLED
    assert view.record.reason == "enough"
    assert view.deliveries == []
    (call,) = [call for call in harness.models.calls if routine in " ".join(call.texts)]
    await harness.models.wait_for(lambda: call.client_closed_at is not None)
    last_result, run_count, failures = await _outcome(harness, routine)
    assert (run_count, failures) == (0, 0)
    assert last_result is not None
    assert last_result.startswith("cancelled")
    again = await harness.tickless.runs.cancel(started.run_id)
    assert again.record.reason == "enough", "a run that has ended stays as it is"


async def test_a_cancellation_from_the_temporal_ui_is_one_too(harness: Harness) -> None:
    routine = await harness.routine(Hang("begun", 1))
    started = await harness.tickless.runs.trigger(routine)
    await harness.models.wait_for(
        lambda: any(routine in " ".join(call.texts) for call in harness.models.calls)
    )

    await harness.client.get_workflow_handle(started.workflow_id).cancel()
    view = await harness.tickless.runs.wait(started.run_id)

    assert view.record.status == RunStatus.CANCELLED
    assert (await _outcome(harness, routine))[1] == 0


async def test_signals_without_input_work(harness: Harness) -> None:
    routine = await harness.routine(Hang("begun", 1))
    started = await harness.tickless.runs.trigger(routine)
    await harness.models.wait_for(
        lambda: any(routine in " ".join(call.texts) for call in harness.models.calls)
    )

    await harness.client.get_workflow_handle(started.workflow_id).signal("cancel")
    view = await harness.tickless.runs.wait(started.run_id)
    assert view.record.status == RunStatus.CANCELLED

    handle = harness.client.get_workflow_handle(routine_workflow_id(routine))
    await handle.signal("pause")
    await until(_has_status(harness, routine, "paused"), "paused by signal")
    await handle.signal("resume")
    await until(_has_status(harness, routine, "active"), "resumed by signal")
    harness.scripts.on(routine, Reply("By signal."))
    await handle.signal("trigger")

    async def ran() -> bool:
        return any(
            record.summary == "By signal."
            for record in await harness.tickless.routines.runs(routine)
        )

    await until(ran, "triggered by signal")


def _has_status(harness: Harness, routine: str, status: str):  # type: ignore[no-untyped-def] # local
    async def holds() -> bool:
        return (await harness.tickless.routines.get(routine)).routine.status == status

    return holds


async def test_a_second_run_waits_and_a_third_is_refused(harness: Harness) -> None:
    routine = await harness.routine(Hang("begun", 1), Reply("Second."))
    first = await harness.tickless.runs.trigger(routine)
    await harness.models.wait_for(
        lambda: any(routine in " ".join(call.texts) for call in harness.models.calls)
    )

    second = await harness.tickless.runs.trigger(routine)
    assert second.verdict is not None
    assert second.verdict.decision == "queue"
    waiting = await harness.tickless.runs.get(second.run_id)
    assert (waiting.record.status, waiting.stage) == (RunStatus.QUEUED, RunStage.QUEUED)
    with pytest.raises(DomainError) as refused:
        await harness.tickless.runs.trigger(routine)
    assert refused.value.kind == ErrorKind.CONFLICT
    assert "max_concurrent" in refused.value.message

    await harness.tickless.runs.cancel(first.run_id)
    view = await harness.tickless.runs.wait(second.run_id)
    assert view.text == "Second."
    assert (await _outcome(harness, routine))[1] == 1
    skipped = [
        record
        for record in await harness.tickless.routines.runs(routine)
        if record.status == RunStatus.SKIPPED
    ]
    assert [record.reason for record in skipped] == ["max_concurrent"]


async def test_a_holder_that_was_terminated_is_found_out_by_the_next_run(
    harness: Harness,
) -> None:
    routine = await harness.routine(Hang("begun", 1), Reply("Next."))
    first = await harness.tickless.runs.trigger(routine)
    await harness.models.wait_for(
        lambda: any(routine in " ".join(call.texts) for call in harness.models.calls)
    )
    await harness.client.get_workflow_handle(first.workflow_id).terminate("by hand")

    view = await harness.run_once(routine)

    assert view.text == "Next."
    records = {record.id: record for record in await harness.tickless.routines.runs(routine)}
    lost = records[first.run_id]
    assert (lost.status, lost.error) == (RunStatus.FAILED, "lost")
    shown = await harness.tickless.runs.get(first.run_id)
    assert shown.record.status == RunStatus.FAILED
    assert "terminated" in (shown.record.error or "")


async def test_triggering_twice_with_a_key_is_one_run(harness: Harness) -> None:
    routine = await harness.routine(Reply("Once."))
    first = await harness.tickless.runs.trigger(routine, idempotency_key="k")
    await harness.tickless.runs.wait(first.run_id)

    again = await harness.tickless.runs.trigger(routine, idempotency_key="k")

    assert (again.run_id, again.duplicate) == (first.run_id, True)
    assert (await _outcome(harness, routine))[1] == 1


async def test_fifty_triggers_at_once_are_counted_exactly(harness: Harness) -> None:
    routine = await harness.routine(Reply("Done."), guardrails={"max_concurrent": 10})

    async def trigger() -> RunView | None:
        try:
            return await harness.run_once(routine)
        except DomainError as error:
            if error.kind != ErrorKind.CONFLICT:
                raise
            return None

    views = await asyncio.gather(*(trigger() for _ in range(50)))

    # A trigger that had no verdict within its patience answers with a run that is refused later.
    ran = [view for view in views if view and view.record.status != RunStatus.SKIPPED]
    answer = await harness.tickless.routines.get(routine)
    assert answer.routine.run_count == len(ran)
    assert not answer.routine.running
    assert all(view.record.status == RunStatus.ATTENTION for view in ran)


async def test_everything_readable_in_the_ui_is_there(harness: Harness) -> None:
    routine = await harness.routine(Hang("begun", 1), title="Ferns")
    started = await harness.tickless.runs.trigger(routine)
    await harness.models.wait_for(
        lambda: any(routine in " ".join(call.texts) for call in harness.models.calls)
    )
    handle = harness.client.get_workflow_handle(started.workflow_id)

    metadata = await handle.query("__temporal_workflow_metadata")
    details = metadata.current_details
    assert "Ferns" in details
    assert RunStage.MODEL in details
    assert f"routine%2F{routine}" in details
    description = await handle.describe()
    assert "run by hand" in (await description.static_summary() or "")
    found = description.typed_search_attributes
    assert found[attributes.KIND] == "run"
    assert found[attributes.ROUTINE] == routine
    assert found[attributes.SCOPE] == "user:me"

    await harness.tickless.runs.cancel(started.run_id)
    ended = (await handle.describe()).typed_search_attributes
    assert (ended[attributes.STATUS], ended[attributes.OUTCOME]) == ("cancelled", "stopped")


async def test_a_run_of_an_unknown_routine_is_not_found(harness: Harness) -> None:
    with pytest.raises(DomainError) as missing:
        await harness.tickless.runs.trigger("no-such-routine")
    assert (missing.value.kind, missing.value.field) == (ErrorKind.NOT_FOUND, "id")
    with pytest.raises(DomainError) as missing:
        await harness.tickless.runs.get("no-such/m-1")
    assert missing.value.kind == ErrorKind.NOT_FOUND


async def test_a_scheduled_run_costs_few_events(harness: Harness) -> None:
    """DESIGN §3 rule 13: at most 20 on the run and 10 on the routine, on the fast path.

    The runs are started with what the Schedule starts them with, one after the other. The routine's
    one timer for leases is armed by the first run and serves all until it fires, so the second run
    is what is counted.
    """
    routine = await harness.routine(Reply("Counted."), schedule={"every_seconds": 60})
    found = (await harness.tickless.routines.get(routine)).routine
    assert found.created_at is not None
    counts = [len(await harness.routine_events(routine))]
    for number in (1, 2):
        due = found.created_at + timedelta(seconds=3600 * number)
        run = run_id(routine, scheduled_occurrence(due))
        start = StartRun(routine_id=routine, kind=FireKind.SCHEDULE, scheduled_at=due)
        handle = await harness.client.start_workflow(
            "RoutineRun",
            start,
            id=run_workflow_id(run),
            task_queue=RUNS_QUEUE,
            search_attributes=run_attributes(start, "user:me", "me"),
        )
        await handle.result()
        counts.append(len(await harness.routine_events(routine)))

    events = await harness.run_events(run)
    assert len(events) <= 20, events
    assert counts[2] - counts[1] <= 10, (await harness.routine_events(routine))[counts[1] :]
