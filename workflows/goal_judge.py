"""A judge's look at a claim, as the workflow of a goal asks for it.

Owns the two steps: the question is written down, one call of a model answers it; and the end of the
look when the goal has none to wait for any more. What is asked and how the answer is read is
`domain.goal_judge`'s; what follows is `domain.goal_book`'s. Source: automation.md §9.

Invariants:
    1. Whatever goes wrong is no verdict; only being told to end is raised.
    2. What the look has cost is counted, whatever came of it.
    3. A look ends with the goal, at its deadline, and where a person ends what runs: its claim is
       put anew when the goal goes on. A goal that is paused otherwise waits for its result.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from workflows.bounded_waits import end_task, wait_until
from workflows.model_calls import ModelCalls
from workflows.parking import wait_while_paused

with workflow.unsafe.imports_passed_through():
    from activities import timeouts
    from activities.failures import (
        BUDGET_EXCEEDED,
        SYSTEM_PAUSED,
        application_error_of,
        run_failure,
    )
    from activities.goal_claims import GoalClaimActivities, JudgeRequest, PrepareJudgement
    from activities.model_requests import CallModel, GoalCaller, ModelAnswer
    from domain.errors import DomainError
    from domain.goal_book import GoalBook
    from domain.goal_judge import JUDGE_FRAME, Verdict, read_verdict
    from domain.goal_record import GoalWaiting
    from domain.goal_state import NextStep
    from domain.identifiers import RUNS_QUEUE

TIMEOUT = timedelta(minutes=5)
MAX_TOKENS = 1024
PURPOSE = "judge"


@dataclass(frozen=True)
class Judged:
    """What came of a look.

    Attributes:
        verdict: What the judge says; null where it said nothing that counts.
        error: Why there is no verdict.
        parked: Everything is paused: look again, with the same number, when it goes on.
        budget: No money is left.
    """

    verdict: Verdict | None = None
    error: str | None = None
    parked: bool = False
    budget: bool = False


class GoalJudging:
    """Has the claims of one goal looked at, one at a time.

    Attributes:
        at_work: A claim is looked at right now.
    """

    def __init__(self, book: GoalBook) -> None:
        self._book = book
        self._resumed = False
        self._cut = False
        self.at_work = False

    def cut(self) -> None:
        """End the look, if there is one: what it comes to does not count."""
        self._cut = True

    def resume(self) -> None:
        """Everything goes on after a pause."""
        self._resumed = True

    async def look(self) -> None:
        """Have the claim looked at, and note the result, unless the goal ends meanwhile."""
        book, calls = self._book, ModelCalls(budget=TIMEOUT)
        self._resumed, self._cut, self.at_work = False, False, True
        task = asyncio.create_task(self._judged(calls))
        try:
            while not (task.done() or self._is_in_vain):
                await wait_until(
                    lambda: task.done() or self._is_in_vain, lambda: book.goal.deadline_at
                )
        finally:
            self.at_work = False
            given_up = self._cut or not task.done()
            if given_up:
                await end_task(task)
                book.judge_stopped(calls.spent, given_up=True)
        if not given_up:
            self._note(task.result(), calls)

    @property
    def _is_in_vain(self) -> bool:
        step = self._book.next_step(workflow.now()).step
        return self._cut or step not in {NextStep.JUDGE, NextStep.WAIT}

    async def _judged(self, calls: ModelCalls) -> Judged:
        book, state = self._book, self._book.state
        assert state.claim is not None  # that is why the judge is asked
        assert state.judge is not None  # without one, nothing is put to it
        request = PrepareJudgement(
            goal_id=state.goal.id,
            objective=state.goal.objective,
            scope=(state.work_scope or state.goal.scope).text,
            claim=state.claim,
            number=state.judged + 1,
        )
        judged = await judge(request, calls, model=state.judge)
        if judged.parked:
            # Who wakes it finds it by its status, which follows from this.
            book.waits_inside(GoalWaiting.SYSTEM_PAUSED, workflow.now())
            try:
                await wait_while_paused(lambda: self._resumed)
            finally:
                book.waits_inside(None, workflow.now())
        return judged

    def _note(self, judged: Judged, calls: ModelCalls) -> None:
        book, spent = self._book, calls.spent
        now: datetime = workflow.now()
        if judged.parked or book.state.deleted:
            book.judge_stopped(spent)
        elif judged.budget:
            book.judge_unpaid(spent, now)
        elif judged.verdict is None:
            book.judge_failed(judged.error or "no verdict", spent, now)
        elif judged.verdict.complete:
            book.judge_agreed(spent, now)
        else:
            book.judge_refused(judged.verdict.reason, spent, now)


async def judge(request: PrepareJudgement, calls: ModelCalls, *, model: str) -> Judged:
    """Have a claim looked at.

    Args:
        request: The claim.
        calls: Counts what it costs, and limits how long it may take.
        model: Name of the model that judges, one of `models`.

    Raises:
        ActivityError: The look was told to end.
    """
    try:
        asked = await _prepare(request)
        answer = await calls.ask(_question(asked, request.goal_id, model), "is the goal reached?")
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise
        return _without_verdict(error, calls.budget)
    return _read(answer, asked)


async def _prepare(request: PrepareJudgement) -> JudgeRequest:
    return await workflow.execute_activity_method(
        GoalClaimActivities.prepare_judgement,
        request,
        task_queue=RUNS_QUEUE,
        start_to_close_timeout=timeouts.ENTITY_START_TO_CLOSE,
        retry_policy=timeouts.ENTITY_RETRY,
        summary=f"the question to the judge, {request.number}",
    )


def _question(asked: JudgeRequest, goal_id: str, model: str) -> CallModel:
    return CallModel(
        goal=GoalCaller(goal_id=goal_id, job_id=asked.job_id),
        thread=asked.thread,
        frame=JUDGE_FRAME,
        max_tokens=MAX_TOKENS,
        purpose=PURPOSE,
        text_only=True,
        model=model,
        # The workflow's id is that of the scope's next goal, too, and this run's may end before.
        key=f"{asked.thread.id}/{workflow.info().run_id}",
    )


def _read(answer: ModelAnswer, asked: JudgeRequest) -> Judged:
    try:
        return Judged(verdict=read_verdict(answer.text, asked.shown))
    except DomainError as error:
        return Judged(error=error.message)


def _without_verdict(error: ActivityError, limit: timedelta) -> Judged:
    cause = application_error_of(error)
    kind = cause.type if cause else None
    text = run_failure(error, f"the judge did not answer in {limit.total_seconds():g}s")[1]
    return Judged(error=text, parked=kind == SYSTEM_PAUSED, budget=kind == BUDGET_EXCEEDED)
