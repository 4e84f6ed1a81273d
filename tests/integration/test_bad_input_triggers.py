"""The table of bad input of triggers-and-actions.md §12, row by row, by command line and library.

What is wrong with a trigger or an action is told before whether this version can carry it out.
Rows on webhooks' requests, tools, approvals and jobs are not here.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from client.tickless import TicklessClient
from domain.errors import DomainError
from tests.support.bad_input import (
    CONFLICT,
    INVALID,
    MISSING,
    RARELY,
    UNKNOWN,
    Row,
    assert_not_changed,
    assert_not_created,
    assert_problem,
    assert_raises,
    cases,
    creation,
)
from tests.support.command import command
from tests.support.harness import Harness, until

SCHEDULE, PATTERN = "trigger.schedule", "trigger.pattern"
TYPES = ("cron", "interval", "at", "event", "system_event", "webhook", "manual")


def trigger(type_: str, **fields: object) -> dict[str, Any]:
    return {"trigger": {"type": type_, **fields}}


def cron(schedule: str, **fields: object) -> dict[str, Any]:
    return trigger("cron", schedule=schedule, **fields)


def event(pattern: object) -> dict[str, Any]:
    return trigger("event", pattern=pattern)


def system_event(event_type: str = "issue.opened", **fields: object) -> dict[str, Any]:
    return trigger("system_event", source="github", event_type=event_type, **fields)


def limits(**fields: object) -> dict[str, Any]:
    return {"guardrails": fields}


def action(**fields: object) -> dict[str, Any]:
    return {"action": {"type": "lightweight", "prompt": "x", **fields}}


def job(**fields: object) -> dict[str, Any]:
    return {"action": {"type": "full_job", "title": "t", "description": "d", **fields}}


TRIGGERS = [
    Row("01", {"trigger": {"schedule": "0 9 * * *"}}, MISSING, "trigger.type", ("type",)),
    Row("01", {"trigger": {}}, MISSING, "trigger.type", ("type",)),
    Row("01", trigger(" "), MISSING, "trigger.type", ("type",)),
    Row("01", trigger("lunar"), INVALID, "trigger.type", TYPES),
    Row("02", {**trigger("manual"), "schedule": RARELY}, INVALID, "trigger", ("exactly one of",)),
    Row("03", trigger("manual", schedule="0 9 * * *"), UNKNOWN, SCHEDULE, ("type",)),
    Row("03", cron("0 9 * * *", pattern="x"), UNKNOWN, PATTERN, ("schedule", "timezone")),
    Row("03", trigger("event", pattern="x", path="p"), UNKNOWN, "trigger.path", ()),
    Row("04", cron("every 30 seconds"), INVALID, SCHEDULE, ("60",)),
    Row("04", cron("every 0m"), INVALID, SCHEDULE, ("60",)),
    Row("04", cron("every 366d"), INVALID, SCHEDULE, ("31536000",)),
    Row("05", cron("every 1h30m"), INVALID, SCHEDULE, ("whole number", "unit")),
    Row("05", cron("every 1.5h"), INVALID, SCHEDULE, ("whole number", "unit")),
    Row("05", cron("every 5"), INVALID, SCHEDULE, ("whole number", "unit")),
    Row("05", cron("every day at 9"), INVALID, SCHEDULE, ("cron",)),
    Row(
        "05b",
        cron("0 9 * * *", catchup="some"),
        INVALID,
        "trigger.catchup",
        ("once", "skip", "all"),
    ),
    Row(
        "05b",
        cron("0 9 * * *", catchup="all", catchup_window_seconds=59),
        INVALID,
        "trigger.catchup_window_seconds",
        ("60",),
    ),
    Row(
        "05b",
        cron("0 9 * * *", catchup_window_seconds=60),
        INVALID,
        "trigger.catchup_window_seconds",
        ("all",),
    ),
    # As rows 7 to 17 of automation.md.
    Row("06", cron("bad expr"), INVALID, SCHEDULE, ("5 fields", "2")),
    Row("06", cron(" "), MISSING, SCHEDULE, ("schedule",)),
    Row("06", trigger("cron"), MISSING, SCHEDULE, ("schedule",)),
    Row("06", cron("0 0 9 * * *"), INVALID, SCHEDULE, ("5 fields", "6")),
    Row("06", cron("60 * * * *"), INVALID, SCHEDULE, ("minute", "0-59")),
    Row("06", cron("* * * * 8"), INVALID, SCHEDULE, ("day_of_week", "0-7")),
    Row("06", cron("*/0 * * * *"), INVALID, SCHEDULE, ("minute", "step")),
    Row("06", cron("0 18-9 * * *"), INVALID, SCHEDULE, ("hour", "18-9")),
    Row("06", cron("0 9 L * *"), INVALID, SCHEDULE, ("day_of_month",)),
    Row("06", cron("0 9 * * 5#2"), INVALID, SCHEDULE, ("day_of_week",)),
    Row("06", cron("@reboot"), INVALID, SCHEDULE, ("@hourly", "@daily")),
    Row("06", cron("@every 5s"), INVALID, SCHEDULE, ("every_seconds",)),
    Row("06", cron("0 0 30 2 *"), INVALID, SCHEDULE, ("never",)),
    Row("06", cron("0 9 * * *", timezone="Mars/Base"), INVALID, "trigger.timezone", ("IANA",)),
    Row("06", cron("TZ=Mars/Base 0 9 * * *"), INVALID, "trigger.timezone", ("IANA",)),
    Row(
        "06",
        cron("TZ=Europe/Berlin 0 9 * * *", timezone="Asia/Tokyo"),
        INVALID,
        "trigger.timezone",
        ("Europe/Berlin", "Asia/Tokyo"),
    ),
    Row("07", trigger("event"), MISSING, PATTERN, ("pattern",)),
    Row("07", event(""), MISSING, PATTERN, ("pattern",)),
    Row("08", event("(?=x)y"), INVALID, PATTERN, ("RE2", "look-around")),
    Row("08", event("(a)\\1"), INVALID, PATTERN, ("back-reference",)),
    Row("08", event("("), INVALID, PATTERN, ("RE2",)),
    Row("09", event("x" * 1001), INVALID, PATTERN, ("1000",)),
    Row("10", system_event("*"), INVALID, "trigger.event_type", (".*",)),
    Row("10", system_event("issue*"), INVALID, "trigger.event_type", (".*",)),
    Row("10", system_event("a.*.b"), INVALID, "trigger.event_type", (".*",)),
    Row(
        "11",
        system_event(filters={"x": None}),
        INVALID,
        "trigger.filters.x",
        ("string", "number", "boolean"),
    ),
    Row(
        "11",
        system_event(filters={"x": ["a"]}),
        INVALID,
        "trigger.filters.x",
        ("string", "number", "boolean"),
    ),
    Row("12", trigger("webhook"), MISSING, "trigger.secret", ("allow_unsigned",)),
]

COST, ROUNDS = "guardrails.max_cost_usd", "action.max_tool_rounds"
ACTIONS = [
    Row("15", limits(cooldown_seconds=-1), INVALID, "guardrails.cooldown_seconds", ("31536000",)),
    Row("15", limits(max_concurrent=0), INVALID, "guardrails.max_concurrent", ("1", "10")),
    Row("15", limits(max_concurrent=11), INVALID, "guardrails.max_concurrent", ("1", "10")),
    Row("15", limits(overlap="allow"), INVALID, "guardrails.overlap", ("queue_one", "skip")),
    Row(
        "16",
        limits(rate_limit={"max_runs": 5}),
        MISSING,
        "guardrails.rate_limit.window_seconds",
        ("window_seconds",),
    ),
    Row("17", limits(max_cost_usd=0), INVALID, COST, ("USD",)),
    Row("17", limits(max_cost_usd="$1"), INVALID, COST, ("USD",)),
    Row("17", limits(max_cost_usd="0.0000001"), INVALID, COST, ("USD",)),
    Row("18", {"action": {"type": "script"}}, INVALID, "action.type", ("lightweight", "full_job")),
    Row("19", action(context_paths=["../x"]), INVALID, "action.context_paths", ("workspace",)),
    Row("19", action(context_paths=["a/../../x"]), INVALID, "action.context_paths", ("workspace",)),
    Row("20", action(max_tool_rounds=0), INVALID, ROUNDS, ("1", "20")),
    Row("20", action(max_tool_rounds=21), INVALID, ROUNDS, ("1", "20")),
    Row("20", job(max_iterations=501), INVALID, "action.max_iterations", ("1", "500")),
    Row("20", action(max_tokens="4096"), INVALID, "action.max_tokens", ("integer",)),
    Row("21", {"prompt": "x", **action()}, INVALID, "action", ("exactly one of",)),
]


@pytest.fixture(scope="module")
async def subject(harness: Harness) -> str:
    """A routine that every patch here leaves as it is."""
    return await harness.routine(schedule=RARELY)


@pytest.mark.parametrize("row", cases([*TRIGGERS, *ACTIONS]))
async def test_it_is_not_created(harness: Harness, row: Row) -> None:
    await assert_not_created(harness, row, creation(row))


@pytest.mark.parametrize("row", cases([*TRIGGERS, *ACTIONS]))
async def test_it_is_not_changed(harness: Harness, subject: str, row: Row) -> None:
    await assert_not_changed(harness, row, subject)


@pytest.mark.parametrize("arguments", [("routine", "list"), ("worker",)], ids=" ".join)
async def test_row_27(harness: Harness, arguments: tuple[str, ...]) -> None:
    """Nobody may believe that a sandbox is used which is none."""
    answer = await command(harness, *arguments, environ={"TICKLESS_SANDBOX_MODE": "podman"})
    assert (answer.code, answer.problem["field"]) == (2, "sandbox_mode")


class TestRow28:
    PAUSED = Row("28", {}, CONFLICT, "status", ("paused", "force"))
    ALL_PAUSED = Row("28", {}, CONFLICT, "status", ("system",))

    async def test_a_paused_routine(self, harness: Harness) -> None:
        routine = await harness.routine(schedule=RARELY)
        await harness.tickless.routines.pause(routine)
        await self.assert_not_triggered(harness, routine, self.PAUSED)

    @pytest.fixture
    async def all_paused(self, harness: Harness) -> AsyncIterator[None]:
        """A worker may hold the former answer for a second, so the wait is for what it does."""
        probe = await harness.routine(schedule=RARELY)
        await harness.tickless.system.pause_all("a test")

        async def refuses() -> bool:
            return "system" in (await _refusal(harness.tickless, probe) or "")

        async def admits() -> bool:
            return await _refusal(harness.tickless, probe) is None

        try:
            await until(refuses, "new fires are refused", pause=0.1)
            yield
        finally:
            await harness.tickless.system.resume_all()
        await until(admits, "new fires are let in again", pause=0.1)

    @pytest.mark.usefixtures("all_paused")
    async def test_during_a_system_pause(self, harness: Harness) -> None:
        routine = await harness.routine(schedule=RARELY)
        await self.assert_not_triggered(harness, routine, self.ALL_PAUSED)
        answer = await command(harness, "routine", "trigger", routine, "--force")
        assert_problem(answer, self.ALL_PAUSED)

    async def assert_not_triggered(self, harness: Harness, routine: str, row: Row) -> None:
        """Refused both ways; the routine is as before, its list of runs tells of the refusals."""
        before = (await harness.tickless.routines.get(routine)).routine
        assert_problem(await command(harness, "routine", "trigger", routine), row)
        await assert_raises(harness.tickless.runs.trigger(routine), row)
        assert (await harness.tickless.routines.get(routine)).routine == before
        runs = await harness.tickless.routines.runs(routine)
        assert [run.status for run in runs] == ["skipped", "skipped"]


async def _refusal(tickless: TicklessClient, routine: str) -> str | None:
    """Why a fire by hand is refused, null when it is not.

    Its run is not waited for: one that was let in a moment before the pause parks until its end.
    """
    try:
        await tickless.runs.trigger(routine)
    except DomainError as error:
        return error.message
    return None
