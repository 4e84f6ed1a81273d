"""The runs of one routine: which hold a place, which waits, how they ended.

Owns every change that a run makes to a `RoutineState`: admission is booked here, outcomes are
recorded here, leases are kept here. The rules are `domain.guardrails`' (may it start),
`domain.routine`'s (what an outcome changes) and `domain.run_counting`'s (is it due, what a start
changes); how a verdict is worded is `domain.verdicts`'.
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

from collections.abc import Sequence
from datetime import datetime, timedelta

from domain.admission import (
    BeginRun,
    Decision,
    EndRun,
    MarkRun,
    NoticeKind,
    RunEnded,
    RunMark,
    Verdict,
)
from domain.errors import ErrorKind
from domain.guardrails import (
    AdmissionDecision,
    AdmissionState,
    Reason,
    RecentHash,
    decide_admission,
    recheck_admission,
)
from domain.listeners import still_listens
from domain.outcome import Outcome, OutcomeKind, to_record_outcome
from domain.routine import (
    PausedReason,
    Routine,
    RoutineStatus,
    can_manage,
    record_outcome,
)
from domain.routine_state import LostRun, OpenRun, RoutineState
from domain.run_conversation import after_run, session_of_runs
from domain.run_counting import (
    count_run,
    is_dropped,
    is_due,
    pass_over,
    show_present_run,
)
from domain.run_events import events_of_loss
from domain.runs import KeptRun, RunRecord, RunStatus
from domain.session import gate_key
from domain.trigger_matching import HOP_LIMIT
from domain.verdicts import definition_of, fire_of, record_of, verdict_on
from domain.watchdog import DEFAULT_COOLDOWN_SECONDS, AlertKind, classify

KEPT_RUNS = 100
KEPT_SUMMARY_CHARS = 200
KEPT_WARNINGS = 5
KEPT_MESSAGES = 10
LEASE_GRACE = timedelta(seconds=60)
# A queued run holds nothing yet; somebody looks after it as if it ran this long.
QUEUED_LEASE = timedelta(hours=1)
# A run that goes on past its limit is looked at again when its alert may be repeated.
STUCK_LEASE = timedelta(seconds=DEFAULT_COOLDOWN_SECONDS)
LOST = "lost"
# So many fires in a row without a free place are worth a word.
FULL_STREAK = 3


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
        self._state.grace_seconds = request.grace_seconds
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
        state.routine = after_run(state.routine, request)
        answer = RunEnded(
            accepted=True,
            consecutive_failures=state.routine.consecutive_failures,
            notices=_notices(before, state.routine),
            recorded=known.counted and outcome is not None and outcome.kind in _TOLD,
            next_run_at=state.routine.next_run_at,
            scope=state.routine.scope.text,
            title=state.routine.title or state.routine.id,
            paused_reason=_newly_paused(before, state.routine),
        )
        state.endings[record.id] = answer
        self._keep(record, message_ids=request.message_ids)
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
        """Renew the lease of a run that was seen open; one that takes too long is reported."""
        known = self._state.open_runs.get(run_id)
        if known is None:
            return
        definition, started = known.verdict.definition, known.record.started_at
        if definition is None or started is None or not known.counted:
            known.lease_until = now + _lease(known.verdict)
            return
        limit = definition.run_timeout_seconds
        alert = classify(self._state.routine, now, limit, self._state.grace_seconds)
        if alert is not None and alert.kind == AlertKind.STUCK:
            self._state.alerts.append(alert)
        stuck_at = started + timedelta(seconds=limit + self._state.grace_seconds)
        known.lease_until = stuck_at if stuck_at > now else now + STUCK_LEASE

    def lose(self, run_id: str, now: datetime) -> None:
        """Free the place of a run whose workflow was seen closed without an end reported."""
        state = self._state
        known = state.open_runs.pop(run_id, None)
        if known is None:
            return
        before = state.routine
        if known.counted:
            self._record(Outcome(kind=OutcomeKind.ERROR, message=LOST), now)
        else:
            self._show(now)
        changes = {"status": RunStatus.FAILED, "error": LOST, "finished_at": now}
        record = known.record.model_copy(update=changes)
        self._keep(record)
        state.lost.append(
            LostRun(
                record=record,
                definition=known.verdict.definition,
                notices=_notices(before, state.routine),
                consecutive_failures=state.routine.consecutive_failures,
                events=events_of_loss(record, state.routine, _newly_paused(before, state.routine)),
                scope=state.routine.scope.text,
            )
        )
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
            fire_of(request),
            self._admission_state(request),
            now,
        )
        verdict = self._book(request, decision, now)
        if verdict.decision == Decision.SKIP:
            self.grant_places()
        return verdict

    def _decide(self, request: BeginRun, now: datetime) -> AdmissionDecision:
        state = self._admission_state(request)
        decision = decide_admission(self._state.routine, fire_of(request), state, now)
        reason = self._not_meant(request, now)
        if decision.reason in _BEFORE_SUPERSEDED or reason is None:
            return decision
        skipped = {**state.skipped, reason: state.skipped.get(reason, 0) + 1}
        return AdmissionDecision(decision="skip", reason=reason, skipped=skipped)

    def _not_meant(self, request: BeginRun, now: datetime) -> Reason | None:
        """Why a fire is none of the routine's; it may be of what the routine was before."""
        routine, digest = self._state.routine, request.trigger_digest
        if digest is not None and not still_listens(routine.trigger, digest):
            return Reason.SUPERSEDED
        if not is_due(routine, request, self._state.anchor) or is_dropped(routine, request, now):
            return Reason.SUPERSEDED
        return Reason.HOP_LIMIT if request.hop > HOP_LIMIT else None

    def _admission_state(self, request: BeginRun) -> AdmissionState:
        runs = self._state.open_runs.values()
        return AdmissionState(
            system_paused=request.system_paused,
            running=sum(run.holds_place for run in runs),
            queued=sum(not run.holds_place for run in runs),
            last_admitted_at=self._state.last_admitted_at,
            recent_starts=self._state.recent_starts,
            recent_hashes=self._state.recent_hashes,
            budget_exhausted=request.budget_exhausted,
            skipped=self._state.skipped,
        )

    def _book(self, request: BeginRun, decision: AdmissionDecision, now: datetime) -> Verdict:
        self._state.skipped = decision.skipped
        if decision.decision == "skip":
            return self._refuse(decision, request, now)
        verdict = verdict_on(self._state, decision, request, now)
        record = record_of(request, self._state.routine.id, verdict, now)
        self._state.full_streak = 0
        admitted = verdict.decision == Decision.RUN
        # Without a session there is nothing to wait for, so the run counts at once.
        counted = admitted and not gate_key(session_of_runs(self._state.routine))
        self._state.open_runs[request.run_id] = OpenRun(
            record=record, verdict=verdict, counted=counted, lease_until=now + _lease(verdict)
        )
        if admitted:
            self._remember(request, now)
        if counted:
            self._count(record, now)
        elif admitted:
            self._show(now)
        return verdict

    def _refuse(self, decision: AdmissionDecision, request: BeginRun, now: datetime) -> Verdict:
        state = self._state
        is_full = decision.reason == Reason.MAX_CONCURRENT
        state.full_streak = state.full_streak + 1 if is_full else 0
        state.routine = pass_over(state.routine, request, now, state.anchor)
        verdict = verdict_on(self._state, decision, request, now)
        if state.full_streak == FULL_STREAK:
            told = {
                "notices": [NoticeKind.MAX_CONCURRENT],
                "definition": definition_of(state.routine, request),
            }
            verdict = verdict.model_copy(update=told)
        state.refusals[request.run_id] = verdict
        record = record_of(request, state.routine.id, verdict, now)
        self._keep(record, retry_at=verdict.retry_at)
        return verdict

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

    def _keep(
        self,
        record: RunRecord,
        *,
        retry_at: datetime | None = None,
        message_ids: Sequence[str] = (),
    ) -> None:
        values = record.model_dump()
        values["summary"] = record.summary[:KEPT_SUMMARY_CHARS] if record.summary else None
        values["warnings"] = record.warnings[:KEPT_WARNINGS]
        kept = KeptRun(**values, retry_at=retry_at, message_ids=list(message_ids)[:KEPT_MESSAGES])
        state = self._state
        if state.backfilling == record.id:
            state.backfilling = None
        state.ended_runs = [*state.ended_runs, kept][-KEPT_RUNS:]
        known = {record.id for record in state.ended_runs}
        state.refusals = {key: value for key, value in state.refusals.items() if key in known}
        state.endings = {key: value for key, value in state.endings.items() if key in known}


# The rows of the table that are asked before it matters whether a time is due.
_BEFORE_SUPERSEDED = frozenset(
    {Reason.DELETED, Reason.PAUSED, Reason.SYSTEM_PAUSED, Reason.MAX_RUNS, Reason.EXPIRED}
)


# The outcomes that a completion hook is told of (automation.md §11).
_TOLD = frozenset({OutcomeKind.OK, OutcomeKind.ERROR})


def _is_full(decision: AdmissionDecision) -> bool:
    return decision.decision == "queue" or decision.reason == Reason.MAX_CONCURRENT


def _lease(verdict: Verdict) -> timedelta:
    if verdict.definition is None:
        return QUEUED_LEASE
    return timedelta(seconds=verdict.definition.run_timeout_seconds) + LEASE_GRACE


def _newly_paused(before: Routine, after: Routine) -> str | None:
    paused = after.status == RoutineStatus.PAUSED and before.status != after.status
    return after.paused_reason if paused else None


def _notices(before: Routine, after: Routine) -> list[NoticeKind]:
    """Which notices an outcome calls for: the automatic pause, or the first failure of a streak."""
    if after.paused_reason == PausedReason.FAILURES != before.paused_reason:
        return [NoticeKind.ROUTINE_PAUSED]
    if before.consecutive_failures == 0 and after.consecutive_failures == 1:
        return [NoticeKind.FIRST_FAILURE]
    return []
