"""The Temporal Schedule that a routine owns: put it, so that it is what the routine says.

Owns the translation of `domain.schedule`'s compiled form into the SDK's types, and the idempotent
create-or-update. Decides nothing about times: what fires is admitted by `domain.schedule` again.
Source: DESIGN §3 "When it fires".

Invariants:
    1. The Schedule fires at least at every true instant, never by a cron string.
    2. It always has a catch-up window; the server's default of 365 days would start a year of runs.
    3. Putting twice is the same as putting once.
"""

from datetime import datetime, timedelta

from temporalio import activity
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleCalendarSpec,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode

from activities.emitting import Emitter, tell_or_retry
from activities.runs import run_attributes
from domain.identifiers import RUNS_QUEUE, schedule_id, scheduled_run_prefix
from domain.run_start import StartRun
from domain.runs import FireKind
from domain.schedule import CalendarRange, TemporalSpec
from domain.schedule_policy import Overlap
from domain.wanted_schedule import WantedSchedule


class ScheduleActivities:
    """Puts and removes Schedules."""

    def __init__(self, client: Client, emitter: Emitter | None = None) -> None:
        self._client = client
        self._emitter = emitter

    @activity.defn
    async def put_schedule(self, request: WantedSchedule) -> None:
        """Make the routine's Schedule what the request says: create, update or delete it.

        Then tell what the change calls for; who repeats the activity tells the same event.
        """
        await self._put(request)
        if request.event is not None and self._emitter is not None:
            await tell_or_retry(self._emitter, [request.event], request.scope)

    async def _put(self, request: WantedSchedule) -> None:
        handle = self._client.get_schedule_handle(schedule_id(request.routine_id))
        if request.spec is None:
            try:
                await handle.delete()
            except RPCError as error:
                if error.status != RPCStatusCode.NOT_FOUND:
                    raise
            return
        schedule = _compile(request, request.spec)

        async def replace(_current: ScheduleUpdateInput) -> ScheduleUpdate:
            return ScheduleUpdate(schedule=schedule)

        try:
            await self._client.create_schedule(handle.id, schedule)
        except ScheduleAlreadyRunningError:
            await handle.update(replace)


def _compile(request: WantedSchedule, spec: TemporalSpec) -> Schedule:
    return Schedule(
        action=_action(request),
        spec=_spec(request, spec),
        policy=SchedulePolicy(
            overlap=_OVERLAP[request.policy.overlap],
            catchup_window=request.policy.catchup_window,
        ),
        state=ScheduleState(note=request.comment, paused=request.paused),
    )


_OVERLAP = {
    Overlap.BUFFER_ONE: ScheduleOverlapPolicy.BUFFER_ONE,
    Overlap.BUFFER_ALL: ScheduleOverlapPolicy.BUFFER_ALL,
    Overlap.ALLOW_ALL: ScheduleOverlapPolicy.ALLOW_ALL,
}


def _action(request: WantedSchedule) -> ScheduleActionStartWorkflow:
    start = StartRun(
        routine_id=request.routine_id,
        kind=FireKind.SCHEDULE,
        trigger_detail=request.comment[:200],
    )
    return ScheduleActionStartWorkflow(
        "RoutineRun",
        start,
        id=scheduled_run_prefix(request.routine_id),
        task_queue=RUNS_QUEUE,
        static_summary=f"{request.title or request.routine_id}: scheduled run"[:200],
        typed_search_attributes=run_attributes(start, request.scope, request.owner),
    )


def _spec(request: WantedSchedule, spec: TemporalSpec) -> ScheduleSpec:
    return ScheduleSpec(
        calendars=[
            ScheduleCalendarSpec(
                second=_ranges(calendar.second),
                minute=_ranges(calendar.minute),
                hour=_ranges(calendar.hour),
                day_of_month=_ranges(calendar.day_of_month),
                month=_ranges(calendar.month),
                year=_ranges(calendar.year),
                day_of_week=_ranges(calendar.day_of_week),
                comment=request.comment,
            )
            for calendar in spec.calendars
        ],
        intervals=[
            *(
                ScheduleIntervalSpec(
                    every=timedelta(seconds=interval.every_seconds),
                    offset=timedelta(seconds=interval.offset_seconds) or None,
                )
                for interval in spec.intervals
            ),
            *(_single_instant(instant) for instant in request.single_instants),
        ],
        start_at=spec.start_at,
        time_zone_name=spec.timezone_name,
    )


def _single_instant(instant: datetime) -> ScheduleIntervalSpec:
    """Intervals count from the epoch: one as long as the instant's distance fires then."""
    return ScheduleIntervalSpec(every=timedelta(seconds=int(instant.timestamp())))


def _ranges(ranges: list[CalendarRange]) -> list[ScheduleRange]:
    return [ScheduleRange(start=item.start, end=item.end, step=item.step) for item in ranges]
