"""Goals in the library: whose they are, what is repeated, what is left when they have ended."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from client import goals as client_goals
from client import pages as client_pages
from client.goal_reader import GoalReader
from domain.errors import DomainError, ErrorKind
from domain.goal_messages import (
    CompleteGoal,
    DeleteGoal,
    ExtendGoal,
    GoalStart,
    GoalView,
    goal_workflow_id,
)
from domain.goal_record import GoalPausedReason, GoalStatus, GoalWaiting
from domain.identifiers import SERVED_QUEUES
from domain.scopes import Scope, ScopeKind
from tests.support.goal_setters import GoalSetter, goal_setter, waiting_setter
from tests.support.goals import hand_in, rests
from tests.support.harness import Harness, running_harness, running_server, until
from tests.support.jobs import said
from tests.support.model_steps import Hang
from worker.process import running_workers

CHAT = {"receive_id_type": "file", "chat_type": "group"}


async def refused(call: object, kind: ErrorKind, field: str, *says: str) -> None:
    with pytest.raises(DomainError) as caught:
        await call  # type: ignore[misc]  # any call of the library
    assert (caught.value.kind, caught.value.field) == (kind, field), caught.value.message
    assert [text for text in says if text not in caught.value.message] == [], caught.value.message


async def workflow_runs(harness: Harness, setter: GoalSetter) -> int:
    """How often the workflow of a goal was started."""
    workflow = goal_workflow_id(Scope(kind=ScopeKind.USER, id=setter.name))
    counted = await harness.client.count_workflows(f"WorkflowId = '{workflow}'")
    return counted.count


async def closed(setter: GoalSetter) -> None:
    """Wait until the goal's workflow has closed: now it is asked by its result."""
    workflow = goal_workflow_id(Scope(kind=ScopeKind.USER, id=setter.name))
    await setter.harness.client.get_workflow_handle(workflow).result()


async def test_a_goal_from_its_creation_to_its_end(harness: Harness) -> None:
    mine = goal_setter(harness)
    mine.works(rests("1h", "the build"), said("Waiting for the build."))
    created = await mine.goals.create(mine.objective, deadline_in="2h")
    goal = created.goal
    assert goal is not None
    assert (created.accepted, created.id) == (False, goal.id)
    assert created.workflow_id == f"goal/user/{mine.name}"
    assert (goal.status, goal.scope.text) == (GoalStatus.ACTIVE, f"user:{mine.name}")
    assert goal.thread_id == goal.id
    assert goal.deadline_at is not None
    left = goal.deadline_at - datetime.now(UTC)
    assert timedelta(minutes=119) < left <= timedelta(hours=2)

    resting = await mine.rests()
    assert (resting.iteration, resting.delay_reason) == (1, "the build")
    assert resting.tokens_in is not None
    paused = await mine.goals.pause()
    assert (paused.status, paused.paused_reason) == (GoalStatus.PAUSED, GoalPausedReason.USER)
    assert paused.next_run_at is None
    extended = await mine.goals.extend("3d")
    assert extended.deadline_at is not None
    assert extended.deadline_at > goal.deadline_at + timedelta(days=2)
    mine.works(rests("2h"), said("Still waiting."))
    assert (await mine.goals.resume()).status == GoalStatus.ACTIVE
    await mine.reaches(lambda found: found.iteration == 2 and not found.running, "round 2")

    done = await mine.goals.complete(" All done. ")
    assert (done.status, done.summary) == (GoalStatus.COMPLETE, "All done.")
    await closed(mine)
    told = await mine.goals.get()
    assert (told.status, told.summary, told.id) == (GoalStatus.COMPLETE, "All done.", goal.id)
    again = await mine.goals.complete("Again.")
    assert (again.id, again.summary) == (goal.id, "All done.")
    assert await workflow_runs(harness, mine) == 1


async def test_another_goal_takes_the_place_of_one_that_ended(harness: Harness) -> None:
    mine = waiting_setter(harness)
    first = await mine.goals.create(mine.objective)
    await refused(mine.goals.create("Another."), ErrorKind.CONFLICT, "goal", first.id)
    await mine.goals.complete()
    second = await mine.goals.create("Another.")
    assert second.id != first.id
    assert (await mine.goals.get()).objective == "Another."
    await mine.goals.delete()
    await refused(mine.goals.get(), ErrorKind.NOT_FOUND, "goal")
    third = await mine.goals.create("A third one.")
    assert third.goal is not None
    assert third.goal.status == GoalStatus.WAITING_FOR_SESSION


async def test_the_same_creation_again_is_the_same_goal(harness: Harness) -> None:
    mine, key = waiting_setter(harness), harness.name()
    first = await mine.goals.create(mine.objective, idempotency_key=key)
    again = await mine.goals.create(mine.objective, idempotency_key=key)
    assert again.id == first.id
    other = mine.goals.create("Other.", idempotency_key=key)
    await refused(other, ErrorKind.CONFLICT, "idempotency_key", "idempotency_key")
    await mine.goals.complete("Done.")
    late = await mine.goals.create(mine.objective, idempotency_key=key)
    assert late.id == first.id
    await closed(mine)
    late = await mine.goals.create(mine.objective, idempotency_key=key)
    assert late.goal is not None
    assert (late.id, late.goal.status) == (first.id, GoalStatus.COMPLETE)
    other = mine.goals.create("Other.", idempotency_key=key)
    await refused(other, ErrorKind.CONFLICT, "idempotency_key")
    assert (await mine.goals.create("Other.", idempotency_key="another")).id != first.id


async def test_what_may_happen_to_a_goal_that_timed_out(harness: Harness) -> None:
    mine = waiting_setter(harness)
    first = await mine.goals.create(mine.objective, deadline_in="1s")
    await mine.reaches(lambda goal: goal.status == GoalStatus.TIMEOUT, "its time is over")
    await closed(mine)
    await refused(mine.goals.resume(), ErrorKind.CONFLICT, "status", "timeout")
    await refused(mine.goals.cancel(), ErrorKind.CONFLICT, "status", "timeout")
    reopened = await mine.goals.extend("1h")
    assert (reopened.id, reopened.status) == (first.id, GoalStatus.WAITING_FOR_SESSION)
    assert first.goal is not None
    assert reopened.created_at == first.goal.created_at

    await mine.goals.extend("1s")
    await mine.reaches(lambda goal: goal.status == GoalStatus.TIMEOUT, "it is over again")
    await closed(mine)
    done = await mine.goals.complete("In time after all.")
    assert (done.id, done.status) == (first.id, GoalStatus.COMPLETE)
    told = await mine.goals.get()
    assert (told.status, told.summary) == (GoalStatus.COMPLETE, "In time after all.")
    await closed(mine)
    await mine.goals.delete()
    await refused(mine.goals.get(), ErrorKind.NOT_FOUND, "goal")
    await refused(mine.goals.delete(), ErrorKind.NOT_FOUND, "goal")
    await refused(mine.goals.extend("1h"), ErrorKind.NOT_FOUND, "goal")


async def test_an_iteration_is_cancelled_and_the_next_one_follows(harness: Harness) -> None:
    mine = goal_setter(harness)
    mine.works(Hang(), rests(), said("Waiting."))
    await mine.goals.create(mine.objective)
    running = await mine.reaches(lambda goal: goal.job_id is not None, "round 1 runs")
    await harness.models.wait_for(
        lambda: any(mine.name in str(call.body) for call in harness.models.calls)
    )
    assert (running.iteration, running.running) == (1, True)
    assert (await mine.goals.cancel("not this way")).status == GoalStatus.ACTIVE
    resting = await mine.rests()
    assert (resting.iteration, resting.last_error) == (2, None)
    await refused(mine.goals.cancel(), ErrorKind.CONFLICT, "status", "no iteration")
    waiting = await mine.goals.wait("ci:build.*", "2h", "the build has to end")
    assert (waiting.waiting_for, waiting.wait_event) == (GoalWaiting.EVENT, "ci:build.*")
    mine.works(rests("3h"), said("Waiting again."))
    await mine.goals.delay("0s", "go on")
    again = await mine.reaches(lambda goal: goal.iteration == 3 and not goal.running, "round 3")
    assert again.wait_event is None


async def test_a_chat_has_a_goal_for_each_thread(harness: Harness) -> None:
    chat = harness.name()
    base = f"file:{chat}"
    keys = ["", f"{base}|message:1", f"{base}|thread:7", f"{base}|thread:7|message:2"]
    callers = [goal_setter(harness, **CHAT, receive_id=chat, session_key=key) for key in keys]
    plain, same, thread, same_thread = callers
    ours = (await plain.goals.create("Ours.")).goal
    assert ours is not None
    assert (ours.scope.text, ours.session_key) == (f"chat:{base}", base)
    theirs = (await thread.goals.create("The thread's.")).goal
    assert theirs is not None
    assert theirs.scope.text == f"chat:{base}|thread:7"
    assert (await same.goals.get()).objective == "Ours."
    assert (await same_thread.goals.get()).objective == "The thread's."
    await same_thread.goals.delete()
    assert (await plain.goals.get()).id == ours.id
    stranger = goal_setter(harness, **CHAT, receive_id=harness.name(), session_key=base)
    await refused(stranger.goals.get(), ErrorKind.INVALID_FIELD, "session_key", base)


async def test_a_goal_goes_on_in_a_thread_of_its_scope_alone(harness: Harness) -> None:
    mine = goal_setter(harness)
    mine.works(rests(), said("My secret is safe."))
    thread = (await mine.goals.create(mine.objective)).id
    await mine.rests()
    await mine.goals.delete()
    again = goal_setter(harness, actor_user_id=mine.name, resume_thread_id=thread)
    # The thread has the mark of the first goal too, which the script goes by.
    mine.works(rests(), said("Where was I?"))
    await again.goals.create(again.objective)
    assert (await again.rests()).thread_id == thread

    def asked(name: str) -> list[str]:
        return [str(call.body) for call in harness.models.calls if name in str(call.body)]

    assert "My secret is safe." in asked(again.name)[0]
    thief = goal_setter(harness, resume_thread_id=thread)
    thief.works(rests(), said("Mine now."))
    await thief.goals.create(thief.objective)
    failed = await thief.reaches(lambda goal: goal.last_error is not None, "it is refused")
    assert thread in (failed.last_error or "")
    assert asked(thief.name) == []
    await thief.goals.delete()


async def test_who_cannot_have_a_goal(harness: Harness) -> None:
    nobody = goal_setter(harness, actor_user_id=" ")
    await refused(nobody.goals.get(), ErrorKind.MISSING_FIELD, "actor", "actor_user_id")
    nowhere = goal_setter(harness, receive_id_type="hook")
    await refused(nowhere.goals.create("x"), ErrorKind.MISSING_FIELD, "receive_id")
    long = goal_setter(harness, actor_user_id="ü" * 257)
    await refused(long.goals.get(), ErrorKind.INVALID_FIELD, "actor", "512")


async def test_who_deletes_a_goal_hears_nothing_more_of_it(harness: Harness) -> None:
    mine = goal_setter(harness)
    mine.works(Hang("begun", 1))
    goals = mine.goals
    await goals.create(mine.objective)
    await mine.reaches(lambda goal: goal.running, "a round runs")
    await goals.delete()
    late = (
        *(goals.complete("ghost"), goals.pause(), goals.resume(), goals.cancel(), goals.delete()),
        *(goals.extend("1h"), goals.delay("1m", "why"), goals.wait("ci:done", "1m", "why")),
    )
    async with asyncio.TaskGroup() as group:
        for call in late:
            group.create_task(refused(call, ErrorKind.NOT_FOUND, "goal"))
    handle = harness.client.get_workflow_handle(f"goal/user/{mine.name}")
    ended = GoalView.model_validate(await handle.result())
    assert (ended.deleted, ended.goal.status, ended.summary) == (True, "active", "")
    assert ended.state is not None
    assert ended.state.told == 1  # that the round began


async def test_the_goals_of_all_scopes_are_listed(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, gone = (waiting_setter(harness) for _ in range(3))
    await first.goals.create("Older, ended.")
    await first.goals.complete()
    newest = (await first.goals.create(first.objective)).id
    paused = (await second.goals.create(second.objective)).id
    await second.goals.pause()
    await gone.goals.create(gone.objective)
    await gone.goals.delete()
    ours = {newest, paused}

    async def listed(status: str, *wanted: str) -> None:
        async def holds() -> bool:
            found = await gone.goals.list(status=status, limit=200)
            return [goal.id for goal in found.goals if goal.id in ours] == list(wanted)

        await until(holds, f"{wanted} are listed as {status or 'any'}")

    await listed("", paused, newest)
    await listed("paused", paused)
    await listed("waiting_for_session", newest)
    await listed(" COMPLETE ")
    every = [goal.id for goal in (await gone.goals.list(limit=200)).goals]
    pages = list[str]()
    cursor = None
    while cursor is not None or not pages:
        page = await gone.goals.list(limit=2, cursor=cursor)
        pages += [goal.id for goal in page.goals]
        cursor = page.next_cursor
    assert pages == every
    assert len(set(every)) == len(every)
    # The newest goal of all is the one that was deleted.
    assert len((await gone.goals.list(limit=1)).goals) == 1
    monkeypatch.setattr(client_pages, "MAX_LISTED", 1)
    await refused(gone.goals.list(), ErrorKind.INVALID_FIELD, "limit", "more than 1")


async def test_a_list_asks_nobody_for_what_is_gone(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Visibility says that a goal was deleted, or its workflow ended: nothing of it is read."""
    deleted, ended, there = (waiting_setter(harness) for _ in range(3))
    for one in (deleted, ended, there):
        await one.goals.create(one.objective)
    await deleted.goals.delete()
    await closed(deleted)
    await harness.client.get_workflow_handle(f"goal/user/{ended.name}").terminate()
    read = list[str]()
    view = GoalReader.view

    async def noted(self: GoalReader, workflow_id: str) -> GoalView:
        read.append(workflow_id)
        return await view(self, workflow_id)

    monkeypatch.setattr(GoalReader, "view", noted)

    async def quiet() -> bool:
        read.clear()
        for status in ("", "waiting_for_session"):
            await there.goals.list(status=status, limit=200)
        for one in (deleted, ended, there):
            await one.goals.of_scope()
        return {f"goal/user/{one.name}" for one in (deleted, ended, there)} & set(read) == {
            f"goal/user/{there.name}"
        }

    await until(quiet, "only the goal that is there is read")


async def test_what_was_meant_for_a_goal_never_reaches_the_next_one(harness: Harness) -> None:
    mine = waiting_setter(harness)
    await mine.goals.create(mine.objective)
    await mine.goals.complete()
    await closed(mine)
    workflow = goal_workflow_id(Scope(kind=ScopeKind.USER, id=mine.name))
    handle = harness.client.get_workflow_handle(workflow)
    ended = GoalView.model_validate(await handle.result())
    # It begins between the look at the result and the update that was to reopen it.
    next_one = await mine.goals.create("The next one.")
    for update, request in (
        ("extend", ExtendGoal(deadline_in="1h", goal_id=ended.goal.id)),
        ("complete", CompleteGoal(goal_id=ended.goal.id)),
        ("delete", DeleteGoal(goal_id=ended.goal.id)),
    ):
        sent = hand_in(harness, update, request, GoalStart(view=ended), workflow)
        with pytest.raises(WorkflowUpdateFailedError) as caught:
            await sent
        cause = caught.value.cause
        assert isinstance(cause, ApplicationError)
        assert (cause.type, cause.details[0]["field"]) == ("conflict", "goal")
        assert next_one.id in cause.message
    assert (await mine.goals.get()).status == GoalStatus.WAITING_FOR_SESSION


async def test_a_goal_whose_workflow_somebody_ended(harness: Harness) -> None:
    mine = waiting_setter(harness)
    await mine.goals.create(mine.objective)
    handle = harness.client.get_workflow_handle(f"goal/user/{mine.name}")
    await handle.terminate()
    await refused(mine.goals.get(), ErrorKind.NOT_FOUND, "goal")
    await refused(mine.goals.pause(), ErrorKind.NOT_FOUND, "goal")
    assert (await mine.goals.create("Anew.")).accepted is False


async def test_without_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_goals, "PATIENCE", timedelta(seconds=1))
    monkeypatch.setattr("client.goal_reader.QUERY_TIMEOUT", timedelta(seconds=1))
    async with (
        running_server(tmp_path) as server,
        running_harness(tmp_path, server, queues=()) as harness,
    ):
        mine, key = waiting_setter(harness), harness.name()
        created = await mine.goals.create(mine.objective, idempotency_key=key)
        assert (created.accepted, created.goal) == (True, None)
        again = await mine.goals.create(mine.objective, idempotency_key=key)
        assert (again.accepted, again.id) == (True, created.id)
        await refused(mine.goals.get(), ErrorKind.UNAVAILABLE, "worker")
        await refused(mine.goals.pause(), ErrorKind.UNAVAILABLE, "temporal")
        # Whether this one is refused only a worker can say.
        await refused(mine.goals.create("Another."), ErrorKind.UNAVAILABLE, "temporal")
        async with running_workers(harness.client, harness.settings, {}, SERVED_QUEUES):
            found = await mine.reaches(lambda _: True, "a worker runs")
            await refused(mine.goals.create("Another."), ErrorKind.CONFLICT, "goal", found.id)
        assert found.id == created.id


async def test_without_a_worker_the_command_says_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_goals, "PATIENCE", timedelta(seconds=1))
    async with (
        running_server(tmp_path) as server,
        running_harness(tmp_path, server, queues=()) as harness,
    ):
        mine, other = waiting_setter(harness), waiting_setter(harness)
        told = (await mine.command("create", mine.objective)).json
        assert (told["accepted"], told["workflow_id"]) == (True, f"goal/user/{mine.name}")
        shown = await other.command("create", other.objective, terminal=True)
        assert (shown.code, shown.out) == (0, "")
        assert "when a worker runs" in shown.err
