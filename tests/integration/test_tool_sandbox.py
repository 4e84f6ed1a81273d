"""Commands in the sandbox: on the host for real; in a container as far as it goes without one.

No container engine is asked to run anything here. What is tested of the mode `docker`: that nothing
runs without an engine, the exact command line, and what is done with an engine's answers, by a
stand-in for its command.
"""

import asyncio
import os
import shlex
import shutil
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from activities.tools import sandbox_docker
from activities.tools.bounded_process import KEPT_BYTES, BoundedProgram, run_bounded
from activities.tools.builtin.commands import command_tools
from activities.tools.sandbox import (
    NoSandbox,
    Sandbox,
    SandboxCommand,
    SandboxFailed,
    SandboxPolicy,
)
from activities.tools.sandbox_docker import DockerSandbox, container_name, docker_arguments
from activities.tools.sandbox_host import HostSandbox
from activities.tools.tool import ToolFailed
from activities.workspace import Workspace
from domain.tools import SandboxMode
from tests.support.processes import eventually, python_child
from tests.support.tools import Toolbox

PATH = os.environ["PATH"]
HOST = SandboxPolicy(mode=SandboxMode.HOST)


WORKER = """
import asyncio, sys
from pathlib import Path
from activities.tools.sandbox import SandboxCommand, SandboxPolicy
from activities.tools.sandbox_host import HostSandbox
box = HostSandbox(SandboxPolicy(), "/usr/bin:/bin")
command = ["sh", "-c", "echo $$ > pid; exec sleep 60"]
asyncio.run(box.run(SandboxCommand(command, Path(sys.argv[1]), 60, "k")))
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


def box(root: Path, sandbox: Sandbox) -> Toolbox:
    return Toolbox(command_tools(Workspace(root), sandbox, sys.executable))


@pytest.fixture
def host(root: Path) -> Toolbox:
    return box(root, HostSandbox(HOST, PATH))


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def pid_in(path: Path) -> int | None:
    text = path.read_text(encoding="utf-8").strip() if path.exists() else ""
    return int(text) if text else None


async def test_a_command_runs_in_the_workspace(host: Toolbox, root: Path) -> None:
    said = await host.call("shell", command="pwd; echo é > made.txt; echo wrong >&2")
    assert said == f"{root}\nwrong\n"
    assert (root / "made.txt").read_text("utf-8") == "é\n"
    assert await host.call("shell", command="exit 3") == "[exit code 3]\n"
    assert await host.call("shell", command="true") == "[no output]"


async def test_a_program_runs_in_the_workspace(host: Toolbox) -> None:
    code = "import os, sys\nprint(os.path.basename(os.getcwd()), sys.argv, '€')"
    assert await host.call("python_run", code=code) == "workspace ['-'] €\n"
    assert "ZeroDivisionError" in await host.call("python_run", code="1 / 0")


async def test_nothing_of_the_workers_variables_is_seen(
    host: Toolbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKLESS_TEST_SECRET", "hidden")
    names = await host.call("shell", command="env | cut -d= -f1 | sort | tr '\\n' ' '")
    assert set(names.split()) <= {"HOME", "LANG", "LC_ALL", "PATH", "PWD", "SHLVL", "TERM", "_"}


async def test_a_command_ends_at_its_time_with_all_it_has_started(
    host: Toolbox, root: Path
) -> None:
    command = "sleep 60 & echo $! > child; echo begun; sleep 60"
    began = time.monotonic()
    said = await host.call("shell", command=command, timeout_seconds=1)
    assert time.monotonic() - began < 20
    assert said == "[it was ended after 1 s]\nbegun\n"
    child = pid_in(root / "child")
    assert child is not None
    await eventually(lambda: not alive(child))


async def test_a_command_ends_when_the_call_is_cancelled(host: Toolbox, root: Path) -> None:
    command = "sleep 60 & echo $! > child; sleep 60"
    running = asyncio.create_task(host.call("shell", command=command))
    await eventually(lambda: pid_in(root / "child") is not None)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    child = pid_in(root / "child")
    assert child is not None
    await eventually(lambda: not alive(child))


async def test_what_is_left_in_the_background_is_not_waited_for(host: Toolbox, root: Path) -> None:
    async with asyncio.timeout(20):
        said = await host.call("shell", command="sleep 600 & echo $! > child; echo done")
    assert said == "done\n"
    child = pid_in(root / "child")
    assert child is not None
    await eventually(lambda: not alive(child))


async def test_a_command_that_closes_its_output_is_waited_for(host: Toolbox, root: Path) -> None:
    await host.call("shell", command="exec >&- 2>&-; sleep 0.3; touch late")
    assert (root / "late").exists()


async def test_much_output_is_kept_at_both_ends(host: Toolbox) -> None:
    said = await host.call("shell", command="echo first; yes | head -c 2000000; echo last")
    assert said.startswith("first\ny\n")
    assert said.endswith("y\nlast\n")
    assert f"[... {2_000_011 - 2 * KEPT_BYTES} bytes omitted ...]" in said


async def test_output_without_end_is_ended(host: Toolbox) -> None:
    said = await host.call("shell", command="yes")
    assert said.startswith("[it was ended: it wrote more than")


async def test_limits_hold_for_memory_and_files(root: Path) -> None:
    policy = SandboxPolicy(
        mode=SandboxMode.HOST, memory_bytes=200 * 1024 * 1024, file_bytes=1024 * 1024
    )
    tools = box(root, HostSandbox(policy, PATH))
    assert "MemoryError" in await tools.call("python_run", code="x = bytearray(400 * 1024 ** 2)")
    await tools.call("shell", command="head -c 5000000 /dev/zero > big")
    assert (root / "big").stat().st_size == 1024 * 1024
    assert await tools.call("shell", command="ulimit -c") == "0\n"


async def test_a_command_that_does_not_exist_says_so(root: Path) -> None:
    sandbox = HostSandbox(HOST, PATH)
    done = await sandbox.run(SandboxCommand(["/nowhere/x"], root, 10, "k"))
    assert done.exit_code == 1
    assert b"cannot run /nowhere/x: No such file" in done.output
    with pytest.raises(OSError, match="nowhere"):
        await run_bounded(BoundedProgram(["/nowhere/x"], {}, 10))


async def test_without_a_sandbox_nothing_runs(root: Path) -> None:
    assert not (await NoSandbox().ready()).ok
    with pytest.raises(ToolFailed, match="sandbox_mode: off"):
        await box(root, NoSandbox()).call("shell", command="touch made")
    assert not (root / "made").exists()


# The mode docker


@pytest.mark.parametrize("engine", ["docker", "/nowhere/docker"])
async def test_without_an_engine_nothing_runs(root: Path, tmp_path: Path, engine: str) -> None:
    if engine == "docker" and shutil.which("docker") is None:
        pytest.skip("there is no docker command here")
    nobody = f"unix://{tmp_path}/nobody.sock"
    sandbox = DockerSandbox(SandboxPolicy(engine=engine), {"PATH": PATH, "DOCKER_HOST": nobody})
    readiness = await sandbox.ready()
    assert not readiness.ok
    assert f"the container engine {engine!r} cannot be reached" in readiness.reason
    assert "sandbox_mode" in readiness.reason
    with pytest.raises(ToolFailed, match="cannot be reached"):
        await box(root, sandbox).call("shell", command="touch made")
    assert not (root / "made").exists()


def test_the_container_is_closed_in_on_all_sides() -> None:
    command = SandboxCommand(["sh", "-c", "echo $HOME"], Path("/w/a,b"), 60, "key", hidden="scopes")
    assert docker_arguments(SandboxPolicy(), command, 1000, 1001) == [
        "run", "--rm", "--interactive", "--init", "--name", container_name("key"),
        "--network", "none", "--memory", "1073741824", "--memory-swap", "1073741824",
        "--cpus", "1", "--pids-limit", "256", "--ulimit", "core=0", "--cap-drop", "ALL",
        "--security-opt", "no-new-privileges", "--read-only",
        "--tmpfs", "/tmp:rw,nosuid,nodev,size=256m,mode=1777", "--user", "1000:1001",
        "--log-driver", "none",
        "--mount", 'type=bind,"src=/w/a,b",dst=/workspace',
        "--mount", "type=tmpfs,dst=/workspace/scopes",
        "--workdir", "/workspace",
        "--env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "--env", "HOME=/tmp", "--env", "LANG=C.UTF-8", "--env", "LC_ALL=C.UTF-8",
        "--env", "TERM=dumb",
        "--", "python:3.13-slim", "timeout", "-k", "2", "60", "sh", "-c", "echo $HOME",
    ]  # fmt: skip


def test_a_network_has_to_be_granted() -> None:
    command = SandboxCommand(["true"], Path("/w"), 1, "key")
    granted = docker_arguments(SandboxPolicy(network=True), command, 0, 0)
    assert granted[granted.index("--network") + 1] == "bridge"


Engine = Callable[[str], DockerSandbox]


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """A stand-in for the engine's command: writes down what it is asked; `run` does as told."""

    def make(run: str) -> DockerSandbox:
        script = tmp_path / "engine"
        log = shlex.quote(str(tmp_path / "asked"))
        text = f'#!/bin/sh\necho "$@" >> {log}\n[ "$1" = run ] || exit 0\n{run}\n'
        script.write_text(text, encoding="utf-8")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        return DockerSandbox(SandboxPolicy(engine=str(script)), {"PATH": PATH})

    return make


def asked(tmp_path: Path) -> list[str]:
    lines = (tmp_path / "asked").read_text("utf-8").splitlines()
    return [line.split()[0] for line in lines]


async def test_the_output_of_a_container_is_the_commands(
    engine: Engine, root: Path, tmp_path: Path
) -> None:
    tools = box(root, engine("cat; exit 3"))
    assert await tools.call("python_run", code="print(1)") == "[exit code 3]\nprint(1)"
    await tools.call("python_run", code="print(1)")
    # The engine was asked once whether it is there, for both.
    assert asked(tmp_path) == ["version", "run", "run"]


async def test_the_answer_about_the_engine_has_an_age(
    engine: Engine, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = engine("true")
    await sandbox.ready()
    assert sandbox_docker.CHECK_AGE_SECONDS <= 30
    monkeypatch.setattr(sandbox_docker, "CHECK_AGE_SECONDS", -1.0)
    await sandbox.ready()
    assert asked(tmp_path) == ["version", "version"]


async def test_a_container_that_cannot_start_is_a_failure(engine: Engine, root: Path) -> None:
    sandbox = engine("echo no such image; exit 125")
    with pytest.raises(SandboxFailed, match="could not be started: no such image"):
        await sandbox.run(SandboxCommand(["true"], root, 5, "k"))


async def test_a_container_is_killed_by_name_when_the_call_is_cancelled(
    engine: Engine, root: Path, tmp_path: Path
) -> None:
    running = asyncio.create_task(box(root, engine("sleep 60")).call("shell", "k", command="true"))
    await eventually(lambda: (tmp_path / "asked").exists() and "run" in asked(tmp_path))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    last = (tmp_path / "asked").read_text("utf-8").splitlines()[-1]
    assert last == f"kill {container_name('k')}"


async def test_a_command_whose_time_is_over_is_told_as_such(engine: Engine, root: Path) -> None:
    said = await box(root, engine("sleep 1.1; exit 124")).call(
        "shell", command="true", timeout_seconds=1
    )
    assert said == "[it was ended after 1 s]\n"
    quick = await box(root, engine("exit 124")).call("shell", command="true", timeout_seconds=1)
    assert quick == "[exit code 124]\n"


async def test_a_container_that_outlives_its_time_is_killed(
    engine: Engine, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox_docker, "START_SECONDS", 0.2)
    said = await box(root, engine("sleep 60")).call("shell", command="true", timeout_seconds=1)
    assert said.startswith("[it was ended after 1.2 s]")
    assert asked(tmp_path)[-1] == "kill"


async def test_a_host_command_dies_with_its_worker(root: Path) -> None:
    """Not its children in the background: those are in no container."""
    async with python_child(WORKER, str(root)) as worker:
        await eventually(lambda: pid_in(root / "pid") is not None)
        child = pid_in(root / "pid")
        assert child is not None
        worker.kill()
        await worker.wait()
        await eventually(lambda: not alive(child))
