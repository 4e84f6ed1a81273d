"""Whatever is wrong with a command line is a problem with its kind, field and exit code.

The rules themselves are tested in `tests/unit`; this is about what a user of the command meets.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.support.command import command
from tests.support.harness import Harness

INVALID, MISSING, UNKNOWN = "invalid_field", "missing_field", "unknown_field"
PROMPT = ("--prompt", "x")
HOURLY = (*PROMPT, "--every", "3600")


def create(*flags: str) -> tuple[str, ...]:
    return ("routine", "create", *flags)


BAD = [
    # What is asked for
    (create("--every", "3600"), MISSING, "prompt", ["prompt"]),
    (create("--prompt", " \t", "--every", "3600"), MISSING, "prompt", ["prompt"]),
    (create("--prompt", "x" * 65_537, "--every", "3600"), INVALID, "prompt", ["65536"]),
    (create("--context", "a.md", "--every", "3600"), MISSING, "prompt", ["prompt"]),
    (create("--prompt-file", "/nowhere/p.txt", "--manual"), INVALID, "prompt", ["/nowhere/p.txt"]),
    (create("--prompt-file", "/", "--manual"), INVALID, "prompt", ["directory"]),
    (create(*PROMPT, "--prompt-file", "x", "--manual"), INVALID, "prompt", ["exactly one"]),
    (create(*HOURLY, "--title", "x" * 201), INVALID, "title", ["200"]),
    (create(*HOURLY, "--max-tokens", "0"), INVALID, "action.max_tokens", ["1"]),
    (create(*HOURLY, "--max-tokens", "many"), INVALID, "action.max_tokens", ["integer"]),
    (create(*HOURLY, "--timeout", "0"), INVALID, "guardrails.run_timeout_seconds", ["1"]),
    (create(*HOURLY, "--max-runs", "-1"), INVALID, "max_runs", [">= 0"]),
    (create(*HOURLY, "--max-runs", "1.5"), INVALID, "max_runs", [">= 0"]),
    # Files that lead out of the workspace
    (create(*HOURLY, "--context", "../secret"), INVALID, "action.context_paths", ["'../secret'"]),
    (create(*HOURLY, "--context", "/etc/passwd"), INVALID, "action.context_paths", ["relative"]),
    (create(*HOURLY, "--context", "a/../../b"), INVALID, "action.context_paths", ["'..'"]),
    # When it fires
    (create(*PROMPT), MISSING, "schedule", ["every_seconds", "cron_expr", "run_at"]),
    (create(*PROMPT, "--every", "59"), INVALID, "schedule.every_seconds", ["60", "31536000"]),
    (create(*PROMPT, "--every", "0"), INVALID, "schedule.every_seconds", ["60"]),
    (create(*PROMPT, "--every", "31536001"), INVALID, "schedule.every_seconds", ["31536000"]),
    (create(*PROMPT, "--every", "60.5"), INVALID, "schedule.every_seconds", ["integer"]),
    (create(*PROMPT, "--every", "soon"), INVALID, "schedule.every_seconds", ["integer"]),
    (create(*PROMPT, "--every", "30s"), INVALID, "schedule.cron_expr", ["60"]),
    (create(*PROMPT, "--every", "2x"), INVALID, "schedule.cron_expr", ["2x"]),
    (
        create(*PROMPT, "--cron", "0 9 * * *", "--every", "3600"),
        INVALID,
        "schedule",
        ["exactly one of", "every_seconds", "cron_expr", "run_at"],
    ),
    (create(*PROMPT, "--cron", "0 9 * * *", "--every", "2h"), INVALID, "schedule", ["exactly one"]),
    (create(*PROMPT, "--cron", "bad expr"), INVALID, "schedule.cron_expr", ["5 fields", "2"]),
    (create(*PROMPT, "--cron", " "), MISSING, "schedule.cron_expr", ["cron_expr"]),
    (create(*PROMPT, "--cron", "60 * * * *"), INVALID, "schedule.cron_expr", ["minute", "0-59"]),
    (create(*PROMPT, "--cron", "0 0 30 2 *"), INVALID, "schedule.cron_expr", ["never"]),
    (create(*HOURLY, "--tz", "Mars/Base"), INVALID, "schedule.timezone", ["IANA"]),
    (create(*PROMPT, "--at", "2020-01-01T00:00:00Z"), INVALID, "schedule.run_at", ["future"]),
    (create(*PROMPT, "--at", "tomorrow"), INVALID, "schedule.run_at", ["RFC 3339"]),
    (create(*PROMPT, "--at", "2099-01-01T00:00:00"), INVALID, "schedule.run_at", ["RFC 3339"]),
    (create(*HOURLY, "--catchup", "never"), INVALID, "schedule.catchup", ["once", "skip", "all"]),
    (create("Not A Name", *HOURLY), INVALID, "id", ["a-z", "'Not A Name'"]),
    (create("routine-x", *HOURLY), INVALID, "id", ["routine-"]),
    # JSON
    (create("--json", "/nowhere/r.json"), INVALID, "body", ["/nowhere/r.json"]),
    (create("--json", "-", *PROMPT), INVALID, "body", ["--prompt"]),
    # Lists
    (("routine", "list", "--status", "x"), INVALID, "status", ["active", "deleted", "all"]),
    (("routine", "list", "--status", "completed"), INVALID, "status", ["paused"]),
    (("routine", "list", "--limit", "0"), INVALID, "limit", ["1", "200"]),
    (("routine", "list", "--limit", "201"), INVALID, "limit", ["1", "200"]),
    (("routine", "list", "--limit", "ten"), INVALID, "limit", ["1", "200", "'ten'"]),
    (("routine", "list", "--cursor", "?"), INVALID, "cursor", ["next_cursor"]),
    (("routine", "runs", "x", "--limit", "-1"), INVALID, "limit", ["1", "200"]),
    # The command line itself
    (("pause",), MISSING, "all", ["--all", "routine pause ID"]),
    (("resume",), MISSING, "all", ["--all"]),
    (("routine", "get"), MISSING, "id", ["ID"]),
    (("routine", "fly"), INVALID, "command", ["'fly'"]),
    (("routine",), MISSING, "command", ["command"]),
    (("routine", "list", "--colour", "red"), UNKNOWN, "colour", ["--colour"]),
    (("routine", "list", "-o", "xml"), INVALID, "output", ["'xml'", "table", "json"]),
    (("routine", "create", "a", "b"), INVALID, "command", ["b"]),
    (("routine", "create", "--prompt"), INVALID, "prompt", ["--prompt"]),
    (("run", "tail", "x/y", "--offset", "-1"), INVALID, "offset", ["0"]),
    (("admin", "setup", "--retention-days", "6"), INVALID, "retention_days", ["7"]),
    (("--config", "/nowhere.yaml", "routine", "list"), INVALID, "config", ["/nowhere.yaml"]),
]


def shown(case: object) -> str | None:
    return " ".join(case)[:60] if isinstance(case, tuple) else None


@pytest.mark.parametrize(("arguments", "kind", "field", "says"), BAD, ids=shown)
async def test_bad_input_is_named(
    harness: Harness, arguments: tuple[str, ...], kind: str, field: str, says: list[str]
) -> None:
    answer = await command(harness, *arguments)

    problem = answer.problem
    assert (answer.code, problem["kind"], problem["field"]) == (2, kind, field)
    assert problem["type"].endswith(kind)
    assert [text for text in says if text not in problem["detail"]] == []


@pytest.mark.parametrize(
    ("text", "kind", "field", "says"),
    [
        ("no json", INVALID, "body", "JSON object"),
        ("[1]", INVALID, "body", "JSON object"),
        ('"text"', INVALID, "body", "JSON object"),
        ("[" * 100_000, INVALID, "body", "JSON object"),
        ('{"promt": "x"}', UNKNOWN, "promt", "prompt"),
        ('{"prompt": "x", "cron": "0 9 * * *"}', UNKNOWN, "cron", "schedule.cron_expr"),
        ('{"prompt": "x", "every_seconds": "60"}', INVALID, "schedule.every_seconds", "integer"),
        ('{"prompt": "x", "every_seconds": true}', INVALID, "schedule.every_seconds", "integer"),
        ('{"prompt": ["x"], "every_seconds": 60}', INVALID, "prompt", "prompt"),
    ],
)
async def test_bad_json_is_named(
    harness: Harness, text: str, kind: str, field: str, says: str
) -> None:
    answer = await command(harness, "routine", "create", "--json", "-", stdin=text)

    problem = answer.problem
    assert (answer.code, problem["kind"], problem["field"]) == (2, kind, field)
    assert says in problem["detail"]


async def test_several_bad_fields_are_all_named(harness: Harness) -> None:
    flags = create("--every", "59", "--max-runs", "-1", "--tz", "Mars/Base")

    problem = (await command(harness, *flags)).problem

    assert problem["field"] == problem["errors"][0]["field"]
    assert {error["field"] for error in problem["errors"]} >= {"prompt", "max_runs"}
    on_screen = await command(harness, *flags, terminal=True)
    assert on_screen.err.count("tickless: ") == len(problem["errors"])


@pytest.mark.parametrize("verb", ["get", "trigger", "pause", "resume", "delete", "runs"])
async def test_an_unknown_routine_is_not_found(harness: Harness, verb: str) -> None:
    answer = await command(harness, "routine", verb, "no-such-routine")

    assert answer.code == 3
    problem = answer.problem
    assert (problem["kind"], problem["field"]) == ("not_found", "id")
    assert problem["detail"] == "no-such-routine", "another scope's routine must sound the same"


@pytest.mark.parametrize("verb", ["get", "tail", "cancel"])
@pytest.mark.parametrize("run", ["no-such-routine/m-1", "nonsense", "../control", "%2F"])
async def test_an_unknown_run_is_not_found(harness: Harness, verb: str, run: str) -> None:
    answer = await command(harness, "run", verb, run)

    assert answer.code == 3
    assert answer.problem["detail"] == run


async def test_another_scopes_routine_is_as_unknown(harness: Harness) -> None:
    routine = await harness.routine()

    for verb in ("get", "trigger", "pause", "resume", "delete", "runs"):
        answer = await command(
            harness,
            *("routine", verb, routine),
            environ={"TICKLESS_CONTEXT__ACTOR_USER_ID": "somebody-else"},
        )
        assert (answer.code, answer.problem["detail"]) == (3, routine), verb


async def test_a_second_routine_of_a_name_is_a_conflict(harness: Harness, tmp_path: Path) -> None:
    name = harness.name()
    assert (await command(harness, *create(name, *PROMPT, "--manual"))).code == 0

    answer = await command(harness, *create(name, *PROMPT, "--manual"))

    assert answer.code == 5
    problem = answer.problem
    assert (problem["kind"], problem["field"], problem["status"]) == ("conflict", "id", 409)
    assert name in problem["detail"]


async def test_a_key_with_another_body_is_a_conflict(harness: Harness) -> None:
    key = ("--idempotency-key", harness.name())
    first = await command(harness, *create(*PROMPT, "--manual", *key))

    again = await command(harness, *create(*PROMPT, "--manual", *key))
    other = await command(harness, *create("--prompt", "y", "--manual", *key))

    assert first.json["id"] == again.json["id"]
    assert (other.code, other.problem["field"]) == (5, "idempotency_key")


@pytest.mark.parametrize(
    ("variable", "kind", "field", "code"),
    [
        ({"TICKLESS_CONTEXT__ACTOR_USER_ID": ""}, MISSING, "actor", 2),
        ({"TICKLESS_CONTEXT__RECEIVE_ID_TYPE": "chat_id"}, MISSING, "receive_id", 2),
        ({"TICKLESS_ALLOW_AUTOMATION": "false"}, "automation_disabled", "allow_automation", 4),
        ({"TICKLESS_PROMTP": "x"}, UNKNOWN, "promtp", 2),
        ({"TEMPORAL_ADDRESS": "127.0.0.1:1"}, "unavailable", "temporal.address", 6),
        ({"TEMPORAL_NAMESPACE": "nowhere"}, INVALID, "temporal.namespace", 2),
    ],
)
async def test_a_bad_environment_is_named(
    harness: Harness, variable: dict[str, Any], kind: str, field: str, code: int
) -> None:
    answer = await command(harness, *create(*PROMPT, "--manual"), environ=variable)

    problem = answer.problem
    assert (answer.code, problem["kind"], problem["field"]) == (code, kind, field)
