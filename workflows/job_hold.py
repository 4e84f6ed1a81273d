"""How the job of a goal's iteration lets its goal give the session away while it waits.

Owns the job's side: saying that it waits, saying that it may go on, and not going on before the
goal holds the session again. The goal's side is `workflows.goal_rounds`'. A job of nobody's goal
does nothing of this. Source: automation.md §8 and §9.

Invariant: a job whose goal is gone ends; it would wait for ever.
"""

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from workflows.cancellations import raise_if_cancelled

with workflow.unsafe.imports_passed_through():
    from domain.goal_messages import ITERATION_WAITS, IterationWaits, JobWaits
    from domain.job_messages import StartJob

NO_GOAL = "its goal is gone"


class GoalGone(Exception):
    """Nobody waits for this iteration any more."""


class JobHold:
    """One job's part in its goal's hold of a session."""

    def __init__(self, start: StartJob) -> None:
        self._goal = start.owner if start.record.goal_id else None
        self._job_id = start.record.id
        self._waits_for: JobWaits | None = None
        self._held = False

    @property
    def is_away(self) -> bool:
        """Whether the goal knows that the job waits: it may not go on until `come_back`."""
        return self._waits_for is not None

    def held(self) -> None:
        """The goal holds the session again."""
        self._held = True

    async def give_way(self, waiting_for: JobWaits) -> None:
        """Say that the job waits, so that others may speak meanwhile.

        Raises:
            GoalGone: There is nobody to say it to.
        """
        # Said once, however often it is looked whether the wait is over.
        if self._goal is not None and waiting_for != self._waits_for:
            self._waits_for = waiting_for
            await self._say(waiting_for)

    async def come_back(self) -> None:
        """Wait until the goal holds the session again.

        Raises:
            GoalGone: It will not.
        """
        if self._goal is not None:
            self._waits_for, self._held = None, False
            await self._say(None)
            raise_if_cancelled()
            await workflow.wait_condition(lambda: self._held)

    async def _say(self, waiting_for: JobWaits | None) -> None:
        goal = workflow.get_external_workflow_handle(self._goal or "")
        waits = IterationWaits(job_id=self._job_id, waiting_for=waiting_for)
        try:
            await goal.signal(ITERATION_WAITS, waits)
        except ApplicationError as error:
            raise GoalGone from error
