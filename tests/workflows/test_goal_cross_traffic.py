"""What comes late, or while a goal does something else: its end, its session, jobs of another."""

import asyncio
import itertools
import json
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle
from temporalio.service import RPCError

from activities.control import MAX_AGE
from activities.store.urls import read_url, sqlite_file
from domain.goal import GoalStatus
from domain.goal_messages import CompleteGoal, ExtendGoal, GoalStart
from domain.goal_record import GoalWaiting
from domain.identifiers import ENTITIES_QUEUE, SERVED_QUEUES, session_workflow_id
from domain.job_messages import DecideApproval
from domain.jobs import JobStatus
from domain.lease_queue_state import LeaseAnswer, LeaseDecision, LeaseKind, LeaseRef, RequestLease
from domain.session import gate_key
from domain.session_messages import StopSession
from domain.session_requests import ReleaseSession, SessionView
from tests.support.goals import StartedGoal, goal_request, hand_in, rests, start_goal, talk
from tests.support.harness import Harness, running_harness, running_server, until
from tests.support.jobs import calls, said
from tests.support.model_steps import Behaviour, Hang, Refusal, Reply, error_body
from worker.process import running_workers
from workflows.job import Job

FAILED = EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED
REPORT = "writing the closing report"
JUDGE = "second"
PROOF = "call_0"
CLAIM = calls(("goal_complete", json.dumps({"summary": "Done.", "evidence": [PROOF]})))
CLAIMED: tuple[Behaviour, ...] = (
    *(calls(("time_now", "{}")), said("It is noon.")),
    *(CLAIM, said("Claimed.")),
)
AGREES = Reply(text=json.dumps({"complete": True, "reason": "Seen.", "evidence": [PROOF]}))
WRITE = calls(("file_write", json.dumps({"path": "a.txt", "content": "x"})))


async def _asked(goal: StartedGoal, times: int) -> None:
    await goal.harness.models.wait_for(lambda: len(goal.asked()) >= times)


# While the judge looks


async def test_the_deadline_ends_the_look_of_the_judge(harness: Harness) -> None:
    goal = await start_goal(harness, *CLAIMED, Hang("seen", 1), said("The report."), judge=JUDGE)
    await _asked(goal, 5)
    await goal.update("extend", ExtendGoal(deadline_in="1s"))
    ended = await goal.result()
    assert (ended.goal.status, ended.goal.last_error) == (GoalStatus.TIMEOUT, None)
    assert "The report." in goal.told()


async def test_a_goal_that_is_gone_is_judged_no_more(harness: Harness) -> None:
    goal = await start_goal(harness, *CLAIMED, Hang("seen", 1), judge=JUDGE)
    await _asked(goal, 5)
    await goal.update("delete")
    request = goal_request(goal.mark)
    start = GoalStart(create=request)
    new = await hand_in(harness, "create", request, start, goal.handle.id)
    assert new.goal.id == request.goal.id
    view = await goal.reaches("the next goal has a round", id=request.goal.id, running=True)
    assert view.goal.iteration == 1
    await goal.update("delete")
    await goal.result()


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[Harness]:
    """A Tickless of its own."""
    async with running_server(tmp_path) as server, running_harness(tmp_path, server) as one:
        yield one


async def _parks(goal: StartedGoal, gate: threading.Event, asked: int) -> None:
    await _asked(goal, asked)
    await goal.harness.tickless.system.pause_all("for a while")
    # The workers know of it by then: the promise itself, no condition shows it.
    await asyncio.sleep(MAX_AGE.total_seconds() + 0.1)
    gate.set()
    await goal.reaches("it parks", waiting_for=GoalWaiting.SYSTEM_PAUSED, running=False)


async def test_a_parked_look_is_woken_though_the_goal_was_paused_meanwhile(alone: Harness) -> None:
    gate = threading.Event()
    goal = await start_goal(
        alone, *CLAIMED[:3], Reply(text="Claimed.", gate=gate), AGREES, judge=JUDGE
    )
    await _parks(goal, gate, 4)
    for word in ("pause", "resume"):
        view = await goal.update(word)
        assert view.goal.waiting_for == GoalWaiting.SYSTEM_PAUSED
    await alone.tickless.system.resume_all()
    ended = await goal.result()
    assert ended.goal.status == GoalStatus.COMPLETE
    assert ended.spent.tokens == 5 * 18


async def test_the_deadline_comes_while_the_look_is_parked(alone: Harness) -> None:
    gate = threading.Event()
    refusal = Refusal(503, error_body("busy"), gate=gate)
    goal = await start_goal(alone, *CLAIMED, refusal, said("The report."), judge=JUDGE)
    await _parks(goal, gate, 5)
    await goal.update("pause")
    await goal.update("extend", ExtendGoal(deadline_in="1s"))
    ended = await goal.result()
    assert (ended.goal.status, ended.goal.waiting_for) == (GoalStatus.TIMEOUT, None)


# The session


def _session(harness: Harness, key: str) -> WorkflowHandle[Any, Any]:
    return harness.client.get_workflow_handle(session_workflow_id(gate_key(key)))


async def _happened(harness: Harness, workflow_id: str, event: str) -> None:
    async def seen() -> bool:
        try:
            return event in await harness.events(workflow_id)
        except RPCError:  # It does not exist yet.
            return False

    await until(seen, event)


def _request(owner: str, *, kind: LeaseKind = LeaseKind.AUTOMATION) -> RequestLease:
    return RequestLease(
        owner=owner, request_id=f"{owner}:1", kind=kind, lease_seconds=60, checked=True
    )


@pytest.fixture
async def speechless(tmp_path: Path) -> AsyncIterator[Harness]:
    """A Tickless whose sessions do not answer, because nobody works for them."""
    queues = tuple(queue for queue in SERVED_QUEUES if queue != ENTITIES_QUEUE)
    async with (
        running_server(tmp_path) as server,
        running_harness(tmp_path, server, queues=queues) as one,
    ):
        yield one


async def test_a_request_that_comes_after_its_withdrawal_is_granted_to_nobody(
    speechless: Harness,
) -> None:
    goal = await start_goal(speechless, said("One."), session_key="oc_z", thread_id="th_1")
    session = _session(speechless, "oc_z")
    await _happened(speechless, session.id, "WORKFLOW_EXECUTION_STARTED")
    await goal.update("pause")
    await _happened(speechless, session.id, "WORKFLOW_EXECUTION_SIGNALED")
    async with running_workers(
        speechless.client, speechless.settings, os.environ, (ENTITIES_QUEUE,)
    ):
        # Asked later than the goal, so answered later.
        answer = await session.execute_update("request", _request("other"), result_type=LeaseAnswer)
        view = await session.query("view", result_type=SessionView)
        assert answer.decision == LeaseDecision.GRANTED
        assert (view.holder and view.holder.owner, view.waiting) == ("other", 0)
    await goal.update("delete")
    await goal.result()


async def test_a_silent_session_delays_the_deadline_for_a_moment_only(
    speechless: Harness,
) -> None:
    goal = await start_goal(
        speechless,
        session_key="oc_z",
        thread_id="th_1",
        deadline=timedelta(seconds=1),
    )
    ended = await goal.result()
    assert (ended.goal.status, goal.asked()) == (GoalStatus.TIMEOUT, [])
    assert goal.parts() == ["timeout-1"]


async def test_what_comes_while_the_report_is_prepared_goes_before_it(speechless: Harness) -> None:
    goal = await start_goal(
        speechless, session_key="oc_z", thread_id="th_1", deadline=timedelta(seconds=1)
    )

    async def asks() -> bool:
        return (await goal.view()).stage == REPORT

    await until(asks, "the session is asked for the report")
    await goal.update("complete", CompleteGoal(summary="By hand."))
    ended = await goal.result()
    assert ended.state is not None
    assert (ended.goal.status, ended.state.wrapped_up) == (GoalStatus.COMPLETE, False)
    assert await goal.jobs() == []


async def test_what_the_session_grants_to_a_goal_that_rests_is_given_back(harness: Harness) -> None:
    spoken = talk(harness, chat=[said("Hello.")], goal=[rests(), said("I rest.")])
    await spoken.chat.settled(await spoken.send("Good morning"))
    goal = await spoken.goal()
    await goal.reaches("it rests", iteration=1, running=False)
    session = spoken.chat.handle

    async def free() -> bool:
        return (await spoken.chat.view()).holder is None

    await until(free, "nobody holds the conversation")
    for owner in ("other", goal.handle.id):
        await session.execute_update("request", _request(owner), result_type=LeaseAnswer)
    assert (await spoken.chat.view()).waiting == 1
    await session.signal("release", ReleaseSession(key="other"))
    await until(free, "the goal gives it back")

    # Granted by an answer that the goal does not know of, and wanted by somebody else.
    again = _request(goal.handle.id).model_copy(update={"request_id": "lost:1"})
    token = (await session.execute_update("request", again, result_type=LeaseAnswer)).token
    assert token
    await goal.handle.signal("interrupt", LeaseRef(owner=goal.handle.id, token=token))
    await until(free, "the goal gives it back")
    await goal.update("delete")
    await goal.result()


async def test_stop_ends_the_round_of_a_goal_that_is_complete(harness: Harness) -> None:
    spoken = talk(harness, chat=[said("Hello.")], goal=[Hang("begun", 1)])
    await spoken.chat.settled(await spoken.send("Good morning"))
    goal = await spoken.goal()
    await harness.models.wait_for(lambda: len(spoken.prompts_of_goal()) >= 1)
    await goal.update("complete")
    await spoken.chat.handle.execute_update("stop", StopSession(reason="enough"))
    ended = await goal.result()
    assert (ended.goal.status, ended.goal.paused_reason) == (GoalStatus.COMPLETE, None)
    assert [job.status for job in await goal.jobs()] == [JobStatus.CANCELLED]


# Others


async def test_the_job_of_a_goal_that_was_terminated_does_not_wait_for_the_next_one(
    harness: Harness,
) -> None:
    goal = await start_goal(harness, WRITE, said("Written."))
    view = await goal.reaches("it asks a person", waiting_for=GoalWaiting.APPROVAL)
    job = goal.job(view.job_id or "")
    await goal.handle.terminate("a test")
    harness.scripts.on(goal.mark, Hang("begun", 1))
    request = goal_request(goal.mark)
    await hand_in(harness, "create", request, GoalStart(create=request), goal.handle.id)
    (approval,) = (await job.query(Job.view)).approvals
    decision = DecideApproval(approval_id=approval.id, decision="approve", decided_by="ann")
    await job.execute_update(Job.decide_approval, decision)

    async def ended() -> bool:
        return (await job.query(Job.view)).record.status == JobStatus.CANCELLED

    await until(ended, "the job ends")
    await goal.update("delete")
    await goal.result()


@contextmanager
def _no_notices(harness: Harness) -> Generator[None]:
    """The store refuses every notice."""
    file = sqlite_file(read_url(harness.environ["TICKLESS_STORE__URL"]))
    assert file is not None
    store = sqlite3.connect(file, isolation_level=None)
    store.execute(
        "CREATE TRIGGER refusing BEFORE INSERT ON outbox BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    try:
        yield
    finally:
        store.execute("DROP TRIGGER refusing")
        store.close()


@pytest.fixture
async def impatient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Harness]:
    """A Tickless of its own, whose goals soon try again."""
    monkeypatch.setattr("workflows.goal.TRY_AGAIN", timedelta(seconds=2))
    async with (
        running_server(tmp_path) as server,
        running_harness(tmp_path, server, TICKLESS_TEMPORAL__SANDBOX="false") as one,
    ):
        yield one


async def test_an_end_that_cannot_be_told_is_tried_again_later(impatient: Harness) -> None:
    goal = await start_goal(impatient, Hang("begun", 1))
    await _asked(goal, 1)

    async def announced() -> bool:
        return len(goal.parts()) == 1

    await until(announced, "the round is announced")
    with _no_notices(impatient):
        await goal.update("complete", CompleteGoal(summary="By hand."))
        await goal.update("cancel_iteration")
        await until(lambda: _tries(impatient, goal, 4), "it is tried again")
    ended = await goal.result()
    assert ended.goal.status == GoalStatus.COMPLETE
    assert [part.rpartition("-")[0] for part in goal.parts()] == ["iteration", "complete"]
    history = await goal.handle.fetch_history()
    failed = [one for one in history.events if one.event_type == FAILED]
    # The loop that tells beside the round may have been first.
    pauses = [
        after.event_time.ToDatetime() - before.event_time.ToDatetime()
        for before, after in itertools.pairwise(failed[1:])
    ]
    assert pauses
    assert all(pause > timedelta(seconds=1.9) for pause in pauses)


async def _tries(harness: Harness, goal: StartedGoal, times: int) -> bool:
    return (await harness.events(goal.handle.id)).count("ACTIVITY_TASK_FAILED") >= times
