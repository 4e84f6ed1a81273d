"""A schedule in plain English never says what it does not do."""

import locale
from datetime import UTC, datetime

import pytest
from hypothesis import assume, given

from client.schedule_words import schedule_words
from domain.cron import parse_rule
from domain.cron_rule import CronRule
from domain.schedule import Schedule
from tests.unit.cron_texts import CronCase, cron_cases

ALL_DAYS = frozenset(range(1, 32)), frozenset(range(7))


def words(expr: str) -> str:
    text = schedule_words(Schedule(cron_expr=expr))
    assert text.endswith(" (UTC)")
    return text.removesuffix(" (UTC)")


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        # Nicknames
        ("@yearly", "At 00:00, on day 1 of the month, only in January"),
        ("@annually", "At 00:00, on day 1 of the month, only in January"),
        ("@monthly", "At 00:00, on day 1 of the month"),
        ("@weekly", "At 00:00, only on Sunday"),
        ("@daily", "At 00:00, every day"),
        ("@midnight", "At 00:00, every day"),
        ("@hourly", "Every hour"),
        # Times of day
        ("* * * * *", "Every minute"),
        ("*/5 * * * *", "Every 5 minutes"),
        ("*/40 * * * *", "At 0 and 40 minutes past the hour"),
        ("5/10 * * * *", "At 5, 15, 25, 35, 45, and 55 minutes past the hour"),
        ("5-20 * * * *", "Minutes 5 through 20 past the hour"),
        ("0 */2 * * *", "Every 2 hours"),
        ("30 */2 * * *", "At 30 minutes past the hour, every 2 hours"),
        ("0 */5 * * *", "At 00:00, 05:00, 10:00, 15:00 and 20:00, every day"),
        ("0,30 9,17 * * *", "At 09:00, 09:30, 17:00 and 17:30, every day"),
        ("*/15 9,17 * * *", "Every 15 minutes, in the hours 09 and 17"),
        ("*/15 9-17 * * *", "Every 15 minutes, between 09:00 and 17:59"),
        ("* 9 * * *", "Every minute, between 09:00 and 09:59"),
        # Days
        ("0 9 * * 1-5", "At 09:00, Monday through Friday"),
        ("0 9 ? * MON,wed", "At 09:00, only on Monday and Wednesday"),
        ("0 9 * * 7", "At 09:00, only on Sunday"),
        ("0 9 * * 5-7", "At 09:00, only on Sunday, Friday, and Saturday"),
        ("0 9 * * */2", "At 09:00, only on Sunday, Tuesday, Thursday, and Saturday"),
        ("0 9 1,15 * *", "At 09:00, on day 1 and 15 of the month"),
        ("0 9 */10 * *", "At 09:00, on day 1, 11, 21, and 31 of the month"),
        ("0 9 1-7 3-5 *", "At 09:00, between day 1 and 7 of the month, March through May"),
        ("0 9 * */5 *", "At 09:00, every day, only in January, June, and November"),
        # Either day is enough
        ("0 0 13 * 5", "At 00:00, on day 13 of the month, or on Friday"),
        ("0 9 1-7 * 1-5", "At 09:00, between day 1 and 7 of the month, or Monday through Friday"),
        (
            "0 9 13 1 0,6",
            "At 09:00, on day 13 of the month, or on Sunday and Saturday, only in January",
        ),
        ("0 9 1-31 * 1", "At 09:00, every day"),
        ("0 9 13 * 0-6", "At 09:00, every day"),
        ("0 9 1-31 * *", "At 09:00, every day"),
        ("0 9 * * 0-6", "At 09:00, every day"),
    ],
)
def test_cron_in_words(expr: str, text: str) -> None:
    assert words(expr) == text


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (Schedule(every_seconds=60), "Every minute"),
        (Schedule(every_seconds=3600), "Every hour"),
        (Schedule(every_seconds=7200), "Every 2 hours"),
        (Schedule(every_seconds=5400), "Every 1 hour and 30 minutes"),
        (Schedule(every_seconds=86_400), "Every 24 hours"),
        (Schedule(every_seconds=2 * 86_400), "Every 2 days"),
        (Schedule(every_seconds=90_061), "Every 1 day, 1 hour, 1 minute and 1 second"),
        (
            Schedule(run_at=datetime(2027, 1, 1, tzinfo=UTC), timezone="Europe/Berlin"),
            "Once, on Friday 1 January 2027 at 01:00 (Europe/Berlin)",
        ),
        (
            Schedule(run_at=datetime(2027, 5, 31, 23, 0, 7, tzinfo=UTC), timezone="Asia/Kolkata"),
            "Once, on Tuesday 1 June 2027 at 04:30:07 (Asia/Kolkata)",
        ),
        (
            Schedule(cron_expr="0 9 * * 1", timezone="Europe/Berlin"),
            "At 09:00, only on Monday (Europe/Berlin)",
        ),
    ],
)
def test_schedules_in_words(schedule: Schedule, text: str) -> None:
    assert schedule_words(schedule) == text


def meaning(rule: CronRule) -> tuple[object, ...]:
    """When a rule fires, however it was written."""
    either = rule.day_of_month.restricted and rule.day_of_week.restricted
    days = rule.day_of_month.values, rule.day_of_week.values
    every_day = [one == whole for one, whole in zip(days, ALL_DAYS, strict=True)]
    if any(every_day) if either else all(every_day):
        days, either = ALL_DAYS, False
    return (rule.times_of_day, rule.month.values, days, either)


@given(one=cron_cases(), other=cron_cases())
def test_what_means_the_same_is_said_the_same_and_nothing_else_is(
    one: CronCase, other: CronCase
) -> None:
    rules = parse_rule(one.expr), parse_rule(other.expr)
    assume(all(rule.can_fire for rule in rules))

    same = meaning(rules[0]) == meaning(rules[1])

    assert (words(one.expr) == words(other.expr)) == same


@given(case=cron_cases())
def test_a_rule_written_out_is_said_the_same(case: CronCase) -> None:
    rule = parse_rule(case.expr)
    assume(rule.can_fire)
    fields = (rule.minute, rule.hour, rule.day_of_month, rule.month, rule.day_of_week)
    written = [
        ",".join(map(str, sorted(field.values))) if field.restricted else "*" for field in fields
    ]

    assert words(" ".join(written)) == words(case.expr)


def test_the_host_s_language_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    before = words("0 9 1-7 * 1-5")
    monkeypatch.setattr(locale, "getlocale", lambda *_: ("de_DE", "UTF-8"))

    assert words("0 9 1-7 * 1-4") == before.replace("Friday", "Thursday")
