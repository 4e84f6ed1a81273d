"""Reading context files: what is found, what is refused, and that nothing leads out."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from activities.workspace import READ_BYTES, Workspace, WorkspaceFiles
from domain.prompts import LIGHTWEIGHT, MAX_FILE_BYTES, ContextFile, framed_prompt

SCOPE = "user:me"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    (folder / "notes").mkdir(parents=True)
    (folder / "notes" / "today.md").write_text("buy milk\n", encoding="utf-8")
    (tmp_path / "secret.txt").write_text("outside", encoding="utf-8")
    return folder


async def read(root: Path, *paths: str, scope: str = SCOPE) -> WorkspaceFiles:
    return await Workspace(root).read(scope, paths)


async def assert_refused(root: Path, path: str, reason: str) -> None:
    found = await read(root, path)
    assert found.files == [ContextFile(path=path)]
    assert found.warnings == [f"context file {path!r} {reason}"]


async def test_files_come_in_order_with_a_warning_for_a_missing_one(root: Path) -> None:
    found = await read(root, "notes/today.md", "notes/gone.md", "notes//./today.md")
    assert [file.text for file in found.files] == ["buy milk\n", None, "buy milk\n"]
    assert found.warnings == ["context file 'notes/gone.md' does not exist in the workspace"]


async def test_no_paths_cost_nothing(root: Path) -> None:
    assert await read(root) == WorkspaceFiles([], [])


@pytest.mark.parametrize(
    "path",
    ["../secret.txt", "notes/../../secret.txt", "/etc/hostname", "~/x", "notes\\x", "a\0b"],
)
async def test_paths_that_leave_are_refused_by_their_looks(root: Path, path: str) -> None:
    await assert_refused(root, path, "is not a path inside the workspace")


async def test_a_link_may_lead_around_inside(root: Path) -> None:
    (root / "latest").symlink_to("notes")
    (root / "today").symlink_to(root / "notes" / "today.md")
    found = await read(root, "latest/today.md", "today")
    assert [file.text for file in found.files] == ["buy milk\n", "buy milk\n"]


async def test_a_link_out_of_the_workspace_is_refused(root: Path) -> None:
    (root / "out.txt").symlink_to(root.parent / "secret.txt")
    (root / "up").symlink_to("..")
    await assert_refused(root, "out.txt", "leads out of the workspace")
    await assert_refused(root, "up/secret.txt", "leads out of the workspace")


async def test_a_loop_of_links_is_refused(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    found = await read(root, "a")
    assert found.files == [ContextFile(path="a")]
    assert len(found.warnings) == 1


async def test_a_path_that_no_file_system_knows_is_refused(root: Path) -> None:
    await assert_refused(root, "\ud800", "cannot be resolved")


async def test_a_workspace_behind_a_link_works(root: Path) -> None:
    alias = root.parent / "alias"
    alias.symlink_to(root)
    found = await read(alias, "notes/today.md")
    assert found.files[0].text == "buy milk\n"


@pytest.fixture
def unix_socket(root: Path) -> Iterator[str]:
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(root)  # the path of a socket may have 108 bytes
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
        yield "socket"


async def test_special_files_are_refused_without_waiting(root: Path, unix_socket: str) -> None:
    os.mkfifo(root / "pipe")
    async with asyncio.timeout(5):
        for path in ("pipe", "notes", ".", "", unix_socket):
            await assert_refused(root, path, "is not a regular file")


async def test_a_device_is_refused() -> None:
    await assert_refused(Path("/dev"), "null", "is not a regular file")


async def test_a_file_used_as_a_folder_is_refused(root: Path) -> None:
    await assert_refused(root, "notes/today.md/x", "cannot be read: Not a directory")


async def test_bytes_that_are_no_text_are_replaced(root: Path) -> None:
    (root / "latin.txt").write_bytes(b"caf\xe9 \xff")
    assert (await read(root, "latin.txt")).files[0].text == "caf\ufffd \ufffd"


async def test_a_giant_is_read_only_at_its_start(root: Path) -> None:
    size = 5 * 1024**3
    with (root / "giant").open("wb") as file:
        file.write(b"x" * READ_BYTES)
        file.truncate(size)
    (found,) = (await read(root, "giant")).files
    assert found.text == "x" * READ_BYTES
    assert found.unread_bytes == size - READ_BYTES
    content = framed_prompt("go", LIGHTWEIGHT, nonce="n", files=[found])
    assert f"[giant: {size - MAX_FILE_BYTES} bytes left out]" in content


@pytest.mark.parametrize("shift", range(3))
async def test_a_long_file_is_cut_between_characters(root: Path, shift: int) -> None:
    data = b"x" * shift + "語".encode() * READ_BYTES
    (root / "long").write_bytes(data)
    (found,) = (await read(root, "long")).files
    assert found.text is not None
    assert "\ufffd" not in found.text
    assert len(found.text.encode()) + found.unread_bytes == len(data)


async def test_a_scope_with_a_folder_of_its_own_sees_only_that(root: Path) -> None:
    own = root / "scopes" / "chat%3Aa%2Fb"
    own.mkdir(parents=True)
    (own / "mine.txt").write_text("mine", encoding="utf-8")
    workspace = Workspace(root)
    assert workspace.folder("chat:a/b") == own
    assert workspace.folder("user:me") == root
    assert (await read(root, "mine.txt", scope="chat:a/b")).files[0].text == "mine"
    assert (await read(root, "notes/today.md", scope="chat:a/b")).files[0].text is None


async def test_other_scopes_are_not_read_through_the_root(root: Path) -> None:
    own = root / "scopes" / "chat%3Aa"
    own.mkdir(parents=True)
    (own / "mine.txt").write_text("mine", encoding="utf-8")
    (root / "shortcut").symlink_to("scopes")
    reason = "belongs to the workspace of another scope"
    await assert_refused(root, "scopes/chat%3Aa/mine.txt", reason)
    await assert_refused(root, "shortcut/chat%3Aa/mine.txt", reason)


@pytest.mark.parametrize("scope", ["", ".", ".."])
def test_a_strange_scope_has_no_folder_of_its_own(root: Path, scope: str) -> None:
    (root / "scopes").mkdir()
    assert Workspace(root).folder(scope) == root
