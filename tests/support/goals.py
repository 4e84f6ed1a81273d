"""Goals for tests: started as the library starts them, with a scripted model and builtin tools.

Owns the shortest ways to start one, to say something to it and to wait for what it does.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from pydantic import BaseModel
from temporalio.client import WithStartWorkflowOperation, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy
from ulid import ULID

from activities.store import open_store
from domain.actor import Actor
from domain.goal_messages import CreateGoal, GoalStart, GoalView, goal_workflow_id
from domain.goal_record import Goal
from domain.goal_state import GoalJob, GoalLimits
from domain.identifiers import RUNS_QUEUE
from domain.jobs import JobRecord, job_workflow_id
from domain.scopes import Route, Scope, ScopeKind
from tests.support.conversations import Conversation, conversation
from tests.support.harness import Harness, until
from tests.support.jobs import calls
from tests.support.model_server import Call
from tests.support.model_steps import Behaviour, Body, Reply, Step
from workflows.goal import GoalWorkflow

AnswerT = TypeVar("AnswerT", bound=BaseModel)
# Brakes off, where a test is about something else.
FREE = GoalLimits(fast_loop_limit=1000, no_progress_limit=1000)


@dataclass
class StartedGoal:
    """A goal of a harness; `mark` stands in its objective, so that the model knows its script."""

    harness: Harness
    mark: str
    handle: WorkflowHandle[Any, Any]
    created: GoalView

    @property
    def id(self) -> str:
        return self.created.goal.id

    async def view(self) -> GoalView:
        return await self.handle.query(GoalWorkflow.view)

    async def update(
        self, name: str, arg: BaseModel | None = None, result: type[AnswerT] | None = None
    ) -> Any:
        return await self.handle.execute_update(
            name, args=[] if arg is None else [arg], result_type=result or GoalView
        )

    async def result(self) -> GoalView:
        return GoalView.model_validate(await self.handle.result())

    async def reaches(self, what: str, seconds: float = 30, **fields: Any) -> GoalView:
        """Wait until these fields of its record are so."""

        async def holds() -> bool:
            goal = (await self.view()).goal
            return all(getattr(goal, name) == value for name, value in fields.items())

        try:
            await until(holds, what, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}: {await self.view()!r}") from None
        return await self.view()

    async def jobs(self) -> list[JobRecord]:
        """The rows of its iterations, oldest first."""
        async with await open_store(self.harness.settings.store.url.get_secret_value()) as store:
            rows = await store.read(lambda ledger: ledger.jobs.of_goal(self.id, at_most=100))
        return sorted(rows, key=lambda row: row.created_at)

    def job(self, job_id: str) -> WorkflowHandle[Any, Any]:
        return self.harness.client.get_workflow_handle(job_workflow_id(job_id))

    def asked(self) -> list[Call]:
        """The requests that reached the models."""
        return [call for call in self.harness.models.calls if self.mark in " ".join(call.texts)]

    def told(self) -> list[str]:
        """The texts that the channel got, in order."""
        return [line["text"] for line in self._lines()]

    def parts(self) -> list[str]:
        """Their places in the outbox, without the goal's id."""
        return [line["key"].partition("/")[2] for line in self._lines()]

    def _lines(self) -> list[dict[str, Any]]:
        path = self.harness.deliveries.with_name(f"{self.mark}.jsonl")
        if not path.exists():
            return []
        lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        return [line for line in lines if line["key"].startswith(self.id)]


def goal_request(
    mark: str,
    *,
    scope: Scope | None = None,
    session_key: str = "",
    deadline: timedelta | None = timedelta(hours=48),
    limits: GoalLimits = FREE,
    thread_id: str | None = None,
    **fields: Any,
) -> CreateGoal:
    """The creation of a goal."""
    now, mine = datetime.now(UTC), Scope(kind=ScopeKind.USER, id=mark)
    return CreateGoal(
        goal=Goal(
            id=f"goal_{ULID()}",
            objective=f"Reach {mark}.",
            scope=scope or mine,
            route=Route(receive_id_type="file", receive_id=f"{mark}.jsonl"),
            creator=Actor(user_id="me"),
            created_at=now,
            deadline_at=None if deadline is None else now + deadline,
            session_key=session_key,
            thread_id=thread_id,
        ),
        limits=limits,
        work_scope=scope or mine,
        user_id="me",
        **fields,
    )


async def hand_in(
    harness: Harness, update: str, arg: BaseModel | None, start: GoalStart, workflow_id: str
) -> GoalView:
    """Send an update to a goal, which is started with it if it does not run."""
    operation: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
        "Goal",
        start,
        id=workflow_id,
        task_queue=RUNS_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
    )
    answer: GoalView = await harness.client.execute_update_with_start_workflow(
        update,
        args=[] if arg is None else [arg],
        start_workflow_operation=operation,
        result_type=GoalView,
    )
    return answer


async def start_goal(
    harness: Harness, *steps: Behaviour, mark: str = "", **fields: Any
) -> StartedGoal:
    """Start a goal whose model does these steps."""
    mark = mark or harness.name()
    if steps:
        harness.scripts.on(mark, *steps)
    beat = harness.settings.job_step_heartbeat_seconds
    request = goal_request(mark, **{"job": GoalJob(step_heartbeat_seconds=beat), **fields})
    workflow_id = goal_workflow_id(request.goal.scope)
    created = await hand_in(harness, "create", request, GoalStart(create=request), workflow_id)
    handle = harness.client.get_workflow_handle(workflow_id)
    return StartedGoal(harness, mark, handle, created)


def rests(duration: str = "1h", reason: str = "the build") -> Reply:
    """An answer that rests."""
    return calls(("goal_delay", json.dumps({"duration": duration, "reason": reason})))


@dataclass
class Talk:
    """A conversation of one user, and the goal in it."""

    chat: Conversation
    scope: Scope

    async def send(self, text: str) -> str:
        """Say something; gives the message's id."""
        return (await self.chat.send(text, scope=self.scope)).message_id

    async def goal(self, **fields: Any) -> StartedGoal:
        mark, key = self.chat.mark, self.chat.key
        return await start_goal(
            self.chat.harness, mark=mark, session_key=key, scope=self.scope, **fields
        )

    def prompts_of_goal(self) -> list[Body]:
        return [call.body for call in self.chat.asked() if of_goal(call.body)]


def of_goal(body: Body) -> bool:
    """Whether a request is one of a goal's iteration."""
    return "You work on a goal alone" in str(body["messages"][0]["content"])


def talk(harness: Harness, *, chat: list[Behaviour], goal: list[Behaviour]) -> Talk:
    """A conversation in which users and the goal have answers of their own."""
    lists = {True: list(goal), False: list(chat)}

    def answer(body: Body) -> Step:
        mine = lists[of_goal(body)]
        step = mine.pop(0) if len(mine) > 1 else mine[0]
        return step(body) if callable(step) else step

    made = conversation(harness, answer)
    return Talk(made, Scope(kind=ScopeKind.USER, id=made.mark))
