"""The life of one routine: creation, changes, its end, and what its Schedule should be.

Owns every change that a person makes to a `RoutineState`, and the list of what the workflow has to
do about it. What its runs change is `domain.run_bookings`'. Source: automation.md §5 and §6, §10.

Invariants:
    1. A refused request changes nothing.
    2. Whatever changes when the routine fires also makes its Schedule stale, until it is put again.
    3. A deleted routine is kept until `purge_at`, then it is gone.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from domain.actor import preferred_id
from domain.backfills import backfill_answer, backfilled_times, may_backfill, take_backfill
from domain.errors import DomainError, ErrorKind
from domain.routine import (
    Routine,
    RoutineStatus,
    apply_patch,
    can_manage,
    new_routine,
    next_anchor,
    render_prompt,
)
from domain.routine_changes import given_guardrails
from domain.routine_requests import (
    Asker,
    BackfillAnswer,
    BackfillRoutine,
    ChangeRoutine,
    CreateRoutine,
    DeleteRoutine,
    RoutineAnswer,
    TriggerRoutine,
)
from domain.routine_state import PendingStart, RoutineState
from domain.run_bookings import RunBookings
from domain.run_events import event_of_pause
from domain.run_start import StartRun
from domain.runs import (
    FireKind,
    KeptRun,
    backfill_occurrence,
    run_id,
    run_id_of_workflow,
    run_workflow_id,
)
from domain.schedule import (
    Schedule,
    TemporalSpec,
    fits_single_instant,
    next_transitions,
    schedule_text,
    single_instants,
    to_temporal_spec,
)
from domain.schedule_policy import compile_policy
from domain.triggers import public_trigger
from domain.wanted_schedule import WantedSchedule

# Single instants reach three hours beyond a change of offset; then the next ones are wanted.
RENEWAL_DELAY = timedelta(hours=4)


class RoutineBook:
    """Applies requests to a `RoutineState`; one instance lives in the routine's workflow."""

    def __init__(self, state: RoutineState) -> None:
        self.state = state
        self.bookings = RunBookings(state)

    @classmethod
    def create(cls, request: CreateRoutine, now: datetime) -> "RoutineBook":
        """Make a routine.

        Raises:
            DomainError: What is wrong with the body.
        """
        routine = new_routine(
            request.body,
            id=request.id,
            scope=request.scope,
            route=request.route,
            creator=request.creator,
            now=now,
            default_timezone=request.default_timezone,
            session_key=request.session_key,
            resume_thread_id=request.resume_thread_id,
            source_message_id=request.source_message_id,
        )
        return cls(
            RoutineState(
                routine=routine,
                create_key=request.key,
                create_digest=request.digest,
                warnings=_warnings(routine, now),
                default_timezone=request.default_timezone,
                anchor=_first_anchor(routine, now),
                given_guardrails=given_guardrails(request.body),
            )
        )

    @property
    def routine(self) -> Routine:
        """The routine as it is now."""
        return self.state.routine

    # Requests

    def check_creation(self, request: CreateRoutine) -> None:
        """Tell a repeated creation, which is answered, from a second one, which is refused.

        Raises:
            DomainError: `conflict` on `id` or `idempotency_key`.
        """
        if request.key != self.state.create_key:
            raise DomainError(
                ErrorKind.CONFLICT,
                "id",
                f"id {request.id!r} is taken (status {self.routine.status}); choose another name, "
                "or free it with `tickless routine delete --purge`",
            )
        if request.digest != self.state.create_digest:
            raise DomainError(
                ErrorKind.CONFLICT,
                "idempotency_key",
                "this idempotency_key was used with another body",
            )

    def change(self, asker: ChangeRoutine, changes: Mapping[str, object], now: datetime) -> None:
        """Apply a merge patch.

        Raises:
            DomainError: What is not found, not permitted, not possible or not accepted.
        """
        self._check_scope(asker)
        before = self.routine
        patch = dict(changes)
        if asker.if_revision is not None:
            patch["if_revision"] = asker.if_revision
        anchor = self.state.anchor
        routine = apply_patch(
            before,
            patch,
            self._actor_id(asker),
            now,
            default_timezone=self.state.default_timezone,
            anchor=anchor,
            given_guardrails=self.state.given_guardrails,
        )
        self.state.routine = routine
        self.state.given_guardrails = given_guardrails(patch, self.state.given_guardrails)
        self.state.anchor = next_anchor(before, routine, anchor, now)
        self.state.warnings = _warnings(routine, now)
        if _fires_differently(before, routine):
            self.state.schedule_revision += 1
        if routine.status != before.status:
            self._drop_runs(routine.status)
            paused = (before.status, routine.status) == (RoutineStatus.ACTIVE, RoutineStatus.PAUSED)
            self.state.pause_event = event_of_pause(routine) if paused else None
        if routine.status != RoutineStatus.DELETED:
            self.state.purge_at = None
        elif self.state.purge_at is None:
            self.state.purge_at = _kept_until(now, DeleteRoutine().retention_days)
        # `max_concurrent` may have been raised.
        self.bookings.grant_places()

    def delete(self, request: DeleteRoutine, now: datetime) -> None:
        """Delete the routine; a second time changes nothing but may purge.

        Raises:
            DomainError: `not_found`, `permission_denied`, or `conflict` on `revision`.
        """
        purge_at = now if request.purge else _kept_until(now, request.retention_days)
        former = self.state.purge_at
        self.change(request, {"status": "deleted"}, now)
        self.state.purge_at = min(former or purge_at, purge_at)

    def check_trigger(self, request: TriggerRoutine) -> None:
        """Whether this asker may start a run.

        Raises:
            DomainError: `not_found` or `permission_denied`.
        """
        self._check_scope(request)
        actor_id = self._actor_id(request)
        if not can_manage(self.routine, actor_id):
            raise DomainError(
                ErrorKind.PERMISSION_DENIED,
                "manage_mode",
                "manage_mode is creator_only: only the routine's creator may trigger it",
            )

    def backfill(self, request: BackfillRoutine, now: datetime) -> BackfillAnswer:
        """Note the times to be made up for; they start one after the other.

        Raises:
            DomainError: `not_found`, `permission_denied`, or what is wrong with the times.
        """
        self.check_trigger(TriggerRoutine(actor_id=request.actor_id, scope=request.scope))
        times = backfilled_times(self.routine, request, self.state.anchor, now)
        if not request.dry_run:
            self.state.backfills = sorted({*self.state.backfills, *times})
        return backfill_answer(self.routine, times, dry_run=request.dry_run)

    # What there is to do

    def has_work(self) -> bool:
        """Whether the workflow has something to put, start, grant or cancel."""
        state = self.state
        waiting = state.starts or state.grants or state.cancellations
        return self.schedule_is_stale() or bool(waiting) or may_backfill(state)

    def has_to_tell(self) -> bool:
        """Whether somebody has to hear of lost runs or of what is stuck."""
        return bool(self.state.lost or self.state.alerts)

    def request_start(self, run_id: str, start: StartRun) -> None:
        """Note a run that the routine has to start itself."""
        pending = PendingStart(workflow_id=run_workflow_id(run_id), start=start)
        self.state.starts.append(pending)

    def plan_backfill(self, now: datetime) -> None:
        """Note the next run of a backfill to be started, if it is its turn."""
        at = take_backfill(self.state)
        if at is None:
            return
        start = StartRun(
            routine_id=self.routine.id,
            kind=FireKind.BACKFILL,
            trigger_detail="backfill",
            scheduled_at=at,
            occurred_at=now,
        )
        self.request_start(run_id(self.routine.id, backfill_occurrence(at)), start)

    def already_started(self, pending: PendingStart) -> None:
        """Note that a run existed before; a backfill does not wait for it if it has ended."""
        run = run_id_of_workflow(pending.workflow_id)
        if self.state.backfilling == run and run not in self.state.open_runs:
            self.state.backfilling = None

    def take_starts(self) -> list[PendingStart]:
        """The runs to start, once."""
        starts, self.state.starts = self.state.starts, []
        return starts

    def take_grants(self) -> list[str]:
        """The runs to tell that it is their turn, once."""
        grants, self.state.grants = self.state.grants, []
        return grants

    def take_cancellations(self) -> list[str]:
        """The runs to cancel, once."""
        cancelled, self.state.cancellations = self.state.cancellations, []
        return cancelled

    def purged(self, now: datetime) -> bool:
        """Whether nothing is left to keep."""
        due = self.state.purge_at
        return due is not None and due <= now and not self.has_work()

    # The Schedule

    def schedule_is_stale(self) -> bool:
        """Whether the Schedule is not yet what the routine says."""
        return self.state.put_revision < self.state.schedule_revision

    def schedule_put(self, revision: int) -> None:
        """Note that the Schedule of this revision was put."""
        self.state.put_revision = max(self.state.put_revision, revision)
        if not self.schedule_is_stale():
            # Otherwise it may be of a later change, and goes with the next Schedule.
            self.state.pause_event = None

    def renew_schedule(self) -> None:
        """Make the Schedule stale because its single instants run out."""
        self.state.schedule_revision += 1

    def renew_at(self, now: datetime) -> datetime | None:
        """When the Schedule wants new single instants; null where offsets never matter.

        Also where there are none now: a rule may meet a later change and not the next two.
        """
        schedule = self.routine.schedule
        if schedule is None or self.routine.status != RoutineStatus.ACTIVE:
            return None
        if schedule.cron_expr is None or self._is_in_utc(schedule, now):
            return None
        changes = next_transitions(schedule.timezone, now, 1)
        return changes[0] + RENEWAL_DELAY if changes else None

    def wanted_schedule(self, now: datetime) -> WantedSchedule:
        """What the Schedule should be."""
        routine, schedule = self.routine, self.routine.schedule
        exists = schedule is not None and routine.status != RoutineStatus.DELETED
        wanted = WantedSchedule(
            routine_id=routine.id,
            title=routine.title or routine.id,
            scope=routine.scope.text,
            owner=self.owner(),
            paused=routine.status != RoutineStatus.ACTIVE,
            event=self.state.pause_event,
        )
        if schedule is None or not exists:
            return wanted
        spec = self._spec(schedule, now)
        instants: list[datetime] = []
        if not self._is_in_utc(schedule, now):
            # From before now: the window of a change that has just passed is still open.
            instants = single_instants(schedule, now - RENEWAL_DELAY, changes=3)
        if routine.next_run_explicit and routine.next_run_at is not None:
            if fits_single_instant(routine.next_run_at, now):
                instants = [*instants, routine.next_run_at]
            if spec.start_at is not None:
                # An interval is anchored on the time set by hand and starts after it.
                start_at = min(spec.start_at, routine.next_run_at)
                spec = spec.model_copy(update={"start_at": start_at})
        return wanted.model_copy(
            update={
                "comment": schedule_text(schedule),
                "spec": spec,
                "single_instants": instants,
                "policy": compile_policy(schedule, routine.guardrails),
            }
        )

    def missed_before_put(self, now: datetime) -> datetime | None:
        """A time that passed before the Schedule could exist, so nothing will fire it."""
        routine = self.routine
        if routine.status != RoutineStatus.ACTIVE or routine.schedule is None:
            return None
        due = routine.next_run_at
        fires_once = routine.schedule.run_at is not None or routine.next_run_explicit
        return due if fires_once and due is not None and due <= now else None

    # Answers

    def answer(self) -> RoutineAnswer:
        """The routine as its readers see it."""
        trigger = public_trigger(self.routine.trigger)
        routine = self.routine.model_copy(update={"trigger": trigger})
        return RoutineAnswer(
            routine=routine,
            warnings=self.state.warnings,
            skipped=self.state.skipped,
            backlog=len(self.state.backfills),
        )

    def runs(self, limit: int) -> list[KeptRun]:
        """The newest runs first: those that are open, then those that ended."""
        records = [KeptRun(**run.record.model_dump()) for run in self.state.open_runs.values()]
        return [*reversed(records), *reversed(self.state.ended_runs)][: max(limit, 0)]

    def owner(self) -> str:
        """Who made the routine, for the search attribute."""
        return preferred_id(self.routine.creator)

    # Inside

    def _spec(self, schedule: Schedule, now: datetime) -> TemporalSpec:
        """The compiled schedule: cron looks at the zone from now on, intervals at their anchor."""
        return to_temporal_spec(schedule, now if schedule.cron_expr else self.state.anchor)

    def _is_in_utc(self, schedule: Schedule, now: datetime) -> bool:
        """Whether calendars in UTC do, so that no change of the zone's offset matters."""
        return self._spec(schedule, now).timezone_name == "UTC"

    def _drop_runs(self, status: RoutineStatus) -> None:
        """Cancel what a new status ends: all runs, or on a pause those that only wait."""
        state = self.state
        if status == RoutineStatus.ACTIVE:
            return
        ends_all = status == RoutineStatus.DELETED
        dropped = [key for key, run in state.open_runs.items() if ends_all or not run.counted]
        state.cancellations += [key for key in dropped if key not in state.cancellations]

    def _check_scope(self, asker: Asker) -> None:
        if asker.scope is not None and asker.scope != self.routine.scope:
            # The same text as for an unknown id: that it exists must not leak.
            raise DomainError(ErrorKind.NOT_FOUND, "id", self.routine.id)

    def _actor_id(self, asker: Asker) -> str:
        """Whoever may send messages to the workflow itself acts as the routine's creator."""
        return self.owner() if asker.actor_id is None else asker.actor_id


def _kept_until(now: datetime, days: int) -> datetime:
    # At the very end of the retention the routine is still there.
    return now + timedelta(days=days) + timedelta.resolution


def _first_anchor(routine: Routine, now: datetime) -> datetime:
    """Where an interval counts from: the first time, where that was set by hand."""
    explicit = routine.next_run_at if routine.next_run_explicit else None
    return explicit or now


def _warnings(routine: Routine, now: datetime) -> list[str]:
    unknown = render_prompt(routine.prompt or "", now, routine.timezone).unknown
    return [f"{{{{{name}}}}} is no known variable and stays as it is" for name in unknown]


def _fires_differently(before: Routine, after: Routine) -> bool:
    return _firing(before) != _firing(after)


def _firing(routine: Routine) -> tuple[object, ...]:
    """All that a Schedule is made from."""
    explicit = routine.next_run_at if routine.next_run_explicit else None
    return (routine.status, routine.schedule, routine.guardrails, routine.title, explicit)
