"""Runs, as a caller works with them: start one by hand, read it, follow it, end it.

Owns the library calls for runs. A run's truth is its workflow's; once that is closed, its result.
Source: automation.md §6 (Trigger, Cancel, Runs) and §7 (Live text), DESIGN §3 and §4.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from ulid import ULID

from activities import search_attributes as attributes
from activities.entity_updates import EntityUpdates, NoAnswer
from activities.runs import run_attributes
from client.connection import QUERY_TIMEOUT, translated
from client.context import CallerContext
from client.live_answers import live_answer
from client.ui_links import UiLinks
from domain.actor import preferred_id
from domain.admission import Decision, Verdict
from domain.errors import DomainError, ErrorKind
from domain.guardrails import content_hash
from domain.identifiers import RUNS_QUEUE, routine_workflow_id
from domain.run_messages import CancelRun, RunAdmission
from domain.run_start import StartRun
from domain.run_view import RunStage, RunView
from domain.runs import (
    FireKind,
    RunRecord,
    RunStatus,
    manual_occurrence,
    routine_of_run,
    run_id,
    run_workflow_id,
)
from workflows.routine_run import NOT_ADMITTED, RoutineRun

PATIENCE = timedelta(seconds=10)
# How often a watcher looks for new text; the worker reports it at most once a second.
WATCH_INTERVAL = timedelta(milliseconds=150)
START_INTERVAL = timedelta(milliseconds=50)


# The memo that tells a repeated request from another one under the same key.
MEMO_DIGEST = "body_sha256"


class RunStarted(BaseModel):
    """Answer of `trigger`; `verdict` is null while no worker has taken the run up."""

    run_id: str
    workflow_id: str
    ui_url: str
    duplicate: bool = False
    verdict: Verdict | None = None


class RunProgress(BaseModel):
    """A step of a watched run: new text of the model, or (with `view`) a new stage or the end.

    `offset` is the position of `text` in the reply, in characters.
    """

    text: str = ""
    offset: int = 0
    view: RunView | None = None


class Runs:
    """Library calls for runs, in the scope of one caller."""

    def __init__(
        self, temporal: Client, updates: EntityUpdates, context: CallerContext, ui_url: str
    ) -> None:
        self._temporal = temporal
        self._updates = updates
        self._context = context
        self._links = UiLinks(ui_url, temporal.namespace)

    def ui_url(self, run: str) -> str:
        """Where the Temporal UI shows a run; empty where the settings do not say where that is."""
        return self._links.workflow(run_workflow_id(run))

    async def trigger(
        self, routine_id: str, *, force: bool = False, idempotency_key: str | None = None
    ) -> RunStarted:
        """Start one extra run now.

        Args:
            routine_id: A routine of the caller's scope.
            force: Also while it is paused.
            idempotency_key: Makes a repetition the same run.

        Returns:
            The run's ids and the verdict, `run` or `queue`; no verdict without a worker within 10
            s.

        Raises:
            DomainError: `not_found`; `conflict` on `status` or `budget` naming the reason of a
                refusal.
        """
        await self._check_scope(routine_id)
        actor = preferred_id(self._context.actor())
        run = run_id(routine_id, manual_occurrence(actor, idempotency_key, str(ULID())))
        start = StartRun(
            routine_id=routine_id,
            kind=FireKind.MANUAL,
            trigger_detail=actor[:200],
            occurred_at=datetime.now(UTC),
            force=force,
            actor_id=actor,
        )
        started = RunStarted(run_id=run, workflow_id=run_workflow_id(run), ui_url=self.ui_url(run))
        digest = content_hash({"force": force})
        if idempotency_key is not None and await self._is_repeated(run, digest):
            return started.model_copy(update={"duplicate": True})
        try:
            with translated(routine_id):
                admission = await self._updates.send(
                    started.workflow_id,
                    "admission",
                    None,
                    RunAdmission,
                    update_id="admission",
                    patience=PATIENCE,
                    start=lambda: self._operation(started.workflow_id, start, digest),
                )
        except WorkflowAlreadyStartedError:
            # The key was used before and its run has ended: that run is the answer.
            return started.model_copy(update={"duplicate": True})
        except NoAnswer:
            return started
        _raise_refusal(routine_id, admission.verdict)
        return started.model_copy(update={"verdict": admission.verdict})

    async def get(self, run: str) -> RunView:
        """A run as it is now, or as it ended.

        Raises:
            DomainError: `not_found`; `unavailable` when it is open and no worker answers.
        """
        with translated(run):
            description = await self._describe(run)
            return await self._view(run, description)

    async def cancel(self, run: str, *, reason: str = "cancelled by user") -> RunView:
        """End a run as cancelled; a run that has ended stays as it is.

        Raises:
            DomainError: `not_found`; `unavailable` when no worker answers.
        """
        with translated(run):
            description = await self._describe(run)
            if description.status != WorkflowExecutionStatus.RUNNING:
                return await self._view(run, description)
            try:
                await self._updates.send(
                    run_workflow_id(run),
                    "cancel",
                    CancelRun(reason=reason),
                    RunView,
                    update_id=str(ULID()),
                    patience=PATIENCE,
                )
            except DomainError as error:
                # It has ended a moment ago.
                if error.kind != ErrorKind.NOT_FOUND:
                    raise
        return await self.wait(run)

    async def wait(self, run: str) -> RunView:
        """Wait for the end of a run, also of one that is ended from outside."""
        with translated(run):
            await self._describe(run)
            try:
                return await self._result(run)
            except WorkflowFailureError:
                return _lost(run, await self._describe(run))

    async def wait_until_started(self, run: str, *, within: timedelta = PATIENCE) -> None:
        """Wait until a run that is due exists.

        Raises:
            DomainError: `not_found` when it does not within that time.
        """
        deadline = time.monotonic() + within.total_seconds()
        while not await self._exists(run):
            if time.monotonic() > deadline:
                raise DomainError(ErrorKind.NOT_FOUND, "id", run)
            await asyncio.sleep(START_INTERVAL.total_seconds())

    async def watch(self, run: str, *, offset: int = 0) -> AsyncIterator[RunProgress]:
        """Follow a run: its stages, the model's text as it streams, at last the whole view.

        Reading needs no worker: the text is in the heartbeats of the model's activity.

        Args:
            run: The run.
            offset: Characters of the reply that the caller already has.
        """
        stage: RunStage | None = None
        with translated(run):
            while True:
                description = await self._describe(run)
                if description.status != WorkflowExecutionStatus.RUNNING:
                    view = await self._view(run, description)
                    yield RunProgress(text=view.text[offset:], offset=offset, view=view)
                    return
                answer = await live_answer(self._temporal, description)
                live = None if answer is None else answer.text
                if live is not None and live.offset + len(live.tail) > offset:
                    text = live.tail[max(0, offset - live.offset) :]
                    offset = live.offset + len(live.tail)
                    yield RunProgress(text=text, offset=offset - len(text))
                if live is None:
                    view = await self._view(run, description)
                    # A view that has ended before its workflow would come without its last text.
                    if view.stage not in {stage, RunStage.ENDED}:
                        stage = view.stage
                        yield RunProgress(offset=offset, view=view)
                await asyncio.sleep(WATCH_INTERVAL.total_seconds())

    # Inside

    async def _check_scope(self, routine_id: str) -> None:
        """Look for the routine without asking a worker."""
        with translated(routine_id):
            handle = self._temporal.get_workflow_handle(routine_workflow_id(routine_id))
            description = await handle.describe()
        scope = description.typed_search_attributes.get(attributes.SCOPE)
        own = attributes.capped(self._context.scope().text)
        if scope != own or description.status != WorkflowExecutionStatus.RUNNING:
            raise DomainError(ErrorKind.NOT_FOUND, "id", routine_id)

    async def _exists(self, run: str) -> bool:
        try:
            with translated(run):
                await self._describe(run)
        except DomainError as error:
            if error.kind == ErrorKind.NOT_FOUND:
                return False
            raise
        return True

    async def _is_repeated(self, run: str, digest: str) -> bool:
        """Whether a run was asked for before, by the same key.

        Raises:
            DomainError: `conflict` on `idempotency_key` when it was asked for with another body.
        """
        try:
            with translated(run):
                description = await self._describe(run)
                former = await description.memo_value(MEMO_DIGEST, digest)
        except DomainError as error:
            if error.kind == ErrorKind.NOT_FOUND:
                return False
            raise
        if former != digest:
            raise DomainError(
                ErrorKind.CONFLICT,
                "idempotency_key",
                "this idempotency_key was used with another body",
            )
        return True

    def _operation(
        self, workflow_id: str, start: StartRun, digest: str
    ) -> WithStartWorkflowOperation[RoutineRun, RunView]:
        return WithStartWorkflowOperation(
            "RoutineRun",
            start,
            id=workflow_id,
            task_queue=RUNS_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            search_attributes=run_attributes(
                start, self._context.scope().text, start.actor_id or ""
            ),
            static_summary=f"{start.routine_id}: run by hand",
            memo={MEMO_DIGEST: digest},
        )

    async def _describe(self, run: str) -> WorkflowExecutionDescription:
        handle = self._temporal.get_workflow_handle(run_workflow_id(run))
        description = await handle.describe()
        scope = description.typed_search_attributes.get(attributes.SCOPE)
        if scope != attributes.capped(self._context.scope().text):
            raise DomainError(ErrorKind.NOT_FOUND, "id", run)
        return description

    async def _view(self, run: str, description: WorkflowExecutionDescription) -> RunView:
        if description.status == WorkflowExecutionStatus.COMPLETED:
            return await self._result(run)
        if description.status == WorkflowExecutionStatus.RUNNING:
            handle = self._temporal.get_workflow_handle(run_workflow_id(run))
            view: RunView = await handle.query(RoutineRun.view, rpc_timeout=QUERY_TIMEOUT)
            return view
        return _lost(run, description)

    async def _result(self, run: str) -> RunView:
        handle = self._temporal.get_workflow_handle(run_workflow_id(run), result_type=RunView)
        result: RunView = await handle.result()
        return result


def _lost(run: str, description: WorkflowExecutionDescription) -> RunView:
    """What can be said of a run whose workflow was ended from outside."""
    status = description.status.name.lower() if description.status else "gone"
    record = RunRecord(
        id=run,
        routine_id=routine_of_run(run),
        workflow_id=run_workflow_id(run),
        trigger_type=FireKind(
            description.typed_search_attributes.get(attributes.TRIGGER) or FireKind.MANUAL
        ),
        occurred_at=description.start_time,
        finished_at=description.close_time,
        status=RunStatus.FAILED,
        error=f"its workflow was {status} from outside",
    )
    return RunView(record=record, stage=RunStage.ENDED)


_REFUSALS = {
    "paused": "it is paused; resume it, or trigger it with force",
    "deleted": "it is deleted",
    "system_paused": "the whole system is paused; see `tickless resume --all`",
    "max_runs": "it has reached max_runs; raise max_runs above run_count",
    "max_concurrent": "a run is in progress and another one waits already",
    "budget": "its budget is spent",
    NOT_ADMITTED: "it was told to end before the routine had answered",
}


def _raise_refusal(routine_id: str, verdict: Verdict) -> None:
    if verdict.decision != Decision.SKIP:
        return
    reason = verdict.reason or "unknown"
    if reason == ErrorKind.PERMISSION_DENIED:
        raise DomainError(ErrorKind.PERMISSION_DENIED, "manage_mode", verdict.message)
    field = "budget" if reason == "budget" else "status"
    why = _REFUSALS.get(reason, verdict.message or "see the run's record")
    raise DomainError(
        ErrorKind.CONFLICT, field, f"{routine_id} was not run: {reason}: {why}", ["force"]
    )
