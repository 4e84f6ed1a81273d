"""The table `jobs`: what became of each job.

Owns reading and writing of `JobRecord`s. Source: triggers-and-actions.md §6 and §10.

Invariant: what arrives late changes nothing: neither is a job that ended turned back into one that
goes on, nor a row into one of an earlier revision.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import Connection, RowMapping, and_, bindparam, or_, select, update

from activities.store.errors import StoreError
from activities.store.tables import jobs
from activities.store.writes import insert, or_nothing
from domain.jobs import TERMINAL_STATUSES, JobRecord, JobStatus
from domain.usage import Spent

_INSERT: Final = insert(jobs, lambda new: or_nothing(new).returning(jobs.c.id))
_OF_ID: Final = update(jobs).where(jobs.c.id == bindparam("job_id"))
_REPLACE: Final = _OF_ID.where(jobs.c.revision <= bindparam("of_revision"))
_REPLACE_OPEN: Final = _REPLACE.where(jobs.c.status.not_in(TERMINAL_STATUSES))
_CLOSE: Final = _OF_ID.where(jobs.c.status.not_in(TERMINAL_STATUSES))
_BY_ID: Final = select(jobs).where(jobs.c.id == bindparam("job_id"))
_OF_RUN: Final = select(jobs).where(jobs.c.run_id == bindparam("of_run"))
_OF_GOAL: Final = (
    select(jobs)
    .where(jobs.c.goal_id == bindparam("of_goal"))
    .order_by(jobs.c.created_at.desc(), jobs.c.id.desc())
)
_WAITING_IN: Final = (
    select(jobs.c.id)
    .where(jobs.c.status == JobStatus.WAITING_APPROVAL)
    .where(jobs.c.thread_id == bindparam("in_thread"))
    .limit(1)
)
_NEWEST: Final = select(jobs).order_by(jobs.c.created_at.desc(), jobs.c.id)


class JobTable:
    """Records of jobs, by job id."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, record: JobRecord) -> None:
        """Write a record over the one with its id.

        An unfinished record does not replace a finished one, nor an earlier revision a later one.
        The description never changes, and later records need not carry it. A run and its job refer
        to each other: both are written in one transaction, in any order.

        Raises:
            StoreError: The database failed, `run_id` or `thread_id` names nothing, or another job
                works for this run.
        """
        row = record.model_dump()
        if self._connection.execute(_INSERT[self._connection.dialect.name], row).first():
            return
        replace = _REPLACE if record.status in TERMINAL_STATUSES else _REPLACE_OPEN
        del row["description"]
        wanted = row | {"job_id": record.id, "of_revision": record.revision}
        changed = self._connection.execute(replace, wanted)
        if changed.rowcount == 0 and self.get(record.id) is None:
            raise StoreError(f"another job works for the run {record.run_id!r}")

    def close(self, record: JobRecord) -> None:
        """End the row of a job that nothing carries any more; made if there is none.

        What the row knows of its steps stays, but for what they are known to have spent; one that
        has ended stays as it ended.

        Raises:
            StoreError: As `put`.
        """
        self.put(record.model_copy(update={"revision": 0}))
        ended = {
            "status": record.status,
            "error": record.error,
            "finished_at": record.finished_at,
            "waiting_for": None,
            "revision": jobs.c.revision + 1,
        }
        for name in Spent.model_fields:
            if (spent := getattr(record, name)) is not None:
                ended[name] = spent
        self._connection.execute(_CLOSE.values(ended), {"job_id": record.id})

    def get(self, job_id: str) -> JobRecord | None:
        """The record of a job, null if there is none."""
        row = self._connection.execute(_BY_ID, {"job_id": job_id}).mappings().one_or_none()
        return _job(row) if row else None

    def of_run(self, run_id: str) -> JobRecord | None:
        """The job that works for a run, null if there is none."""
        row = self._connection.execute(_OF_RUN, {"of_run": run_id}).mappings().one_or_none()
        return _job(row) if row else None

    def of_goal(self, goal_id: str, at_most: int) -> list[JobRecord]:
        """The newest iterations of a goal, newest first."""
        found = self._connection.execute(_OF_GOAL.limit(at_most), {"of_goal": goal_id})
        return [_job(row) for row in found.mappings()]

    def waits_in(self, thread_id: str) -> bool:
        """Whether a job that works in a thread waits for an approval."""
        return self._connection.execute(_WAITING_IN, {"in_thread": thread_id}).first() is not None

    def listing(
        self,
        limit: int,
        *,
        status: str | None = None,
        before: datetime | None = None,
        before_id: str = "",
        scope: str | None = None,
    ) -> list[JobRecord]:
        """The newest jobs first.

        Args:
            limit: At most so many.
            status: Of one status only.
            before: Made earlier than this,
            before_id: or at the same time, and after this one in the list.
            scope: Of one scope only, in text form.
        """
        query = _NEWEST if status is None else _NEWEST.where(jobs.c.status == status)
        if scope is not None:
            query = query.where(jobs.c.scope == scope)
        if before is not None:
            earlier = jobs.c.created_at < before
            beside = and_(jobs.c.created_at == before, jobs.c.id > before_id)
            query = query.where(or_(earlier, beside) if before_id else earlier)
        return [_job(row) for row in self._connection.execute(query.limit(limit)).mappings()]


def _job(row: RowMapping) -> JobRecord:
    return JobRecord.model_validate(dict(row))
