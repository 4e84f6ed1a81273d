"""`tickless routine …` and the big red button, as a user and as a program meet them."""

import json
import re
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.command import Answer, command
from tests.support.harness import Harness, until
from tests.support.model_steps import Reply, unauthorized


async def test_a_routine_from_flags_and_its_next_fires(harness: Harness) -> None:
    name = harness.name()

    answer = await command(
        harness,
        *("routine", "create", name, "--prompt", "What is new?", "--title", "Morning brief"),
        *("--cron", "0 9 * * 1-5", "--tz", "Europe/Berlin", "--catchup", "skip"),
        *("--context", "a.md", "--context", "notes/b.md", "--max-tokens", "200"),
        *("--max-runs", "3", "--deliver", "file:", "--timeout", "30"),
        terminal=True,
    )

    assert (answer.code, answer.err) == (0, "\n")
    fields, _, fires = answer.out.partition("NEXT FIRES (Europe/Berlin)")
    shown = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in fields.split("\n") if line)
    assert shown["id"] == name
    assert shown["fires"] == "0 9 * * 1-5 Europe/Berlin"
    assert shown["runs"] == "0 of 3"
    assert shown["missed times"] == "skip"
    assert shown["replies go to"] == "file"
    lines = fires.splitlines()[1:]
    assert len(lines) == 5
    assert all(" 09:00:00 " in line for line in lines)
    stored = (await command(harness, "routine", "get", name)).json["routine"]
    assert stored["action"] == {
        "type": "lightweight",
        "prompt": "What is new?",
        "context_paths": ["a.md", "notes/b.md"],
        "max_tokens": 200,
        "use_tools": False,
        "max_tool_rounds": 3,
    }
    assert stored["guardrails"]["run_timeout_seconds"] == 30
    due = stored["next_run_at"].replace("Z", "+00:00")
    assert datetime.fromisoformat(due).isoformat()[11:16] in lines[0]


@pytest.mark.parametrize(
    ("flags", "fires"),
    [
        (["--every", "3600"], "every 1 h"),
        (["--every", "90m"], "every 1 h 30 min"),
        (["--cron", "every 2 days"], "every 2 d"),
        (["--cron", "@daily"], "UTC"),
        (["--at", "2099-01-01T00:00:00+01:00"], "once at 2098-12-31T23:00:00Z"),
        (["--manual"], "by hand"),
    ],
)
async def test_each_way_to_fire(harness: Harness, flags: list[str], fires: str) -> None:
    answer = await command(harness, "routine", "create", "--prompt", "x", *flags, terminal=True)

    assert answer.code == 0
    line = next(line for line in answer.out.splitlines() if line.startswith("fires "))
    assert fires in line
    assert ("NEXT FIRES" in answer.out) == (flags != ["--manual"])


async def test_prompts_and_bodies_from_files_and_standard_input(
    harness: Harness, tmp_path: Path
) -> None:
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Grüße, what is new?\n", encoding="utf-8")
    body = tmp_path / "routine.json"
    body.write_text(json.dumps({"prompt": "from a file", "every_seconds": 60}), encoding="utf-8")
    create = ("routine", "create")

    answers = [
        await command(harness, *create, "--prompt-file", str(prompt), "--manual"),
        await command(harness, *create, "--prompt-file", "-", "--manual", stdin="from stdin"),
        await command(harness, *create, "--json", str(body)),
        await command(harness, *create, "--json", "-", stdin=body.read_text(encoding="utf-8")),
    ]

    prompts = [answer.json["routine"]["prompt"] for answer in answers]
    assert prompts == ["Grüße, what is new?", "from stdin", "from a file", "from a file"]
    assert answers[2].json["routine"]["schedule"]["every_seconds"] == 60


async def test_the_life_of_a_routine(harness: Harness) -> None:
    name = await harness.routine(Reply("Something to say."), title="Brief")
    shown = [
        await command(harness, "routine", verb, name, terminal=True)
        for verb in ("pause", "get", "resume", "delete")
    ]

    assert [answer.code for answer in shown] == [0, 0, 0, 0]
    states = [
        next(line for line in answer.out.splitlines() if line.startswith("status")).split(None, 1)
        for answer in shown
    ]
    assert [state[1] for state in states] == ["paused (user)", "paused (user)", "active", "deleted"]
    listed = (await command(harness, "routine", "list", "--status", "deleted")).json["routines"]
    assert name in [routine["id"] for routine in listed]
    purged = await command(harness, "routine", "delete", name, "--purge", terminal=True)
    assert "the name is free" in purged.err


async def test_a_paused_routine_runs_only_with_force(harness: Harness) -> None:
    name = await harness.routine(Reply("x"))
    await command(harness, "routine", "pause", name)

    refused = await command(harness, "routine", "trigger", name)
    assert (refused.code, refused.problem["field"]) == (5, "status")
    assert all(word in refused.problem["detail"] for word in ("paused", "force"))

    forced = await command(harness, "routine", "trigger", name, "--force", "--wait")
    assert forced.json["record"]["status"] == "attention"


async def test_lists_are_pages(harness: Harness) -> None:
    me = {"TICKLESS_CONTEXT__ACTOR_USER_ID": harness.name()}
    empty = await command(harness, "routine", "list", terminal=True, environ=me)
    assert (empty.code, empty.out) == (0, "")
    assert "tickless routine create" in empty.err
    assert (await command(harness, "routine", "list", environ=me)).json == {
        "routines": [],
        "count": 0,
    }
    names = [harness.name() for _ in range(3)]
    for name in names:
        await command(harness, "routine", "create", name, "--prompt", "x", "--manual", environ=me)

    first = (await command(harness, "routine", "list", "--limit", "2", environ=me)).json
    rest = (
        await command(harness, "routine", "list", "--cursor", first["next_cursor"], environ=me)
    ).json
    table = await command(harness, "routine", "list", "--limit", "2", terminal=True, environ=me)

    assert [item["id"] for item in first["routines"]] == [names[2], names[1]]
    assert [item["id"] for item in rest["routines"]] == [names[0]]
    assert "next_cursor" not in rest
    lines = table.out.splitlines()
    assert lines[0].split() == ["ID", "STATUS", "FIRES", "NEXT", "RUNS", "LAST", "RESULT"]
    assert [line.split()[0] for line in lines[1:]] == [names[2], names[1]]
    assert f"--cursor {first['next_cursor']}" in table.err


async def test_a_trigger_answers_the_verdict_and_repeats_by_key(harness: Harness) -> None:
    name = await harness.routine(Reply("x"))
    key = ("--idempotency-key", "once")

    started = (await command(harness, "routine", "trigger", name, *key)).json
    assert started["verdict"]["decision"] == "run"
    again = (await command(harness, "routine", "trigger", name, *key)).json
    shown = await command(harness, "routine", "trigger", name, *key, terminal=True)

    assert (again["run_id"], again["duplicate"]) == (started["run_id"], True)
    assert "the same request as before" in shown.out
    assert f"tickless run tail {started['run_id']}" in shown.err


@pytest.mark.parametrize(
    ("step", "status", "code"),
    [
        (Reply("ROUTINE_OK"), "ok", 0),
        (Reply("The lamp is broken."), "attention", 0),
        (unauthorized(), "failed", 1),
    ],
)
async def test_waiting_for_a_run_tells_whether_it_failed(
    harness: Harness, step: Reply, status: str, code: int
) -> None:
    name = await harness.routine(step)

    answer = await command(harness, "routine", "trigger", name, "--wait")

    assert (answer.code, answer.err) == (code, "")
    assert json.loads(answer.out)["record"]["status"] == status


async def test_the_runs_of_a_routine_are_listed_with_whole_ids(harness: Harness) -> None:
    name = await harness.routine(unauthorized(), Reply("All is well, " * 20))
    none = await command(harness, "routine", "runs", name, terminal=True)
    assert (none.out, f"routine trigger {name}" in none.err) == ("", True)
    runs = [await harness.run_once(name) for _ in range(2)]

    listed = (await command(harness, "routine", "runs", name)).json
    wide = {"COLUMNS": "160"}
    table = await command(harness, "routine", "runs", name, terminal=True, environ=wide)

    assert listed["count"] == 2
    newest_first = [runs[1].record.id, runs[0].record.id]
    assert [record["id"] for record in listed["runs"]] == newest_first
    rows = [line for line in table.out.splitlines()[1:] if line.startswith(name)]
    assert [row.split()[:3] for row in rows] == [
        [newest_first[0], "attention", "manual"],
        [newest_first[1], "failed", "manual"],
    ]
    assert (await command(harness, "routine", "runs", name, "--limit", "1")).json["count"] == 1


async def test_the_big_red_button(harness: Harness) -> None:
    name = await harness.routine(Reply("x"))
    last: list[Answer] = []

    async def is_refused() -> bool:
        last[:] = [await command(harness, "routine", "trigger", name)]
        return "system_paused" in last[0].err

    try:
        paused = await command(harness, "pause", "--all", "--reason", "too dear", terminal=True)
        # Workers look at most a second later.
        await until(is_refused, "the trigger is refused")
    finally:
        resumed = await command(harness, "resume", "--all")
    assert paused.code == 0
    assert "too dear" in paused.out
    assert (last[0].code, last[0].problem["kind"]) == (5, "conflict")
    assert resumed.json["paused"] is False
