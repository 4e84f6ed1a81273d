"""The runs of one routine: which hold a place, which waits, how they ended.

Owns every change that a run makes to a `RoutineState`: admission is booked here, outcomes are
recorded here, leases are kept here. The rules are `domain.guardrails`' (may it start),
`domain.routine`'s (what an outcome changes) and `domain.run_counting`'s (is it due, what a start
changes).
Source: DESIGN §3 rules 2-4 and 7, triggers-and-actions.md §4, automation.md §7.

Invariants:
    1. A run id is booked once: the same question gets the same verdict, the same end is counted
       once.
    2. At most `max_concurrent` runs hold a place, and at most one waits for one; nobody waits
        while a place is free.
    3. A place is freed by its run's end, or because its workflow was seen closed; never by time
       alone.
    4. Nothing here awaits, so a check and its booking are one step.
"""

from datetime import datetime, timedelta

from domain.actions import LightweightAction
from domain.admission import (
    BeginRun,
    Decision,
    EndRun,
    MarkRun,
    NoticeKind,
    RunDefinition,
    RunEnded,
    RunMark,
    Verdict,
)
from domain.errors import ErrorKind
from domain.guardrails import (
    AdmissionDecision,
    AdmissionState,
    Fire,
    Reason,
    RecentHash,
    decide_admission,
    recheck_admission,
)
from domain.outcome import Outcome, OutcomeKind, to_record_outcome
from domain.routine import (
    PausedReason,
    Routine,
    RoutineStatus,
    can_manage,
    effective_route,
    record_outcome,
)
from domain.routine_state import OpenRun, RoutineState
from domain.run_counting import (
    count_run,
    is_due,
    pass_over,
    show_present_run,
    times_stood_for,
)
from domain.runs import RunRecord, RunStatus, run_workflow_id

KEPT_RUNS = 100
KEPT_SUMMARY_CHARS = 200
KEPT_WARNINGS = 5
LEASE_GRACE = timedelta(seconds=60)
# A queued run holds nothing yet; somebody looks after it as if it ran this long.
QUEUED_LEASE = timedelta(hours=1)
LOST = "lost"


class RunBookings:
    """Books runs in a `RoutineState`; one instance lives in the routine's workflow."""

    def __init__(self, state: RoutineState) -> None:
        self._state = state

    # Admission

    def begin_run(self, request: BeginRun, now: datetime) -> Verdict:
        """Decide on a fire and book it, or repeat what was decided.

        Args:
            request: The fire.
            now: The routine's clock.

        Returns:
            `run` with the definition, `queue`, `skip` with the reason, or `check`: nothing is
            booked, the caller asks again when it has looked whether the named holders still exist.
        """
        known = self._state.open_runs.get(request.run_id)
        if known is not None:
            return self._again(known, request, now)
        if request.run_id in self._state.refusals:
            return self._state.refusals[request.run_id]
        if any(record.id == request.run_id for record in self._state.ended_runs):
            return Verdict(
                decision=Decision.SKIP, reason=Reason.DUPLICATE, duplicate_of=request.run_id
            )
        if request.actor_id is not None and not can_manage(self._state.routine, request.actor_id):
            return Verdict(
                decision=Decision.SKIP,
                reason=ErrorKind.PERMISSION_DENIED,
                message="manage_mode is creator_only: only the routine's creator may trigger it",
            )
        for run_id in request.closed:
            self.lose(run_id, now)
        decision = self._decide(request, now)
        holders = list(self._state.open_runs)
        if _is_full(decision) and holders and not request.checked:
            return Verdict(decision=Decision.CHECK, holders=holders)
        return self._book(request, decision, now)

    def mark_run(self, request: MarkRun, now: datetime) -> RunEnded:
        """Count an admitted run that waited, or un-count one that waits again.

        Refused for a run that is not admitted, and to count one whose routine is no longer active
        or at its maximum.
        """
        known = self._state.open_runs.get(request.run_id)
        if known is None or known.verdict.decision != Decision.RUN:
            return RunEnded(accepted=False, reason="not_open")
        wanted = request.state == RunMark.RUNNING
        if wanted == known.counted:
            return RunEnded(accepted=True)
        if (reason := self._why_not(wanted)) is not None:
            return RunEnded(accepted=False, reason=reason)
        known.counted = wanted
        if wanted:
            self._count(known.record, now)
        else:
            self._record(Outcome(kind=OutcomeKind.INTERRUPTED), now)
        return RunEnded(accepted=True)

    def end_run(self, request: EndRun, now: datetime) -> RunEnded:
        """Record the outcome of a run and give its place to the one that waits."""
        record, state = request.record, self._state
        known = state.open_runs.pop(record.id, None)
        if known is None:
            # Whoever asks again lost the answer, and with it the notices it calls for.
            return state.endings.get(record.id) or RunEnded(accepted=False, reason="not_open")
        before = state.routine
        state.failure_limit = request.failure_limit
        outcome = to_record_outcome(record.status, record.error)
        if outcome is not None and known.counted:
            self._record(outcome, now)
        else:
            self._show(now)
        answer = RunEnded(
            accepted=True,
            consecutive_failures=state.routine.consecutive_failures,
            notices=_notices(before, state.routine),
        )
        state.endings[record.id] = answer
        self._keep(record)
        self.grant_places()
        return answer

    # Leases

    def next_lease(self) -> datetime | None:
        """When the earliest lease wants somebody to look."""
        return min((run.lease_until for run in self._state.open_runs.values()), default=None)

    def due_leases(self, now: datetime) -> list[str]:
        """The runs whose lease is over: their workflows are to be looked at."""
        return [key for key, run in self._state.open_runs.items() if run.lease_until <= now]

    def extend(self, run_id: str, now: datetime) -> None:
        """Renew the lease of a run that was seen open."""
        if known := self._state.open_runs.get(run_id):
            known.lease_until = now + _lease(known.verdict)

    def lose(self, run_id: str, now: datetime) -> None:
        """Free the place of a run whose workflow was seen closed without an end reported."""
        known = self._state.open_runs.pop(run_id, None)
        if known is None:
            return
        if known.counted:
            self._record(Outcome(kind=OutcomeKind.ERROR, message=LOST), now)
        else:
            self._show(now)
        lost = {"status": RunStatus.FAILED, "error": LOST, "finished_at": now}
        self._keep(known.record.model_copy(update=lost))
        self.grant_places()

    def grant_places(self) -> None:
        """Give free places to runs that wait for one."""
        runs = self._state.open_runs
        free = self._state.routine.guardrails.max_concurrent
        free -= sum(run.holds_place for run in runs.values())
        waiting = [key for key, run in runs.items() if not run.holds_place]
        for run_id in waiting[: max(free, 0)]:
            runs[run_id].granted = True
            self._state.grants.append(run_id)

    # Inside

    def _again(self, known: OpenRun, request: BeginRun, now: datetime) -> Verdict:
        """Repeat a verdict; one that was queued and has its turn now is decided at last."""
        if known.verdict.decision != Decision.QUEUE or not known.granted:
            return known.verdict
        del self._state.open_runs[request.run_id]
        decision = recheck_admission(
            self._state.routine,
            _fire(request),
            self._admission_state(request),
            now,
        )
        verdict = self._book(request, decision, now)
        if verdict.decision == Decision.SKIP:
            self.grant_places()
        return verdict

    def _decide(self, request: BeginRun, now: datetime) -> AdmissionDecision:
        state = self._admission_state(request)
        decision = decide_admission(self._state.routine, _fire(request), state, now)
        if decision.reason in _BEFORE_SUPERSEDED or is_due(
            self._state.routine, request, self._state.anchor
        ):
            return decision
        count = state.skipped.get(Reason.SUPERSEDED, 0) + 1
        return AdmissionDecision(
            decision="skip",
            reason=Reason.SUPERSEDED,
            skipped={**state.skipped, Reason.SUPERSEDED: count},
        )

    def _admission_state(self, request: BeginRun) -> AdmissionState:
        runs = self._state.open_runs.values()
        return AdmissionState(
            system_paused=request.system_paused,
            running=sum(run.holds_place for run in runs),
            queued=sum(not run.holds_place for run in runs),
            last_admitted_at=self._state.last_admitted_at,
            recent_starts=self._state.recent_starts,
            recent_hashes=self._state.recent_hashes,
            skipped=self._state.skipped,
        )

    def _book(self, request: BeginRun, decision: AdmissionDecision, now: datetime) -> Verdict:
        verdict = self._verdict(decision, request, now)
        self._state.skipped = decision.skipped
        record = _record_of(request, self._state.routine.id, verdict, now)
        if verdict.decision == Decision.SKIP:
            self._state.refusals[request.run_id] = verdict
            self._keep(record)
            self._state.routine = pass_over(self._state.routine, request, now, self._state.anchor)
            return verdict
        admitted = verdict.decision == Decision.RUN
        self._state.open_runs[request.run_id] = OpenRun(
            record=record, verdict=verdict, counted=admitted, lease_until=now + _lease(verdict)
        )
        if admitted:
            self._remember(request, now)
            # Without a session there is nothing to wait for, so the run counts at once.
            self._count(record, now)
        return verdict

    def _verdict(self, decision: AdmissionDecision, request: BeginRun, now: datetime) -> Verdict:
        what = Decision(decision.decision)
        admitted, routine, anchor = what == Decision.RUN, self._state.routine, self._state.anchor
        planned = request.scheduled_at or request.occurred_at
        return Verdict(
            decision=what,
            reason=decision.reason,
            retry_at=decision.retry_at,
            duplicate_of=decision.duplicate_of,
            started_at=now if admitted else None,
            late_seconds=max(0, int((now - planned).total_seconds())),
            stands_for=times_stood_for(routine, request, now, anchor) if admitted else 1,
            definition=self._definition(request) if admitted else None,
        )

    def _definition(self, request: BeginRun) -> RunDefinition:
        routine = self._state.routine
        if not isinstance(routine.action, LightweightAction):
            raise TypeError(f"routine {routine.id!r} has an action that runs cannot carry out")
        return RunDefinition(
            routine_id=routine.id,
            title=routine.title or routine.id,
            scope=routine.scope,
            session_key=routine.session_key,
            timezone=routine.timezone,
            action=routine.action,
            route=routine.notify.route or effective_route(routine),
            notify=routine.notify,
            run_timeout_seconds=routine.guardrails.run_timeout_seconds
            or request.run_timeout_seconds,
            fresh=routine.fresh,
            resume_thread_id=None if routine.fresh else routine.resume_thread_id,
        )

    def _remember(self, request: BeginRun, now: datetime) -> None:
        """Book a start for the limits, and forget those too old to limit anything."""
        state, limits = self._state, self._state.routine.guardrails
        state.last_admitted_at = now
        rate = limits.rate_limit
        if rate is not None:
            since = now - timedelta(seconds=rate.window_seconds)
            state.recent_starts = [at for at in state.recent_starts if at > since] + [now]
        digests = [item for item in (request.content_hash, request.delivery_digest) if item]
        if digests:
            since = now - timedelta(seconds=max(300, limits.dedup_window_seconds or 0))
            state.recent_hashes = [item for item in state.recent_hashes if item.at > since] + [
                RecentHash(hash=digest, at=now, run_id=request.run_id) for digest in digests
            ]

    def _count(self, record: RunRecord, now: datetime) -> None:
        counted = count_run(self._state.routine, record, now, self._state.anchor)
        self._state.routine = self._present(counted)

    def _why_not(self, wanted: bool) -> str | None:
        """Why a run may not be counted now; un-counted it may be unless all is over."""
        routine = self._state.routine
        if routine.status == RoutineStatus.DELETED or (
            wanted and routine.status != RoutineStatus.ACTIVE
        ):
            return routine.status
        return Reason.MAX_RUNS if wanted and routine.at_maximum else None

    def _record(self, outcome: Outcome, now: datetime) -> None:
        before, state = self._state.routine, self._state
        routine = record_outcome(
            before, outcome, now, anchor=state.anchor, failure_limit=state.failure_limit
        )
        state.routine = self._present(routine)
        if routine.status != before.status:
            state.schedule_revision += 1

    def _show(self, now: datetime) -> None:
        """Bring the routine's present run up to date after one that was not counted is gone."""
        routine = self._state.routine
        shown = self._present(routine)
        if shown != routine:
            changes = {"updated_at": now, "revision": routine.revision + 1}
            self._state.routine = shown.model_copy(update=changes)

    def _present(self, routine: Routine) -> Routine:
        return show_present_run(routine, self._state.open_runs.values())

    def _keep(self, record: RunRecord) -> None:
        kept = record.model_copy(
            update={
                "summary": record.summary[:KEPT_SUMMARY_CHARS] if record.summary else None,
                "warnings": record.warnings[:KEPT_WARNINGS],
            }
        )
        state = self._state
        state.ended_runs = [*state.ended_runs, kept][-KEPT_RUNS:]
        known = {record.id for record in state.ended_runs}
        state.refusals = {key: value for key, value in state.refusals.items() if key in known}
        state.endings = {key: value for key, value in state.endings.items() if key in known}


# The rows of the table that are asked before it matters whether a time is due.
_BEFORE_SUPERSEDED = frozenset(
    {Reason.DELETED, Reason.PAUSED, Reason.SYSTEM_PAUSED, Reason.MAX_RUNS, Reason.EXPIRED}
)


def _is_full(decision: AdmissionDecision) -> bool:
    return decision.decision == "queue" or decision.reason == Reason.MAX_CONCURRENT


def _lease(verdict: Verdict) -> timedelta:
    if verdict.definition is None:
        return QUEUED_LEASE
    return timedelta(seconds=verdict.definition.run_timeout_seconds) + LEASE_GRACE


def _fire(request: BeginRun) -> Fire:
    return Fire(
        kind=request.kind,
        scheduled_at=request.scheduled_at,
        occurred_at=request.occurred_at,
        content_hash=request.content_hash,
        delivery_digest=request.delivery_digest,
        force=request.force,
    )


_STATUS_OF = {
    Decision.RUN: RunStatus.RUNNING,
    Decision.QUEUE: RunStatus.QUEUED,
    Decision.SKIP: RunStatus.SKIPPED,
}


def _record_of(request: BeginRun, routine_id: str, verdict: Verdict, now: datetime) -> RunRecord:
    return RunRecord(
        id=request.run_id,
        routine_id=routine_id,
        workflow_id=run_workflow_id(request.run_id),
        trigger_type=request.kind,
        trigger_detail=request.trigger_detail,
        occurred_at=request.occurred_at,
        scheduled_at=request.scheduled_at,
        started_at=verdict.started_at,
        finished_at=now if verdict.decision == Decision.SKIP else None,
        status=_STATUS_OF[verdict.decision],
        reason=verdict.reason,
        duplicate_of=verdict.duplicate_of,
        stands_for=verdict.stands_for,
        hop=request.hop,
    )


def _notices(before: Routine, after: Routine) -> list[NoticeKind]:
    """Which notices an outcome calls for: the automatic pause, or the first failure of a streak."""
    if after.paused_reason == PausedReason.FAILURES != before.paused_reason:
        return [NoticeKind.ROUTINE_PAUSED]
    if before.consecutive_failures == 0 and after.consecutive_failures == 1:
        return [NoticeKind.FIRST_FAILURE]
    return []
