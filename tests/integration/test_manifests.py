"""`tickless export` and `tickless apply` against a real server: from files to routines and back."""

import json
from pathlib import Path
from typing import Any

import pytest

from client.context import CallerContext
from client.manifests import ChangeKind, Manifest
from client.tickless import TicklessClient
from domain.errors import DomainError
from tests.support.command import Answer, command
from tests.support.harness import Harness


class User:
    """A caller of his own, so that exports and prunes see his routines only."""

    def __init__(self, harness: Harness, folder: Path) -> None:
        self.harness, self.folder = harness, folder
        self.name = harness.name()
        self.environ = {"TICKLESS_CONTEXT__ACTOR_USER_ID": self.name}
        context = CallerContext(receive_id_type="file", actor_user_id=self.name)
        self.tickless = TicklessClient(harness.client, context)

    async def run(self, *arguments: str, **more: Any) -> Answer:
        return await command(self.harness, *arguments, environ=self.environ, **more)

    async def apply(self, *flags: str) -> Any:
        """The changes that were made, as (change, id without the caller's mark, fields)."""
        found = (await self.run("apply", "-f", str(self.folder), *flags)).json
        return [
            (item["change"], self.short(item["id"]), item["fields"]) for item in found["changes"]
        ]

    def id(self, short: str) -> str:
        return f"{self.name}-{short}"

    def short(self, name: str) -> str:
        return name.removeprefix(f"{self.name}-")

    def write(self, short: str, **body: Any) -> None:
        """A manifest of a routine that is fired by hand, unless told."""
        timed = {"schedule", "trigger", "every_seconds"} & set(body)
        whole = {"id": self.id(short), "prompt": "Do it.", **body}
        if not timed:
            whole["trigger"] = {"type": "manual"}
        (self.folder / f"{short}.json").write_text(json.dumps(whole), encoding="utf-8")

    async def revision(self, short: str) -> int:
        return (await self.tickless.routines.get(self.id(short))).routine.revision


@pytest.fixture
def user(harness: Harness, tmp_path: Path) -> User:
    folder = tmp_path / "routines"
    folder.mkdir()
    return User(harness, folder)


async def test_from_files_to_routines_and_again(user: User) -> None:
    user.write("a", title="A", schedule={"cron_expr": "0 9 * * *"})
    user.write("b", status="paused")

    assert await user.apply("--dry-run") == [
        ("create", "a", ["prompt", "title", "schedule"]),
        ("create", "b", ["prompt", "status", "trigger"]),
    ]
    assert (await user.tickless.routines.list()).count == 0
    assert [item[0] for item in await user.apply()] == ["create", "create"]
    revisions = [await user.revision("a"), await user.revision("b")]
    assert (await user.tickless.routines.get(user.id("b"))).routine.status == "paused"

    assert await user.apply("--prune") == [("unchanged", "a", []), ("unchanged", "b", [])]

    assert [await user.revision("a"), await user.revision("b")] == revisions


async def test_only_what_differs_is_patched(user: User) -> None:
    user.write("a", title="A")
    user.write("b", title="B")
    await user.apply()
    user.write("a", title="Another", every_seconds=3600)

    planned = await user.apply("--dry-run")
    assert planned == [("patch", "a", ["title", "schedule"]), ("unchanged", "b", [])]
    assert await user.revision("a") == 0
    assert await user.apply() == planned
    assert (await user.revision("a"), await user.revision("b")) == (1, 0)
    routine = (await user.tickless.routines.get(user.id("a"))).routine
    assert (routine.title, routine.next_run_at is not None) == ("Another", True)


async def test_prune_deletes_what_is_in_no_manifest(user: User) -> None:
    user.write("a")
    user.write("b")
    await user.apply()
    (user.folder / "b.json").unlink()

    assert await user.apply() == [("unchanged", "a", [])]
    assert await user.apply("--prune", "--dry-run") == [("unchanged", "a", []), ("delete", "b", [])]
    assert (await user.tickless.routines.list()).count == 2
    assert await user.apply("--prune") == [("unchanged", "a", []), ("delete", "b", [])]
    assert (await user.tickless.routines.get(user.id("a"))).routine.status == "active"
    assert (await user.tickless.routines.get(user.id("b"))).routine.status == "deleted"

    user.write("b", title="Back")
    assert await user.apply() == [("unchanged", "a", []), ("restore", "b", ["status", "title"])]
    restored = (await user.tickless.routines.get(user.id("b"))).routine
    assert (restored.status, restored.title) == ("active", "Back")


async def test_a_pause_by_hand_stays(user: User) -> None:
    user.write("a")
    await user.apply()
    await user.tickless.routines.pause(user.id("a"))

    assert await user.apply() == [("unchanged", "a", [])]
    user.write("a", status="active")
    assert await user.apply() == [("patch", "a", ["status"])]


async def test_everything_wrong_is_told_and_nothing_is_changed(user: User) -> None:
    user.write("kept")
    await user.apply()
    (user.folder / "kept.json").unlink()
    user.write("good")
    user.write("bad", title="x" * 201, schedule={"cron_expr": "60 * * * *"})
    user.write("twice", id=user.id("good"))
    user.write("nameless", id=None)
    user.write("named", id="Not A Name")
    user.write("assigned", id="routine_01k00000000000000000000000")
    (user.folder / "broken.yaml").write_text("id: [")

    answer = await user.run("apply", "-f", str(user.folder), "--prune")
    shown = await user.run("apply", "-f", str(user.folder), "--prune", terminal=True)

    assert answer.code == 2
    told = {
        (Path(item["message"].partition(": ")[0]).name, item["kind"], item["field"])
        for item in answer.problem["errors"]
    }
    assert told == {
        ("bad.json", "invalid_field", "title"),
        ("bad.json", "invalid_field", "schedule.cron_expr"),
        ("twice.json", "invalid_field", "id"),
        ("nameless.json", "missing_field", "id"),
        ("named.json", "invalid_field", "id"),
        ("assigned.json", "invalid_field", "id"),
        ("broken.yaml", "invalid_field", "manifest"),
    }
    assert all(f"{name}.json" in shown.err for name in ("bad", "twice", "nameless", "named"))
    listed = (await user.tickless.routines.list()).routines
    assert [item["id"] for item in listed] == [user.id("kept")]


async def test_no_manifest_at_all_deletes_nothing(user: User) -> None:
    empty = await user.run("apply", "-f", str(user.folder), "--prune")
    nothing = await user.run("apply", "-f", "-", "--prune", stdin='{"version":1,"routines":[]}')

    assert (empty.code, empty.problem["field"]) == (2, "file")
    assert (nothing.code, nothing.problem["field"]) == (2, "manifests")


async def test_a_concurrent_change_is_a_conflict(user: User) -> None:
    user.write("a", title="A")
    user.write("b")
    await user.apply()
    name = user.id("a")
    manifests = [
        Manifest(body={"id": name, "prompt": "Do it.", "trigger": {"type": "manual"}, "title": "B"})
    ]
    plan = await user.tickless.manifests.plan(manifests, prune=True)
    assert [change.change for change in plan.changes] == [ChangeKind.PATCH, ChangeKind.DELETE]
    await user.tickless.routines.patch(name, {"title": "C"})

    applied = await user.tickless.manifests.apply(plan)

    assert [(item.id, item.problem and item.problem.field) for item in applied.changes] == [
        (name, "revision")
    ]
    with pytest.raises(DomainError, match="manifest: revision is 1"):
        applied.raise_problems()
    assert (await user.tickless.routines.get(user.id("b"))).routine.status == "active"


async def test_a_name_of_somebody_else(user: User, harness: Harness, tmp_path: Path) -> None:
    taken = await harness.routine()
    user.write("free")
    user.write("taken", id=taken)

    answer = await user.run("apply", "-f", str(user.folder))

    assert answer.code == 5
    changes = {user.short(item["id"]): item for item in json.loads(answer.out)["changes"]}
    assert "problem" not in changes["free"]
    assert changes[taken]["problem"]["field"] == "id"
    assert json.loads(answer.err)["kind"] == "conflict"
    shown = await user.run("apply", "-f", str(user.folder), terminal=True)
    assert "create: failed" in shown.out


async def test_a_routine_of_another_creator_is_left_alone(user: User, tmp_path: Path) -> None:
    chat = {"receive_id_type": "file", "receive_id": user.name, "chat_type": "group"}
    one, other = (
        TicklessClient(user.harness.client, CallerContext(actor_user_id=name, **chat))
        for name in ("one", "other")
    )
    name = user.id("a")
    body = {"id": name, "prompt": "x", "trigger": {"type": "manual"}}
    await one.manifests.apply(await one.manifests.plan([Manifest(body=body)]))

    mine = Manifest(body={**body, "id": user.id("b")})
    with pytest.raises(DomainError) as caught:
        await other.manifests.plan([mine], prune=True)

    assert (caught.value.kind, caught.value.field) == ("permission_denied", "manage_mode")
    assert name in caught.value.message


ROUTINES: list[dict[str, Any]] = [
    {"prompt": "x", "every_seconds": 3600},
    {"prompt": "Zeile eins\nLine two: {{now}} \N{GRINNING FACE}\n", "cron_expr": "every 2h"},
    {
        "title": "'quoted': # text",
        "action": {"type": "lightweight", "prompt": "1e5", "context_paths": ["a.md"]},
        "trigger": {
            "type": "cron",
            "schedule": "0 9 * * 1-5",
            "timezone": "Europe/Berlin",
            "catchup": "all",
        },
        "guardrails": {"max_cost_usd": "0.50", "rate_limit": {"max_runs": 1, "window_seconds": 60}},
        "notify": {"on_success": True, "route": {"receive_id_type": "console", "receive_id": ""}},
        "manage_mode": "scope_all",
        "max_runs": 4,
        "fresh": True,
    },
    {"prompt": "x", "run_at": "2099-01-01T00:00:00+05:30", "timezone": "Asia/Kolkata"},
    {"prompt": "x", "trigger": {"type": "manual"}, "enabled": False},
    {"prompt": "x", "cron_expr": "@daily", "next_run_at": "2098-01-01T00:00:00Z"},
]
EDITABLE = {
    *("title", "prompt", "fresh", "schedule", "trigger", "action", "guardrails", "notify"),
    *("manage_mode", "status", "max_runs", "next_run_explicit"),
}


@pytest.mark.parametrize("target", ["files/", "all.yaml", "all.json", None])
async def test_export_purge_and_apply(user: User, tmp_path: Path, target: str | None) -> None:
    for number, body in enumerate(ROUTINES):
        await user.tickless.routines.create(body, name=user.id(str(number)))
    await user.tickless.routines.create(ROUTINES[0], name=user.id("gone"))
    await user.tickless.routines.delete(user.id("gone"))
    before = await records(user)

    if target is None:
        path = tmp_path / "printed.json"
        path.write_text((await user.run("export", terminal=True)).out, encoding="utf-8")
        assert json.loads(path.read_text(encoding="utf-8"))["version"] == 1
    else:
        path = tmp_path / target
        written = (await user.run("export", "--output", f"{tmp_path}/{target}")).json
        assert written["count"] == len(ROUTINES)
    unchanged = (await user.run("apply", "-f", str(path))).json["changes"]
    assert {item["change"] for item in unchanged} == {"unchanged"}
    for short in before:
        await user.tickless.routines.delete(user.id(short), purge=True)
    created = (await user.run("apply", "-f", str(path), "--prune")).json["changes"]

    assert {item["change"] for item in created} == {"create"}
    assert await records(user) == before


async def test_the_library_alone(user: User) -> None:
    tickless = user.tickless
    for short in ("a", "b"):
        await tickless.routines.create({"prompt": "x", "every_seconds": 60}, name=user.id(short))

    exported = await tickless.manifests.export()
    plan = await tickless.manifests.plan(exported.manifests(), prune=True)

    assert [change.change for change in plan.changes] == [ChangeKind.UNCHANGED] * 2
    applied = await tickless.manifests.apply(plan)
    applied.raise_problems()
    assert [item.revision for item in applied.changes] == [0, 0]
    schedule = exported.routines[0]["schedule"]
    assert tickless.schedules.preview(schedule).words == "Every minute"


async def records(user: User) -> dict[str, dict[str, Any]]:
    """The editable fields of the user's routines, by number."""
    found: dict[str, dict[str, Any]] = {}
    for number in range(len(ROUTINES)):
        answer = await user.tickless.routines.get(user.id(str(number)))
        record = answer.routine.model_dump(mode="json")
        by_hand = record["next_run_at"] if record["next_run_explicit"] else None
        found[str(number)] = {**{key: record[key] for key in EDITABLE}, "next_run_at": by_hand}
    return found


async def test_a_table_on_a_terminal(user: User, tmp_path: Path) -> None:
    user.write("a", title="A")

    shown = await user.run("apply", "-f", str(user.folder), "--dry-run", terminal=True)
    told = await user.run("export", "--output", f"{tmp_path}/out/", terminal=True)

    lines = [line.split() for line in shown.out.splitlines()]
    assert lines == [
        ["CHANGE", "ROUTINE", "FIELDS"],
        ["create", user.id("a"), "prompt,", "title,", "trigger"],
    ]
    assert "Nothing was changed" in shown.err
    assert told.err.endswith("/out/: 0\n")
    await user.apply()
    beside = await user.run("export", "--output", str(user.folder), terminal=True)
    assert f"Routines written to {user.folder}: 1" in beside.err
    assert f"applied with it: {user.folder}/a.json" in beside.err
