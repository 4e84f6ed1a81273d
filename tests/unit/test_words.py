"""Intervals in words."""

import pytest

from domain.errors import DomainError, ErrorKind
from domain.words import is_words, normalize_words, parse_words


def refusal(text: str) -> DomainError:
    with pytest.raises(DomainError) as caught:
        parse_words(text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("every 2h", 7200),
        ("every 30m", 1800),
        ("every 1d", 86_400),
        ("every 90 minutes", 5400),
        ("every 90s", 90),
        ("every minute", 60),
        ("every h", 3600),
        ("every day", 86_400),
        ("EVERY 2 Hours", 7200),
        ("  every \t 02   hrs\n", 7200),
        ("every 60 s", 60),
        ("every 365d", 31_536_000),
        ("every 31536000 seconds", 31_536_000),
    ],
)
def test_one_whole_number_and_one_unit(text: str, seconds: int) -> None:
    interval = parse_words(text)
    assert interval is not None
    assert interval.every_seconds == seconds


@pytest.mark.parametrize(
    ("names", "seconds"),
    [
        ("s sec secs second seconds", 1),
        ("m min mins minute minutes", 60),
        ("h hr hrs hour hours", 3600),
        ("d day days", 86_400),
    ],
)
def test_units_have_short_and_full_names(names: str, seconds: int) -> None:
    for name in names.split():
        for text in (f"every 100{name}", f"every 100 {name}"):
            interval = parse_words(text)
            assert interval is not None
            assert interval.every_seconds == 100 * seconds


@pytest.mark.parametrize(
    "text", ["0 9 * * *", "@daily", "", "  ", "everyday", "every2h", "2h", "each 2h", None, 5, True]
)
def test_what_does_not_begin_with_every_is_left_to_cron(text: object) -> None:
    assert parse_words(text) is None
    assert not is_words(text)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("every 30 seconds", "60"),
        ("every 0m", "60"),
        ("every second", "60"),
        ("every 59s", "60"),
        ("every 366d", "31536000"),
        ("every 31536001s", "31536000"),
        ("every 99999999999999999999999999d", "31536000"),
        ("every 1h30m", "one unit"),
        ("every 1h 30m", "one unit"),
        ("every 1.5h", "whole number"),
        ("every -2h", "whole number"),
        ("every +2h", "whole number"),
        ("every 5", "unit"),
        ("every", "unit"),
        ("every ٣ hours", "whole number"),
        ("every two hours", "whole number"),
        ("every 2 weeks", "one unit"),
        ("every other day", "one unit"),
        ("every monday", "cron"),
        ("every day at 9", "cron"),
        ("every weekday", "cron"),
    ],
)
def test_other_forms_are_refused_naming_the_form(text: str, word: str) -> None:
    error = refusal(text)
    assert is_words(text)
    assert (error.kind, error.field) == (ErrorKind.INVALID_FIELD, "schedule.cron_expr")
    assert word in error.message


def test_thousands_of_digits_are_out_of_bounds_like_any_other_number() -> None:
    error = refusal(f"every {'9' * 10_000} d")
    assert "31536000" in error.message
    assert len(error.message) < 500


def test_leading_zeros_do_not_count() -> None:
    interval = parse_words(f"every {'0' * 10_000}2 h")
    assert interval is not None
    assert interval.every_seconds == 7200


def test_errors_are_told_under_the_callers_name() -> None:
    with pytest.raises(DomainError) as caught:
        parse_words("every 5", "trigger.schedule")
    assert caught.value.field == "trigger.schedule"
    assert "trigger.schedule" in caught.value.message


def test_a_trigger_keeps_the_words_in_lower_case_with_single_blanks() -> None:
    assert normalize_words("  EVERY   2\tHours ") == "every 2 hours"
