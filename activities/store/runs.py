"""The table `runs`: what happened to each run.

Owns reading and writing of `RunRecord`s. Source: triggers-and-actions.md §10.

Invariant: a run that ended is never turned back into one that goes on, whatever arrives late.
"""

from sqlalchemy import select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.store.engine import Database
from activities.store.errors import StoreError
from activities.store.tables import runs
from activities.store.writes import insert_missing
from domain.runs import OPEN_STATUSES, RunRecord


class RunTable:
    """Records of runs, by run id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, record: RunRecord) -> None:
        """Write a record over the one with its id.

        An unfinished record does not replace a finished one; otherwise the last write wins.

        Raises:
            StoreError: The database failed, `thread_id` names no thread, or another run has this
                workflow id.
        """
        row = record.model_dump()
        same = runs.c.id == record.id
        replaceable = runs.c.status.in_(OPEN_STATUSES) if record.status in OPEN_STATUSES else true()

        # Not one upsert: it watches for one unique key, and of two first writes of a run at the
        # same time PostgreSQL would refuse the second for the other key, the workflow id.
        async def put(connection: AsyncConnection) -> None:
            inserting = insert_missing(self._database.dialect, runs, row).returning(runs.c.id)
            if (await connection.execute(inserting)).first():
                return
            if not (await connection.execute(select(runs.c.id).where(same))).first():
                raise StoreError(f"another run has the workflow id {record.workflow_id!r}")
            await connection.execute(update(runs).where(same, replaceable).values(row))

        await self._database.write(put)

    async def get(self, run_id: str) -> RunRecord | None:
        """The record of a run, null if there is none."""
        rows = await self._database.rows(select(runs).where(runs.c.id == run_id))
        return RunRecord.model_validate(dict(rows[0])) if rows else None
