"""For whom a model is called: a run, a turn of a chat, a job or a goal.

Owns which row of the ledger a caller is, what a call's row says of it, and whose budgets it uses.
Source: triggers-and-actions.md §10 and §11.

Invariant: exactly one caller; a job of a run counts for that run as well.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from temporalio.exceptions import ApplicationError

from activities.failures import PROMPT_REFUSED
from activities.model_requests import CallModel, GoalCaller
from domain.jobs import JobRecord
from domain.runs import RunRecord
from domain.turns import TurnRecord

if TYPE_CHECKING:
    from activities.store import Ledger


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Attributes:
        record: Its row; a goal has none.
        run_id: The run that calls or works through a job.
        turn_id: The turn that calls.
        job_id: The job that calls.
        goal_id: The goal that calls, or whose iteration the job is.
        routine_id: The routine of the run.
    """

    record: RunRecord | TurnRecord | JobRecord | GoalCaller
    run_id: str | None = None
    turn_id: str | None = None
    job_id: str | None = None
    goal_id: str | None = None
    routine_id: str | None = None

    @classmethod
    def of(cls, request: CallModel) -> Self:
        """The caller of a request.

        Raises:
            ApplicationError: Nobody calls, or more than one does.
        """
        callers = (request.run, request.turn, request.job, request.goal)
        given = [item for item in callers if item is not None]
        if len(given) != 1:
            message = f"a model call needs exactly one of run, turn, job and goal, not {len(given)}"
            raise ApplicationError(message, type=PROMPT_REFUSED, non_retryable=True)
        match given[0]:
            case RunRecord() as run:
                return cls(run, run_id=run.id, routine_id=run.routine_id)
            case TurnRecord() as turn:
                return cls(turn, turn_id=turn.id)
            case JobRecord() as job:
                return cls(
                    job,
                    run_id=job.run_id,
                    job_id=job.id,
                    goal_id=job.goal_id,
                    routine_id=job.routine_id,
                )
            case GoalCaller() as goal:
                return cls(goal, job_id=goal.job_id, goal_id=goal.goal_id)

    @property
    def id(self) -> str:
        """The id of its row, or of the goal."""
        return self.record.goal_id if isinstance(self.record, GoalCaller) else self.record.id

    def put(self, ledger: "Ledger", thread_id: str) -> None:
        """Write its row, with the thread it speaks in.

        Raises:
            StoreError: The database failed, or it names a row that does not exist.
        """
        match self.record:
            case RunRecord() as run:
                ledger.runs.put(run.model_copy(update={"thread_id": thread_id}))
            case TurnRecord() as turn:
                ledger.turns.put(turn.model_copy(update={"thread_id": thread_id}))
            case JobRecord() as job:
                ledger.jobs.put(job.model_copy(update={"thread_id": thread_id}))
            case GoalCaller():
                pass  # its jobs have rows
