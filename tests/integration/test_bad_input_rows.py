"""The table of bad input of automation.md §14, row by row, by command line and library.

Its rows on goals are in `test_bad_input_goals`; those that only HTTP can express (29; headers in
31, 34, 35) are not here.
"""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest

from client import pages as client_pages
from client.context import CallerContext
from client.tickless import TicklessClient
from domain.maintenance import MaintenanceJobs
from domain.routine import validate_routine
from tests.support.bad_input import (
    CONFLICT,
    DENIED,
    INVALID,
    MISSING,
    NOT_FOUND,
    RARELY,
    UNKNOWN,
    Row,
    assert_not_changed,
    assert_not_created,
    assert_problem,
    assert_raises,
    cases,
    creation,
    state_of,
)
from tests.support.command import command
from tests.support.harness import Harness
from tests.support.model_steps import Reply

SCHEDULE, EVERY, CRON = "schedule", "schedule.every_seconds", "schedule.cron_expr"
ZONE, RUN_AT = "schedule.timezone", "schedule.run_at"
CATCHUP, WINDOW = "schedule.catchup", "schedule.catchup_window_seconds"
ALTERNATIVES = ("exactly one of", "every_seconds", "cron_expr", "run_at")
IN_THE_PAST, LATER = "2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"


def every(seconds: object) -> dict[str, Any]:
    return {"schedule": {"every_seconds": seconds}}


def cron(text: str, **more: object) -> dict[str, Any]:
    return {"schedule": {"cron_expr": text, **more}}


# What a body may get wrong, of a new routine or of a change to one.
BODIES = [
    Row("01", {"prompt": "  "}, MISSING, "prompt", ("prompt",)),
    Row("03", every(59), INVALID, EVERY, ("60", "31536000")),
    Row("03", every(0), INVALID, EVERY, ("60", "31536000")),
    Row("03", every(-5), INVALID, EVERY, ("60", "31536000")),
    Row("04", every("60"), INVALID, EVERY, ("integer",)),
    Row("04", every(60.5), INVALID, EVERY, ("integer",)),
    Row("04", every(True), INVALID, EVERY, ("integer",)),
    Row("05", every(31_536_001), INVALID, EVERY, ("31536000",)),
    Row("06", cron("0 9 * * *", every_seconds=3600), INVALID, SCHEDULE, ALTERNATIVES),
    Row("06", cron("0 9 * * *", run_at=LATER), INVALID, SCHEDULE, ALTERNATIVES),
    Row("07", cron("bad expr"), INVALID, CRON, ("5 fields", "2")),
    Row("07b", cron(""), MISSING, CRON, ("cron_expr",)),
    Row("07b", cron(" \t"), MISSING, CRON, ("cron_expr",)),
    Row("08", cron("0 0 9 * * *"), INVALID, CRON, ("5 fields", "6")),
    Row("09", cron("60 * * * *"), INVALID, CRON, ("minute", "0-59")),
    Row("09", cron("* 24 * * *"), INVALID, CRON, ("hour", "0-23")),
    Row("09", cron("* * 0 * *"), INVALID, CRON, ("day_of_month", "1-31")),
    Row("09", cron("* * * 13 *"), INVALID, CRON, ("month", "1-12")),
    Row("09", cron("* * * * 8"), INVALID, CRON, ("day_of_week", "0-7")),
    Row("10", cron("*/0 * * * *"), INVALID, CRON, ("minute", "step")),
    Row("11", cron("0 18-9 * * *"), INVALID, CRON, ("hour", "18-9")),
    Row("12", cron("0 9 L * *"), INVALID, CRON, ("day_of_month",)),
    Row("12", cron("0 9 * * 5#2"), INVALID, CRON, ("day_of_week",)),
    Row("13", cron("@reboot"), INVALID, CRON, ("@hourly", "@daily")),
    Row("14", cron("@every 5s"), INVALID, CRON, ("every_seconds",)),
    Row("15", cron("0 0 30 2 *"), INVALID, CRON, ("never",)),
    Row("15", cron("0 0 31 4,6 *"), INVALID, CRON, ("never",)),
    Row("16", cron("0 9 * * *", timezone="Mars/Base"), INVALID, ZONE, ("IANA",)),
    Row("16", cron("CRON_TZ=Mars/Base 0 9 * * *"), INVALID, ZONE, ("IANA",)),
    Row(
        "17",
        cron("CRON_TZ=Europe/Berlin 0 9 * * *", timezone="Asia/Tokyo"),
        INVALID,
        ZONE,
        ("Europe/Berlin", "Asia/Tokyo"),
    ),
    Row("18", {"schedule": {"run_at": IN_THE_PAST}}, INVALID, RUN_AT, ("future",)),
    Row(
        "18b",
        {"schedule": {**RARELY, "catchup": "never"}},
        INVALID,
        CATCHUP,
        ("once", "skip", "all"),
    ),
    Row(
        "18b",
        {"schedule": {**RARELY, "catchup": "all", "catchup_window_seconds": 59}},
        INVALID,
        WINDOW,
        ("60", "31536000"),
    ),
    Row(
        "18b",
        {"schedule": {**RARELY, "catchup": "all", "catchup_window_seconds": 31_536_001}},
        INVALID,
        WINDOW,
        ("60", "31536000"),
    ),
    Row("18b", {"schedule": {**RARELY, "catchup_window_seconds": 60}}, INVALID, WINDOW, ("all",)),
    Row("19", {"schedule": {"run_at": "2099-01-01T00:00:00"}}, INVALID, RUN_AT, ("RFC 3339",)),
    Row("19", {"schedule": {"run_at": "tomorrow"}}, INVALID, RUN_AT, ("RFC 3339",)),
    Row("19", {"next_run_at": "2099-01-01T00:00:00"}, INVALID, "next_run_at", ("RFC 3339",)),
    Row("19", {"next_run_at": "soon"}, INVALID, "next_run_at", ("RFC 3339",)),
    Row("20", {"max_runs": -1}, INVALID, "max_runs", (">= 0",)),
    Row("20", {"max_runs": 1.5}, INVALID, "max_runs", (">= 0",)),
    Row(
        "23",
        {"manage_mode": "everyone"},
        INVALID,
        "manage_mode",
        ("creator_only", "scope_all"),
    ),
    Row("27", {"cron": "0 9 * * *"}, UNKNOWN, "cron", ("schedule.cron_expr",)),
    Row("27", {"promt": "x"}, UNKNOWN, "promt", ("prompt",)),
    Row("32", {"title": "x" * 201}, INVALID, "title", ("200",)),
    Row("32", {"prompt": "x" * 65_537}, INVALID, "prompt", ("65536",)),
    Row("32", {"prompt": "ü" * 32_769}, INVALID, "prompt", ("65536",)),
    Row("42", cron("every 30 seconds"), INVALID, CRON, ("60",)),
    Row("42", cron("every 1h30m"), INVALID, CRON, ("one unit",)),
    Row("42", cron("every day at 9"), INVALID, CRON, ("cron",)),
]

# Whole bodies: a change that leaves something out is none.
CREATIONS = [
    Row("01", {"schedule": RARELY}, MISSING, "prompt", ("prompt",)),
    Row("02", {"prompt": "x"}, MISSING, SCHEDULE, ALTERNATIVES[1:]),
    Row("02", {"prompt": "x", "schedule": {}}, MISSING, SCHEDULE, ALTERNATIVES[1:]),
    Row("03", {"prompt": "x", "every_seconds": 59}, INVALID, EVERY, ("60", "31536000")),
    Row(
        "06",
        {"prompt": "x", "every_seconds": 3600, "cron_expr": "0 9 * * *"},
        INVALID,
        SCHEDULE,
        ALTERNATIVES,
    ),
    Row("42", {"prompt": "x", "cron_expr": "every 30 seconds"}, INVALID, CRON, ("60",)),
]

EDITABLE = ("title", "prompt", "schedule", "trigger", "action", "guardrails", "max_runs")
CHANGES = [
    Row("24", {"status": "done"}, INVALID, "status", ("active", "paused", "deleted")),
    *(
        Row("28", {field: value}, INVALID, field, EDITABLE)
        for field, value in {
            "run_count": 5,
            "id": "other",
            "route": {"receive_id_type": "console", "receive_id": ""},
            "scope": {"kind": "user", "id": "somebody"},
            "creator": {"user_id": "somebody"},
            "revision": 7,
            "session_key": "s",
            "created_at": IN_THE_PAST,
            "last_result": "ok",
            "paused_reason": "user",
            "consecutive_failures": 2,
            "running": True,
        }.items()
    ),
]


@pytest.fixture(scope="module")
async def subject(harness: Harness) -> str:
    """A routine that every patch here leaves as it is."""
    return await harness.routine(schedule=RARELY)


@pytest.mark.parametrize("row", cases([*BODIES, *CREATIONS]))
async def test_it_is_not_created(harness: Harness, row: Row) -> None:
    await assert_not_created(harness, row, row.body if row in CREATIONS else creation(row))


@pytest.mark.parametrize("row", cases([*BODIES, *CHANGES]))
async def test_it_is_not_changed(harness: Harness, subject: str, row: Row) -> None:
    await assert_not_changed(harness, row, subject)


async def test_row_28_the_value_that_is_there_may_be_said_again(
    harness: Harness, subject: str
) -> None:
    before = await state_of(harness, harness.tickless, subject)
    record = before[0]["routine"]
    same = {key: record[key] for key in ("id", "scope", "route", "run_count", "title", "revision")}
    await harness.tickless.routines.patch(subject, same)
    assert await state_of(harness, harness.tickless, subject) == before


# Rows on a routine in a certain state.


async def test_row_21(harness: Harness) -> None:
    routine = await harness.routine(Reply(text="ROUTINE_OK"))
    for _ in range(3):
        await harness.run_once(routine)
    row = Row("21", {"max_runs": 2}, INVALID, "max_runs", ("3",))
    await assert_not_changed(harness, row, routine)


async def test_row_22(harness: Harness) -> None:
    routine = await harness.routine(Reply(text="ROUTINE_OK"), max_runs=1)
    await harness.run_once(routine)
    row = Row("22", {"status": "active"}, CONFLICT, "status", ("max_runs",))
    await assert_not_changed(harness, row, routine)
    assert_problem(await command(harness, "routine", "resume", routine), row)
    await assert_raises(harness.tickless.routines.resume(routine), row)


LISTS = [
    *(
        Row("25", {"status": status}, INVALID, "status", ("active", "paused", "deleted", "all"))
        for status in ("x", "completed")
    ),
    *(Row("26", {"limit": limit}, INVALID, "limit", ("1", "200")) for limit in (0, 201, -1)),
]


@pytest.mark.parametrize("row", cases(LISTS))
async def test_it_is_not_listed(harness: Harness, row: Row) -> None:
    flags = [text for key, value in row.body.items() for text in (f"--{key}", str(value))]
    assert_problem(await command(harness, "routine", "list", *flags), row)
    await assert_raises(harness.tickless.routines.list(**row.body), row)


async def test_row_26_not_a_number(harness: Harness, subject: str) -> None:
    row = Row("26", {}, INVALID, "limit", ("1", "200"))
    for arguments in (("list",), ("runs", subject)):
        assert_problem(await command(harness, "routine", *arguments, "--limit", "ten"), row)


async def test_row_26b(harness: Harness) -> None:
    """The bound is lowered for the test: five thousand routines take minutes to create."""
    assert client_pages.MAX_LISTED == 5_000
    for _ in range(2):
        await harness.routine()
    row = Row("26b", {}, INVALID, "limit", ("more than 1 ", "filter"))
    with patch.object(client_pages, "MAX_LISTED", 1):
        assert_problem(await command(harness, "routine", "list"), row)
        await assert_raises(harness.tickless.routines.list(), row)


NO_OBJECT = ["no json", "[1]", '"text"', "5", "null", "", "[" * 100_000, '{"a": 1']


@pytest.mark.parametrize("text", NO_OBJECT, ids=lambda text: f"row-30-{text[:8]}")
async def test_row_30(harness: Harness, subject: str, text: str) -> None:
    row = Row("30", {}, INVALID, "body", ("JSON object",))
    before = await state_of(harness, harness.tickless, subject)
    for arguments in (("create", harness.name()), ("patch", subject)):
        answer = await command(harness, "routine", *arguments, "--json", "-", stdin=text)
        assert_problem(answer, row)
    assert await state_of(harness, harness.tickless, subject) == before


async def test_row_31(harness: Harness, subject: str) -> None:
    row = Row("31", {}, "payload_too_large", "body", ("1048576",))
    text = json.dumps({"prompt": "x" * 1_048_576})
    before = await state_of(harness, harness.tickless, subject)
    for arguments in (("create", harness.name()), ("patch", subject)):
        answer = await command(harness, "routine", *arguments, "--json", "-", stdin=text)
        assert_problem(answer, row)
    assert await state_of(harness, harness.tickless, subject) == before


async def test_row_33() -> None:
    row = Row("33", {}, INVALID, "scope.kind", ("user", "chat"))
    record = {
        "id": "routine_01",
        "prompt": "x",
        "schedule": RARELY,
        "scope": {"kind": "group", "id": "oc_x"},
        "route": {"receive_id_type": "console", "receive_id": ""},
        "creator": {"user_id": "ou_a"},
    }

    async def validate() -> object:
        return validate_routine(record)

    await assert_raises(validate(), row)


def context(harness: Harness, **changes: str) -> TicklessClient:
    """The library for another caller on the same server."""
    given = harness.settings.context.model_dump(exclude_none=True)
    return TicklessClient(harness.client, CallerContext.model_validate({**given, **changes}))


def variables(**changes: str) -> dict[str, str]:
    """The same caller on the command line."""
    return {f"TICKLESS_CONTEXT__{key.upper()}": value for key, value in changes.items()}


CONTEXTS = [
    Row(
        "34",
        {"actor_user_id": "", "actor_open_id": " "},
        MISSING,
        "actor",
        ("actor_user_id", "actor_open_id"),
    ),
    Row("35", {"receive_id_type": "chat_id"}, MISSING, "receive_id", ("receive_id",)),
    Row("35", {"receive_id_type": ""}, MISSING, "receive_id", ("receive_id",)),
]


@pytest.mark.parametrize("row", cases(CONTEXTS))
async def test_a_context_that_is_not_enough(harness: Harness, row: Row) -> None:
    name, body = harness.name(), {"prompt": "x", "schedule": RARELY}
    arguments = ("routine", "create", name, "--json", "-")
    environ = variables(**row.body)
    answer = await command(harness, *arguments, stdin=json.dumps(body), environ=environ)
    assert_problem(answer, row)
    asker = context(harness, **row.body)
    await assert_raises(asker.routines.create(body, name=name), row)
    missing = Row("36", {}, NOT_FOUND, "id", (name,))
    await assert_raises(harness.tickless.routines.get(name), missing)


VERBS = [
    ("get",),
    ("patch", '{"title": "x"}'),
    ("pause",),
    ("resume",),
    ("delete",),
    ("trigger",),
    ("runs",),
    ("backfill", "--from", IN_THE_PAST, "--to", IN_THE_PAST),
]


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: f"row-36-{verb[0]}")
async def test_row_36(harness: Harness, subject: str, verb: tuple[str, ...]) -> None:
    """Another scope's routine and none at all sound the same: the id and nothing else."""
    before = await state_of(harness, harness.tickless, subject)
    name, *rest = verb
    stranger = variables(actor_user_id="stranger")
    for routine, environ in ((subject, stranger), ("no-such-routine", {})):
        answer = await command(harness, "routine", name, routine, *rest, environ=environ)
        assert_problem(answer, Row("36", {}, NOT_FOUND, "id", ()))
        assert answer.problem["detail"] == routine
    assert await state_of(harness, harness.tickless, subject) == before


async def test_row_36_by_library(harness: Harness, subject: str) -> None:
    before = await state_of(harness, harness.tickless, subject)
    stranger = context(harness, actor_user_id="stranger")
    calls: list[Callable[[str], Awaitable[object]]] = [
        stranger.routines.get,
        stranger.routines.pause,
        stranger.routines.resume,
        stranger.routines.delete,
        stranger.routines.runs,
        stranger.runs.trigger,
        lambda routine: stranger.routines.patch(routine, {"title": "x"}),
        lambda routine: stranger.routines.backfill(routine, IN_THE_PAST, IN_THE_PAST),
    ]
    for call in calls:
        for routine in (subject, "no-such-routine"):
            await assert_raises(call(routine), Row("36", {}, NOT_FOUND, "id", (routine,)))
    assert await state_of(harness, harness.tickless, subject) == before


CHAT = {"chat_type": "group", "receive_id_type": "file", "receive_id": "bad-input"}
MEMBER = {**CHAT, "actor_user_id": "member"}


async def chat_routine(harness: Harness, **body: object) -> str:
    """A routine of a group chat, created by the harness's caller."""
    name = harness.name()
    given = {"prompt": "x", "schedule": RARELY, **body}
    await context(harness, **CHAT).routines.create(given, name=name)
    return name


@pytest.mark.parametrize(
    "row",
    cases(
        [
            Row("37", {"title": "x"}, DENIED, "manage_mode", ("creator_only",)),
            Row("37", {"status": "deleted"}, DENIED, "manage_mode", ("creator_only",)),
        ]
    ),
)
async def test_row_37(harness: Harness, row: Row) -> None:
    routine, member = await chat_routine(harness), context(harness, **MEMBER)
    await assert_not_changed(harness, row, routine, tickless=member, environ=variables(**MEMBER))
    for verb in ("pause", "resume", "delete"):
        answer = await command(harness, "routine", verb, routine, environ=variables(**MEMBER))
        assert_problem(answer, row)


async def test_row_38(harness: Harness) -> None:
    routine = await chat_routine(harness, manage_mode="scope_all")
    row = Row("38", {"manage_mode": "creator_only"}, DENIED, "manage_mode", ("creator",))
    member = context(harness, **MEMBER)
    await assert_not_changed(harness, row, routine, tickless=member, environ=variables(**MEMBER))
    changed = await member.routines.patch(routine, {"title": "Ours"})
    assert changed.routine.title == "Ours", "anything else is a member's to change"


@pytest.mark.parametrize("changes", [{"prompt": "y"}, {"prompt": "y", "status": "active"}])
async def test_row_39(harness: Harness, changes: dict[str, str]) -> None:
    routine = await harness.routine(schedule=RARELY)
    await harness.tickless.routines.delete(routine)
    row = Row("39", changes, CONFLICT, "status", ("deleted", "restore"))
    await assert_not_changed(harness, row, routine)


async def test_row_40(harness: Harness) -> None:
    routine = await harness.routine(schedule=RARELY)
    for number in range(5):
        await harness.tickless.routines.patch(routine, {"title": f"Title {number}"})
    row = Row("40", {"title": "late", "if_revision": 3}, CONFLICT, "revision", ("5",))
    await assert_not_changed(harness, row, routine)
    flags = ("--title", "late", "--if-revision", "3")
    assert_problem(await command(harness, "routine", "patch", routine, *flags), row)
    late = harness.tickless.routines.patch(routine, {"title": "late"}, if_revision=3)
    await assert_raises(late, row)


async def test_row_40b(harness: Harness) -> None:
    key, body = harness.name(), {"prompt": "x", "schedule": RARELY}
    made = await harness.tickless.routines.create(body, idempotency_key=key)
    before = await state_of(harness, harness.tickless, made.id)
    row = Row("40b", {**body, "prompt": "y"}, CONFLICT, "idempotency_key", ("idempotency_key",))
    again = harness.tickless.routines.create(row.body, idempotency_key=key)
    await assert_raises(again, row)
    arguments = ("routine", "create", "--json", "-", "--idempotency-key", key)
    assert_problem(await command(harness, *arguments, stdin=json.dumps(row.body)), row)
    assert await state_of(harness, harness.tickless, made.id) == before


async def test_row_42b(harness: Harness) -> None:
    routine = await harness.routine(schedule=RARELY)
    await harness.tickless.routines.pause(routine)
    before = (await harness.tickless.routines.get(routine)).routine
    row = Row("42b", {}, CONFLICT, "status", ("paused", "force"))
    assert_problem(await command(harness, "routine", "trigger", routine), row)
    await assert_raises(harness.tickless.runs.trigger(routine), row)
    assert (await harness.tickless.routines.get(routine)).routine == before
    assert {run.reason for run in await harness.tickless.routines.runs(routine)} == {"paused"}


@pytest.mark.parametrize(
    "row",
    cases(
        Row("51", {"count": count}, INVALID, "count", ("1", "50")) for count in (0, 51, -1, "five")
    ),
)
async def test_row_51(harness: Harness, row: Row) -> None:
    count = row.body["count"]
    flags = ("--cron", "0 9 * * *", "--count", str(count))
    assert_problem(await command(harness, "routine", "preview", *flags), row)
    body = json.dumps({"schedule": RARELY, "count": count})
    assert_problem(await command(harness, "routine", "preview", body), row)

    async def preview() -> object:
        return harness.tickless.schedules.preview(RARELY, count=count)

    await assert_raises(preview(), row)


@pytest.mark.parametrize("row", cases(row for row in BODIES if set(row.body) == {"schedule"}))
async def test_it_is_not_previewed(harness: Harness, row: Row) -> None:
    """A preview tells the same as creating the routine would."""
    answer = await command(harness, "routine", "preview", json.dumps(row.body["schedule"]))
    assert_problem(answer, row)


@pytest.mark.parametrize("seconds", ["0", "-1"])
@pytest.mark.parametrize("arguments", [("routine", "list"), ("worker",)], ids=" ".join)
async def test_row_52(harness: Harness, arguments: tuple[str, ...], seconds: str) -> None:
    environ = {"TICKLESS_RUN_TIMEOUT_SECONDS": seconds}
    answer = await command(harness, *arguments, environ=environ)
    assert_problem(answer, Row("52", {}, INVALID, "run_timeout_seconds", ("> 0",)))


JOBS = [
    Row("53", {"name": " "}, MISSING, "name", ("name",)),
    Row("53", {"interval": timedelta(0)}, INVALID, "interval", ("sweep", "> 0")),
    Row("53", {"name": "watchdog"}, CONFLICT, "name", ("watchdog",)),
]


@pytest.mark.parametrize("row", cases(JOBS))
async def test_row_53(row: Row) -> None:
    jobs = MaintenanceJobs()

    async def work(_now: object) -> dict[str, Any]:
        return {}

    async def register() -> None:
        given = {"name": "sweep", "interval": timedelta(minutes=1), "work": work, **row.body}
        jobs.register(**given)

    jobs.register("watchdog", timedelta(minutes=1), work)
    await assert_raises(register(), row)
    assert [job.name for job in jobs] == ["watchdog"]
