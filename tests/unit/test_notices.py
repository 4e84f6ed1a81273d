"""The texts that people are sent about a run (triggers-and-actions.md §9, automation.md §9)."""

from typing import Any

import pytest

from domain.admission import NoticeKind
from domain.notices import (
    FILTERED_MARK,
    TRUNCATED_MARK,
    cost_text,
    cut_mark,
    failure_notice,
    final_notice,
    lateness,
    success_notice,
)
from domain.runs import FireKind, RunRecord, RunStatus, run_workflow_id
from tests.support.routines import NOW

RUN = "brief/s-2026-02-01T12:00:00Z"


def record(status: RunStatus = RunStatus.ATTENTION, **fields: Any) -> RunRecord:
    return RunRecord.model_validate(
        {
            "id": RUN,
            "routine_id": "brief",
            "workflow_id": run_workflow_id(RUN),
            "trigger_type": FireKind.SCHEDULE,
            "occurred_at": NOW,
            "status": status,
            **fields,
        }
    )


def last_line(text: str) -> str:
    return text.splitlines()[-1]


class TestFinal:
    def test_title_and_status_then_the_text_then_the_run(self) -> None:
        text = final_notice("Brief", record(), "  Two\nlines. \n", late_seconds=0)
        assert text == f"Brief: attention\nTwo\nlines.\n(run {RUN})"

    def test_what_is_worth_knowing_is_added(self) -> None:
        ended = record(cost_micros=12_345, stands_for=3)
        text = final_notice("Brief", ended, "x", late_seconds=1860)
        assert last_line(text) == f"(late by 31m, stands for 3 missed times, $0.0123, run {RUN})"

    def test_a_reply_that_was_cut_says_so(self) -> None:
        mark = cut_mark(truncated=True, filtered=False)
        text = final_notice("Brief", record(), f"x\n{mark}", late_seconds=0)
        assert text.splitlines()[1:3] == ["x", TRUNCATED_MARK]

    def test_of_two_reasons_why_a_reply_was_cut_the_filter_is_told(self) -> None:
        assert cut_mark(truncated=True, filtered=True) == FILTERED_MARK
        assert cut_mark(truncated=False, filtered=False) == ""


class TestFailure:
    def test_the_first_of_a_streak_names_the_error(self) -> None:
        ended = record(RunStatus.FAILED, error="boom")
        text = failure_notice(NoticeKind.FIRST_FAILURE, "Brief", ended, late_seconds=0, failures=1)
        assert text == f"Brief: failed\nError: boom\n(run {RUN})"

    def test_a_pause_says_how_to_resume(self) -> None:
        ended = record(RunStatus.TIMED_OUT)
        text = failure_notice(NoticeKind.ROUTINE_PAUSED, "Brief", ended, late_seconds=0, failures=3)
        assert text.splitlines() == [
            "Brief: paused after 3 failures in a row",
            "Last error: timed_out",
            "Resume it with: tickless routine resume brief",
            f"(run {RUN})",
        ]


def test_success_is_short() -> None:
    text = success_notice("Brief", record(RunStatus.OK), late_seconds=0)
    assert text == f"Brief: ok\n(run {RUN})"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, ""),
        (60, ""),
        (61, "late by 1m01s"),
        (120, "late by 2m"),
        (599, "late by 9m59s"),
        (605, "late by 10m"),
        (1860, "late by 31m"),
        (3599, "late by 59m"),
        (3600, "late by 1h00m"),
        (90_061, "late by 25h01m"),
    ],
)
def test_lateness(seconds: int, text: str) -> None:
    assert lateness(seconds) == text


@pytest.mark.parametrize(
    ("micros", "text"),
    [(None, ""), (0, "$0.0000"), (12_345, "$0.0123"), (1_500_000, "$1.5000")],
)
def test_a_cost_that_is_not_known_is_not_zero(micros: int | None, text: str) -> None:
    assert cost_text(micros) == text
