"""The activities that answer for the audit and the registry of tools to those outside.

Owns reading; nothing is changed. Each activity has the name of the question it answers
(`domain.ledger_requests`). Source: triggers-and-actions.md §7 and §10, DESIGN §3 (Lists).

Invariants:
    1. Calls of a run or job are told to its own scope; to any other it is not found.
    2. An answer fits into a workflow's result.
"""

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from temporalio import activity

from activities.ledger_reads import answering, fitting
from domain.audit import ActionPage, AuditPage
from domain.errors import DomainError, ErrorKind
from domain.ledger_requests import (
    MAX_ANSWER_BYTES,
    ExportAudit,
    LedgerAnswer,
    ListActions,
    ListTools,
)
from domain.timestamps import format_timestamp
from domain.tool_actions import ActionRecord
from domain.tool_specs import ToolPage

if TYPE_CHECKING:
    # Heavy to import, and this module is imported by workflows.
    from activities.store import Ledger, Store
    from activities.tools.registry import ToolRegistry
    from activities.tools.sandbox import Sandbox

_CUT: Final = {"[cut]": "the arguments are too long to be shown here"}


class AuditReads:
    """Answers questions about what was done, and what can be."""

    def __init__(self, store: "Store", registry: "ToolRegistry", sandbox: "Sandbox") -> None:
        self._store = store
        self._registry = registry
        self._sandbox = sandbox

    def all(self) -> list[Callable[..., Awaitable[LedgerAnswer]]]:
        """The activities, for the worker that serves them."""
        return [self.list_tools, self.list_actions, self.export_audit]

    @activity.defn
    @answering
    async def list_tools(self, question: ListTools) -> ToolPage:
        """All tools of this deployment."""
        ready = await self._sandbox.ready()
        return ToolPage(tools=self._registry.listing(None if ready.ok else ready.reason))

    @activity.defn
    @answering
    async def list_actions(self, question: ListActions) -> ActionPage:
        """The calls of a run or a job, as many as fit."""
        rows = await self._store.read(_actions, question)
        wanted = [_short(row) for row in rows[: question.limit]]
        kept = fitting(wanted)
        return ActionPage(actions=kept, more=len(rows) > len(kept))

    @activity.defn
    @answering
    async def export_audit(self, question: ExportAudit) -> AuditPage:
        """Rows of one table, as many as fit."""
        at = question.after_at
        after = None if at is None else (at, question.after_id)
        found = await self._store.read(
            lambda ledger: ledger.audit.page(question.table, after, question.limit)
        )
        rows: list[dict[str, Any]] = []
        room = MAX_ANSWER_BYTES
        for _, row in found:
            line = json.dumps(row, default=_as_text)
            room -= len(line.encode())
            if rows and room < 0:
                break
            rows.append(json.loads(line))
        if not rows or (len(rows) == len(found) < question.limit):
            return AuditPage(rows=rows)
        last_at, last = found[len(rows) - 1]
        return AuditPage(rows=rows, last_at=last_at, last_id=last["id"])


def _actions(ledger: "Ledger", question: ListActions) -> list[ActionRecord]:
    if question.job_id is not None:
        job = ledger.jobs.get(question.job_id)
        if job is None or job.scope != question.scope:
            raise DomainError(ErrorKind.NOT_FOUND, "id", question.job_id)
        rows = ledger.actions.of_job(question.job_id)
    else:
        key = question.run_id or ""
        run = ledger.runs.get(key)
        thread = ledger.threads.get(run.thread_id) if run and run.thread_id else None
        if thread is None or thread.scope != question.scope:
            raise DomainError(ErrorKind.NOT_FOUND, "id", key)
        rows = ledger.actions.of_run(key)
    return [row for row in rows if row.sequence > question.after]


def _short(row: ActionRecord) -> ActionRecord:
    """A row that fits into an answer by itself."""
    if len(json.dumps(row.arguments)) <= MAX_ANSWER_BYTES // 4:
        return row
    return row.model_copy(update={"arguments": _CUT})


def _as_text(value: Any) -> str:
    return format_timestamp(value)
