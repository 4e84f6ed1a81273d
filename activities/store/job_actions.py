"""The table `job_actions`: every call of a tool, by whomever.

Owns the steps of an action's row, and what rate limits count.
Source: triggers-and-actions.md §7 and §10.

Invariants:
    1. Of several attempts of one call one begins it; the others see its row.
    2. A call that ended is not changed any more.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, RowMapping, bindparam, false, func, or_, select, update

from activities.store.key_ranges import begins, bounds
from activities.store.tables import job_actions, jobs
from activities.store.writes import insert, or_nothing
from domain.tool_actions import LOST, ActionRecord, ActionStatus
from domain.tool_results import UNKNOWN_TEXT

_BEGIN: Final = insert(job_actions, lambda new: or_nothing(new).returning(job_actions.c.id))
_BY_ID: Final = select(job_actions).where(job_actions.c.id == bindparam("action_id"))
_END: Final = update(job_actions).where(
    job_actions.c.id == bindparam("action_id"), job_actions.c.status == ActionStatus.STARTED
)
_CLOSE: Final = (
    update(job_actions)
    .where(job_actions.c.status == ActionStatus.STARTED)
    .values(
        status=ActionStatus.UNKNOWN, error=LOST, output=UNKNOWN_TEXT, finished_at=bindparam("at")
    )
)
# The calls of a run's job are not the run's: the job may go on for a while.
_CLOSE_OF_RUN: Final = _CLOSE.where(
    job_actions.c.run_id == bindparam("of_run"), job_actions.c.job_id.is_(None)
)
_CLOSE_OF_JOB: Final = _CLOSE.where(job_actions.c.job_id == bindparam("of_job"))
# The id of a turn's call begins with the turn's, which has an index.
_CLOSE_OF_TURN: Final = _CLOSE.where(begins(job_actions.c.id))
_SORTED: Final = select(job_actions).order_by(
    job_actions.c.sequence, job_actions.c.started_at, job_actions.c.id
)
_OF_RUN: Final = _SORTED.where(job_actions.c.run_id == bindparam("of_run"))
_OF_JOB: Final = _SORTED.where(job_actions.c.job_id == bindparam("of_job"))
_OF_TURN: Final = _SORTED.where(begins(job_actions.c.id))
_OF_GOAL: Final = (
    select(job_actions)
    .join(jobs, job_actions.c.job_id == jobs.c.id)
    .where(jobs.c.goal_id == bindparam("of_goal"))
    .order_by(job_actions.c.started_at.desc(), job_actions.c.id.desc())
)
# What was refused did not run, so it does not count.
_CALLS: Final = (
    select(job_actions.c.started_at)
    .where(
        job_actions.c.user_id == bindparam("of_user"),
        job_actions.c.tool == bindparam("of_tool"),
        job_actions.c.started_at > bindparam("since"),
        job_actions.c.status != ActionStatus.REJECTED,
    )
    .order_by(job_actions.c.started_at.desc())
    .limit(bindparam("at_most"))
)
_LOCK: Final = select(func.pg_advisory_xact_lock(func.hashtextextended(bindparam("counted"), 0)))


class JobActionTable:
    """Calls of tools, by action id."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def begin(self, record: ActionRecord) -> ActionRecord | None:
        """Insert a call unless its id exists.

        Returns:
            Null when this call was begun; the row of an attempt before otherwise.

        Raises:
            StoreError: The database failed, or a run, turn, job or approval that is named does not
                exist.
        """
        statement = _BEGIN[self._connection.dialect.name]
        if self._connection.execute(statement, record.model_dump()).first():
            return None
        return self.get(record.id)

    def end(self, record: ActionRecord) -> ActionRecord:
        """Write how a call ended over the row with which it began.

        Returns:
            The row as stored: that of whoever ended it first.

        Raises:
            StoreError: The database failed.
        """
        changed = self._connection.execute(_END, record.model_dump() | {"action_id": record.id})
        if changed.rowcount:
            return record
        return self.begin(record) or record

    def close_of_run(self, run_id: str, at: datetime) -> None:
        """Write `unknown` over the calls of a run that did not end; those of its job stay.

        Raises:
            StoreError: The database failed.
        """
        self._connection.execute(_CLOSE_OF_RUN, {"of_run": run_id, "at": at})

    def close_of_job(self, job_id: str, at: datetime) -> None:
        """Write `unknown` over the calls of a job that did not end.

        Raises:
            StoreError: The database failed.
        """
        self._connection.execute(_CLOSE_OF_JOB, {"of_job": job_id, "at": at})

    def close_of_turn(self, turn_id: str, at: datetime) -> None:
        """Write `unknown` over the calls of a turn that did not end.

        Raises:
            StoreError: The database failed.
        """
        self._connection.execute(_CLOSE_OF_TURN, bounds(f"{turn_id}/") | {"at": at})

    def get(self, action_id: str) -> ActionRecord | None:
        """A call, null if there is none."""
        row = self._connection.execute(_BY_ID, {"action_id": action_id}).mappings().one_or_none()
        return _action(row) if row else None

    def of_run(self, run_id: str) -> list[ActionRecord]:
        """The calls of a run in their sequence."""
        found = self._connection.execute(_OF_RUN, {"of_run": run_id})
        return [_action(row) for row in found.mappings()]

    def of_job(self, job_id: str) -> list[ActionRecord]:
        """The calls of a job in their sequence."""
        found = self._connection.execute(_OF_JOB, {"of_job": job_id})
        return [_action(row) for row in found.mappings()]

    def of_turn(self, turn_id: str) -> list[ActionRecord]:
        """The calls of a turn in their sequence."""
        found = self._connection.execute(_OF_TURN, bounds(f"{turn_id}/"))
        return [_action(row) for row in found.mappings()]

    def of_goal(
        self, goal_id: str, endings: Sequence[str] | None = None, at_most: int = 100
    ) -> list[ActionRecord]:
        """The calls that the jobs of a goal have made, newest first.

        Args:
            goal_id: The goal.
            endings: Only those whose id is one of these or ends in a slash and one of these; null
                for all.
            at_most: Only so many.
        """
        query = _OF_GOAL
        if endings is not None:
            key = job_actions.c.id
            named = [key == end for end in endings]
            ending = [key.endswith(f"/{end}", autoescape=True) for end in endings]
            query = query.where(or_(false(), *named, *ending))
        found = self._connection.execute(query.limit(at_most), {"of_goal": goal_id})
        return [_action(row) for row in found.mappings()]

    def calls_since(self, user_id: str, tool: str, since: datetime, at_most: int) -> list[datetime]:
        """When a user's calls of a tool began, after an instant; the newest first.

        Until the transaction ends nobody else counts the same calls, so that of two that begin at
        once the second sees the first. On SQLite the transaction is the only writer anyway.
        """
        if self._connection.dialect.name == "postgresql":
            self._connection.execute(_LOCK, {"counted": f"{user_id}\n{tool}"})
        wanted = {"of_user": user_id, "of_tool": tool, "since": since, "at_most": at_most}
        return list(self._connection.execute(_CALLS, wanted).scalars())


def _action(row: RowMapping) -> ActionRecord:
    return ActionRecord.model_validate(dict(row))
