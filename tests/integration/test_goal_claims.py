"""The evidence of a goal and the question to its judge: real databases, a real model server."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import failures
from activities.goal_claims import (
    GoalClaimActivities,
    JudgeRequest,
    NamedCall,
    PrepareJudgement,
    newest_calls,
    proven,
)
from activities.model_requests import GoalCaller
from activities.store import Store
from domain.goal_judge import JUDGE_FRAME
from domain.goal_state import CompletionClaim
from domain.jobs import JobStatus
from domain.threads import ThreadKind
from domain.tool_actions import ActionStatus
from tests.support import model_steps as steps
from tests.support.ledger_rows import NOON, action, job_record
from tests.support.model_bench import Bench, running_bench
from tests.support.model_server import ModelServer

pytest_plugins = ["tests.support.databases"]

GOAL = "goal_1"
ASKED = "job/job_1/model-2/answer"


async def _called(store: Store, key: str, tool: str = "shell", **fields: Any) -> None:
    """A call that has ended well, unless told."""
    known: dict[str, Any] = {"status": ActionStatus.OK, "tool": tool, "job_id": "job_1"}
    await store.actions.begin(action(key, **known | fields))


@pytest.fixture
async def ledger(store: Store) -> Store:
    """A store with two iterations of a goal and a job of another."""
    await store.jobs.put(job_record("job_1", goal_id=GOAL))
    later = NOON + timedelta(hours=1)
    await store.jobs.put(job_record("job_2", goal_id=GOAL, created_at=later))
    await store.jobs.put(job_record("job_3", goal_id="goal_2"))
    await _called(store, "job/job_1/model-1/answer/call_ok", output="12 passed")
    await _called(store, "job/job_1/model-1/answer/call_%", status=ActionStatus.FAILED)
    await _called(store, "job/job_1/model-1/answer/call_lost", status=ActionStatus.UNKNOWN)
    await _called(store, f"{ASKED}/call_said", "goal_progress")
    await _called(store, f"{ASKED}/call_same", "file_read", started_at=later)
    await _called(store, "job/job_3/model-1/answer/call_other", job_id="job_3")
    return store


@pytest.mark.parametrize(
    ("names", "is_proof"),
    [
        (["call_ok"], True),
        (["job/job_1/model-1/answer/call_ok", " call_ok "], True),
        (["call_ok", "call_same"], True),
        ([], False),
        (["", "  "], False),
        (["call_ok", "call_%"], False),
        (["call_ok", "call_lost"], False),
        (["call_said"], False),
        (["call_other"], False),
        (["call_none"], False),
        (["CALL_OK"], False),
        (["_ok"], False),
        (["%"], False),
        (["answer/call_ok"], True),
    ],
)
async def test_a_claim_is_proven_by_calls_of_the_goal_that_went_well(
    ledger: Store, names: list[str], is_proof: bool
) -> None:
    assert await ledger.read(proven, GOAL, names) is is_proof


async def test_a_call_beside_the_claim_is_no_proof(ledger: Store) -> None:
    assert not await ledger.read(proven, GOAL, ["call_same"], ASKED)
    assert not await ledger.read(proven, GOAL, ["call_ok", "call_same"], ASKED)
    assert await ledger.read(proven, GOAL, ["call_ok"], ASKED)
    assert await ledger.read(proven, GOAL, ["call_same"], "job/job_1/model-2/answe")


async def test_the_calls_that_can_be_named_are_listed_newest_first(ledger: Store) -> None:
    await _called(ledger, "job/job_2/model-1/answer/call_long", job_id="job_2", output="a\n" * 99)
    found = await ledger.read(newest_calls, GOAL)
    assert found == [
        NamedCall(id="call_same", tool="file_read", status=ActionStatus.OK),
        NamedCall(
            id="call_long", tool="shell", status=ActionStatus.OK, said=("a " * 60)[:-1] + "…"
        ),
        NamedCall(id="call_ok", tool="shell", status=ActionStatus.OK, said="12 passed"),
    ]
    assert [call.id for call in await ledger.read(newest_calls, GOAL, 1)] == ["call_same"]


def _claim(*evidence: str, number: int = 1) -> PrepareJudgement:
    return PrepareJudgement(
        goal_id=GOAL,
        objective="All tests pass",
        scope="user:me",
        claim=CompletionClaim(summary="They do.", evidence=list(evidence), proven=True),
        number=number,
    )


async def _prepared(store: Store, request: PrepareJudgement) -> JudgeRequest:
    prepare = GoalClaimActivities(store).prepare_judgement
    return await ActivityEnvironment().run(prepare, request)


async def _question(store: Store, asked: JudgeRequest) -> str:
    (said,) = await store.threads.messages(asked.thread.id)
    assert said.role == "user"
    return said.content


async def test_the_question_is_written_once_with_the_evidence(ledger: Store) -> None:
    request = _claim("call_ok", "call_%", "call_none", "answer/call_ok")
    first, again = [await _prepared(ledger, request) for _ in range(2)]

    assert first.shown == again.shown == ["call_ok"]
    assert (first.thread.id, first.thread.kind) == ("goal_1/judge-1", ThreadKind.GOAL)
    assert first.job_id == "job_2"
    text = await _question(ledger, first)
    assert "All tests pass" in text
    assert "They do." in text
    assert "evidence call_ok, output of shell" in text
    assert "12 passed" in text
    assert "call_%" not in text


async def test_a_goal_without_calls_shows_what_it_has_written(ledger: Store) -> None:
    written = job_record(
        "job_2",
        goal_id=GOAL,
        created_at=NOON + timedelta(hours=1),
        status=JobStatus.COMPLETED,
        result="A poem. password=hunter2hunter2",
        revision=1,
    )
    await ledger.jobs.put(written)
    asked = await _prepared(ledger, _claim(number=2))
    assert asked.shown == ["job_2"]
    text = await _question(ledger, asked)
    assert "answer of the worker" in text
    assert "A poem." in text
    assert "hunter2" not in text


async def test_a_goal_without_anything_can_be_asked_about(store: Store) -> None:
    asked = await _prepared(store, _claim("call_ok"))
    assert (asked.shown, asked.job_id) == ([], None)
    assert "All tests pass" in await _question(store, asked)


# The call of the judge's model


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


@pytest.fixture
async def bench(ledger: Store, server: ModelServer, tmp_path: Path) -> AsyncIterator[Bench]:
    async with running_bench(ledger, server, tmp_path) as made:
        made.workflow_id = "goal/user/me"
        yield made


async def test_a_named_model_judges_and_the_goal_pays(bench: Bench, server: ModelServer) -> None:
    asked = await _prepared(bench.store, _claim("call_ok"))
    server.script(steps.Reply(text='{"complete": true, "evidence": ["call_ok"]}'))
    request = bench.request(
        run=None,
        goal=GoalCaller(goal_id=GOAL, job_id=asked.job_id),
        thread=asked.thread,
        prompt=None,
        frame=JUDGE_FRAME,
        text_only=True,
        purpose="judge",
        model="m2",
        key=f"{asked.thread.id}/run",
    )
    chain = [bench.spec("m1"), bench.spec("m2")]

    answer = await bench.call(request, chain=chain)
    again = await bench.call(request, chain=chain, attempt=2)

    assert answer.text == again.text
    (sent,) = server.calls
    assert sent.model == "m2"
    assert "Answer with one JSON object" in " ".join(sent.texts[:1]).replace("\n", " ")
    (row,) = await bench.store.calls.with_prefix("goal_1/judge-1/run/")
    assert (row.goal_id, row.job_id, row.purpose, row.run_id) == (GOAL, "job_2", "judge", None)
    job = await bench.store.jobs.get("job_2")
    assert job is not None
    assert job.thread_id is None


async def test_a_judge_that_is_not_configured_is_told_so(bench: Bench) -> None:
    asked = await _prepared(bench.store, _claim("call_ok"))
    request = bench.request(
        run=None, goal=GoalCaller(goal_id=GOAL), thread=asked.thread, prompt=None, model="m9"
    )
    with pytest.raises(ApplicationError, match="'m9'") as caught:
        await bench.call(request)
    assert caught.value.type == failures.MODEL_REFUSED
