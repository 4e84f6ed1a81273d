"""`tickless dev` as a user runs it: starts everything, stops everything, keeps everything."""

import asyncio
import contextlib
import json
import os
import re
import signal
import stat
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.command import run_command
from tests.support.harness import until
from tests.support.model_server import ModelServer
from tests.support.model_steps import Reply
from tests.support.processes import ROOT, eventually, eventually_refuses
from worker.ports import free_port

COMMAND = (sys.executable, "-m", "client")
LOOPBACK = "127.0.0.1"


@dataclass
class Desk:
    """A folder to work in, with the environment of the terminals that are open there."""

    folder: Path
    port: int
    ui_port: int
    models: ModelServer

    @property
    def environ(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
            "TICKLESS_CONFIG": str(self.folder / "settings.yaml"),
            "TICKLESS_GATEWAY__PORT": "0",
            "TICKLESS_TEMPORAL__DEV__PORT": str(self.port),
            "TICKLESS_TEMPORAL__DEV__UI_PORT": str(self.ui_port),
            "TICKLESS_MODELS__0__BASE_URL": self.models.base_url,
            "TICKLESS_CONTEXT__ACTOR_USER_ID": "me",
            "TICKLESS_CONTEXT__RECEIVE_ID_TYPE": "file",
        }

    async def run(self, *arguments: str, **environ: str) -> tuple[int, str, str]:
        """Run one command to its end."""
        process = await self.start(*arguments, **environ)
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    async def start(self, *arguments: str, **environ: str) -> asyncio.subprocess.Process:
        # A group of its own, as a terminal gives each command: Ctrl-C goes to the whole group.
        return await asyncio.create_subprocess_exec(
            *(*COMMAND, *arguments),
            cwd=self.folder,
            env={**self.environ, **environ},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )

    async def answer(self, *arguments: str, **environ: str) -> Any:
        """What a command says that only talks to the server; run in this process, for speed."""
        return (await run_command({**self.environ, **environ}, *arguments)).json

    async def is_healthy(self) -> bool:
        """Whether doctor finds nothing wrong; workers are seen once they have asked for work."""
        return (await run_command(self.environ, "doctor")).code == 0


class Dev:
    """A running `tickless dev`; what it prints is read along."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.out = bytearray()
        self.err = bytearray()
        assert process.stdout is not None
        assert process.stderr is not None
        self._readers = [
            asyncio.create_task(_read(process.stdout, self.out)),
            asyncio.create_task(_read(process.stderr, self.err)),
        ]

    @property
    def text(self) -> str:
        return self.out.decode()

    async def until(self, text: str) -> None:
        def seen() -> bool:
            assert self.process.returncode is None, self.err.decode()
            return text in self.text

        await eventually(seen, 60)

    def children(self) -> dict[int, str]:
        """The processes it has started, and their command lines."""
        return {
            pid: Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
            for pid in _pids()
            if _parent(pid) == self.process.pid
        }

    async def end(self, number: signal.Signals) -> int:
        """Send a signal to its group, as a terminal does, and wait for its end."""
        if self.process.returncode is None:
            os.killpg(self.process.pid, number)
        async with asyncio.timeout(60):
            code = await self.process.wait()
            await asyncio.gather(*self._readers)
        return code


async def _read(stream: asyncio.StreamReader, into: bytearray) -> None:
    while piece := await stream.read(4096):
        into += piece


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return None  # it has ended meanwhile


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncGenerator[Desk]:
    with ModelServer() as models:
        models.always(Reply("All is well here."))
        (tmp_path / "settings.yaml").write_text("{}\n")
        yield Desk(tmp_path, free_port(LOOPBACK), free_port(LOOPBACK), models)


@asynccontextmanager
async def running(desk: Desk, **environ: str) -> AsyncGenerator[Dev]:
    dev = Dev(await desk.start("dev", **environ))
    children: dict[int, str] = {}
    try:
        await dev.until("Ctrl-C stops it")
        children = dev.children()
        yield dev
    finally:
        with contextlib.suppress(ProcessLookupError):
            await dev.end(signal.SIGKILL)
        # Whatever a test did to it: nothing of it may be left.
        await eventually(lambda: not any(map(_alive, children)))


async def test_it_starts_everything_and_ctrl_c_stops_it(desk: Desk) -> None:
    async with running(desk) as dev:
        children = dev.children()
        assert len(children) == 1, "the Temporal server, and no model where one is configured"
        assert "server start-dev" in next(iter(children.values()))
        for shown in (
            f"{LOOPBACK}:{desk.port}, namespace default",
            f"http://{LOOPBACK}:{desk.ui_port}",
            desk.models.base_url,
            str(desk.folder / ".tickless"),
        ):
            assert shown in dev.text
        assert "export" not in dev.text, "other terminals find it by themselves"
        await until(desk.is_healthy, "doctor finds nothing wrong")
        started = await desk.answer("routine", "create", "brief", "--prompt", "x", "--manual")
        assert started["routine"]["status"] == "active"
        view = await desk.answer("routine", "trigger", "brief", "--wait")
        assert view["text"] == "All is well here."
        assert view["ui_url"].startswith(f"http://{LOOPBACK}:{desk.ui_port}/")
        await _assert_serves_the_api(dev)

        assert await dev.end(signal.SIGINT) == 0
        assert not any(map(_alive, children))
        assert "Traceback" not in dev.err.decode()
    assert not (desk.folder / ".tickless" / "local-model.log").exists()
    for port in (desk.port, desk.ui_port):
        await eventually_refuses(LOOPBACK, port)
    left = [pid for pid in _pids() if _cwd(pid) == desk.folder]
    assert left == []


async def _assert_serves_the_api(dev: Dev) -> None:
    """The HTTP API is there, with a token of its own in a file."""
    await dev.until("HTTP API")
    found = re.search(r"HTTP API +(\S+), token in (\S+)", dev.text)
    assert found is not None
    url, file = found.groups()
    mode, token = _kept(Path(file))
    assert mode == 0o600
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient() as http:
        refused = await http.get(f"{url}/routines")
        answered = await http.get(f"{url}/routines", headers=headers)
    assert (refused.status_code, refused.json()["kind"]) == (401, "unauthenticated")
    assert (answered.status_code, answered.json()["count"]) == (200, 1)


def _kept(file: Path) -> tuple[int, str]:
    """A file's mode and what it holds."""
    return stat.S_IMODE(file.stat().st_mode), file.read_text(encoding="ascii").strip()


def _cwd(pid: int) -> Path | None:
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return None


async def test_a_second_one_is_told_who_is_in_the_way(desk: Desk, tmp_path: Path) -> None:
    async with running(desk) as dev:
        (server,) = dev.children()
        same, elsewhere, same_data = await asyncio.gather(
            desk.run("dev"),
            desk.run("dev", TICKLESS_STORE__FOLDER=str(tmp_path / "b"), **_database(tmp_path)),
            desk.run("dev", TICKLESS_TEMPORAL__DEV__PORT="0", TICKLESS_TEMPORAL__DEV__UI_PORT="0"),
        )

        for code, out, err in (same, elsewhere):
            assert (code, "Tickless is running" in out) == (5, False)
            problem = json.loads(err.splitlines()[-1])
            assert (problem["kind"], problem["field"]) == ("conflict", "temporal.dev.port")
            assert f"process {server} (" in problem["detail"]
            assert "temporal" in problem["detail"].partition("(")[2]
        code, _, err = same_data
        problem = json.loads(err.splitlines()[-1])
        assert (code, problem["field"]) == (5, "temporal.dev.db_file")
        assert f"process {dev.process.pid}" in problem["detail"]
        await until(desk.is_healthy, "the first one was not disturbed")
        assert await dev.end(signal.SIGTERM) == 0


def _database(folder: Path) -> dict[str, str]:
    return {"TICKLESS_TEMPORAL__DEV__DB_FILE": str(folder / "b" / "temporal.db")}


async def test_what_was_made_is_there_after_a_restart_and_after_a_kill(desk: Desk) -> None:
    async with running(desk) as dev:
        await desk.answer("routine", "create", "kept", "--prompt", "x", "--every", "1h")
        server = list(dev.children())
        await dev.end(signal.SIGKILL)
        await eventually(lambda: not any(map(_alive, server)))
        await eventually_refuses(LOOPBACK, desk.port)

    # A run is under way when this one is told to stop: the model's answer is waited for.
    desk.models.always(Reply("Said while it was stopping.", chunks=10, delay=0.1))
    async with running(desk) as dev:
        kept = await desk.answer("routine", "get", "kept")
        assert kept["routine"]["status"] == "active"
        started = await desk.answer("routine", "trigger", "kept")
        await eventually(lambda: len(desk.models.calls) == 1)
        assert await dev.end(signal.SIGTERM) == 0
        assert "Stopping" in dev.text
        assert "Stopped" in dev.text

    async with running(desk):
        view = await desk.answer("run", "get", started["run_id"], "--wait")
    assert view["text"] == "Said while it was stopping."
    assert len(desk.models.calls) == 1, "nothing that was paid for is asked again"


async def test_a_signal_while_it_starts_gives_the_start_up(desk: Desk) -> None:
    dev = Dev(await desk.start("dev"))
    await dev.until("Starting")
    children: dict[int, str] = {}

    def has_children() -> bool:
        children.update(dev.children())
        return bool(children)

    await eventually(has_children)

    assert await dev.end(signal.SIGINT) == 130
    assert "Tickless is running" not in dev.text
    assert dev.err == b""
    assert not any(map(_alive, children))
    await eventually_refuses(LOOPBACK, desk.port)


async def test_with_free_ports_it_says_how_others_find_it(desk: Desk) -> None:
    ports = {"TICKLESS_TEMPORAL__DEV__PORT": "0", "TICKLESS_TEMPORAL__DEV__UI_PORT": "0"}
    async with running(desk, **ports) as dev:
        exports = dict(
            line.split("export ")[1].split("=", 1)
            for line in dev.text.splitlines()
            if "export " in line
        )
        assert set(exports) == {"TEMPORAL_ADDRESS", "TICKLESS_TEMPORAL__UI_URL"}
        assert (await desk.answer("routine", "list", **exports))["count"] == 0

        # And a part that ends by itself ends it all.
        (server,) = dev.children()
        os.kill(server, signal.SIGKILL)
        async with asyncio.timeout(60):
            assert await dev.process.wait() == 6
        problem = json.loads(dev.err.decode().splitlines()[-1])
        assert problem["kind"] == "unavailable"
        assert "ended by itself" in problem["detail"]


@pytest.mark.parametrize(
    ("environ", "code", "field", "says"),
    [
        ({"TICKLESS_STORE__URL": "sqlite:////proc/x/l.db"}, 2, "store.url", "folder writable"),
        (
            {"TICKLESS_TEMPORAL__DEV__DB_FILE": "/proc/x/t.db"},
            6,
            "temporal.dev.db_file",
            "cannot write",
        ),
    ],
)
async def test_what_keeps_it_from_starting_is_named(
    desk: Desk, environ: dict[str, str], code: int, field: str, says: str
) -> None:
    ended, _, err = await desk.run("dev", **environ)

    assert "Traceback" not in err
    problem = json.loads(err.splitlines()[-1])
    assert (ended, problem["field"]) == (code, field)
    assert says in problem["detail"]
    await eventually_refuses(LOOPBACK, desk.port)
