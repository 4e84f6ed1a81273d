"""How an admission decision is told: the verdict for the run, the record for the list of runs.

Owns putting both together from the routine and the fire. The decision itself is
`domain.guardrails`', its booking `domain.run_bookings`'. Source: triggers-and-actions.md §4.

Invariant: nothing here changes the state it is given.
"""

from datetime import datetime

from domain.actions import FullJobAction
from domain.actor import preferred_id
from domain.admission import BeginRun, Decision, RunDefinition, Verdict
from domain.guardrails import AdmissionDecision, Fire
from domain.money import parse_usd
from domain.routine import Routine
from domain.routine_state import RoutineState
from domain.run_conversation import session_of_runs
from domain.run_counting import times_stood_for
from domain.runs import FireKind, RunRecord, RunStatus, run_workflow_id

_STATUS_OF = {
    Decision.RUN: RunStatus.RUNNING,
    Decision.QUEUE: RunStatus.QUEUED,
    Decision.SKIP: RunStatus.SKIPPED,
}


def fire_of(request: BeginRun) -> Fire:
    """The fire as the admission rules see it."""
    return Fire(
        kind=request.kind,
        scheduled_at=request.scheduled_at,
        occurred_at=request.occurred_at,
        content_hash=request.content_hash,
        delivery_digest=request.delivery_digest,
        force=request.force,
    )


def verdict_on(
    state: RoutineState, decision: AdmissionDecision, request: BeginRun, now: datetime
) -> Verdict:
    """A decision as the run is told it."""
    what = Decision(decision.decision)
    admitted, routine = what == Decision.RUN, state.routine
    stands_for = times_stood_for(routine, request, now, state.anchor) if admitted else 1
    return Verdict(
        decision=what,
        reason=decision.reason,
        scope=routine.scope.text,
        title=routine.title or routine.id,
        retry_at=decision.retry_at,
        duplicate_of=decision.duplicate_of,
        started_at=now if admitted else None,
        late_seconds=_late_seconds(request, now),
        stands_for=stands_for,
        next_run_at=routine.next_run_at,
        definition=definition_of(routine, request) if admitted else None,
    )


def definition_of(routine: Routine, request: BeginRun) -> RunDefinition:
    """What a run needs to know of its routine."""
    told, limits = routine.notify.route, routine.guardrails
    is_job = isinstance(routine.action, FullJobAction)
    timeout = request.job_limits.timeout_seconds if is_job else request.run_timeout_seconds
    return RunDefinition(
        routine_id=routine.id,
        title=routine.title or routine.id,
        scope=routine.scope,
        session_key=session_of_runs(routine),
        # A route of its own is another conversation than that of the session.
        result_session=routine.session_key if is_job and told is None else "",
        timezone=routine.timezone,
        action=routine.action,
        route=told or routine.route,
        # Nor is it that of the source message.
        reply_to=None if told else routine.source_message_id or None,
        threaded=told is None,
        notify=routine.notify,
        run_timeout_seconds=limits.run_timeout_seconds or timeout,
        job_limits=request.job_limits,
        fresh=routine.fresh,
        resume_thread_id=None if routine.fresh else routine.resume_thread_id,
        user_id=preferred_id(routine.creator),
        allowed_tools=limits.allowed_tools,
        max_tool_calls=limits.max_tool_calls,
        max_tokens_total=limits.max_tokens_total,
        max_cost_micros=None if limits.max_cost_usd is None else parse_usd(limits.max_cost_usd),
    )


def record_of(request: BeginRun, routine_id: str, verdict: Verdict, now: datetime) -> RunRecord:
    """The record of a run as its verdict leaves it."""
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


def _late_seconds(request: BeginRun, now: datetime) -> int:
    """How long after its nominal time a fire is decided; a backfill is late on purpose."""
    nominal = None if request.kind == FireKind.BACKFILL else request.scheduled_at
    return max(0, int((now - (nominal or request.occurred_at)).total_seconds()))
