"""The way from a run to its routine: Updates, which only activities can send.

Owns the three calls `begin_run`, `mark_run`, `end_run` and the look at holders that admission asks
for. Each runs first as a local activity (7 ms, one marker), and as a normal one when the entity is
slow.

Invariants:
    1. Every call can be repeated: the routine answers by run id, the update id is fixed.
    2. A run whose routine is gone is refused `deleted`, never failed.
    3. What a run tells as an event is told before the answer is: whoever lost the answer tells it
       again, and the same event starts nothing twice.
    4. A fire never passes while everything is paused: the flag is read before the routine is asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from temporalio import activity
from temporalio.client import Client

from activities.budgets import DayBudgets
from activities.control import PauseFlag
from activities.emitting import Emitter, tell_or_retry
from activities.entity_updates import EntityUpdates, retryable_if_silent, update_patience
from activities.runs import is_closed
from domain.admission import (
    BeginRun,
    Decision,
    EndRun,
    JobLimits,
    MarkRun,
    RunEnded,
    Verdict,
)
from domain.emissions import EmittedEvent
from domain.errors import DomainError, ErrorKind
from domain.identifiers import routine_workflow_id
from domain.run_events import events_of_begin, events_of_end
from domain.runs import routine_of_run
from domain.watchdog import DEFAULT_GRACE_SECONDS


@dataclass(frozen=True)
class RunLimits:
    """The worker's settings that admission needs, handed to the routine with each call."""

    run_timeout_seconds: int = 600
    job_limits: JobLimits = field(default_factory=JobLimits)
    failure_limit: int = 3
    grace_seconds: int = DEFAULT_GRACE_SECONDS
    hook: bool = False


class EntityActivities:
    """Talks to routines on behalf of their runs."""

    def __init__(
        self,
        client: Client,
        updates: EntityUpdates,
        pause: PauseFlag,
        limits: RunLimits,
        emitter: Emitter | None = None,
        budgets: DayBudgets | None = None,
    ) -> None:
        self._client = client
        self._updates = updates
        self._pause = pause
        self._limits = limits
        self._emitter = emitter or Emitter(client)
        self._budgets = budgets

    @activity.defn
    async def begin_run(self, request: BeginRun) -> Verdict:
        """Ask the routine for admission.

        Returns:
            The verdict, `run`, `queue` or `skip`; never `check`.

        Raises:
            ApplicationError: `entity_silent`, retryable, when the routine did not answer.
        """
        self._emitter.prepare()
        request = await self._completed(request)
        verdict = await self._begin(request, request.run_id)
        if verdict.decision == Decision.CHECK:
            closed = [holder for holder in verdict.holders if await is_closed(self._client, holder)]
            checked = request.model_copy(update={"checked": True, "closed": closed})
            verdict = await self._begin(checked, f"{request.run_id}:checked")
        await self._emit(events_of_begin(request, verdict), verdict.scope)
        return verdict

    @activity.defn
    async def claim_grant(self, request: BeginRun) -> Verdict:
        """Ask again after a queued run was granted its turn; answers `run` or `skip`."""
        self._emitter.prepare()
        verdict = await self._begin(await self._completed(request), f"{request.run_id}:granted")
        await self._emit(events_of_begin(request, verdict), verdict.scope)
        return verdict

    @activity.defn
    async def mark_run(self, request: MarkRun) -> RunEnded:
        """Count or un-count a run."""
        return await self._tell(
            request.run_id, "mark_run", request, f"mark-{request.state}-{request.turn}"
        )

    @activity.defn
    async def end_run(self, request: EndRun) -> RunEnded:
        """Report the end of a run; answers which notices it calls for."""
        self._emitter.prepare()
        request = request.model_copy(update={"failure_limit": self._limits.failure_limit})
        ended = await self._tell(request.record.id, "end_run", request, "end")
        await self._emit(events_of_end(request.record, ended), ended.scope)
        return ended.model_copy(update={"hook": self._limits.hook})

    async def _emit(self, events: Sequence[EmittedEvent], scope: str) -> None:
        """Tell events of a run before its workflow hears the answer: a crash tells them again."""
        await tell_or_retry(self._emitter, events, scope)

    async def _completed(self, request: BeginRun) -> BeginRun:
        """The request with what only the worker knows."""
        pause = await self._pause.current()
        routine = routine_of_run(request.run_id)
        exhausted = self._budgets is not None and await self._budgets.exhausted(routine)
        return request.model_copy(
            update={
                "system_paused": pause.paused,
                "budget_exhausted": exhausted,
                "run_timeout_seconds": self._limits.run_timeout_seconds,
                "job_limits": self._limits.job_limits,
                "grace_seconds": self._limits.grace_seconds,
            }
        )

    async def _begin(self, request: BeginRun, update_id: str) -> Verdict:
        routine = routine_workflow_id(routine_of_run(request.run_id))
        try:
            return await self._updates.send(
                routine,
                "begin_run",
                request,
                Verdict,
                update_id=update_id,
                patience=update_patience(),
            )
        except DomainError as error:
            if error.kind == ErrorKind.NOT_FOUND:
                return Verdict(
                    decision=Decision.SKIP, reason="deleted", message="the routine is gone"
                )
            raise retryable_if_silent(error) from error

    async def _tell(
        self, run_id: str, update: str, request: MarkRun | EndRun, suffix: str
    ) -> RunEnded:
        routine = routine_workflow_id(routine_of_run(run_id))
        try:
            return await self._updates.send(
                routine,
                update,
                request,
                RunEnded,
                update_id=f"{run_id}:{suffix}",
                patience=update_patience(),
            )
        except DomainError as error:
            if error.kind == ErrorKind.NOT_FOUND:
                return RunEnded(accepted=False, reason="deleted")
            raise retryable_if_silent(error) from error
