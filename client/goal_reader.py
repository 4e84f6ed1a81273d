"""Reading goals: the one of a place as it stands or ended, and lists of all.

Owns where the truth about a goal is asked for: its workflow while that is open, that workflow's
result afterwards, as long as the namespace keeps it. Source: automation.md §9 and §13, DESIGN §3.

Invariants:
    1. A deleted goal is not found, in the same words as one that never was.
    2. A list names each goal's newest state once, whatever its workflow has been started for.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from pydantic import AwareDatetime, BaseModel
from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
)

from activities import search_attributes as attributes
from client import pages
from client.connection import QUERY_TIMEOUT, translated
from client.ui_links import UiLinks
from domain.errors import DomainError, ErrorKind
from domain.goal import AfterEvent, parse_status_filter
from domain.goal_messages import GoalView, goal_workflow_id
from domain.goal_record import Goal, GoalStatus

QUERIES_AT_ONCE: Final = 8
_PAGE_SIZE: Final = 1_000
# Shown instead of the status while a round's job waits for everything to go on.
_PARKED: Final = "system_paused"
# Whoever ended a goal's workflow from outside has ended the goal with it.
_LASTING: Final = (WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.COMPLETED)


class GoalAnswer(Goal):
    """A goal as its readers see it.

    Attributes:
        stage: What it does, in words.
        summary: What was said when it was completed.
        wait_event: The event that wakes it, `source:event_type`.
        next_at: When it wakes or times out.
        job_id: The job that is the present iteration.
        tokens_in, tokens_out, cost_micros: Of all iterations; null while nothing is known.
        ui_url: Where the Temporal UI shows it; empty where the settings do not say.
    """

    stage: str
    summary: str = ""
    wait_event: str | None = None
    next_at: AwareDatetime | None = None
    job_id: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_micros: int | None = None
    ui_url: str = ""


class GoalList(BaseModel):
    """A page of goals, newest first; `next_cursor` while there is more."""

    goals: list[GoalAnswer]
    count: int
    next_cursor: str | None = None


class GoalReader:
    """Goals, by their workflow ids."""

    def __init__(self, temporal: Client, links: UiLinks) -> None:
        self._temporal = temporal
        self._links = links

    async def view(self, workflow_id: str) -> GoalView:
        """A goal as it stands, or as it ended.

        Raises:
            DomainError: `not_found` on `goal`; `unavailable` without a worker.
        """
        found = await self._described(workflow_id)
        if found.status != WorkflowExecutionStatus.RUNNING:
            return await self._result(found)
        handle = self._temporal.get_workflow_handle(workflow_id)
        with translated(workflow_id):
            view: GoalView = await handle.query(
                "view", result_type=GoalView, rpc_timeout=QUERY_TIMEOUT
            )
        return _present(view)

    async def ended(self, workflow_id: str) -> GoalView:
        """How a goal has ended; with all that is needed to go on with it.

        Raises:
            DomainError: `not_found` on `goal`, also for one that is open.
        """
        return await self._result(await self._described(workflow_id))

    async def page(self, status: str | None, limit: int, cursor: str | None) -> GoalList:
        """Goals of every scope, newest first.

        Raises:
            DomainError: `invalid_field` on `status`, `limit` or `cursor`; `unavailable`.
        """
        pages.check_limit(limit)
        wanted = parse_status_filter(status)
        entries = [
            (_created(execution), execution.id)
            for execution in await self._newest()
            if _may_be(execution, wanted)
        ]
        entries.sort(reverse=True)
        goals: list[GoalAnswer] = []
        while True:
            # Those that were deleted meanwhile leave room for others.
            chosen, cursor = pages.one_page(entries, limit - len(goals), cursor)
            goals += [
                goal
                for goal in await self._current([key for _, key in chosen])
                if wanted is None or goal.status == wanted
            ]
            if cursor is None or len(goals) == limit:
                return GoalList(goals=goals, count=len(goals), next_cursor=cursor)

    async def of_scope(self, scope: str) -> list[GoalAnswer]:
        """The goals of one scope, oldest first: one of a user, those of all threads of a chat.

        Raises:
            DomainError: `invalid_field` on `limit` when there are too many; `unavailable`.
        """
        found = await self._newest(scope)
        order = sorted(
            (_created(execution), execution.id)
            for execution in found
            if _may_be(execution, wanted=None)
        )
        return await self._current([key for _, key in order])

    def told(self, view: GoalView) -> GoalAnswer:
        """A view as readers see it."""
        return GoalAnswer(
            **view.goal.model_dump(),
            **view.spent.model_dump(),
            stage=view.stage,
            summary=view.summary,
            wait_event=view.wait_event,
            next_at=view.next_at,
            job_id=view.job_id,
            ui_url=self._links.workflow(goal_workflow_id(view.goal.scope)),
        )

    # Inside

    async def _described(self, workflow_id: str) -> WorkflowExecutionDescription:
        try:
            with translated(workflow_id):
                return await self._temporal.get_workflow_handle(workflow_id).describe()
        except DomainError as error:
            if error.kind is ErrorKind.NOT_FOUND:
                raise no_goal() from None
            raise

    async def _result(self, found: WorkflowExecutionDescription) -> GoalView:
        if found.status != WorkflowExecutionStatus.COMPLETED:
            raise no_goal()
        # Of this very execution: another may have begun meanwhile.
        handle = self._temporal.get_workflow_handle(
            found.id, run_id=found.run_id, result_type=GoalView
        )
        with translated(found.id):
            view: GoalView = await handle.result(rpc_timeout=QUERY_TIMEOUT)
        return _present(view)

    async def _newest(self, scope: str | None = None) -> list[WorkflowExecution]:
        """The newest execution of each goal's workflow."""
        query = f"{attributes.KIND.name} = 'goal' AND ExecutionStatus != 'ContinuedAsNew'"
        if scope is not None:
            query += f" AND {attributes.SCOPE.name} = '{attributes.quoted(scope)}'"
        found: dict[str, WorkflowExecution] = {}
        with translated():
            async for execution in self._temporal.list_workflows(query, page_size=_PAGE_SIZE):
                known = found.get(execution.id)
                if known is None or known.start_time < execution.start_time:
                    found[execution.id] = execution
                if len(found) > pages.MAX_LISTED:
                    most = f"more than {pages.MAX_LISTED} goals: ask for each in its own scope"
                    raise DomainError(ErrorKind.INVALID_FIELD, "limit", most)
        return list(found.values())

    async def _current(self, workflow_ids: Sequence[str]) -> list[GoalAnswer]:
        gate = asyncio.Semaphore(QUERIES_AT_ONCE)

        async def read(workflow_id: str) -> GoalAnswer | None:
            async with gate:
                try:
                    return self.told(await self.view(workflow_id))
                except DomainError as error:
                    # Visibility follows late, and what is deleted stays in it.
                    if error.kind is ErrorKind.NOT_FOUND:
                        return None
                    raise

        found = await asyncio.gather(*(read(workflow_id) for workflow_id in workflow_ids))
        return [goal for goal in found if goal is not None]


def _present(view: GoalView) -> GoalView:
    """The same, unless the goal was deleted.

    Raises:
        DomainError: `not_found` on `goal`.
    """
    if view.deleted:
        raise no_goal()
    return view


def no_goal() -> DomainError:
    """The problem of whoever asks for a goal that is not there."""
    return DomainError(
        ErrorKind.NOT_FOUND, "goal", "there is no goal here: create one with `tickless goal create`"
    )


def _may_be(execution: WorkflowExecution, wanted: GoalStatus | None) -> bool:
    """Whether there is a goal, and it may have a status, as far as visibility knows."""
    if execution.status not in _LASTING:
        return False
    status = execution.typed_search_attributes.get(attributes.STATUS)
    return status != AfterEvent.DELETED and (wanted is None or status in {wanted, None, _PARKED})


def _created(execution: WorkflowExecution) -> str:
    created: datetime | None = execution.typed_search_attributes.get(attributes.CREATED)
    return (created or execution.start_time).astimezone(UTC).isoformat()
