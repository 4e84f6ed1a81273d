"""`tickless goal …`: what is typed, what is printed, and the codes it ends with."""

import json

import pytest

from domain.goal_record import Goal
from tests.support.command import command
from tests.support.goal_setters import goal_setter, waiting_setter
from tests.support.goals import rests
from tests.support.harness import Harness, until
from tests.support.jobs import said


async def test_a_goal_from_its_creation_to_its_end(harness: Harness) -> None:
    mine = goal_setter(harness)
    mine.works(rests("1h", "the build"), said("Waiting."))
    goal = (await mine.command("create", mine.objective, "--deadline", "7d")).json["goal"]
    assert (goal["status"], goal["objective"]) == ("active", mine.objective)
    await mine.rests()
    shown = (await mine.command("get")).json["goal"]
    assert (shown["id"], shown["delay_reason"]) == (goal["id"], "the build")
    table = (await mine.command("get", terminal=True)).out
    assert [
        text for text in (goal["id"], "active", "the build", "round") if text not in table
    ] == []
    assert (await mine.command("delay", "30m", "not yet")).json["goal"]["delay_reason"] == "not yet"
    waiting = (await mine.command("wait", "--event", "ci:build.*", "2h", "a build")).json["goal"]
    assert (waiting["waiting_for"], waiting["wait_event"]) == ("event", "ci:build.*")
    assert "ci:build.*" in (await mine.command("get", terminal=True)).out
    paused = (await mine.command("pause", "--now")).json["goal"]
    assert (paused["status"], paused["paused_reason"]) == ("paused", "user")
    longer = (await mine.command("extend", "90d")).json["goal"]
    assert longer["deadline_at"] > goal["deadline_at"]
    listed = (await mine.command("list", "--status", "paused", "--limit", "200")).json["goals"]
    assert goal["id"] in [item["id"] for item in listed]
    done = (await mine.command("complete", "--summary", "All done.")).json["goal"]
    assert (done["status"], done["summary"]) == ("complete", "All done.")
    late = await mine.command("resume")
    assert (late.code, late.problem["kind"], late.problem["field"]) == (5, "conflict", "status")
    assert (await mine.command("delete")).json == {"deleted": True}
    gone = await mine.command("get")
    assert (gone.code, gone.problem["kind"], gone.problem["field"]) == (3, "not_found", "goal")


async def test_json_is_taken_too(harness: Harness) -> None:
    mine = waiting_setter(harness)
    body = json.dumps({"objective": mine.objective, "deadline_in": "1h"})
    for arguments, piped in (((body,), ""), (("-",), body), ((), body)):
        created = (await mine.command("create", *arguments, stdin=piped)).json["goal"]
        assert (created["objective"], created["status"]) == (mine.objective, "waiting_for_session")
        assert (await mine.command("clear")).json == {"deleted": True}
    key = ("--idempotency-key", harness.name())
    first, again = [(await mine.command("create", body, *key)).json["goal"] for _ in range(2)]
    assert first["id"] == again["id"]


async def test_what_a_terminal_shows(harness: Harness) -> None:
    mine = waiting_setter(harness)
    shown = (await mine.command("create", "Long \x1b[31mred\n" + mine.name, terminal=True)).out
    assert "waiting_for_session" in shown
    assert "\x1b[31m" not in shown
    table = (await mine.command("list", "--limit", "200", terminal=True)).out
    assert "OBJECTIVE" in table
    assert f"user:{mine.name}" in table
    page = await mine.command("list", "--limit", "1", "--status", "waiting_for_session")
    assert page.json["count"] <= 1
    assert (await mine.command("delete", terminal=True)).err == "Deleted.\n"


async def test_an_export_has_the_goals_for_the_record(harness: Harness) -> None:
    mine = waiting_setter(harness)
    await mine.tickless.routines.create({"prompt": "x", "every_seconds": 60}, name=mine.name)
    await mine.goals.create("Before.")
    await mine.goals.delete()
    goal = (await mine.command("create", mine.objective)).json["goal"]
    exported: list[str] = []

    async def listed() -> bool:
        answer = await command(harness, "export", environ=mine.environ)
        exported[:] = [answer.out]
        return [item["id"] for item in answer.json["goals"]] == [goal["id"]]

    await until(listed, "it is exported")
    (record,) = json.loads(exported[0])["goals"]
    assert record == {key: value for key, value in goal.items() if key in Goal.model_fields}
    applied = await command(
        harness, "apply", "-f", "-", "--dry-run", stdin=exported[0], environ=mine.environ
    )
    assert [item["change"] for item in json.loads(applied.out)["changes"]] == ["unchanged"]
    assert applied.err == "Goals in it that stay as they are: 1; see `tickless goal`\n"


@pytest.mark.parametrize(
    ("arguments", "kind", "field"),
    [
        (("create", "{"), "invalid_field", "body"),
        (("create", '{"objective": "x"}', "--deadline", "1h"), "invalid_field", "body"),
        (("create", '{"objetive": "x"}'), "unknown_field", "objetive"),
        (("create", "--deadline", "1h"), "missing_field", "objective"),
        (("wait", "5m", "x"), "missing_field", "event"),
        (("wait", "--event", "ci", "5m", "x"), "invalid_field", "event"),
        (("extend",), "missing_field", "deadline_in"),
        (("delay",), "missing_field", "duration"),
        (("delay", "5m", "x", "y"), "invalid_field", "command"),
        (("cancel", "--reason", "x" * 201), "invalid_field", "reason"),
        (("list", "--limit", "0"), "invalid_field", "limit"),
        (("list", "--cursor", "x"), "invalid_field", "cursor"),
    ],
)
async def test_what_is_refused(
    harness: Harness, arguments: tuple[str, ...], kind: str, field: str
) -> None:
    answer = await goal_setter(harness).command(*arguments)
    assert (answer.problem["kind"], answer.problem["field"]) == (kind, field), answer.err
    assert answer.code == 2
