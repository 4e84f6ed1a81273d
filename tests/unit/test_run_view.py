"""Runs and routines as the Temporal UI shows them (DESIGN §1)."""

from datetime import timedelta
from typing import Any

import pytest

from domain.deliveries import DeliveryStatus
from domain.routine_view import routine_details
from domain.run_view import DeliveryView, RunStage, RunView, run_details
from domain.runs import FireKind, RunStatus, run_workflow_id
from tests.support.bookings import Bookings, state
from tests.support.routines import NOW, WEBHOOK

RUN = "brief/m-1"


def view(stage: RunStage = RunStage.MODEL, **fields: Any) -> RunView:
    record = {
        "id": RUN,
        "routine_id": "brief",
        "workflow_id": run_workflow_id(RUN),
        "trigger_type": FireKind.MANUAL,
        "occurred_at": NOW,
        "status": RunStatus.RUNNING,
        **fields.pop("record", {}),
    }
    return RunView.model_validate({"record": record, "stage": stage, **fields})


def details(**fields: Any) -> list[str]:
    return run_details(view(**fields), "home").splitlines()


class TestRun:
    def test_a_run_that_has_just_begun(self) -> None:
        assert details() == [
            "**brief** is *waiting for the model*, status `running`",
            "",
            "- Fired by manual",
            "- Spent so far: nothing known",
            "",
            "[Routine brief](/namespaces/home/workflows/routine%2Fbrief)",
        ]

    def test_a_run_that_has_ended(self) -> None:
        record = {
            "status": RunStatus.FAILED,
            "trigger_type": FireKind.SCHEDULE,
            "trigger_detail": "every 1800s",
            "reason": "why",
            "error": "boom",
            "summary": "two\nlines",
            "tokens_in": 12,
            "tokens_out": 3,
            "cost_micros": 1_000,
        }
        deliveries = [
            DeliveryView(occurrence_id=f"{RUN}/final", status=DeliveryStatus.SENT),
            DeliveryView(occurrence_id=f"{RUN}/x", status=DeliveryStatus.FAILED, error="410"),
        ]
        lines = details(
            stage=RunStage.ENDED,
            title="Brief",
            late_seconds=120,
            deliveries=deliveries,
            record=record,
        )
        assert lines[0] == "**Brief** is *ended*, status `failed`"
        assert lines[2:10] == [
            "- Fired by schedule (every 1800s), late by 2m",
            "- Spent so far: 12 tokens in, 3 out, $0.0010",
            "- Reason: why",
            "- Error: boom",
            "- Deliveries: final sent, x failed (410)",
            "",
            "> two",
            "> lines",
        ]

    @pytest.mark.parametrize(
        ("spent", "text"),
        [
            ({"tokens_in": 5}, "5 tokens in, 0 out, cost unknown"),
            ({"tokens_out": 5}, "0 tokens in, 5 out, cost unknown"),
            ({"tokens_in": 0, "tokens_out": 0, "cost_micros": 0}, "0 tokens in, 0 out, $0.0000"),
        ],
    )
    def test_what_is_not_known_is_said(self, spent: dict[str, int], text: str) -> None:
        assert details(record=spent)[3] == f"- Spent so far: {text}"

    def test_the_view_is_the_result_of_the_workflow(self) -> None:
        shown = view(text="whole reply", model="m", deliveries=[])
        assert RunView.model_validate_json(shown.model_dump_json()) == shown


class TestRoutine:
    def test_an_idle_routine(self) -> None:
        assert routine_details(state(), "home").splitlines() == [
            "**routine_01** is *active*",
            "",
            "- Fires: `every 1800s`, next 2026-02-01T12:10:00Z",
            "- Runs: 0, 0 failures in a row",
            "- Last result: none yet",
            "",
            "> hello",
            "",
            "[Its Schedule](/namespaces/home/schedules/routine-schedule%2Froutine_01)",
        ]

    def test_what_runs_now_and_what_was_refused(self) -> None:
        booked = Bookings(title="Brief", max_runs=9, last_result="ok: x", prompt="a\nb")
        booked.begin("m-1")
        booked.begin("m-2")
        booked.begin("m-3")
        booked.begin("m-4", system_paused=True)
        link = "/namespaces/home/workflows/routine-run%2Froutine_01%2Fm-"
        assert routine_details(booked.state, "home").splitlines()[:11] == [
            "**Brief** is *active*",
            "",
            "- Fires: `every 1800s`, next 2026-02-01T12:10:00Z",
            "- Runs: 1 of 9, 0 failures in a row",
            "- Last result: ok: x",
            "- Fires refused: max_concurrent 1, system_paused 1",
            f"- Now: [running routine_01/m-1]({link}1)",
            f"- Now: [queued routine_01/m-2]({link}2)",
            "",
            "> a",
            "> b",
        ]

    @pytest.mark.parametrize(
        ("changes", "status"),
        [
            ({"status": "paused", "paused_reason": "failures"}, "paused (failures)"),
            ({"status": "paused"}, "paused"),
            ({"status": "deleted", "deleted_at": NOW}, "deleted"),
        ],
    )
    def test_its_status(self, changes: dict[str, object], status: str) -> None:
        shown = routine_details(state(next_run_at=None, **changes), "home")
        assert f"is *{status}*" in shown
        assert "no next time" in shown

    def test_a_pushed_trigger_has_no_schedule(self) -> None:
        shown = routine_details(state(trigger=WEBHOOK, schedule=..., next_run_at=None), "home")
        assert "- Fires: by webhook" in shown
        assert "Schedule" not in shown

    def test_a_job_has_no_prompt_and_long_ones_are_cut(self) -> None:
        job = {"type": "full_job", "title": "t", "description": "d"}
        assert "\n> \n" in routine_details(state(action=job, prompt=...), "home")
        shown = routine_details(state(prompt="x" * 400), "home")
        assert "> " + "x" * 300 + "\n" in shown

    def test_cron_is_shown_with_its_zone(self) -> None:
        at = NOW + timedelta(days=1)
        cron = {"cron_expr": "0 9 * * 1-5", "timezone": "Europe/Berlin"}
        shown = routine_details(state(schedule=cron, next_run_at=at), "home")
        assert "`0 9 * * 1-5 Europe/Berlin`, next 2026-02-02T12:00:00Z" in shown
