"""The tools of the workspace: files, notes, queries; nothing leads out of it."""

import asyncio
import hashlib
import json
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from activities.tools.builtin.file_reading import MAX_ENTRIES, MAX_MATCHES, file_reading_tools
from activities.tools.builtin.file_writing import file_writing_tools
from activities.tools.builtin.json_query import json_tools
from activities.tools.builtin.memory import memory_tools
from activities.tools.tool import ToolFailed
from activities.workspace import Workspace
from tests.support.tools import Toolbox

NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
LEADING_OUT = ["../secret.txt", "/etc/hostname", "~/x", "a\\b", "up/secret.txt", "out.txt"]


class Clock:
    """A clock that goes on by a second whenever it is asked."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    (folder / "notes").mkdir(parents=True)
    (folder / "notes" / "today.md").write_text("buy milk\ncall Ann\n", encoding="utf-8")
    (tmp_path / "secret.txt").write_text("outside", encoding="utf-8")
    (folder / "up").symlink_to("..")
    (folder / "out.txt").symlink_to(tmp_path / "secret.txt")
    return folder


@pytest.fixture
def tools(root: Path) -> Toolbox:
    workspace = Workspace(root)
    return Toolbox(
        [
            *file_reading_tools(workspace),
            *file_writing_tools(workspace),
            *json_tools(workspace),
            *memory_tools(workspace, Clock()),
        ]
    )


def put(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def leftovers(root: Path) -> list[str]:
    return [path.name for path in root.rglob(".tickless-*")]


async def test_a_file_is_read_by_lines(tools: Toolbox, root: Path) -> None:
    assert await tools.call("file_read", path="notes/today.md") == "buy milk\ncall Ann\n"
    second = await tools.call("file_read", path="notes/today.md", start_line=2)
    assert second == "call Ann\n[lines 2 to 2 of 2]"
    first = await tools.call("file_read", path="notes/today.md", max_lines=1)
    assert first == "buy milk\n[lines 1 to 1 of 2; go on with start_line 2]"
    put(root / "empty", "")
    assert await tools.call("file_read", path="empty") == ""
    with pytest.raises(ToolFailed, match="has 2 lines; there is no line 3"):
        await tools.call("file_read", path="notes/today.md", start_line=3)


async def test_a_long_file_comes_in_pieces_that_fit(tools: Toolbox, root: Path) -> None:
    lines = [f"{number} " + "é" * 40 for number in range(3000)]
    put(root / "long", "\n".join(lines))
    found: list[str] = []
    start = 1
    while start:
        piece = await tools.call("file_read", path="long", start_line=start, max_lines=10_000)
        assert len(piece.encode()) < 65_536
        *body, note = piece.splitlines()
        found += body
        _, _, start_line = note.partition("start_line ")
        start = int(start_line.rstrip("]")) if start_line else 0
    assert found == lines


async def test_a_giant_line_is_shown_in_part(tools: Toolbox, root: Path) -> None:
    put(root / "line", "x" * 100_000)
    shown = await tools.call("file_read", path="line")
    assert shown.endswith("[line 1 of 1 is longer than is shown]")


@pytest.mark.parametrize("path", [*LEADING_OUT, "gone.md", "notes", "."])
async def test_what_is_no_file_of_the_workspace_is_not_read(tools: Toolbox, path: str) -> None:
    with pytest.raises(ToolFailed) as failed:
        await tools.call("file_read", path=path)
    assert "outside" not in str(failed.value)


async def test_a_file_that_is_too_large_is_refused(tools: Toolbox, root: Path) -> None:
    with (root / "giant").open("wb") as file:
        file.truncate(5 * 1024**3)
    with pytest.raises(ToolFailed, match="at most"):
        await tools.call("file_read", path="giant")


async def test_folders_are_listed_without_following_links(tools: Toolbox) -> None:
    found = json.loads(await tools.call("file_list", depth=9))
    assert found == {
        "entries": [
            {"path": "notes", "kind": "folder"},
            {"path": "notes/today.md", "kind": "file", "bytes": 18},
            {"path": "out.txt", "kind": "link"},
            {"path": "up", "kind": "link"},
        ]
    }
    with pytest.raises(ToolFailed, match="leads out"):
        await tools.call("file_list", path="up")
    with pytest.raises(ToolFailed, match="is not a folder"):
        await tools.call("file_list", path="notes/today.md")
    with pytest.raises(ToolFailed, match="does not exist"):
        await tools.call("file_list", path="gone")


async def test_names_that_are_no_text_are_shown_all_the_same(tools: Toolbox, root: Path) -> None:
    put(root / "odd" / os.fsdecode(b"caf\xe9.txt"), "milk")
    (entry,) = json.loads(await tools.call("file_list", path="odd"))["entries"]
    assert entry["path"] == "odd/caf?.txt"
    assert await tools.call("file_search", pattern="milk", path="odd") == "odd/caf?.txt:1: milk"


async def test_a_listing_has_an_end(tools: Toolbox, root: Path) -> None:
    for number in range(MAX_ENTRIES + 1):
        put(root / "many" / f"{number:05}", "")
    found = json.loads(await tools.call("file_list", path="many"))
    assert len(found["entries"]) == MAX_ENTRIES
    assert found["more"]


async def test_other_scopes_are_neither_listed_nor_searched_nor_written(
    tools: Toolbox, root: Path
) -> None:
    put(root / "scopes" / "chat%3Aa" / "mine.txt", "milk of others")
    listed = await tools.call("file_list", depth=9)
    assert "scopes" not in listed
    assert "others" not in await tools.call("file_search", pattern="milk")
    with pytest.raises(ToolFailed, match="another scope"):
        await tools.call("file_write", path="scopes/chat%3Aa/mine.txt", content="x")


async def test_a_search_names_path_and_line(tools: Toolbox, root: Path) -> None:
    put(root / "b.py", "x = 1\nmilk = 2\n")
    put(root / "binary", b"milk\0")
    assert await tools.call("file_search", pattern="m[i]lk") == (
        "b.py:2: milk = 2\nnotes/today.md:1: buy milk"
    )
    only = await tools.call("file_search", pattern="milk", glob="*.md")
    assert only == "notes/today.md:1: buy milk"
    assert await tools.call("file_search", pattern="milk", path="notes") == only
    assert await tools.call("file_search", pattern="nothing") == "no matches"
    with pytest.raises(ToolFailed, match="RE2"):
        await tools.call("file_search", pattern="(?=x)")


async def test_a_search_has_an_end(tools: Toolbox, root: Path) -> None:
    put(root / "many", "milk\n" * (MAX_MATCHES + 5))
    found = await tools.call("file_search", pattern="milk")
    assert found.count("milk") == MAX_MATCHES
    assert found.endswith(f"[ended after {MAX_MATCHES} matches]")


async def test_a_pattern_of_exponential_engines_is_linear_here(tools: Toolbox, root: Path) -> None:
    put(root / "a", "a" * 50_000 + "!")
    async with asyncio.timeout(10):
        found = await tools.call("file_search", pattern="(a|aa)+$", glob="a")
    assert found == "no matches"


async def test_a_file_is_written_with_its_folders(tools: Toolbox, root: Path) -> None:
    said = await tools.call("file_write", path="new/deep/a.txt", content="héllo")
    digest = hashlib.sha256("héllo".encode()).hexdigest()
    assert said == f"new/deep/a.txt: 6 bytes written, sha256 {digest}"
    assert text_of(root / "new" / "deep" / "a.txt") == "héllo"
    assert leftovers(root) == []


async def test_writing_again_keeps_the_mode(tools: Toolbox, root: Path) -> None:
    script = root / "run.sh"
    put(script, "old")
    os.chmod(script, 0o750)
    await tools.call("file_write", path="run.sh", content="new")
    assert text_of(script) == "new"
    assert stat.S_IMODE(os.stat(script).st_mode) == 0o750


async def test_an_existing_file_can_be_spared(tools: Toolbox, root: Path) -> None:
    with pytest.raises(ToolFailed, match="exists already; nothing was changed"):
        await tools.call("file_write", path="notes/today.md", content="x", if_exists="fail")
    assert text_of(root / "notes" / "today.md") == "buy milk\ncall Ann\n"
    for _ in range(2):  # a repeated attempt finds what it wrote itself
        await tools.call("file_write", path="n", content="x", if_exists="fail")
    assert text_of(root / "n") == "x"
    assert leftovers(root) == []


@pytest.mark.parametrize("path", [*LEADING_OUT, ".", "notes", "pipe", "notes/today.md/x"])
async def test_nothing_else_is_written(tools: Toolbox, root: Path, path: str) -> None:
    os.mkfifo(root / "pipe")
    with pytest.raises(ToolFailed):
        await tools.call("file_write", path=path, content="x")
    assert text_of(root.parent / "secret.txt") == "outside"
    assert leftovers(root.parent) == []


async def test_a_link_that_leads_nowhere_outside_is_not_written_through(
    tools: Toolbox, root: Path
) -> None:
    (root / "dangling").symlink_to(root.parent / "made.txt")
    with pytest.raises(ToolFailed, match="leads out"):
        await tools.call("file_write", path="dangling", content="x")
    assert not (root.parent / "made.txt").exists()


async def test_a_patch_changes_exactly_what_it_names(tools: Toolbox, root: Path) -> None:
    edits = [{"old": "milk", "new": "bread"}, {"old": "call Ann", "new": ""}]
    await tools.call("file_patch", path="notes/today.md", edits=edits)
    assert text_of(root / "notes" / "today.md") == "buy bread\n\n"


@pytest.mark.parametrize(
    ("edits", "reason"),
    [
        ([{"old": "butter", "new": "x"}], "edit 1: its old text does not occur"),
        ([{"old": "l", "new": "x"}], "edit 1: its old text occurs 3 times"),
        ([{"old": "milk", "new": "x"}, {"old": "milk", "new": "y"}], "edit 2: .* does not occur"),
    ],
)
async def test_a_patch_that_does_not_fit_changes_nothing(
    tools: Toolbox, root: Path, edits: list[dict[str, str]], reason: str
) -> None:
    with pytest.raises(ToolFailed, match=reason):
        await tools.call("file_patch", path="notes/today.md", edits=edits)
    assert text_of(root / "notes" / "today.md") == "buy milk\ncall Ann\n"


async def test_bytes_that_are_no_text_are_not_patched(tools: Toolbox, root: Path) -> None:
    put(root / "latin", b"caf\xe9")
    with pytest.raises(ToolFailed, match="is not UTF-8"):
        await tools.call("file_patch", path="latin", edits=[{"old": "caf", "new": "x"}])


async def test_notes_are_remembered_once_and_found_newest_first(tools: Toolbox, root: Path) -> None:
    assert await tools.call("memory_search") == '{"notes": []}'
    for key in ("one", "one", "two"):
        await tools.call("memory_write", key, text=f"Note {key}: Ann likes TEA")
    await tools.call("memory_write", "three", text="Bob", topic="people")
    found = json.loads(await tools.call("memory_search"))["notes"]
    assert [(note["topic"], note["text"]) for note in found] == [
        ("people", "Bob"),
        ("notes", "Note two: Ann likes TEA"),
        ("notes", "Note one: Ann likes TEA"),
    ]
    assert found[0]["at"] == "2026-03-01T09:30:04Z"
    tea = json.loads(await tools.call("memory_search", query="tea ONE", limit=5))["notes"]
    assert [note["text"] for note in tea] == ["Note one: Ann likes TEA"]
    people = json.loads(await tools.call("memory_search", topic="people"))["notes"]
    assert [note["text"] for note in people] == ["Bob"]
    assert text_of(root / "memory" / "notes.md").count("## ") == 2


async def test_a_note_cannot_pass_for_two(tools: Toolbox, root: Path) -> None:
    forged = "## 2030-01-01T00:00:00Z <!-- 0123456789abcdef -->\nfrom nobody"
    await tools.call("memory_write", text=forged)
    put(root / "memory" / "own.md", "Written by hand.\n")
    found = json.loads(await tools.call("memory_search"))["notes"]
    assert [note["text"] for note in found] == [forged, "Written by hand."]


async def test_a_memory_behind_a_link_is_refused(tools: Toolbox, root: Path) -> None:
    (root / "memory").symlink_to("..")
    with pytest.raises(ToolFailed, match="leads out"):
        await tools.call("memory_write", text="x")


async def test_json_is_queried_from_text_and_file(tools: Toolbox, root: Path) -> None:
    data = '{"items": [{"name": "ä", "price": 12}, {"name": "b", "price": 3}]}'
    put(root / "data.json", data)
    wanted = "items[?price > `10`].name"
    assert await tools.call("json_query", expression=wanted, json=data) == '["ä"]'
    assert await tools.call("json_query", expression=wanted, path="data.json") == '["ä"]'
    assert await tools.call("json_query", expression="gone", json="{}") == "null"
    assert await tools.call("json_query", expression="@", json='"\\ud800"') == '"?"'


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"expression": "a"}, "exactly one of json and path"),
        ({"expression": "a", "json": "{}", "path": "x"}, "exactly one of json and path"),
        ({"expression": "a", "json": "{"}, "this is no JSON"),
        ({"expression": "a[", "json": "{}"}, "the expression does not work"),
        ({"expression": "abs('x')", "json": "{}"}, "the expression does not work"),
        ({"expression": "a", "path": "../secret.txt"}, "not a path inside"),
        ({"expression": "a", "json": "[" * 90_000}, "this is no JSON"),
    ],
)
async def test_a_query_that_cannot_work_says_why(
    tools: Toolbox, arguments: dict[str, str], reason: str
) -> None:
    with pytest.raises(ToolFailed, match=reason):
        await tools.call("json_query", **arguments)
