"""How children are started and ended, with real ones."""

import asyncio
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.processes import next_line, python_child
from worker import leash
from worker.child_process import ChildOptions, ChildProcess

GRACE = timedelta(seconds=10)
DEAF = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("on", flush=True)
input()
"""


def python(script: str) -> list[str | Path]:
    return [sys.executable, "-c", script]


async def test_output_goes_to_the_log_and_the_tail_is_of_this_child(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "child.log"
    for text in ("first", "second"):
        script = f"import sys; print('{text} out'); sys.stdout.flush(); sys.exit('{text} err')"
        child = await ChildProcess.start(ChildOptions(python(script), log))
        assert await child.wait() == 1
        assert child.log_tail() == f"{text} out\n{text} err"
    assert log.read_text(encoding="utf-8").count("out") == 2
    assert child.log_tail(1) == "second err"


async def test_a_big_log_is_moved_aside(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    log.write_bytes(b"x" * 10_000_001)
    child = await ChildProcess.start(ChildOptions(python("print('new')"), log))
    await child.wait()
    assert log.read_text(encoding="utf-8") == "new\n"
    assert (tmp_path / "child.log.1").stat().st_size == 10_000_001


async def test_variables_are_added_to_the_environment(tmp_path: Path) -> None:
    script = "import os; print(os.environ['TICKLESS_TEST'], 'PATH' in os.environ)"
    options = ChildOptions(python(script), tmp_path / "log", {"TICKLESS_TEST": "there"})
    child = await ChildProcess.start(options)
    await child.wait()
    assert child.log_tail() == "there True"


async def test_a_child_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    options = ChildOptions(python(DEAF), tmp_path / "log", read_stdout=True, hold_stdin=True)
    child = await ChildProcess.start(options)
    assert await child.read_line() == b"on\n"
    assert await child.stop(timedelta(seconds=0.1)) == -signal.SIGKILL
    assert await child.stop(GRACE) == child.exit_code == -signal.SIGKILL


async def test_a_child_is_in_a_group_of_its_own(tmp_path: Path) -> None:
    child = await ChildProcess.start(
        ChildOptions(python("input()"), tmp_path / "log", hold_stdin=True)
    )
    assert os.getpgid(child.pid) == child.pid != os.getpgid(0)
    assert await child.stop(GRACE) == -signal.SIGTERM


async def test_without_held_input_a_child_reads_nothing(tmp_path: Path) -> None:
    script = "import sys; print(repr(sys.stdin.read()))"
    child = await ChildProcess.start(ChildOptions(python(script), tmp_path / "log"))
    assert await child.wait() == 0
    assert child.log_tail() == "''"
    with pytest.raises(RuntimeError, match="read_stdout"):
        await child.read_line()


async def test_a_program_that_cannot_be_run_says_so_in_its_log(tmp_path: Path) -> None:
    child = await ChildProcess.start(ChildOptions(["/no/such/program"], tmp_path / "log"))
    assert await child.wait() == 1
    assert child.log_tail() == "cannot run /no/such/program: No such file or directory"


async def test_a_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = """
import asyncio, sys
from pathlib import Path
from worker.child_process import ChildOptions, ChildProcess
async def main():
    sleep = [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(600)"]
    child = await ChildProcess.start(ChildOptions(sleep, Path(sys.argv[1]), read_stdout=True))
    await child.read_line()
    print(child.pid, flush=True)
    await child.wait()
asyncio.run(main())
"""
    async with python_child(script, str(tmp_path / "log")) as parent:
        descriptor = os.pidfd_open(int(await next_line(parent)))
        try:
            parent.kill()
            ended = asyncio.Event()
            asyncio.get_running_loop().add_reader(descriptor, ended.set)
            async with asyncio.timeout(10):
                await ended.wait()
        finally:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)


def test_the_leash_refuses_to_run_for_a_parent_that_is_gone() -> None:
    nobody = subprocess.run(
        [sys.executable, "-I", "-S", leash.__file__, "1", "/bin/echo", "ran"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert "has ended already" in nobody.stderr
