"""What people do with a routine beyond creating and pausing it: JSON, patches, limits by name."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from client.cli.routine_body import patch_of, read_creation
from client.cli.routine_change import change_by_flags
from client.cli.routine_flags import RoutineFlags, seconds_or_text
from client.cli.routine_view import show_routine, show_runs
from domain.errors import DomainError
from tests.support.command import Answer, command, run_command
from tests.support.harness import Harness
from tests.support.model_steps import Reply

MANUAL = {"prompt": "x", "trigger": {"type": "manual"}}
LIMITS = (
    *("--timeout", "10m", "--cooldown", "30", "--max-concurrent", "2", "--overlap", "skip"),
    *("--dedup-window", "1h", "--max-age", "2d", "--rate-limit", "10/1h"),
    *("--max-tokens-total", "5000", "--max-tool-calls", "0", "--allowed-tool", "time_now"),
    *("--allowed-tool", "file_read", "--max-cost", "0.50"),
)


def fields(answer: Answer) -> dict[str, str]:
    """What a terminal shows of a routine, by name."""
    assert answer.code == 0, answer
    lines = answer.out.partition("NEXT FIRES")[0].splitlines()
    return dict(re.split(r"\s{2,}", line, maxsplit=1) for line in lines if "  " in line.strip())


async def stored(harness: Harness, name: str) -> Any:
    return (await command(harness, "routine", "get", name)).json["routine"]


class TestCreate:
    async def test_json_in_each_place(self, harness: Harness) -> None:
        names = [harness.name() for _ in range(4)]
        bodies = [json.dumps({"id": name, **MANUAL}) for name in names]
        create = ("routine", "create")

        answers = [
            await command(harness, *create, bodies[0]),
            await command(harness, *create, "-", stdin=bodies[1]),
            await command(harness, *create, stdin=bodies[2]),
            await command(harness, *create, names[3], "--json", "-", stdin=bodies[3]),
            await command(harness, *create, json.dumps(MANUAL)),
        ]

        assert [answer.json["id"] for answer in answers[:4]] == names
        assert answers[4].json["id"].startswith("routine_")

    async def test_a_name_and_a_body_on_standard_input(self, harness: Harness) -> None:
        name = harness.name()

        answer = await command(harness, "routine", "create", name, stdin=json.dumps(MANUAL))

        assert answer.json["id"] == name

    async def test_limits_by_name(self, harness: Harness) -> None:
        name = harness.name()
        more = ("--manual", "--fresh", "--disabled", "--manage-mode", "scope_all")
        tell = ("--notify-on-success", "--no-notify-on-failure")

        await command(harness, "routine", "create", name, "--prompt", "x", *LIMITS, *more, *tell)

        routine = await stored(harness, name)
        assert routine["guardrails"] == {
            "run_timeout_seconds": 600,
            "cooldown_seconds": 30,
            "max_concurrent": 2,
            "overlap": "skip",
            "dedup_window_seconds": 3600,
            "max_age_seconds": 172_800,
            "rate_limit": {"max_runs": 10, "window_seconds": 3600},
            "max_tokens_total": 5000,
            "max_tool_calls": 0,
            "allowed_tools": ["time_now", "file_read"],
            "max_cost_usd": "0.5",
        }
        assert (routine["status"], routine["fresh"]) == ("paused", True)
        assert routine["manage_mode"] == "scope_all"
        notify = {key: routine["notify"][key] for key in ("on_success", "on_failure")}
        assert notify == {"on_success": True, "on_failure": False}

    async def test_a_next_time_set_by_hand_comes_first(self, harness: Harness) -> None:
        flags = ("--cron", "30 2 * * *", "--tz", "Europe/Berlin", "--prompt", "x")
        first = ("--next-run-at", "2099-03-28T12:00:00Z")

        answer = await command(harness, "routine", "create", *flags, *first, terminal=True)

        assert fields(answer)["in words"] == "At 02:30, every day (Europe/Berlin)"
        lines = answer.out.partition("NEXT FIRES")[2].splitlines()
        assert lines[0].split() == ["(Europe/Berlin)", "UTC", "IN", "NOTE"]
        assert [line[:24] for line in lines[1:]] == [
            "Sat 2099-03-28 13:00:00 ",
            "Sun 2099-03-29 03:30:00 ",
            "Mon 2099-03-30 02:30:00 ",
            "Tue 2099-03-31 02:30:00 ",
            "Wed 2099-04-01 02:30:00 ",
        ]
        assert lines[2].endswith("02:30 does not exist that day: moved by 1 h")

    @pytest.mark.parametrize(
        ("arguments", "kind", "field", "contains"),
        [
            (["{"], "invalid_field", "body", "JSON object"),
            (["{}", "--json", "-"], "invalid_field", "body", "once"),
            (["{}", "--prompt", "x"], "invalid_field", "body", "--prompt"),
            (["{}"], "missing_field", "prompt", "prompt"),
            ([], "missing_field", "prompt", "prompt"),
            (['{"promt": "x"}'], "unknown_field", "promt", "prompt"),
            (['{"id": "Not A Name"}'], "invalid_field", "id", "a-z"),
            (["--cooldown", "-1"], "invalid_field", "guardrails.cooldown_seconds", "31536000"),
            (["--cooldown", "soon"], "invalid_field", "guardrails.cooldown_seconds", "integer"),
            (["--max-concurrent", "0"], "invalid_field", "guardrails.max_concurrent", "10"),
            (["--overlap", "allow"], "invalid_field", "guardrails.overlap", "queue_one"),
            (["--dedup-window", "0"], "invalid_field", "guardrails.dedup_window_seconds", "604800"),
            (["--max-age", "8d"], "invalid_field", "guardrails.max_age_seconds", "604800"),
            (
                ["--rate-limit", "10"],
                "missing_field",
                "guardrails.rate_limit.window_seconds",
                "2678400",
            ),
            (
                ["--rate-limit", "x/60"],
                "invalid_field",
                "guardrails.rate_limit.max_runs",
                "10000",
            ),
            (["--max-cost", "$1"], "invalid_field", "guardrails.max_cost_usd", "USD"),
            (["--max-tokens-total", "0"], "invalid_field", "guardrails.max_tokens_total", "1"),
            (["--manage-mode", "everyone"], "invalid_field", "manage_mode", "scope_all"),
            (["--next-run-at", "soon"], "invalid_field", "next_run_at", "RFC 3339"),
            (
                ["--catchup-window", "60"],
                "invalid_field",
                "schedule.catchup_window_seconds",
                "all",
            ),
        ],
    )
    async def test_bad_input(
        self, harness: Harness, arguments: list[str], kind: str, field: str, contains: str
    ) -> None:
        plain = arguments and arguments[0].startswith("--")
        base = ["--prompt", "x", "--every", "3600"] if plain else []

        answer = await command(harness, "routine", "create", *arguments, *base)

        assert answer.code == 2
        assert (answer.problem["kind"], answer.problem["field"]) == (kind, field)
        assert contains in answer.problem["detail"]

    async def test_a_body_of_more_than_a_mebibyte(self, harness: Harness) -> None:
        body = json.dumps({**MANUAL, "title": "x" * 1_048_576})

        answer = await command(harness, "routine", "create", "-", stdin=body)

        assert (answer.code, answer.problem["kind"]) == (2, "payload_too_large")
        assert (answer.problem["field"], "1048576" in answer.problem["detail"]) == ("body", True)


class TestPatch:
    async def test_json_in_each_place(self, harness: Harness, tmp_path: Path) -> None:
        name = await harness.routine()
        file = tmp_path / "patch.json"
        file.write_text('{"title": "three"}')
        patch = ("routine", "patch", name)

        answers = [
            await command(harness, *patch, '{"title": "one"}'),
            await command(harness, *patch, "-", stdin='{"title": "two"}'),
            await command(harness, *patch, "--json", str(file)),
            await command(harness, *patch, stdin='{"title": "four"}'),
            await command(harness, *patch, "--title", "five"),
        ]

        titles = [answer.json["routine"]["title"] for answer in answers]
        assert titles == ["one", "two", "three", "four", "five"]
        assert (await stored(harness, name))["revision"] == 5

    async def test_flags_change_a_part_and_leave_the_rest(self, harness: Harness) -> None:
        name = harness.name()
        create = ("routine", "create", name, "--prompt", "x", "--context", "a.md", "--manual")
        await command(harness, *create, *LIMITS, "--deliver", "console")
        before = await stored(harness, name)

        flags = ("--max-tokens", "9", "--cooldown", "5m", "--rate-limit", "none")
        tell = ("--max-cost", "none", "--allowed-tool", "none", "--notify-on-success")
        changed = await command(harness, "routine", "patch", name, *flags, *tell, "--prompt", "y")

        after = changed.json["routine"]
        assert after["action"] == {**before["action"], "max_tokens": 9, "prompt": "y"}
        assert after["guardrails"] == {
            **before["guardrails"],
            "cooldown_seconds": 300,
            "rate_limit": None,
            "max_cost_usd": None,
            "allowed_tools": None,
        }
        assert after["notify"] == {**before["notify"], "on_success": True}
        assert after["revision"] == 1

    async def test_another_time_and_its_next_fires(self, harness: Harness) -> None:
        name = await harness.routine(schedule={"every_seconds": 3600})
        flags = ("--cron", "0 9 * * 1-5", "--tz", "Europe/Berlin", "--catchup", "all")
        patch = ("routine", "patch", name)

        answer = await command(harness, *patch, *flags, "--catchup-window", "1d", terminal=True)

        shown = fields(answer)
        assert shown["fires"] == "0 9 * * 1-5 Europe/Berlin"
        assert shown["in words"] == "At 09:00, Monday through Friday (Europe/Berlin)"
        fires = answer.out.partition("NEXT FIRES")[2].splitlines()[1:]
        assert len(fires) == 5
        assert all(" 09:00:00 " in line for line in fires)
        schedule = (await stored(harness, name))["schedule"]
        assert (schedule["every_seconds"], schedule["catchup_window_seconds"]) == (None, 86_400)
        manual = (await command(harness, *patch, "--manual")).json["routine"]
        assert (manual["schedule"], manual["next_run_at"]) == (None, None)

    async def test_a_deleted_routine_is_restored(self, harness: Harness) -> None:
        name = await harness.routine()
        for restore in (['{"status": "active"}'], ["--enabled"]):
            await command(harness, "routine", "delete", name)
            refused = await command(harness, "routine", "patch", name, "--title", "x")
            assert (refused.code, refused.problem["field"]) == (5, "status")
            assert "restore" in refused.problem["detail"]
            back = await command(harness, "routine", "patch", name, *restore)
            assert back.json["routine"]["status"] == "active"
        paused = await command(harness, "routine", "patch", name, "--disabled")
        assert paused.json["routine"]["status"] == "paused"

    async def test_if_revision(self, harness: Harness) -> None:
        name = await harness.routine()
        patch = ("routine", "patch", name, "--if-revision")
        await command(harness, *patch, "0", "--title", "one")

        for flags in (["--title", "two"], ["--cooldown", "5"], ['{"title": "two"}']):
            stale = await command(harness, *patch, "0", *flags)
            assert (stale.code, stale.problem["field"]) == (5, "revision")
            assert "1" in stale.problem["detail"]
        fresh = await command(harness, *patch, "1", "--cooldown", "5")
        assert fresh.json["routine"]["guardrails"]["cooldown_seconds"] == 5
        odd = await command(harness, *patch, "x", "--title", "two")
        assert (odd.code, odd.problem["field"]) == (2, "if_revision")

    async def test_flags_do_not_undo_what_others_change_meanwhile(self, harness: Harness) -> None:
        name = await harness.routine()
        flags = [
            RoutineFlags(cooldown=5),
            RoutineFlags(max_age=60),
            RoutineFlags(overlap="skip"),
        ]

        await asyncio.gather(
            *(change_by_flags(harness.tickless.routines, name, one, None) for one in flags)
        )

        limits = (await stored(harness, name))["guardrails"]
        assert limits["cooldown_seconds"] == 5
        assert limits["max_age_seconds"] == 60
        assert limits["overlap"] == "skip"

    @pytest.mark.parametrize(
        ("arguments", "kind", "field", "contains"),
        [
            ([], "missing_field", "body", "JSON object"),
            (["[]"], "invalid_field", "body", "JSON object"),
            (["{}", "--title", "x"], "invalid_field", "body", "--title"),
            (['{"run_count": 0, "id": "x"}'], "invalid_field", "id", "editable"),
            (['{"route": {}, "scope": null}'], "invalid_field", "scope", "editable"),
            (['{"status": "done"}'], "invalid_field", "status", "paused"),
            (['{"cron": "@daily"}'], "unknown_field", "cron", "schedule.cron_expr"),
            (['{"every_seconds": 60, "run_at": "x"}'], "invalid_field", "schedule", "exactly one"),
            (["--every", "59"], "invalid_field", "schedule.every_seconds", "60"),
            (["--max-runs", "1.5"], "invalid_field", "max_runs", ">= 0"),
            (["--max-tokens", "0"], "invalid_field", "action.max_tokens", "200000"),
            (["--cooldown", "x"], "invalid_field", "guardrails.cooldown_seconds", "integer"),
        ],
    )
    async def test_bad_input(
        self, harness: Harness, arguments: list[str], kind: str, field: str, contains: str
    ) -> None:
        name = await harness.routine()

        answer = await command(harness, "routine", "patch", name, *arguments)

        assert answer.code == 2
        assert (answer.problem["kind"], answer.problem["field"]) == (kind, field)
        assert contains in answer.problem["detail"]
        assert (await stored(harness, name))["revision"] == 0

    async def test_what_is_not_there(self, harness: Harness) -> None:
        for flags in (["--title", "x"], ["--cooldown", "5"]):
            answer = await command(harness, "routine", "patch", "no-such", *flags)
            assert (answer.code, answer.problem["detail"]) == (3, "no-such")

    async def test_help_is_in_parts_and_tells_how_to_restore(self) -> None:
        text = (await run_command({}, "routine", "patch", "--help")).out

        headings = [line for line in text.splitlines() if line.endswith(":") and line[0] != " "]
        assert headings == [
            "Arguments:",
            "Options:",
            "When it fires:",
            "Limits (none takes one away):",
            "Replies:",
        ]
        assert '\'{"status": "active"}\'' in " ".join(text.split())


class TestView:
    async def test_words_and_refusals(self, capsys: pytest.CaptureFixture[str]) -> None:
        routine = await _record()

        show_routine({**routine, "collapsed": 3}, [], {"cooldown": 2, "budget": 1, "paused": 0})

        shown = capsys.readouterr().out
        assert re.search(r"^in words +Every 2 hours$", shown, re.MULTILINE)
        assert re.search(r"^fires refused +budget 1, cooldown 2$", shown, re.MULTILINE)
        assert re.search(r"^fires dropped +3$", shown, re.MULTILINE)

    async def test_limits_that_are_not_the_usual_ones(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        routine = await _record()
        limits = {
            **routine["guardrails"],
            "cooldown_seconds": 300,
            "rate_limit": {"max_runs": 4, "window_seconds": 7200},
            "allowed_tools": [],
        }
        pushed = {"type": "event", "pattern": "x"}
        free = {**limits, "rate_limit": None, "allowed_tools": ["a", "b"], "overlap": "skip"}

        show_routine({**routine, "guardrails": limits}, [])
        show_routine({**routine, "trigger": pushed, "guardrails": free}, [])

        shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
        assert "limits cooldown_seconds 300" in shown
        assert shown[shown.index("limits cooldown_seconds 300") + 1 :][:2] == [
            "rate_limit 4 in 2 h",
            "allowed_tools none",
        ]
        assert "limits allowed_tools a, b" in shown, "a push cools down for 300 s unless told"

    async def test_refused_runs_are_listed_with_their_reason(self, harness: Harness) -> None:
        limits = {"rate_limit": {"max_runs": 1, "window_seconds": 3600}}
        name = await harness.routine(Reply("x"), guardrails=limits)
        await harness.run_once(name)
        await harness.tickless.routines.pause(name)
        refused = await command(harness, "routine", "trigger", name)
        assert refused.code == 5

        wide = {"COLUMNS": "200"}
        table = await command(harness, "routine", "runs", name, terminal=True, environ=wide)

        shown = fields(await command(harness, "routine", "get", name, terminal=True))
        assert shown["fires refused"] == "paused 1"
        rows = [line.split() for line in table.out.splitlines()[1:]]
        assert [(row[1], row[-1]) for row in rows] == [("skipped", "paused"), ("attention", "x")]

    def test_when_a_refused_fire_would_have_passed(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        record = dict.fromkeys(("started_at", "tokens_in", "tokens_out", "error", "summary"))
        show_runs(
            [
                {
                    **record,
                    "id": "a/m-1",
                    "status": "skipped",
                    "trigger_type": "manual",
                    "occurred_at": "2026-01-01T00:00:00Z",
                    "reason": "cooldown",
                    "retry_at": "2026-01-01T00:05:00.5Z",
                }
            ]
        )
        assert "cooldown; again from 2026-01-01T00:05:00Z" in capsys.readouterr().out


async def _record() -> dict[str, Any]:
    from client.manifest_fields import Owner, wanted_by
    from domain.actor import Actor
    from domain.scopes import Route, Scope, ScopeKind
    from tests.support.routines import NOW

    owner = Owner(
        Scope(kind=ScopeKind.USER, id="a"),
        Route(receive_id_type="file", receive_id=""),
        Actor(user_id="a"),
    )
    wanted = wanted_by({"id": "a", "prompt": "x", "cron_expr": "every 2h"}, None, owner, NOW)
    return wanted.routine.model_dump(mode="json")


class TestFlags:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("90", 90),
            ("90s", 90),
            ("10m", 600),
            ("1h", 3600),
            ("h", 3600),
            (" 2 d ", 172_800),
            ("-1", -1),
            ("1.5h", "1.5h"),
            ("1h30m", "1h30m"),
            ("none", "none"),
            ("", ""),
        ],
    )
    def test_lengths(self, text: str, value: object) -> None:
        assert seconds_or_text(text) == value

    def test_a_name_and_its_json(self, tmp_path: Path) -> None:
        file = tmp_path / "a.json"
        file.write_text('{"id": "in-json", "prompt": "x"}')

        assert read_creation("by-name", str(file), RoutineFlags())[0] == "by-name"
        assert read_creation(None, str(file), RoutineFlags())[0] == "in-json"
        with pytest.raises(DomainError, match="exactly one"):
            read_creation("a", None, RoutineFlags(prompt="x", prompt_file="y"))

    def test_an_interval_in_words(self) -> None:
        assert patch_of(RoutineFlags(every="2h"), {}) == {"schedule": {"cron_expr": "every 2h"}}


@pytest.mark.parametrize(
    ("flags", "trigger"),
    [
        (["--on-message", "(?i)deploy"], {"type": "event", "pattern": "(?i)deploy"}),
        (
            ["--on-event", "github:issue.*"],
            {"type": "system_event", "source": "github", "event_type": "issue.*"},
        ),
    ],
)
async def test_a_routine_that_listens(
    harness: Harness, flags: list[str], trigger: dict[str, str]
) -> None:
    name = harness.name()
    answer = await command(harness, "routine", "create", name, "--prompt", "Hello.", *flags)
    assert answer.code == 0, answer.err
    made = answer.json["routine"]["trigger"]
    assert {key: made[key] for key in trigger} == trigger


async def test_a_routine_listens_to_one_thing(harness: Harness) -> None:
    flags = ["--on-message", "x", "--on-event", "github:push"]
    answer = await command(
        harness, "routine", "create", harness.name(), "--prompt", "Hello.", *flags
    )
    assert (answer.code, answer.problem["kind"]) == (2, "unknown_field")
