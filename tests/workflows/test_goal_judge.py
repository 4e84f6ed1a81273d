"""Claims that a judge looks at: real evidence, a model of its own, and no verdict by default."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from activities.control import MAX_AGE
from activities.store import open_store
from domain.goal import GoalStatus
from domain.goal_messages import PauseGoal
from domain.goal_record import GoalPausedReason, GoalWaiting
from domain.llm_calls import LlmCall
from tests.support.goals import StartedGoal, start_goal
from tests.support.harness import Harness, running_harness, running_server, until
from tests.support.jobs import calls, said
from tests.support.model_steps import Behaviour, Hang, Refusal, Reply, Usage, error_body

JUDGE = "second"
# The call whose result proves it; ids of the first calls of a thread stay as the model made them.
PROOF = "call_0"
WORK: tuple[Behaviour, ...] = (calls(("time_now", "{}")), said("It is noon."))
AGREES = Reply(text=json.dumps({"complete": True, "reason": "Seen.", "evidence": [PROOF]}))


def _claims(*evidence: str) -> Reply:
    claim = {"summary": "It is done.", "evidence": list(evidence)}
    return calls(("goal_complete", json.dumps(claim)))


def _questions(goal: StartedGoal) -> list[str]:
    """What the judge was asked."""
    return ["\n".join(call.texts) for call in goal.asked() if call.model == JUDGE]


async def _ledger(harness: Harness, goal: StartedGoal) -> Sequence[LlmCall]:
    async with await open_store(harness.settings.store.url.get_secret_value()) as store:
        return await store.calls.with_prefix(f"{goal.id}/judge-")


async def test_the_judge_sees_the_evidence_and_agrees(harness: Harness) -> None:
    goal = await start_goal(harness, *WORK, _claims(PROOF), said("Claimed."), AGREES, judge=JUDGE)
    ended = await goal.result()

    assert (ended.goal.status, ended.summary) == (GoalStatus.COMPLETE, "It is done.")
    (question,) = _questions(goal)
    assert f"evidence {PROOF}, output of time_now" in question
    assert goal.mark in question
    assert "It is done." in question
    (row,) = await _ledger(harness, goal)
    jobs = await goal.jobs()
    assert (row.purpose, row.goal_id, row.job_id) == ("judge", goal.id, jobs[-1].id)
    assert len(jobs) == 2
    assert ended.spent.tokens == len(goal.asked()) * 18


async def test_a_judge_that_does_not_agree_is_told_to_the_next_round(harness: Harness) -> None:
    refuses = Reply(text='{"complete": false, "reason": "It is not midnight yet."}')
    goal = await start_goal(
        harness,
        *(*WORK, _claims(PROOF), said("Claimed."), refuses),
        Hang("at it", 1),
        judge=JUDGE,
    )
    view = await goal.reaches("the round after the verdict", iteration=3, running=True)
    assert view.goal.status == GoalStatus.ACTIVE
    await harness.models.wait_for(lambda: len(goal.asked()) == 6)
    assert "It is not midnight yet." in goal.asked()[-1].texts[-1]
    assert not any("complete-" in part for part in goal.parts())
    await goal.update("delete")
    await goal.result()


@pytest.mark.parametrize("now", [True, False], ids=["stopped", "paused at once"])
async def test_a_look_that_a_person_ends_completes_nothing(harness: Harness, now: bool) -> None:
    """The claim is put to the judge again when the goal goes on."""
    gate = threading.Event()
    late = Reply(text=AGREES.text, gate=gate)
    steps = (*WORK, _claims(PROOF), said("Claimed."))
    goal = await start_goal(harness, *steps, late, AGREES, judge=JUDGE)
    await harness.models.wait_for(lambda: len(_questions(goal)) == 1)
    if now:
        await goal.handle.signal("cancel")
    else:
        await goal.update("pause", PauseGoal(now=True))
    gate.set()
    view = await goal.reaches("it pauses", status=GoalStatus.PAUSED)
    reason = GoalPausedReason.STOPPED_BY_USER if now else GoalPausedReason.USER
    assert view.goal.paused_reason == reason
    await harness.rests(goal.handle.id)
    assert (await goal.view()).goal.status == GoalStatus.PAUSED
    assert "complete" not in "".join(goal.parts())

    await goal.update("resume")
    ended = await goal.result()
    assert (ended.goal.status, ended.goal.iteration) == (GoalStatus.COMPLETE, 2)
    asked = {row.id.partition("/judge-")[2][0] for row in await _ledger(harness, goal)}
    assert asked == {"1", "2"}


async def test_a_look_goes_on_while_the_goal_is_only_paused(harness: Harness) -> None:
    gate = threading.Event()
    late = Reply(text=AGREES.text, gate=gate)
    goal = await start_goal(harness, *WORK, _claims(PROOF), said("Claimed."), late, judge=JUDGE)
    await harness.models.wait_for(lambda: len(_questions(goal)) == 1)
    await goal.update("pause")
    gate.set()
    assert (await goal.result()).goal.status == GoalStatus.COMPLETE


@pytest.mark.parametrize(
    "answer",
    [
        Reply(text="Looks complete to me."),
        Reply(text='{"complete": true, "evidence": []}'),
        Reply(text='{"complete": true, "evidence": ["call_77"]}'),
        Reply(text="", chunks=0),
        Refusal(400, error_body("no such thing", type="invalid_request_error")),
    ],
    ids=["words", "no evidence", "made-up evidence", "nothing", "an error"],
)
async def test_without_a_verdict_the_goal_pauses(harness: Harness, answer: Behaviour) -> None:
    goal = await start_goal(harness, *WORK, _claims(PROOF), said("Claimed."), answer, judge=JUDGE)
    view = await goal.reaches("it pauses", status=GoalStatus.PAUSED)

    assert view.goal.paused_reason == GoalPausedReason.JUDGE_ERROR
    assert view.goal.last_error
    assert len(_questions(goal)) >= 1

    async def told() -> bool:
        return "could not be judged" in goal.told()[-1]

    await until(told, "people are told")
    # A person decides.
    await goal.update("complete")
    assert (await goal.result()).goal.status == GoalStatus.COMPLETE


async def test_the_judge_is_not_asked_about_what_nothing_proves(harness: Harness) -> None:
    goal = await start_goal(
        harness, *WORK, _claims("call_77"), said("Claimed."), Hang("at it", 1), judge=JUDGE
    )
    await harness.models.wait_for(lambda: len(goal.asked()) == 5)
    assert _questions(goal) == []
    assert "call_77" not in "".join(goal.told())
    await goal.update("delete")
    await goal.result()


async def test_each_claim_is_a_question_of_its_own(harness: Harness) -> None:
    refuses = Reply(text='{"complete": false, "reason": "Look again."}')
    claimed = (_claims(PROOF), said("Claimed."))
    goal = await start_goal(harness, *WORK, *claimed, refuses, *claimed, AGREES, judge=JUDGE)
    ended = await goal.result()
    assert ended.goal.status == GoalStatus.COMPLETE
    first, second = await _ledger(harness, goal)
    assert first.id.startswith(f"{goal.id}/judge-1/")
    assert second.id.startswith(f"{goal.id}/judge-2/")


# What keeps the judge from looking


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[Harness]:
    """A Tickless of its own, which may spend three cents a day; a micro for each token."""
    price = {"input_per_mtok": 1_000_000, "output_per_mtok": 1_000_000}
    given: dict[str, Any] = {
        "TICKLESS_PRICES": json.dumps({"prices": {"openai/first": price, "openai/second": price}}),
        "TICKLESS_BUDGET_USD_PER_DAY": "0.03",
    }
    async with (
        running_server(tmp_path) as server,
        running_harness(tmp_path, server, **given) as one,
    ):
        yield one


async def test_the_judge_waits_while_everything_is_paused(alone: Harness) -> None:
    gate = threading.Event()
    last = Reply(text="Claimed.", gate=gate)
    goal = await start_goal(alone, *WORK, _claims(PROOF), last, AGREES, judge=JUDGE)
    await alone.models.wait_for(lambda: len(goal.asked()) == 4)
    await alone.tickless.system.pause_all("for a while")
    # The workers know of it by then: the promise itself, no condition shows it.
    await asyncio.sleep(MAX_AGE.total_seconds() + 0.1)
    gate.set()
    view = await goal.reaches("it parks", waiting_for=GoalWaiting.SYSTEM_PAUSED, running=False)
    assert view.goal.status == GoalStatus.ACTIVE
    assert _questions(goal) == []

    await alone.tickless.system.resume_all()
    ended = await goal.result()
    assert (ended.goal.status, ended.goal.iteration) == (GoalStatus.COMPLETE, 2)
    assert len(_questions(goal)) == 1
    assert len(await _ledger(alone, goal)) == 1


async def test_without_money_the_claim_waits_for_a_person(alone: Harness) -> None:
    dear = Reply(text="Claimed.", usage=Usage(prompt=40_000))
    goal = await start_goal(alone, *WORK, _claims(PROOF), dear, AGREES, judge=JUDGE)
    for _ in range(2):
        view = await goal.reaches("it pauses", status=GoalStatus.PAUSED, running=False)
        assert view.goal.paused_reason == GoalPausedReason.BUDGET
        # The claim is judged first, so no round begins.
        assert (view.goal.iteration, _questions(goal)) == (2, [])
        await _resumed(goal, view.goal.revision)
    await goal.update("delete")
    await goal.result()


async def _resumed(goal: StartedGoal, revision: int) -> None:
    """Resume it and wait for what comes of that."""
    await goal.update("resume")

    async def moved() -> bool:
        return (await goal.view()).goal.revision > revision + 1

    await until(moved, "it is refused again")
