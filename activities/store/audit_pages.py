"""The tables of the audit, read in pages: everything that happened, for export.

Owns the order of each table's rows and going on after one. What a row means is its domain model's.
Source: triggers-and-actions.md §10.

Invariant: rows are ordered by time and key, so a page after another misses nothing that was there,
and repeats nothing.
"""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import Column, Connection, Table, select, tuple_

from activities.store.tables import approvals, job_actions, jobs, llm_calls, runs
from domain.audit import AuditTable

_ORDERED: Final[Mapping[AuditTable, tuple[Table, Column[Any]]]] = MappingProxyType(
    {
        AuditTable.RUNS: (runs, runs.c.occurred_at),
        AuditTable.JOBS: (jobs, jobs.c.created_at),
        AuditTable.JOB_ACTIONS: (job_actions, job_actions.c.started_at),
        AuditTable.LLM_CALLS: (llm_calls, llm_calls.c.started_at),
        AuditTable.APPROVALS: (approvals, approvals.c.requested_at),
    }
)


class AuditPages:
    """Rows of any table of the audit."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def page(
        self, table: AuditTable, after: tuple[datetime, str] | None, limit: int
    ) -> list[tuple[datetime, dict[str, Any]]]:
        """Rows in order, each with its time.

        Args:
            table: Which table.
            after: Time and key of the last row that is known; null begins.
            limit: At most so many.
        """
        source, at = _ORDERED[table]
        query = select(source).order_by(at, source.c.id).limit(limit)
        if after is not None:
            query = query.where(tuple_(at, source.c.id) > tuple_(*after))
        found = self._connection.execute(query).mappings()
        return [(row[at.name], dict(row)) for row in found]
