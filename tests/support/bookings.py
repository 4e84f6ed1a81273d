"""Runs of the base routine for tests: its state, what a run asks, how it says that it ended."""

from datetime import timedelta
from typing import Any

from domain.admission import (
    BeginRun,
    Decision,
    EndRun,
    MarkRun,
    RunEnded,
    RunMark,
    Verdict,
)
from domain.guardrails import Reason
from domain.routine_state import OpenRun, RoutineState
from domain.run_bookings import RunBookings
from domain.runs import FireKind, RunRecord, RunStatus, run_workflow_id
from tests.support.routines import NEXT, NOW, routine

Decided = tuple[Decision, str | None]

# A day of half hours before the base routine's next time.
ANCHOR = NEXT - timedelta(days=1)
HALF_HOUR = timedelta(minutes=30)
NOT_OPEN = RunEnded(accepted=False, reason="not_open")
# What `decision` says of a run that was let in.
RUN: Decided = (Decision.RUN, None)
QUEUE: Decided = (Decision.QUEUE, None)
# What the end of a run tells beside its record.
_TOLD = ("message_id", "message_ids", "message_gone", "failure_limit")


def run(name: str) -> str:
    """The id of a run of the base routine."""
    return f"routine_01/{name}"


def state(**changes: object) -> RoutineState:
    """The state of the base routine, which has not run yet, with some of its keys changed."""
    return RoutineState(routine=routine(**{"run_count": 0, **changes}), anchor=ANCHOR)


def begin(name: str, kind: FireKind = FireKind.MANUAL, /, **fields: Any) -> BeginRun:
    """A fire at NOW; by hand unless said otherwise."""
    return BeginRun.model_validate(
        {"run_id": run(name), "kind": kind, "occurred_at": NOW, **fields}
    )


def scheduled(name: str, at: object, /, **fields: Any) -> BeginRun:
    """A fire of the Schedule for a nominal time."""
    return begin(name, FireKind.SCHEDULE, scheduled_at=at, **{"occurred_at": at, **fields})


def mark(name: str, mark: RunMark) -> MarkRun:
    """Count or un-count a run."""
    return MarkRun(run_id=run(name), state=mark)


def ending(name: str, status: RunStatus = RunStatus.OK, **fields: Any) -> EndRun:
    """The end of a run."""
    told = {key: fields.pop(key) for key in _TOLD if key in fields}
    record = RunRecord.model_validate(
        {
            "id": run(name),
            "routine_id": "routine_01",
            "workflow_id": run_workflow_id(run(name)),
            "trigger_type": FireKind.MANUAL,
            "occurred_at": NOW,
            "finished_at": NOW,
            "status": status,
            **fields,
        }
    )
    return EndRun(record=record, **told)


class Bookings:
    """Bookings of a state at NOW, asked by short names."""

    def __init__(self, booked: RoutineState | None = None, /, **changes: object) -> None:
        self.state = booked or state(**changes)
        self.now = NOW
        self.book = RunBookings(self.state)

    def pass_seconds(self, seconds: float) -> None:
        """Let time go on."""
        self.now += timedelta(seconds=seconds)

    def ask(self, request: BeginRun) -> Verdict:
        """Ask for admission and nothing more: the verdict may be `check`."""
        return self.book.begin_run(request, self.now)

    def begin(self, name: str, kind: FireKind = FireKind.MANUAL, /, **fields: Any) -> Verdict:
        """Ask for admission; holders are looked at and found open."""
        return self.ask(begin(name, kind, **{"checked": True, **fields}))

    def mark(self, name: str, state: RunMark) -> RunEnded:
        """Count or un-count a run."""
        return self.book.mark_run(mark(name, state), self.now)

    def end(self, name: str, status: RunStatus = RunStatus.OK, **fields: Any) -> RunEnded:
        """Report the end of a run."""
        return self.book.end_run(ending(name, status, **fields), self.now)

    def lose(self, name: str) -> None:
        """Find a run's workflow closed."""
        self.book.lose(run(name), self.now)

    def open(self, name: str) -> OpenRun:
        """An open run."""
        return self.state.open_runs[run(name)]

    @property
    def kept(self) -> RunRecord:
        """The record kept last."""
        return self.state.ended_runs[-1]


def decision(verdict: Verdict) -> Decided:
    """What a verdict says, and why."""
    return verdict.decision, verdict.reason


def refused(reason: Reason) -> Decided:
    """What `decision` says of a refusal."""
    return Decision.SKIP, reason
