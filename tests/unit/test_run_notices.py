"""Notices beside the reply: start, fires without a place, alerts, and which of them are sent."""

from datetime import timedelta
from typing import Any

import pytest

from domain.admission import NoticeKind, RunDefinition
from domain.deliveries import FINAL_PART, Part
from domain.notices import (
    alert_notice,
    crowded_notice,
    final_parts,
    notice_parts,
    start_notice,
    success_notice,
)
from domain.runs import RunRecord, RunStatus
from domain.scopes import Route
from domain.watchdog import Alert, AlertKind
from tests.support.bookings import Bookings, ending
from tests.support.routines import NOW

RUN_LINE = "(run routine_01/m-1)"


def record(status: RunStatus = RunStatus.FAILED, **fields: Any) -> RunRecord:
    return ending("m-1", status, **fields).record


def definition(**changes: object) -> RunDefinition:
    found = Bookings(title="Brief", **changes).begin("m-0").definition
    assert found is not None
    return found


def test_a_start_names_the_routine_and_the_run() -> None:
    text = start_notice("Brief", record(RunStatus.RUNNING))
    assert text == f"Brief: started\n{RUN_LINE}"


def test_fires_without_a_place_say_why_and_where_to_look() -> None:
    head, why, see, last = crowded_notice("Brief", record(RunStatus.SKIPPED)).splitlines()
    assert head == "Brief: fires are being skipped"
    assert "max_concurrent" in why
    assert see == "See: tickless routine runs routine_01"
    assert last == RUN_LINE


class TestAlerts:
    OVERDUE = Alert(kind=AlertKind.OVERDUE, overdue_by=7_500)
    STUCK = Alert(kind=AlertKind.STUCK, running_for=720)

    @pytest.mark.parametrize(
        ("busy", "session"),
        [
            (True, ["Its session is busy."]),
            (False, ["Its session is idle."]),
            (None, []),
        ],
    )
    def test_overdue(self, busy: bool | None, session: list[str]) -> None:
        text = alert_notice(self.OVERDUE, "brief", "Brief", NOW, busy=busy)
        assert text.splitlines() == [
            "Brief: overdue by 2h05m",
            "Planned for 2026-02-01T12:00:00Z.",
            *session,
            "(routine brief)",
        ]

    def test_stuck(self) -> None:
        text = alert_notice(self.STUCK, "brief", "Brief", NOW)
        head, started, advice, last = text.splitlines()
        assert head == "Brief: stuck, running for 12m"
        assert started == "Started at 2026-02-01T12:00:00Z."
        assert "tickless run cancel" in advice
        assert last == "(routine brief)"

    def test_times_are_whole_seconds(self) -> None:
        text = alert_notice(self.STUCK, "brief", "Brief", NOW + timedelta(milliseconds=750))
        assert "12:00:00Z" in text

    @pytest.mark.parametrize("kind", list(AlertKind))
    def test_a_duration_that_is_not_known(self, kind: AlertKind) -> None:
        assert " 0s\n" in alert_notice(Alert(kind=kind), "brief", "Brief", NOW)


class TestParts:
    def test_none_is_none(self) -> None:
        assert notice_parts([], definition(), record()) == []

    def test_a_first_failure(self) -> None:
        failed = record(error="boom")
        [part] = notice_parts([NoticeKind.FIRST_FAILURE], definition(), failed, late_seconds=61)
        assert part == Part(
            part="first_failure",
            route=Route(receive_id_type="user_id", receive_id="ou_a"),
            text="Brief: failed\nError: boom\n(late by 1m01s, run routine_01/m-1)",
        )

    def test_only_where_the_routine_wants_to_hear_of_it(self) -> None:
        quiet = definition(notify={"on_failure": False})
        kinds = [NoticeKind.FIRST_FAILURE, NoticeKind.ROUTINE_PAUSED, NoticeKind.MAX_CONCURRENT]
        found = notice_parts(kinds, quiet, record(), failures=3)
        assert [part.part for part in found] == ["routine_paused", "max_concurrent"]
        assert [part.text.splitlines()[0] for part in found] == [
            "Brief: paused after 3 failures in a row",
            "Brief: fires are being skipped",
        ]

    def test_under_the_source_message(self) -> None:
        [part] = notice_parts(
            [NoticeKind.ROUTINE_PAUSED], definition(source_message_id="om_1"), record()
        )
        assert part.reply_to == "om_1"

    def test_where_the_routine_wants_them(self) -> None:
        alerts = {"receive_id_type": "webhook", "receive_id": "alerts"}
        told = definition(source_message_id="om_1", notify={"route": alerts})
        [part] = notice_parts([NoticeKind.MAX_CONCURRENT], told, record(RunStatus.SKIPPED))
        assert (part.route.receive_id, part.reply_to) == ("alerts", None)


class TestReply:
    def test_what_is_worth_attention_is_said_with_what_is_missing_of_it(self) -> None:
        ended = record(RunStatus.ATTENTION)
        [part] = final_parts(definition(), ended, "Half of \n", mark="[cut]", late_seconds=61)
        assert part.part == FINAL_PART
        assert part.text.splitlines()[1:3] == ["Half of", "[cut]"]
        assert "late by 1m01s" in part.text
        [whole] = final_parts(definition(), ended, "All.", mark="", late_seconds=0)
        assert whole.text == f"Brief: attention\nAll.\n{RUN_LINE}"

    def test_success_is_told_only_where_the_routine_wants_that(self) -> None:
        ended = record(RunStatus.OK)
        assert final_parts(definition(), ended, "ROUTINE_OK", mark="", late_seconds=0) == []
        eager = definition(notify={"on_success": True})
        [part] = final_parts(eager, ended, "ROUTINE_OK", mark="", late_seconds=0)
        assert part.text == success_notice("Brief", ended, late_seconds=0)
