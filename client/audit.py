"""The audit, as a caller reads it: the calls of tools of a run or job, and everything for export.

Owns the library calls; the ledger's side is `activities.audit_reads`'. Source:
triggers-and-actions.md §7 and §10.

Invariant: calls of a run or job are told to callers of its scope. An export is the operator's: it
holds the rows of all scopes.
"""

from collections.abc import AsyncGenerator, Collection
from typing import Any, Final

from temporalio.client import Client

from client.context import CallerContext
from client.ledger import LedgerCalls
from client.pages import check_limit
from domain.audit import ActionPage, AuditPage, AuditTable
from domain.errors import DomainError, ErrorKind
from domain.fields import is_unicode, shown
from domain.ledger_requests import ExportAudit, ListActions

_PAGE: Final = 200


class Audit:
    """Library calls for the audit."""

    def __init__(self, temporal: Client, context: CallerContext) -> None:
        self._ledger = LedgerCalls(temporal)
        self._context = context

    async def actions(
        self,
        *,
        run_id: str | None = None,
        job_id: str | None = None,
        after: int = 0,
        limit: int = 100,
    ) -> ActionPage:
        """Calls of tools of one run or one job, in their sequence.

        Args:
            run_id: The run; its job's calls are told too.
            job_id: The job, instead of a run.
            after: The sequence of the last call that is known.
            limit: 1 to 200; fewer come when they are long.

        Raises:
            DomainError: `invalid_field` on `limit`; `not_found`; `unavailable` without a worker.
        """
        check_limit(limit)
        wanted = run_id or job_id or ""
        # No row has such a key, and Temporal could not carry it.
        if not is_unicode(wanted):
            raise DomainError(ErrorKind.NOT_FOUND, "id", "")
        question = ListActions(
            scope=self._context.scope().text,
            run_id=run_id,
            job_id=job_id,
            after=after,
            limit=limit,
        )
        return await self._ledger.ask(question, ActionPage)

    async def export(self, tables: Collection[str] = ()) -> AsyncGenerator[dict[str, Any]]:
        """All rows of the audit, those of a table in order of time.

        Args:
            tables: `runs`, `jobs`, `job_actions`, `llm_calls`, `approvals`; none is all.

        Yields:
            A row with the name of its table under `table`.

        Raises:
            DomainError: `invalid_field` on `tables`; `unavailable` without a worker.
        """
        for table in _read_tables(tables):
            question = ExportAudit(table=table, limit=_PAGE)
            while True:
                page = await self._ledger.ask(question, AuditPage)
                for row in page.rows:
                    yield {"table": table.value, **row}
                if page.last_at is None:
                    break
                question = question.model_copy(
                    update={"after_at": page.last_at, "after_id": page.last_id}
                )


def _read_tables(given: Collection[str]) -> list[AuditTable]:
    known = list(AuditTable)
    for name in given:
        if name not in known:
            message = f"tables must be among {', '.join(known)}, not {shown(name)}"
            raise DomainError(ErrorKind.INVALID_FIELD, "tables", message, known)
    return [table for table in known if table in given] or known
