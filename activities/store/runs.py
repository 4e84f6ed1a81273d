"""The table `runs`: what happened to each run.

Owns reading and writing of `RunRecord`s. Source: triggers-and-actions.md §10.

Invariant: a run that ended is never turned back into one that goes on, whatever arrives late.
"""

from typing import Any, Final

from sqlalchemy import Connection, bindparam, select, update

from activities.store.errors import StoreError
from activities.store.tables import runs
from activities.store.writes import insert, or_nothing
from domain.runs import OPEN_STATUSES, RunRecord

_INSERT: Final = insert(runs, lambda new: or_nothing(new).returning(runs.c.id))
_REPLACE: Final = update(runs).where(runs.c.id == bindparam("run_id"))
_REPLACE_OPEN: Final = _REPLACE.where(runs.c.status.in_(OPEN_STATUSES))
_BY_ID: Final = select(runs).where(runs.c.id == bindparam("run_id"))


class RunTable:
    """Records of runs, by run id."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, record: RunRecord) -> None:
        """Write a record over the one with its id.

        An unfinished record does not replace a finished one; otherwise the last write wins.

        Raises:
            StoreError: The database failed, `thread_id` names no thread, or another run has this
                workflow id.
        """
        row = record.model_dump()
        ended = record.status not in OPEN_STATUSES
        # Not one upsert: it watches for one unique key, and of two first writes of a run at the
        # same time PostgreSQL would refuse the second for the other key, the workflow id. What is
        # likely comes first: a run that goes on is new, one that ended is known.
        if ended and self._replace(row, ended=True):
            return
        if self._insert(row) or self._replace(row, ended=ended) or self.get(record.id):
            return
        raise StoreError(f"another run has the workflow id {record.workflow_id!r}")

    def get(self, run_id: str) -> RunRecord | None:
        """The record of a run, null if there is none."""
        row = self._connection.execute(_BY_ID, {"run_id": run_id}).mappings().one_or_none()
        return RunRecord.model_validate(dict(row)) if row else None

    def _insert(self, row: dict[str, Any]) -> bool:
        statement = _INSERT[self._connection.dialect.name]
        return self._connection.execute(statement, row).first() is not None

    def _replace(self, row: dict[str, Any], *, ended: bool) -> bool:
        statement = _REPLACE if ended else _REPLACE_OPEN
        return self._connection.execute(statement, row | {"run_id": row["id"]}).rowcount > 0
