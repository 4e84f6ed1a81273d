"""What a change of a routine means for its times.

Owns the merging of a schedule patch, the question whether a routine starts counting anew, and the
anchor of its interval. When a schedule fires is `domain.schedule`'s. Source: automation.md §5 and
§6.

Invariants:
    1. Setting one of `every_seconds`, `cron_expr`, `run_at` drops the others.
    2. An interval is counted anew only when its length changes or the routine becomes active again.
"""

from collections.abc import Mapping
from datetime import datetime

from domain.routine_model import Routine, RoutineStatus
from domain.schedule import Catchup, Schedule
from domain.schedule_fields import ALTERNATIVES
from domain.triggers import AtTrigger, CronTrigger, IntervalTrigger


def merge_schedule(current: Routine, given: Mapping[str, object]) -> dict[str, object]:
    """A patch's schedule on top of the present one, to be validated.

    Args:
        current: The routine as it is; without a schedule the patch stands alone.
        given: The keys of the patch; null takes a key away.
    """
    merged = _present(current)
    if any(given.get(key) is not None for key in ALTERNATIVES):
        merged = {key: value for key, value in merged.items() if key not in ALTERNATIVES}
    if _names_zone(given.get("cron_expr")):
        merged.pop("timezone", None)
    catchup = given.get("catchup")
    if "catchup" in given and catchup != Catchup.ALL:
        merged.pop("catchup_window_seconds", None)
    merged.update(given)
    return {key: value for key, value in merged.items() if value is not None}


def starts_anew(before: Routine, after: Routine) -> bool:
    """Whether the next time is recomputed from now: on resume, and when other times are meant.

    Catch-up says nothing about times, and the zone nothing about an interval.
    """
    resumed = before.status != RoutineStatus.ACTIVE and after.status == RoutineStatus.ACTIVE
    return resumed or _times(before.schedule) != _times(after.schedule)


def next_anchor(before: Routine, after: Routine, anchor: datetime, now: datetime) -> datetime:
    """What a routine's interval is counted from after a change.

    Args:
        before: The routine before the change.
        after: The routine after it.
        anchor: What the interval was counted from.
        now: When the change was made.
    """
    explicit = after.next_run_at if after.next_run_explicit else None
    if explicit is not None and (explicit != before.next_run_at or not before.next_run_explicit):
        return explicit
    given_back = before.next_run_explicit and not after.next_run_explicit
    return now if given_back or starts_anew(before, after) else anchor


def _present(routine: Routine) -> dict[str, object]:
    """The present schedule as it was written: words, where the trigger keeps words."""
    match routine.trigger:
        case CronTrigger(schedule=text):
            when: dict[str, object] = {"cron_expr": text}
        case IntervalTrigger(every_seconds=every_seconds):
            when = {"every_seconds": every_seconds}
        case AtTrigger(run_at=run_at):
            when = {"run_at": run_at}
        case _:
            return {}
    rest = {"timezone", "catchup", "catchup_window_seconds"}
    return {**when, **routine.trigger.model_dump(include=rest)}


def _names_zone(cron_expr: object) -> bool:
    return isinstance(cron_expr, str) and cron_expr.strip().startswith(("TZ=", "CRON_TZ="))


def _times(schedule: Schedule | None) -> tuple[object, ...] | None:
    if schedule is None:
        return None
    zone = schedule.timezone if schedule.cron_expr is not None else None
    return (schedule.every_seconds, schedule.cron_expr, schedule.run_at, zone)
