"""How the job of a goal's iteration lets its goal give the session away while it waits.

Owns the job's side: saying that it waits, saying that it may go on, and not going on before the
goal holds the session again. The goal's side is `workflows.goal_rounds`'. A job of nobody's goal
does nothing of this. Source: automation.md §8 and §9.

Invariant: a job whose goal is gone ends; it would wait for ever.
"""

from typing import Literal

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from workflows.cancellations import raise_if_cancelled

with workflow.unsafe.imports_passed_through():
    from domain.goal_messages import ITERATION_WAITS, IterationWaits
    from domain.goal_record import GoalWaiting
    from domain.job_messages import StartJob

NO_GOAL = "its goal is gone"


class GoalGone(Exception):
    """Nobody waits for this iteration any more."""


class JobHold:
    """One job's part in its goal's hold of a session."""

    def __init__(self, start: StartJob) -> None:
        self._goal = start.owner if start.record.goal_id else None
        self._job_id = start.record.id
        self._held = False

    def held(self) -> None:
        """The goal holds the session again."""
        self._held = True

    async def give_way(self, waiting_for: "GoalWaiting | Literal['budget']") -> None:
        """Say that the job waits, so that others may speak meanwhile.

        Raises:
            GoalGone: There is nobody to say it to.
        """
        if self._goal is not None:
            await self._say(waiting_for)

    async def come_back(self) -> None:
        """Wait until the goal holds the session again.

        Raises:
            GoalGone: It will not.
        """
        if self._goal is not None:
            self._held = False
            await self._say(None)
            raise_if_cancelled()
            await workflow.wait_condition(lambda: self._held)

    async def _say(self, waiting_for: "GoalWaiting | Literal['budget'] | None") -> None:
        goal = workflow.get_external_workflow_handle(self._goal or "")
        waits = IterationWaits(job_id=self._job_id, waiting_for=waiting_for)
        try:
            await goal.signal(ITERATION_WAITS, waits)
        except ApplicationError as error:
            raise GoalGone from error
