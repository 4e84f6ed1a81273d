"""`tickless routine preview` and the library behind it; neither has a server to ask."""

import json
from pathlib import Path
from typing import Any

import pytest

from client.schedules import Schedules
from domain.errors import DomainError
from domain.schedule import Schedule
from domain.trigger_models import CronTrigger
from tests.support.command import Answer, run_command

AFTER = "2026-03-27T12:00:00Z"
SPRING = ["2026-03-28T01:30:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"]
BERLIN = {"cron_expr": "30 2 * * *", "timezone": "Europe/Berlin"}
NOBODY = {"TEMPORAL_ADDRESS": "127.0.0.1:1"}


async def preview(*arguments: str, **more: Any) -> Answer:
    return await run_command(NOBODY, "routine", "preview", *arguments, **more)


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (["--cron", "30 2 * * *", "--tz", "Europe/Berlin"], ""),
        ([json.dumps(BERLIN)], ""),
        (["-"], json.dumps(BERLIN)),
        ([], json.dumps(BERLIN)),
        ([json.dumps({"schedule": BERLIN})], ""),
        ([json.dumps({"schedule": BERLIN, "count": 9, "after": "2020-01-01T00:00:00Z"})], ""),
        ([json.dumps({"type": "cron", "schedule": "CRON_TZ=Europe/Berlin 30 2 * * *"})], ""),
        (
            [json.dumps({"trigger": {"type": "cron", "schedule": "TZ=Europe/Berlin 30 2 * * *"}})],
            "",
        ),
    ],
)
async def test_each_way_to_say_a_schedule(arguments: list[str], stdin: str) -> None:
    answer = await preview(*arguments, "--count", "3", "--after", AFTER, stdin=stdin)

    found = answer.json
    assert found["occurrences"] == SPRING
    assert found["local"][1] == "2026-03-29T03:30:00+02:00"
    assert found["timezone"] == "Europe/Berlin"
    assert found["words"] == "At 02:30, every day (Europe/Berlin)"
    assert [(note["at"], note["kind"]) for note in found["notes"]] == [(SPRING[1], "moved")]


async def test_the_request_s_own_count_and_time() -> None:
    request = {"schedule": BERLIN, "count": 2, "after": AFTER}

    assert (await preview(json.dumps(request))).json["occurrences"] == SPRING[:2]


async def test_a_table_on_a_terminal() -> None:
    flags = ("--cron", "30 2 * * *", "--tz", "Europe/Berlin", "--count", "3", "--after", AFTER)

    answer = await preview(*flags, terminal=True)

    assert answer.code == 0
    lines = answer.out.splitlines()
    assert lines[0].split(None, 2) == ["in", "words", "At 02:30, every day (Europe/Berlin)"]
    assert lines[1].split() == ["FIRES", "(Europe/Berlin)", "UTC", "IN", "NOTE"]
    assert lines[3].startswith("Sun 2026-03-29 03:30:00  2026-03-29T01:30:00Z ")
    assert lines[3].endswith("02:30 does not exist that day: moved by 1 h")
    assert len(lines) == 5


async def test_from_now_on_and_how_long_until_then() -> None:
    answer = await preview("--every", "2h", terminal=True)

    lines = answer.out.splitlines()
    assert lines[0].endswith("Every 2 hours")
    assert len(lines) == 2 + 5
    assert [line.split("  ")[-1] for line in lines[2:]] == ["2 h", "4 h", "6 h", "8 h", "10 h"]


async def test_what_has_ended() -> None:
    flags = ("--at", "2099-01-01T00:00:00Z", "--after", "2099-01-01T00:00:00Z")

    assert (await preview(*flags)).json["occurrences"] == []
    answer = await preview(*flags, terminal=True)
    assert "No more times." in answer.err


async def test_the_default_zone_of_the_settings(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("default_timezone: Asia/Kolkata\n")
    command = ("--config", str(settings), "routine", "preview", "--cron", "0 9 * * *")

    answer = await run_command(NOBODY, *command, "--after", AFTER, "--count", "1")

    assert answer.json["occurrences"] == ["2026-03-28T03:30:00Z"]


@pytest.mark.parametrize(
    ("arguments", "kind", "field", "contains"),
    [
        (["--cron", "@daily", "--count", "0"], "invalid_field", "count", "50"),
        (["--cron", "@daily", "--count", "51"], "invalid_field", "count", "1"),
        (["--cron", "@daily", "--count", "many"], "invalid_field", "count", "'many'"),
        (["--cron", "@daily", "--after", "soon"], "invalid_field", "after", "RFC 3339"),
        (["--cron", "@every 5s"], "invalid_field", "schedule.cron_expr", "every_seconds"),
        (["--cron", "0 0 30 2 *"], "invalid_field", "schedule.cron_expr", "never"),
        (["--every", "59"], "invalid_field", "schedule.every_seconds", "60"),
        (["--at", "2020-01-01T00:00:00Z"], "invalid_field", "schedule.run_at", "future"),
        (["--cron", "@daily", "--every", "60"], "invalid_field", "schedule", "exactly one"),
        (["--cron", "@daily", "--tz", "Mars/Base"], "invalid_field", "schedule.timezone", "IANA"),
        (["--tz", "UTC"], "missing_field", "schedule", "cron_expr"),
        ([], "missing_field", "schedule", "cron_expr"),
        (["{"], "invalid_field", "body", "JSON object"),
        (["[]"], "invalid_field", "body", "JSON object"),
        (["{}", "--cron", "@daily"], "invalid_field", "body", "--cron"),
        (['{"cron": "@daily"}'], "unknown_field", "schedule.cron", "cron_expr"),
        (['{"schedule": {}, "x": 1}'], "unknown_field", "x", "count"),
        (['{"schedule": {}, "trigger": {}}'], "invalid_field", "trigger", "exactly one"),
        (['{"schedule": "@daily"}'], "invalid_field", "schedule", "JSON object"),
        (['{"type": "manual", "count": 3}'], "unknown_field", "trigger.count", "type"),
        (['{"type": "manual"}'], "invalid_field", "trigger.type", "cron"),
        (['{"trigger": {"type": "moon"}}'], "invalid_field", "trigger.type", "interval"),
    ],
)
async def test_bad_input(arguments: list[str], kind: str, field: str, contains: str) -> None:
    answer = await preview(*arguments)

    assert answer.code == 2
    problem = answer.problem
    assert (problem["kind"], problem["field"]) == (kind, field)
    assert contains in problem["detail"]


class TestLibrary:
    @pytest.mark.parametrize(
        "schedule",
        [
            BERLIN,
            Schedule.model_validate(BERLIN),
            CronTrigger(schedule="30 2 * * *", timezone="Europe/Berlin"),
            {"type": "cron", "schedule": "30 2 * * *", "timezone": "Europe/Berlin"},
        ],
    )
    def test_schedules_and_triggers(self, schedule: object) -> None:
        found = Schedules().preview(schedule, count=3, after=AFTER)

        assert found.occurrences == SPRING
        assert [item.local for item in found.times] == found.local

    def test_it_is_validated_as_for_a_new_routine(self) -> None:
        with pytest.raises(DomainError) as caught:
            Schedules().preview({"every_seconds": True})
        assert caught.value.field == "schedule.every_seconds"

    def test_the_json_holds_texts_only(self) -> None:
        found = Schedules().preview({"every_seconds": 60}, count=1, after=AFTER)

        assert found.model_dump() == {
            "occurrences": ["2026-03-27T12:01:00Z"],
            "local": ["2026-03-27T12:01:00+00:00"],
            "timezone": "UTC",
            "words": "Every minute",
            "notes": [],
        }
