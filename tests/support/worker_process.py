"""A worker as users run it: the command `tickless worker` in a process of its own."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.harness import Harness
from tests.support.processes import ROOT, eventually

COMMAND = (sys.executable, "-m", "client")


def command_environment(harness: Harness) -> dict[str, str]:
    """The environment in which the command line uses what a harness uses."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(harness.folder),
        "PYTHONPATH": str(ROOT),
        "TICKLESS_CONFIG": str(harness.folder / "settings.yaml"),
        **harness.environ,
        # As users run it: the tests in this process have looked for what would not replay.
        "TICKLESS_TEMPORAL__SANDBOX": "false",
    }


class WorkerProcess:
    """One worker process; its log is a file, because an unread pipe would stall it.

    It serves all queues unless told which. `errors` is a descriptor for its standard error instead.
    """

    def __init__(
        self,
        harness: Harness,
        *,
        name: str = "worker",
        queues: Sequence[str] = (),
        errors: int | None = None,
        **environ: str,
    ) -> None:
        self._errors = errors
        self.log = harness.folder / f"{name}.log"
        self._arguments = ("--queues", ",".join(queues)) if queues else ()
        self._environ = {**command_environment(harness), **environ}
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it and wait until it serves."""
        begun = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as out:
            self._process = await asyncio.create_subprocess_exec(
                *COMMAND,
                "worker",
                *self._arguments,
                env=self._environ,
                cwd=ROOT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out if self._errors is None else self._errors,
                start_new_session=True,
            )
        process = self._process

        def serves() -> bool:
            assert process.returncode is None, self.text()
            return "Serving " in self.text()[begun:]

        await eventually(serves, 60)

    async def kill(self) -> None:
        """SIGKILL: no drain, no goodbye."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """SIGTERM, and the exit code."""
        return await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)
        async with asyncio.timeout(60):
            return await self._process.wait()

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


@asynccontextmanager
async def worker_process(
    harness: Harness, name: str = "worker", queues: Sequence[str] = ()
) -> AsyncGenerator[WorkerProcess]:
    """A running worker process, killed at the end if it still runs."""
    worker = WorkerProcess(harness, name=name, queues=queues)
    await worker.start()
    try:
        yield worker
    finally:
        await worker.kill()


async def tickless(
    harness: Harness,
    *arguments: str,
    stdin: str = "",
    environ: Mapping[str, str] | None = None,
) -> tuple[int, str, str]:
    """Run the command line; its exit code, output and errors."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        env={**command_environment(harness), **(environ or {})},
        cwd=harness.folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate(stdin.encode())
    return process.returncode or 0, out.decode(), err.decode()


def log_of(folder: Path) -> str:
    """The logs of a folder's processes, for messages of failed tests."""
    return "\n".join(path.read_text(errors="replace") for path in folder.glob("*.log"))
