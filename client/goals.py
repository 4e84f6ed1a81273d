"""Goals, as a caller works with them: set one, look at it, pause, delay, extend, complete it.

Owns the library calls. Whose goal is meant is `client.goal_places`', where it is read
`client.goal_reader`'s; what may happen to one is decided by its workflow. Source: automation.md §9
and §13.

Invariants:
    1. A caller has one goal: that of its user, or of its thread of a group chat.
    2. A goal that has ended is asked by its result; what may still happen to it starts its workflow
       again from there.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict
from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from ulid import ULID

from activities import search_attributes as attributes
from activities.entity_updates import EntityUpdates, NoAnswer
from client.connection import translated
from client.context import CallerContext
from client.goal_places import GoalPlace, goal_place
from client.goal_reader import GoalAnswer, GoalList, GoalReader
from client.json_objects import checked_object
from client.pages import wait_until_listed
from client.settings import Settings
from client.ui_links import UiLinks
from domain.actor import preferred_id
from domain.errors import DomainError, ErrorKind
from domain.goal import GoalEvent, is_terminal, transition
from domain.goal_bodies import GoalVerb, read_creation, read_request
from domain.goal_messages import CreateGoal, DeleteGoal, GoalStart, GoalView
from domain.goal_record import Goal, GoalStatus
from domain.goal_state import GoalJob, GoalLimits
from domain.goal_view import check_creation, is_repeated
from domain.guardrails import content_hash
from domain.identifiers import RUNS_QUEUE
from domain.money import parse_usd
from domain.runs import hex32
from domain.scopes import Scope

PATIENCE: Final = timedelta(seconds=10)
# Whoever gets no answer knows by these whether the start was its own.
MEMO_GOAL: Final = "goal"
MEMO_KEY: Final = "create_key"
_DELETE: Final = "delete"
_SUMMARY_CHARS: Final = 200


class GoalDefaults(BaseModel):
    """What the settings say of new goals."""

    model_config = ConfigDict(frozen=True)

    deadline: str = "48h"
    timezone: str = "UTC"
    limits: GoalLimits = GoalLimits()
    job: GoalJob = GoalJob()
    judge: str | None = None

    @classmethod
    def of_settings(cls, settings: Settings) -> "GoalDefaults":
        """The values of a deployment."""
        cost = settings.goal_max_cost_usd
        return cls(
            deadline=settings.goal_deadline,
            timezone=settings.default_timezone,
            limits=GoalLimits(
                run_timeout_seconds=settings.goal_iteration_timeout_seconds,
                fast_loop_limit=settings.fast_loop_limit,
                fast_loop_seconds=settings.fast_loop_seconds,
                no_progress_limit=settings.goal_no_progress_limit,
                max_iterations=settings.goal_max_iterations,
                max_tokens_total=settings.goal_max_tokens_total,
                max_cost_micros=None if cost is None else parse_usd(cost),
            ),
            job=GoalJob(
                max_steps=settings.goal_iteration_steps,
                step_timeout_seconds=settings.job_step_timeout_seconds,
                step_heartbeat_seconds=settings.job_step_heartbeat_seconds,
                approval_timeout_seconds=settings.approval_timeout_seconds,
            ),
            judge=settings.goal_judge_model,
        )


class GoalCreated(BaseModel):
    """Answer of `create`; `goal` is null while no worker has taken the creation up."""

    id: str
    workflow_id: str
    accepted: bool = False
    goal: GoalAnswer | None = None


class Goals:
    """Library calls for the goal of one caller; `list` alone is for operators."""

    def __init__(
        self,
        temporal: Client,
        updates: EntityUpdates,
        context: CallerContext,
        links: UiLinks,
        defaults: GoalDefaults | None = None,
    ) -> None:
        self._temporal = temporal
        self._updates = updates
        self._context = context
        self._defaults = defaults or GoalDefaults()
        self._reader = GoalReader(temporal, links)

    async def create(
        self,
        goal: str | Mapping[str, object],
        *,
        deadline_in: str | None = None,
        idempotency_key: str | None = None,
    ) -> GoalCreated:
        """Set a goal; its first iteration begins at once where there is a thread to work in.

        Args:
            goal: The objective, or the JSON object with `objective` and `deadline_in`.
            deadline_in: How far away the deadline is, such as `48h`; for an objective alone.
            idempotency_key: Makes a repetition the same goal, also after it has ended.

        Returns:
            The goal, or only its ids (`accepted`) when no worker answered within 10 s.

        Raises:
            DomainError: What is wrong with the body; `conflict` on `goal` while there is one;
                `conflict` on `idempotency_key` when it was used with another body.
        """
        body = {"objective": goal, "deadline_in": deadline_in} if isinstance(goal, str) else goal
        place = self._place()
        request = self._creation(place, checked_object(body), idempotency_key)
        if idempotency_key and (before := await self._created_before(place, request)):
            return self._told_created(place, before)
        try:
            with translated(request.goal.id):
                view = await self._send(
                    place,
                    "create",
                    request,
                    update_id=f"{request.create_key}:{request.create_digest}",
                    start=GoalStart(create=request),
                )
        except NoAnswer:
            id = await self._accepted(place, request)
            return GoalCreated(id=id, workflow_id=place.workflow_id, accepted=True)
        named = attributes.quoted(place.workflow_id)
        listed = f"WorkflowId = '{named}' AND ExecutionStatus = 'Running'"
        await wait_until_listed(self._temporal, listed)
        return self._told_created(place, view)

    async def get(self) -> GoalAnswer:
        """The goal as it stands, or as it ended.

        Raises:
            DomainError: `not_found` on `goal`; `unavailable` without a worker.
        """
        return self._reader.told(await self._reader.view(self._place().workflow_id))

    async def list(
        self, *, status: str | None = None, limit: int = 20, cursor: str | None = None
    ) -> GoalList:
        """The goals of all scopes, newest first; for operators.

        Args:
            status: `active`, `paused`, `complete`, `timeout`, `waiting_for_session`; blank is all.
            limit: 1 to 200.
            cursor: `next_cursor` of the page before.

        Raises:
            DomainError: `invalid_field` on `status`, `limit` or `cursor`; `unavailable`.
        """
        return await self._reader.page(status, limit, cursor)

    async def of_scope(self) -> Sequence[GoalAnswer]:
        """The goals of the caller's scope, oldest first; of a chat those of all its threads.

        Raises:
            DomainError: `unavailable` without a worker.
        """
        return await self._reader.of_scope(self._context.scope().text)

    async def pause(self, *, now: bool = False) -> GoalAnswer:
        """Pause the goal when its iteration has ended; `now` interrupts that.

        Raises:
            DomainError: `not_found` on `goal`; `conflict` on `status`.
        """
        return await self.change(GoalVerb.PAUSE, {"now": now})

    async def resume(self) -> GoalAnswer:
        """Go on at once, all brakes released; wakes a delayed goal too.

        Raises:
            DomainError: `not_found` on `goal`; `conflict` on `status`.
        """
        return await self.change(GoalVerb.RESUME, {})

    async def complete(self, summary: str = "") -> GoalAnswer:
        """The goal is reached; an iteration that runs ends, and no other follows.

        Raises:
            DomainError: `not_found` on `goal`.
        """
        return await self.change(GoalVerb.COMPLETE, {"summary": summary})

    async def delay(self, duration: str, reason: str) -> GoalAnswer:
        """Let the goal rest: `0s` goes on at once, 1 minute to 12 hours wait.

        Raises:
            DomainError: On `duration` or `reason`; `not_found` on `goal`; `conflict` on `status`.
        """
        return await self.change(GoalVerb.DELAY, {"duration": duration, "reason": reason})

    async def wait(self, event: str, duration: str, reason: str) -> GoalAnswer:
        """Let the goal rest until an event `source:event_type` comes, or the time is over.

        Raises:
            DomainError: On `event`, `duration` or `reason`; `not_found` on `goal`; `conflict` on
                `status`.
        """
        body = {"event": event, "duration": duration, "reason": reason}
        return await self.change(GoalVerb.WAIT, body)

    async def extend(self, deadline_in: str) -> GoalAnswer:
        """Move the deadline to so far from now; reopens a goal that timed out.

        Raises:
            DomainError: On `deadline_in`; `not_found` on `goal`; `conflict` on `status`.
        """
        return await self.change(GoalVerb.EXTEND, {"deadline_in": deadline_in})

    async def cancel(self, reason: str | None = None) -> GoalAnswer:
        """End the iteration that runs, not the goal; the next one follows.

        Raises:
            DomainError: `not_found` on `goal`; `conflict` on `status`.
        """
        return await self.change(GoalVerb.CANCEL, {"reason": reason})

    async def change(self, verb: GoalVerb, body: Mapping[str, object]) -> GoalAnswer:
        """What the calls above do, from a JSON object.

        Raises:
            DomainError: What is wrong with the body; `not_found` on `goal`; `conflict` on `status`,
                or on `goal` when another began this moment.
        """
        request = read_request(verb, checked_object(body))
        place = self._place()
        view = await self._asked(place, verb.update, request)
        # One that was deleted a moment ago is about to close.
        if view is not None and not view.deleted:
            return self._reader.told(view)
        ended = await self._reader.ended(place.workflow_id)
        _check_possible(ended.goal, verb)
        if verb.event == GoalEvent.COMPLETE and ended.goal.status == GoalStatus.COMPLETE:
            return self._reader.told(ended)
        return self._reader.told(await self._again(place, verb.update, request, ended))

    async def delete(self) -> None:
        """Remove the goal; an iteration that runs is interrupted.

        Raises:
            DomainError: `not_found` on `goal`; `conflict` on it when another began this moment.
        """
        place = self._place()
        if await self._asked(place, _DELETE, None) is None:
            ended = await self._reader.ended(place.workflow_id)
            await self._again(place, _DELETE, DeleteGoal(), ended)

    # Inside

    def _place(self) -> GoalPlace:
        return goal_place(self._context)

    def _creation(
        self, place: GoalPlace, body: Mapping[str, object], idempotency_key: str | None
    ) -> CreateGoal:
        defaults, context, now = self._defaults, self._context, datetime.now(UTC)
        wanted = read_creation(body, defaults.deadline)
        creator, route = context.actor(), context.route()
        actor = preferred_id(creator)
        key = hex32(f"{place.scope.text}\n{actor}\n{idempotency_key}") if idempotency_key else None
        goal = Goal(
            id=f"goal_{str(ULID()).lower()}",
            objective=wanted.objective,
            deadline_at=now + timedelta(seconds=wanted.deadline_seconds),
            thread_id=context.resume_thread_id.strip() or None,
            scope=place.scope,
            route=route,
            creator=creator,
            session_key=place.session_key,
            created_at=now,
            updated_at=now,
        )
        return CreateGoal(
            goal=goal,
            limits=defaults.limits,
            timezone=defaults.timezone,
            work_scope=place.work_scope,
            user_id=actor,
            create_key=key or str(ULID()),
            create_digest=content_hash(body),
            judge=defaults.judge,
            job=defaults.job,
        )

    async def _created_before(self, place: GoalPlace, request: CreateGoal) -> GoalView | None:
        """What the same request has created, if that has ended since; an open one says it itself.

        Raises:
            DomainError: `conflict` on `idempotency_key` for another body.
        """
        try:
            ended = await self._reader.ended(place.workflow_id)
        except DomainError as error:
            if error.kind is ErrorKind.NOT_FOUND:
                return None
            raise
        if ended.state is None or not is_repeated(ended.state, request):
            return None
        check_creation(ended.state, request)
        return ended

    async def _accepted(self, place: GoalPlace, request: CreateGoal) -> str:
        """The id of the goal that the start without an answer has made, in a former try perhaps.

        Raises:
            DomainError: `unavailable` when another goal is there: a worker has to look at both.
        """
        handle = self._temporal.get_workflow_handle(place.workflow_id)
        with translated(place.workflow_id):
            description = await handle.describe()
            key = await description.memo_value(MEMO_KEY, "")
            goal_id = await description.memo_value(MEMO_GOAL, "")
        if key != request.create_key:
            raise NoAnswer(place.workflow_id, "a goal is there already")
        return str(goal_id)

    async def _asked(
        self, place: GoalPlace, update: str, request: BaseModel | None
    ) -> GoalView | None:
        """What the goal answers; null where its workflow has closed, or never was."""
        try:
            return await self._send(place, update, request)
        except DomainError as error:
            if error.kind is ErrorKind.NOT_FOUND:
                return None
            raise

    async def _again(
        self, place: GoalPlace, update: str, request: BaseModel | None, ended: GoalView
    ) -> GoalView:
        """Ask a goal that has ended, which starts it again; never another that has begun since."""
        meant = request and request.model_copy(update={"goal_id": ended.goal.id})
        return await self._send(place, update, meant, start=GoalStart(view=ended))

    async def _send(
        self,
        place: GoalPlace,
        update: str,
        request: BaseModel | None,
        *,
        update_id: str | None = None,
        start: GoalStart | None = None,
    ) -> GoalView:
        workflow_id = place.workflow_id
        with translated(workflow_id):
            return await self._updates.send(
                workflow_id,
                update,
                request,
                GoalView,
                update_id=update_id or str(ULID()),
                patience=PATIENCE,
                start=None if start is None else lambda: _started(workflow_id, start),
            )

    def _told_created(self, place: GoalPlace, view: GoalView) -> GoalCreated:
        answer = self._reader.told(view)
        return GoalCreated(id=answer.id, workflow_id=place.workflow_id, goal=answer)


def _check_possible(goal: Goal, verb: GoalVerb) -> None:
    """Refuse what may not happen to a goal that has ended.

    Raises:
        DomainError: `conflict` on `status`.
    """
    if verb.event is not None:
        transition(goal.status, verb.event, has_thread=goal.thread_id is not None)
    elif is_terminal(goal.status):
        message = f"status is {goal.status}: there is no iteration to cancel"
        raise DomainError(ErrorKind.CONFLICT, "status", message)


def _started(workflow_id: str, start: GoalStart) -> WithStartWorkflowOperation[object, GoalView]:
    goal, work_scope = _subject(start)
    objective = " ".join(goal.objective.split())[:_SUMMARY_CHARS]
    return WithStartWorkflowOperation(
        "Goal",
        start,
        id=workflow_id,
        task_queue=RUNS_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        search_attributes=_attributes(goal, work_scope),
        memo={MEMO_GOAL: goal.id, MEMO_KEY: start.create.create_key if start.create else ""},
        static_summary=f"goal: {objective}",
        result_type=GoalView,
    )


def _subject(start: GoalStart) -> tuple[Goal, Scope]:
    """The goal that a start is about, and whose tools it has."""
    about = start.create or start.view
    assert about is not None  # a state is what a workflow gives itself
    return about.goal, about.work_scope


def _attributes(goal: Goal, work_scope: Scope) -> TypedSearchAttributes:
    return TypedSearchAttributes(
        [
            SearchAttributePair(attributes.KIND, "goal"),
            SearchAttributePair(attributes.SCOPE, attributes.capped(work_scope.text)),
            SearchAttributePair(attributes.OWNER, attributes.capped(preferred_id(goal.creator))),
            SearchAttributePair(attributes.STATUS, goal.status),
            SearchAttributePair(attributes.CREATED, goal.created_at or datetime.now(UTC)),
        ]
    )
