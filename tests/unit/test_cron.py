"""Cron expressions: what is accepted, what is refused and how, which dates a rule names."""

from datetime import UTC, date, datetime

import pytest

from domain.cron import NICKNAMES, hour_is_fixed, parse_rule, validate_cron
from domain.cron_rule import CronField, Span
from domain.errors import DomainError, ErrorKind

DAY = 86_400


def refusal(expr: object, timezone: object = None) -> DomainError:
    with pytest.raises(DomainError) as caught:
        validate_cron(expr, timezone)
    return caught.value


def dates(expr: str, first: date, last: date) -> list[date]:
    """The dates in [first, last] that a rule names; its time must be midnight."""
    walls = parse_rule(expr).walls(wall(first), wall(last) + 1)
    return [datetime.fromtimestamp(found, UTC).date() for found in walls]


def wall(on: date) -> int:
    return (on - date(1970, 1, 1)).days * DAY


class TestNormalForm:
    @pytest.mark.parametrize(
        ("expr", "normal"),
        [
            ("0 9 * * 1-5", "0 9 * * 1-5"),
            ("  0   9\t* *\n1-5 ", "0 9 * * 1-5"),
            ("0 9 * * MON-FRI", "0 9 * * MON-FRI"),
            (" @daily ", "@daily"),
        ],
    )
    def test_is_trimmed_with_single_blanks_and_otherwise_as_written(
        self, expr: str, normal: str
    ) -> None:
        text = validate_cron(expr)
        assert (text.cron_expr, text.timezone) == (normal, "UTC")

    @pytest.mark.parametrize("prefix", ["CRON_TZ=Europe/Berlin", "TZ=Europe/Berlin"])
    @pytest.mark.parametrize("rest", ["0 9 * * *", "@daily"])
    def test_a_prefix_becomes_the_zone(self, prefix: str, rest: str) -> None:
        text = validate_cron(f" {prefix}   {rest}")
        assert (text.cron_expr, text.timezone) == (rest, "Europe/Berlin")

    def test_a_prefix_may_repeat_the_zone(self) -> None:
        text = validate_cron("TZ=Europe/Berlin 0 9 * * *", " Europe/Berlin ")
        assert text.timezone == "Europe/Berlin"

    @pytest.mark.parametrize("timezone", [None, "", "  "])
    def test_without_a_zone_it_is_the_default(self, timezone: str | None) -> None:
        assert validate_cron("0 9 * * *", timezone).timezone == "UTC"
        other = validate_cron("0 9 * * *", timezone, default_timezone="Asia/Tokyo")
        assert other.timezone == "Asia/Tokyo"

    def test_the_prefix_wins_over_the_default(self) -> None:
        text = validate_cron("TZ=Asia/Tokyo 0 9 * * *", default_timezone="Europe/Berlin")
        assert text.timezone == "Asia/Tokyo"


class TestForms:
    @pytest.mark.parametrize(
        ("minute", "values"),
        [
            ("*", range(60)),
            ("?", range(60)),
            ("*/1", range(60)),
            ("*/25", [0, 25, 50]),
            ("*/59", [0, 59]),
            ("*/100", [0]),
            ("7", [7]),
            ("07", [7]),
            ("10-13", [10, 11, 12, 13]),
            ("10-20/5", [10, 15, 20]),
            ("10-20/30", [10]),
            ("50/5", [50, 55]),
            ("59/1", [59]),
            ("3,1,2", [1, 2, 3]),
            ("5,5", [5]),
            ("1-3,30,50/5", [1, 2, 3, 30, 50, 55]),
            ("*,5", range(60)),
            ("0-59", range(60)),
        ],
    )
    def test_of_a_field(self, minute: str, values: range | list[int]) -> None:
        assert parse_rule(f"{minute} * * * *").minute.values == frozenset(values)

    @pytest.mark.parametrize(
        ("month", "values"),
        [("JAN", [1]), ("dec", [12]), ("Jan-3", [1, 2, 3]), ("NOV/1", [11, 12]), ("FEB,8", [2, 8])],
    )
    def test_months_have_names_in_any_case(self, month: str, values: list[int]) -> None:
        assert parse_rule(f"0 0 1 {month} *").month.values == frozenset(values)

    @pytest.mark.parametrize(
        ("weekday", "values"),
        [
            ("0", [0]),
            ("7", [0]),
            ("SUN", [0]),
            ("sat", [6]),
            ("MON-FRI", [1, 2, 3, 4, 5]),
            ("Mon-Fri/2", [1, 3, 5]),
            ("5-7", [5, 6, 0]),
            ("FRI-7", [5, 6, 0]),
            ("0-7", range(7)),
            ("4-7/2", [4, 6]),
            ("5-7/2", [5, 0]),
            ("7-7", [0]),
            ("*/2", [0, 2, 4, 6]),
            ("5/1", [5, 6]),
            ("7/3", [0, 3, 6]),
        ],
    )
    def test_sunday_is_0_and_7(self, weekday: str, values: range | list[int]) -> None:
        assert parse_rule(f"0 0 * * {weekday}").day_of_week.values == frozenset(values)

    @pytest.mark.parametrize(("nickname", "expr"), NICKNAMES.items())
    def test_a_nickname_is_its_expression_in_any_case(self, nickname: str, expr: str) -> None:
        assert parse_rule(nickname) == parse_rule(expr)
        assert parse_rule(nickname.upper()) == parse_rule(expr)

    def test_items_are_kept_as_written(self) -> None:
        field = parse_rule("0 9-17/2,20,22/1 * * *").hour
        assert field == CronField(
            "9-17/2,20,22/1",
            (Span(9, 17, 2), Span(20, 20, 1), Span(22, 23, 1)),
            frozenset({9, 11, 13, 15, 17, 20, 22, 23}),
        )


class TestRefused:
    @pytest.mark.parametrize(
        ("expr", "words"),
        [
            ("bad expr", ["5 fields", "2"]),
            ("0 0 9 * * *", ["5 fields", "6"]),
            ("0 0 9 * * * 2027", ["5 fields", "7"]),
            ("every 2h", ["5 fields", "2"]),
            ("CRON_TZ=UTC", ["5 fields", "0"]),
            ("60 * * * *", ["minute", "0-59", "60"]),
            ("* 24 * * *", ["hour", "0-23"]),
            ("* * 0 * *", ["day_of_month", "1-31"]),
            ("* * 32 * *", ["day_of_month", "1-31"]),
            ("* * * 13 *", ["month", "1-12"]),
            ("* * * 0 *", ["month", "1-12"]),
            ("* * * * 8", ["day_of_week", "0-7"]),
            ("0-60 * * * *", ["minute", "0-59"]),
            ("* 20-24 * * *", ["hour", "0-23", "20-24"]),
            ("9999999999 * * * *", ["minute", "0-59"]),
            ("*/0 * * * *", ["minute", "step"]),
            ("5/0 * * * *", ["minute", "step"]),
            ("* 1-5/00 * * *", ["hour", "step"]),
            ("*/ * * * *", ["minute", "step"]),
            ("*/-1 * * * *", ["minute", "step"]),
            ("*/2.5 * * * *", ["minute", "step"]),
            ("*/1/2 * * * *", ["minute", "step"]),
            ("?/2 * * * *", ["minute", "step"]),
            ("*/9999999999 * * * *", ["minute", "step"]),
            ("0 18-9 * * *", ["hour", "18-9", "reverse"]),
            ("0 0 * * SAT-SUN", ["day_of_week", "SAT-SUN"]),
            ("0 0 * DEC-JAN *", ["month", "DEC-JAN"]),
            ("0 9 L * *", ["day_of_month", "L"]),
            ("0 9 LW * *", ["day_of_month"]),
            ("0 9 15W * *", ["day_of_month"]),
            ("0 9 * * 5#2", ["day_of_week", "#"]),
            ("0 9 * * 5L", ["day_of_week"]),
            ("0 9 * * MONDAY", ["day_of_week", "MONDAY"]),
            ("0 9 * * JAN", ["day_of_week", "SUN-SAT"]),
            ("0 9 * MON *", ["month", "JAN-DEC"]),
            ("MON * * * *", ["minute"]),
            ("-5 * * * *", ["minute"]),
            ("5- * * * *", ["minute"]),
            ("1--3 * * * *", ["minute"]),
            ("1-2-3 * * * *", ["minute"]),
            ("+5 * * * *", ["minute"]),
            ("1.5 * * * *", ["minute"]),
            ("1,,2 * * * *", ["minute"]),
            (",1 * * * *", ["minute"]),
            ("** * * * *", ["minute"]),
            ("*5 * * * *", ["minute"]),
            ("5-* * * * *", ["minute"]),
            ("٣ * * * *", ["minute"]),
            ("0 0 * * ſun", ["day_of_week"]),
            ("@reboot", ["@hourly", "@daily"]),
            ("@daily 5", ["@hourly"]),
            ("@", ["@yearly"]),
            ("@every 5s", ["every_seconds"]),
            ("@every", ["every_seconds"]),
            ("@EVERY 2h", ["every_seconds"]),
            (5, ["text"]),
            (True, ["text"]),
            (["0 9 * * *"], ["text"]),
        ],
    )
    def test_with_the_field_and_what_it_accepts(self, expr: object, words: list[str]) -> None:
        error = refusal(expr)
        assert (error.kind, error.field) == (ErrorKind.INVALID_FIELD, "schedule.cron_expr")
        assert [word for word in ["cron_expr", *words] if word not in error.message] == []

    @pytest.mark.parametrize("expr", [None, "", "  \t"])
    def test_blank_is_missing(self, expr: str | None) -> None:
        error = refusal(expr)
        assert (error.kind, error.field) == (ErrorKind.MISSING_FIELD, "schedule.cron_expr")
        assert "cron_expr" in error.message

    @pytest.mark.parametrize(
        "expr",
        [
            "0 0 30 2 *",
            "0 0 31 4,6 *",
            "0 0 31 2,4,6,9,11 ?",
            "0 0 30,31 FEB */1",
            "0 0 30-31 2 *",
        ],
    )
    def test_dates_that_never_exist(self, expr: str) -> None:
        error = refusal(expr)
        assert (error.kind, error.field) == (ErrorKind.INVALID_FIELD, "schedule.cron_expr")
        assert "never" in error.message

    @pytest.mark.parametrize(
        "expr", ["0 0 29 2 *", "0 0 31 4,5 *", "0 0 30 2 1", "0 0 30 2 0-7", "0 0 31 * *"]
    )
    def test_not_dates_that_exist_sometimes(self, expr: str) -> None:
        assert validate_cron(expr).cron_expr == expr

    @pytest.mark.parametrize(
        ("expr", "timezone"),
        [
            ("0 9 * * *", "Mars/Base"),
            ("0 9 * * *", "europe/berlin"),
            ("0 9 * * *", "CET+1"),
            ("0 9 * * *", "../zones"),
            ("0 9 * * *", 5),
            ("CRON_TZ=Mars/Base 0 9 * * *", None),
            ("TZ=Local 0 9 * * *", None),
            ("CRON_TZ=UTC 0 9 * * *", "Mars/Base"),
        ],
    )
    def test_zones_that_are_no_iana_names(self, expr: str, timezone: object) -> None:
        error = refusal(expr, timezone)
        assert (error.kind, error.field) == (ErrorKind.INVALID_FIELD, "schedule.timezone")
        assert "IANA" in error.message

    def test_a_prefix_that_contradicts_the_zone(self) -> None:
        error = refusal("CRON_TZ=Europe/Berlin 0 9 * * *", "UTC")
        assert (error.kind, error.field) == (ErrorKind.INVALID_FIELD, "schedule.timezone")
        assert "Europe/Berlin" in error.message
        assert "UTC" in error.message

    def test_both_problems_are_told_the_expression_first(self) -> None:
        error = refusal("TZ=Mars/Base 60 * * * *")
        assert error.field == "schedule.cron_expr"
        assert [problem.field for problem in error.errors] == [
            "schedule.cron_expr",
            "schedule.timezone",
        ]

    def test_one_problem_has_no_list(self) -> None:
        assert refusal("60 * * * *").errors == []
        assert refusal("0 9 * * *", "Mars/Base").errors == []

    def test_under_the_names_of_the_caller(self) -> None:
        with pytest.raises(DomainError) as caught:
            validate_cron(
                "60 * * * *",
                "Mars/Base",
                field="trigger.schedule",
                timezone_field="trigger.timezone",
            )
        fields = [problem.field for problem in caught.value.errors]
        assert fields == ["trigger.schedule", "trigger.timezone"]

    def test_long_texts_are_not_repeated_in_full(self) -> None:
        assert len(refusal("x" * 100_000 + " * * * *").message) < 500


class TestFixedHour:
    @pytest.mark.parametrize(
        "expr",
        [
            "0 1 * * *",
            "0 01 * * *",
            "0 1,13 * * *",
            "* 1 * * *",
            "*/5 0,1,2 * * *",
            "@daily",
            "@weekly",
            "@YEARLY",
            "CRON_TZ=Europe/Berlin 0 9 * * *",
            "TZ=UTC @monthly",
        ],
    )
    def test_is_plain_numbers_only(self, expr: str) -> None:
        assert hour_is_fixed(expr) is True

    @pytest.mark.parametrize("hour", ["*", "?", "*/2", "1/12", "9-17", "1-1", "1,2-3", "1,*/12"])
    def test_is_nothing_else(self, hour: str) -> None:
        assert hour_is_fixed(f"0 {hour} * * *") is False

    @pytest.mark.parametrize("expr", ["@hourly", "every 1d"])
    def test_is_not_in_hourly_and_words(self, expr: str) -> None:
        assert hour_is_fixed(expr) is False

    def test_needs_an_expression(self) -> None:
        with pytest.raises(DomainError):
            hour_is_fixed("bad expr")


class TestDayRule:
    def test_both_day_fields_restricted_means_either(self) -> None:
        found = dates("0 0 13 * 5", date(2026, 2, 1), date(2026, 3, 31))
        fridays = {date(2026, 2, d) for d in (6, 13, 20, 27)} | {
            date(2026, 3, d) for d in (6, 13, 20, 27)
        }
        assert found == sorted(fridays | {date(2026, 2, 13), date(2026, 3, 13)})

    @pytest.mark.parametrize("free", ["*", "?", "*/1"])
    def test_an_unrestricted_field_leaves_it_to_the_other(self, free: str) -> None:
        first, last = date(2026, 1, 1), date(2026, 1, 31)
        mondays = [date(2026, 1, d) for d in (5, 12, 19, 26)]
        assert dates(f"0 0 {free} * 1", first, last) == mondays
        assert dates(f"0 0 13 * {free}", first, last) == [date(2026, 1, 13)]
        assert len(dates(f"0 0 {free} * {free}", first, last)) == 31

    @pytest.mark.parametrize("full", ["1-31", "*/01", "*,1", "1/1"])
    def test_a_field_that_names_every_day_is_restricted_all_the_same(self, full: str) -> None:
        assert len(dates(f"0 0 {full} * 1", date(2026, 1, 1), date(2026, 1, 31))) == 31

    def test_the_month_counts_for_both(self) -> None:
        assert dates("0 0 1 6 1", date(2026, 5, 25), date(2026, 6, 9)) == [
            date(2026, 6, 1),
            date(2026, 6, 8),
        ]

    def test_leap_days_may_be_eight_years_apart(self) -> None:
        found = dates("0 0 29 2 *", date(2092, 1, 1), date(2108, 1, 1))
        assert found == [date(2092, 2, 29), date(2096, 2, 29), date(2104, 2, 29)]

    def test_months_without_the_day_are_left_out(self) -> None:
        found = dates("0 0 31 * *", date(2026, 1, 1), date(2026, 12, 31))
        assert [on.month for on in found] == [1, 3, 5, 7, 8, 10, 12]


class TestWalls:
    def test_start_inside_a_day_and_end_before_the_bound(self) -> None:
        rule = parse_rule("0,30 8-9 * * *")
        start = wall(date(2026, 1, 1)) + 8 * 3600 + 1
        found = list(rule.walls(start, wall(date(2026, 1, 2)) + 8 * 3600 + 1800))
        midnight = wall(date(2026, 1, 1))
        times = [30600, 32400, 34200, DAY + 28800]
        assert found == [midnight + time for time in times]

    def test_one_wall_time_is_named_or_not(self) -> None:
        rule = parse_rule("30 9 * * *")
        at = wall(date(2026, 1, 1)) + 9 * 3600 + 1800
        assert rule.matches(at)
        assert not rule.matches(at + 1)
        assert not rule.matches(at - 60)
