"""What a goal tells: notices to people, events to routines, how it stands to lists and the UI.

Owns when it is told. What is said is the book's. Source: automation.md §9 (Notices), DESIGN §3.

Invariants:
    1. One activity tells at a time, so notices go out in order; it is never broken off, because
       what may have been sent is not sent again.
    2. What was not written down is told by whoever tells next; the outbox says it once.
    3. A search attribute is written only when it has changed.
"""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeKey, SearchAttributeUpdate
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities import search_attributes as attributes
    from activities import timeouts
    from activities.failures import SYSTEM_PAUSED
    from activities.goals import GoalActivities, GoalRound, PutGoal, PutGoalAnswer
    from domain.goal_book import GoalBook
    from domain.goal_messages import GoalView
    from domain.goal_record import GoalWaiting
    from domain.goal_view import goal_details
    from domain.identifiers import RUNS_QUEUE

TRY_AGAIN = timedelta(minutes=1)


class GoalTelling:
    """Tells what one goal has to say; one instance for each goal."""

    def __init__(self, book: GoalBook) -> None:
        self._book = book
        self._lock = asyncio.Lock()

    @property
    def is_telling(self) -> bool:
        """Whether something is being told right now."""
        return self._lock.locked()

    async def go_on(self) -> None:
        """Tell what comes, until the task is cancelled."""
        while True:
            await workflow.wait_condition(lambda: self._book.has_news and not self._lock.locked())
            try:
                await self.tell()
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise
                # What is worth a retry was retried; a person has to look, and nothing is lost.
                workflow.logger.error("a goal could not tell: %s", error)
                await workflow.sleep(TRY_AGAIN, summary="notices were not recorded")

    async def tell_rest(self) -> bool:
        """Tell what is left at the end; false when it could not be, and is to be tried later."""
        while self._book.has_news or self._lock.locked():
            try:
                await self.tell()
            except ActivityError as error:
                workflow.logger.error("a goal could not tell its end: %s", error)
                return False
        return True

    async def tell(self) -> None:
        """Tell all there is.

        Raises:
            ActivityError: It could not be written down.
        """
        async with self._lock:
            book, state = self._book, self._book.state
            notices, events = book.take_notices(), book.take_events()
            if not (notices or events):
                return
            # What is told is in the texts: the objective, which may be long, is not sent along.
            goal = state.goal.model_copy(update={"objective": ""})
            known = {"goal": goal, "notices": notices, "events": events}
            request = self._request().model_copy(update=known)
            try:
                await _put(request, "tell")
            except BaseException:
                state.notices, state.events = [*notices, *state.notices], [*events, *state.events]
                raise

    async def prompt(self, begins: GoalRound) -> str:
        """The prompt of a round; what there is to tell is told beside it.

        Raises:
            ActivityError: There is none.
        """
        request = self._request().model_copy(update={"round": begins})
        answer = await _put(request, f"round {self._book.goal.iteration}: prompt")
        return answer.prompt

    def _request(self) -> PutGoal:
        state = self._book.state
        return PutGoal(
            goal=state.goal,
            scope=(state.work_scope or state.goal.scope).text,
            timezone=state.timezone,
            now=workflow.now(),
        )


async def _put(request: PutGoal, summary: str) -> PutGoalAnswer:
    return await workflow.execute_activity_method(
        GoalActivities.put_goal,
        request,
        task_queue=RUNS_QUEUE,
        start_to_close_timeout=timeouts.DELIVERY_START_TO_CLOSE,
        heartbeat_timeout=timeouts.DELIVERY_HEARTBEAT,
        retry_policy=timeouts.DELIVERY_RETRY,
        summary=summary,
    )


def show(view: GoalView, user_id: str) -> None:
    """Write how a goal stands where lists and the UI read it."""
    workflow.set_current_details(goal_details(view, workflow.info().namespace))
    goal = view.goal
    parked = goal.waiting_for == GoalWaiting.SYSTEM_PAUSED
    wanted: dict[SearchAttributeKey[Any], Any] = {
        attributes.KIND: "goal",
        attributes.SCOPE: attributes.capped(view.work_scope.text),
        attributes.OWNER: attributes.capped(user_id),
        attributes.STATUS: SYSTEM_PAUSED if parked else str(goal.status),
        attributes.CREATED: goal.created_at,
        attributes.DUE: view.next_at or goal.deadline_at,
        attributes.TRIGGER: attributes.capped(view.wait_event) if view.wait_event else None,
    }
    known = workflow.info().typed_search_attributes
    updates: list[SearchAttributeUpdate[Any]] = [
        key.value_unset() if value is None else key.value_set(value)
        for key, value in wanted.items()
        if known.get(key) != value
    ]
    if updates:
        workflow.upsert_search_attributes(updates)
