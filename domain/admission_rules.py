"""Whether a fire becomes a run: the table of admission, row by row.

Owns the decision. Does not book anything: the routine's workflow does, in the same step. What is
asked and answered is in `domain.admission_facts`. Source: triggers-and-actions.md §4.

Invariants:
    1. The first row that refuses wins; the order of the rows never changes.
    2. Limits are inclusive in favour of the fire: exactly the cooldown, the window or the age
        passes.
    3. Every refusal is counted under its reason; nothing else changes a counter.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from domain.admission_facts import (
    AdmissionDecision,
    AdmissionRoutine,
    AdmissionState,
    Fire,
    Reason,
    RoutineFacts,
)
from domain.guardrail_models import Guardrails, Overlap
from domain.runs import FireKind
from domain.schedule import Catchup
from domain.timestamps import whole_second

# How long a delivery without an id of its own stays the same delivery, at least.
MIN_DELIVERY_WINDOW = timedelta(seconds=300)


@dataclass(frozen=True)
class _Refusal:
    retry_at: datetime | None = None
    duplicate_of: str | None = None


@dataclass(frozen=True)
class _Request:
    """All that a row of the table may look at."""

    routine: RoutineFacts
    fire: Fire
    state: AdmissionState
    now: datetime

    @property
    def limits(self) -> Guardrails:
        return self.routine.guardrails

    @property
    def is_manual(self) -> bool:
        return self.fire.kind is FireKind.MANUAL


def decide_admission(
    routine: RoutineFacts | Mapping[str, object],
    fire: Fire,
    state: AdmissionState,
    now: datetime,
) -> AdmissionDecision:
    """Decide a fire.

    Whether a scheduled time is an occurrence of the current schedule is the caller's test, and so
    is whether the fire comes from a replaced trigger.

    Args:
        routine: The routine as it is now, as a model or as JSON.
        fire: What asks for a run.
        state: What was booked before.
        now: The workflow's time.

    Returns:
        `run`, `queue` (at `max_concurrent`, nothing else being queued) or `skip` with the reason.
    """
    request = _Request(_facts(routine), fire, state, now)
    return _decide(request, _TABLE, "queue" if _is_full(request) else "run")


def recheck_admission(
    routine: RoutineFacts | Mapping[str, object],
    fire: Fire,
    state: AdmissionState,
    now: datetime,
) -> AdmissionDecision:
    """Decide a queued fire again, when its turn has come; the answer is `run` or `skip`.

    Asked are status, pauses, `max_runs`, age and budget only: the fire was booked when it was
    queued.
    """
    rows = tuple(row for row in _TABLE if row.again)
    return _decide(_Request(_facts(routine), fire, state, now), rows, "run")


def _facts(routine: RoutineFacts | Mapping[str, object]) -> RoutineFacts:
    return AdmissionRoutine.model_validate(routine) if isinstance(routine, Mapping) else routine


def _decide(
    request: _Request, rows: "tuple[_Row, ...]", otherwise: Literal["run", "queue"]
) -> AdmissionDecision:
    skipped = request.state.skipped
    for row in rows:
        refusal = None if row.passes(request) else row.refuses(request)
        if refusal is not None:
            count = skipped.get(row.reason.value, 0) + 1
            return AdmissionDecision(
                decision="skip",
                reason=row.reason,
                retry_at=refusal.retry_at,
                skipped={**skipped, row.reason.value: count},
                duplicate_of=refusal.duplicate_of,
            )
    return AdmissionDecision(decision=otherwise, skipped=skipped)


def _plain(refused: bool) -> _Refusal | None:
    return _Refusal() if refused else None


def _deleted(request: _Request) -> _Refusal | None:
    return _plain(request.routine.status == "deleted")


def _paused(request: _Request) -> _Refusal | None:
    return _plain(request.routine.status == "paused")


def _system_paused(request: _Request) -> _Refusal | None:
    return _plain(request.state.system_paused)


def _max_runs(request: _Request) -> _Refusal | None:
    routine = request.routine
    return _plain(0 < routine.max_runs <= routine.run_count)


def _expired(request: _Request) -> _Refusal | None:
    fire, limit = request.fire, request.limits.max_age_seconds
    since = fire.occurred_at
    if since is None and fire.kind is FireKind.SCHEDULE:
        since = fire.scheduled_at
    if limit is None or since is None:
        return None
    return _plain(request.now - since > timedelta(seconds=limit))


def _superseded(request: _Request) -> _Refusal | None:
    routine, at = request.routine, request.fire.scheduled_at
    if request.fire.kind is not FireKind.SCHEDULE or at is None or routine.last_run_at is None:
        return None
    if routine.schedule is not None and routine.schedule.catchup is Catchup.ALL:
        return None
    # Schedules fire at whole seconds; a time set by hand may have more digits.
    explicit = routine.next_run_at if routine.next_run_explicit else None
    if explicit is not None and whole_second(explicit) == whole_second(at):
        return None
    return _plain(at <= routine.last_run_at)


def _duplicate(request: _Request) -> _Refusal | None:
    fire, seconds = request.fire, request.limits.dedup_window_seconds
    window = timedelta(seconds=seconds or 0)
    return _same(request, fire.delivery_digest, max(MIN_DELIVERY_WINDOW, window)) or _same(
        request, fire.content_hash if seconds else None, window
    )


def _same(request: _Request, digest: str | None, window: timedelta) -> _Refusal | None:
    """Refused while an equal digest is younger than the window; null is equal to none."""
    young = [
        entry
        for entry in request.state.recent_hashes
        if entry.hash == digest and request.now - entry.at < window
    ]
    if not young:
        return None
    young.sort(key=lambda entry: entry.at)
    return _Refusal(retry_at=young[-1].at + window, duplicate_of=young[0].run_id)


def _cooldown(request: _Request) -> _Refusal | None:
    cooldown = timedelta(seconds=request.limits.cooldown_seconds)
    last = request.state.last_admitted_at
    if last is None or not cooldown or request.now - last >= cooldown:
        return None
    return _Refusal(retry_at=last + cooldown)


def _rate_limited(request: _Request) -> _Refusal | None:
    limit = request.limits.rate_limit
    if limit is None:
        return None
    window = timedelta(seconds=limit.window_seconds)
    starts = sorted(at for at in request.state.recent_starts if request.now - at < window)
    if len(starts) < limit.max_runs:
        return None
    # Of more starts than allowed only the newest `max_runs` block; the oldest of those goes first.
    return _Refusal(retry_at=starts[-limit.max_runs] + window)


def _is_full(request: _Request) -> bool:
    return request.state.running >= request.limits.max_concurrent


def _max_concurrent(request: _Request) -> _Refusal | None:
    may_queue = request.is_manual or request.limits.overlap is Overlap.QUEUE_ONE
    return _plain(_is_full(request) and not (may_queue and not request.state.queued))


def _budget(request: _Request) -> _Refusal | None:
    return _plain(request.state.budget_exhausted)


def _nothing_passes(_request: _Request) -> bool:
    return False


def _manual_passes(request: _Request) -> bool:
    return request.is_manual


def _forced_passes(request: _Request) -> bool:
    return request.is_manual and request.fire.force


@dataclass(frozen=True)
class _Row:
    """A row: its reason, its rule, who passes it, whether a queued fire meets it again."""

    reason: Reason
    refuses: Callable[[_Request], _Refusal | None]
    passes: Callable[[_Request], bool] = _nothing_passes
    again: bool = False


_TABLE = (
    _Row(Reason.DELETED, _deleted, again=True),
    _Row(Reason.PAUSED, _paused, _forced_passes, again=True),
    _Row(Reason.SYSTEM_PAUSED, _system_paused, again=True),
    _Row(Reason.MAX_RUNS, _max_runs, again=True),
    _Row(Reason.EXPIRED, _expired, _manual_passes, again=True),
    _Row(Reason.SUPERSEDED, _superseded, _manual_passes),
    _Row(Reason.DUPLICATE, _duplicate, _manual_passes),
    _Row(Reason.COOLDOWN, _cooldown, _manual_passes),
    _Row(Reason.RATE_LIMITED, _rate_limited, _manual_passes),
    _Row(Reason.MAX_CONCURRENT, _max_concurrent),
    _Row(Reason.BUDGET, _budget, again=True),
)
