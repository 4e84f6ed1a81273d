"""A schedule in plain English: `At 09:00, Monday through Friday (Europe/Berlin)`.

Owns the sentence. The parts of a cron rule are worded by the library `cron-descriptor`, which gets
them rewritten from what they mean, because it reads a rule by its form: `*/40` is not every 40
minutes, `*/2` not every second day, and of two day fields either one is enough.
Source: automation.md §5 "Cron" and "Day rule", §13.

Invariant: what is said is made from the numbers that a field stands for, never from how it was
written.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import lru_cache

from cron_descriptor import (  # type: ignore[import-untyped]  # it marks no types
    CasingTypeEnum,
    ExpressionDescriptor,
)

from domain.cron import FIELDS, parse_rule
from domain.cron_rule import CronField, CronRule
from domain.schedule import Schedule, load_zone

# Up to so many times a day each one is told.
_TOLD_TIMES = 6
_WEEK = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_DAY = 86_400
_UNITS = (("day", _DAY), ("hour", 3600), ("minute", 60), ("second", 1))


def schedule_words(schedule: Schedule) -> str:
    """Say when a schedule fires.

    Args:
        schedule: A validated schedule; words in `cron_expr` have become `every_seconds`.
    """
    if schedule.run_at is not None:
        return f"Once, on {_moment(schedule.run_at, schedule.timezone)} ({schedule.timezone})"
    if schedule.cron_expr is not None:
        return f"{_cron_words(schedule.cron_expr)} ({schedule.timezone})"
    return f"Every {_interval(schedule.every_seconds or 0)}"


def _moment(at: datetime, timezone: str) -> str:
    local = at.astimezone(load_zone(timezone))
    clock = local.strftime("%H:%M:%S" if local.second else "%H:%M")
    weekday = _WEEK[local.isoweekday() % 7]
    return f"{weekday} {local.day} {_MONTHS[local.month - 1]} {local.year} at {clock}"


def _interval(seconds: int) -> str:
    """`2 hours and 30 minutes`; one hour goes without its number, and a day is 24 of them."""
    if seconds == _DAY:
        return "24 hours"  # where the clock is changed, that is not a day
    parts: list[tuple[int, str]] = []
    for unit, length in _UNITS:
        count, seconds = divmod(seconds, length)
        if count:
            parts.append((count, unit))
    if len(parts) == 1 and parts[0][0] == 1:
        return parts[0][1]
    return _listed([f"{count} {unit}" + ("s" if count > 1 else "") for count, unit in parts])


@lru_cache(maxsize=1024)
def _cron_words(expr: str) -> str:
    rule = parse_rule(expr)
    text = _times(rule) + _days(rule) + _months(rule)
    return text[:1].upper() + text[1:]


def _times(rule: CronRule) -> str:
    """At which times of a day."""
    if len(rule.times_of_day) <= _TOLD_TIMES:
        clock = [divmod(time // 60, 60) for time in rule.times_of_day]
        return f"at {_listed([f'{hour:02}:{minute:02}' for hour, minute in clock])}"
    minute, hour = _form(rule, "minute"), _form(rule, "hour")
    described = _described(minute, hour)
    if hour == "*" or (minute.isdecimal() and "/" in hour):
        return str(described.get_time_of_day_description()).removesuffix(", every hour")
    # The library's "every 15 minutes, at 09:00" would leave the other quarters out.
    return f"{described.get_minutes_description()}, {_hours(sorted(rule.hour.values))}"


def _hours(values: Sequence[int]) -> str:
    if _is_row(values):
        return f"between {values[0]:02}:00 and {values[-1]:02}:59"
    return f"in the hours {_listed([f'{value:02}' for value in values])}"


def _days(rule: CronRule) -> str:
    """On which days; where both fields are restricted, either is enough."""
    on_date, on_weekday = _form(rule, "day_of_month"), _form(rule, "day_of_week")
    either = rule.day_of_month.restricted and rule.day_of_week.restricted
    unlimited = [form == "*" for form in (on_date, on_weekday)]
    if any(unlimited) if either else all(unlimited):
        # Of "every 5 minutes" nobody thinks otherwise.
        return ", every day" if len(rule.times_of_day) <= _TOLD_TIMES else ""
    by_date = str(_described(day_of_month=on_date).get_day_of_month_description())
    by_weekday = str(_described(day_of_week=on_weekday).get_day_of_week_description())
    if either:
        return f"{by_date}, or {by_weekday.removeprefix(', ').removeprefix('only ')}"
    return by_weekday if on_date == "*" else by_date


def _months(rule: CronRule) -> str:
    months = _form(rule, "month")
    return "" if months == "*" else str(_described(month=months).get_month_description())


def _described(
    minute: str = "0",
    hour: str = "0",
    day_of_month: str = "*",
    month: str = "*",
    day_of_week: str = "*",
) -> ExpressionDescriptor:
    # Said in full: the library would ask the host for its language otherwise.
    return ExpressionDescriptor(
        " ".join((minute, hour, day_of_month, month, day_of_week)),
        casing_type=CasingTypeEnum.LowerCase,
        use_24hour_time_format=True,
        locale_code="en_US",
    )


def _form(rule: CronRule, name: str) -> str:
    """One field as the shortest form that says what it stands for."""
    grammar = next(grammar for grammar in FIELDS if grammar.name == name)
    field: CronField = getattr(rule, name)
    return _shortest(sorted(field.values), range(grammar.low, grammar.end + 1))


def _shortest(values: Sequence[int], whole: range) -> str:
    if list(values) == list(whole):
        return "*"
    if len(values) > 1 and whole.start == 0:
        step = values[1] - values[0]
        # Only a step that divides the whole goes on evenly into the next hour or day.
        if (
            len(whole) % step == 0
            and list(values) == list(whole[::step])
            and len(whole) > len(_WEEK)
        ):
            return f"*/{step}"
    if len(values) > 2 and _is_row(values):
        return f"{values[0]}-{values[-1]}"
    return ",".join(map(str, values))


def _is_row(values: Collection[int]) -> bool:
    return max(values) - min(values) == len(values) - 1


def _listed(items: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, (", ".join(items[:-1]), *items[-1:])))
