"""What this version carries out: the rest is refused when it is created, not when it fires."""

from collections.abc import Mapping
from typing import Any

import pytest

from domain.capabilities import check_supported
from domain.routine import Routine
from tests.support.routines import ONE_SHOT, WEBHOOK, assert_refused, refusal, routine

PUSHED: list[Mapping[str, Any]] = [
    {"type": "event", "pattern": "x"},
    {"type": "system_event", "source": "s", "event_type": "t"},
    WEBHOOK,
]
JOB = {"type": "full_job", "title": "t", "description": "d"}


def pushed(trigger: object) -> Routine:
    return routine(trigger=trigger, schedule=..., next_run_at=None)


@pytest.mark.parametrize(
    "subject",
    [
        routine(),
        routine(schedule={"cron_expr": "0 9 * * *"}),
        routine(schedule=ONE_SHOT),
        routine(trigger={"type": "manual"}, schedule=..., next_run_at=None),
    ],
    ids=["interval", "cron", "at", "manual"],
)
def test_what_fires_by_time_or_by_hand(subject: Routine) -> None:
    check_supported(subject)


@pytest.mark.parametrize("trigger", PUSHED, ids=lambda item: str(item["type"]))
def test_what_others_fire(trigger: Mapping[str, Any]) -> None:
    check_supported(pushed(trigger))


def test_full_jobs() -> None:
    error = refusal(lambda: check_supported(routine(action=JOB, prompt=...)))
    assert_refused(error, "invalid_field", "action.type", "full_job", "lightweight")


def test_tools() -> None:
    action = {"type": "lightweight", "prompt": "x", "use_tools": True}
    error = refusal(lambda: check_supported(routine(action=action, prompt=...)))
    assert_refused(error, "invalid_field", "action.use_tools", "true", "false")
