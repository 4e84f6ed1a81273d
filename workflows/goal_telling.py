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

from workflows.delivering import deliver

with workflow.unsafe.imports_passed_through():
    from activities import search_attributes as attributes
    from activities.failures import SYSTEM_PAUSED
    from activities.goals import GoalActivities, PutGoal
    from domain.goal import AfterEvent
    from domain.goal_book import GoalBook
    from domain.goal_messages import GoalView
    from domain.goal_record import GoalWaiting
    from domain.goal_view import goal_details

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
            book, goal, scope = self._book, self._book.goal, self._book.state.work_scope
            notices, events = book.take_notices(), book.take_events()
            if not (notices or events):
                return
            request = PutGoal(
                goal_id=goal.id,
                route=goal.route,
                scope=(scope or goal.scope).text,
                notices=notices,
                events=events,
            )
            try:
                await deliver(GoalActivities.put_goal, request, "tell")
            except BaseException:
                book.put_back(notices, events)
                raise


def show(view: GoalView, user_id: str) -> None:
    """Write how a goal stands where lists and the UI read it."""
    workflow.set_current_details(goal_details(view, workflow.info().namespace))
    goal = view.goal
    wanted: dict[SearchAttributeKey[Any], Any] = {
        attributes.KIND: "goal",
        attributes.SCOPE: attributes.capped(view.work_scope.text),
        attributes.OWNER: attributes.capped(user_id),
        attributes.STATUS: _status(view),
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


def _status(view: GoalView) -> str:
    """The status that lists go by."""
    if view.deleted:
        return AfterEvent.DELETED
    parked = view.goal.waiting_for == GoalWaiting.SYSTEM_PAUSED
    return SYSTEM_PAUSED if parked else view.goal.status
