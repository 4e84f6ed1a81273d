"""Variables in prompts (automation.md §7.4)."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.routine import render_prompt
from tests.support.routines import assert_refused, refusal

NOW = datetime(2026, 2, 23, 23, 30, 5, 999_999, tzinfo=UTC)
UNIX = str(int(NOW.timestamp()))


@pytest.mark.parametrize(
    ("prompt", "timezone", "text"),
    [
        ("{{now}}", "Europe/Berlin", "2026-02-24T00:30:05+01:00"),
        ("{{now}}", "UTC", "2026-02-23T23:30:05+00:00"),
        ("{{now}}", "", "2026-02-23T23:30:05+00:00"),
        ("{{now}}", None, "2026-02-23T23:30:05+00:00"),
        ("{{date}} {{time}}", "Asia/Kolkata", "2026-02-24 05:00:05"),
        ("{{unix}}", "Asia/Kolkata", UNIX),
        ("{{ date }}{{\tdate\n}}", "UTC", "2026-02-232026-02-23"),
        ("{{{date}}}", "UTC", "{2026-02-23}"),
        ("  keep me  ", "UTC", "  keep me  "),
        ("{date} {{date} {{}} {{ }}", "UTC", "{date} {{date} {{}} {{ }}"),
        ("", "UTC", ""),
    ],
)
def test_variables_are_filled_in(prompt: str, timezone: str | None, text: str) -> None:
    rendered = render_prompt(prompt, NOW, timezone)
    assert (rendered.text, rendered.unknown) == (text, [])


def test_other_names_stay_and_are_listed_once_in_order() -> None:
    prompt = "{{b}} {{ user }} {{b}} {{Now}} {{a b}} {{date}}"
    rendered = render_prompt(prompt, NOW, "UTC")
    assert rendered.text == "{{b}} {{ user }} {{b}} {{Now}} {{a b}} 2026-02-23"
    assert rendered.unknown == ["b", "user", "Now", "a b"]


def test_an_unknown_zone_is_refused() -> None:
    error = refusal(lambda: render_prompt("x", NOW, "Mars/Base"))
    assert_refused(error, "invalid_field", "timezone", "IANA")


@given(st.text(alphabet="{} nowx"))
def test_only_known_names_change_the_text(prompt: str) -> None:
    rendered = render_prompt(prompt, NOW, "UTC")
    assert (rendered.text == prompt) == (re.search(r"\{\{ *now *\}\}", prompt) is None)
