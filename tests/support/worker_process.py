"""A worker as users run it: the command `tickless worker` in a process of its own.

The processes are forked from one that has imported the code and done nothing else: the imports take
ten times as long as all the rest of a worker's start.
"""

import asyncio
import multiprocessing
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from temporalio.worker import Worker

from client.cli import main
from tests.support.harness import Harness
from tests.support.processes import ROOT, eventually

COMMAND = (sys.executable, "-m", "client")
# How long the server keeps a workflow's next task for the worker that remembers the workflow. Tests
# wait for it after each kill; the SDK's is ten seconds, and no setting of ours.
_STICKY = "sticky_queue_schedule_to_start_timeout"
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["worker.commands", "activities.streamed_calls", __name__])


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

    It serves all queues unless told which. `errors` is another file for its standard error.
    """

    def __init__(
        self,
        harness: Harness,
        *,
        name: str = "worker",
        queues: Sequence[str] = (),
        errors: Path | None = None,
        **environ: str,
    ) -> None:
        self.log = harness.folder / f"{name}.log"
        self._errors = errors or self.log
        self._arguments = ("--queues", ",".join(queues)) if queues else ()
        self._environ = {**command_environment(harness), **environ}
        self._process: ForkServerProcess | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it and wait until it serves."""
        begun = self.log.stat().st_size if self.log.exists() else 0
        process = self._process = _FORKS.Process(
            target=_run,
            args=(("worker", *self._arguments), self._environ, self.log, self._errors),
        )
        # The first of them waits for the imports.
        await asyncio.to_thread(process.start)

        def serves() -> bool:
            assert process.exitcode is None, self.text()
            return "Serving " in self.text()[begun:]

        await eventually(serves, 60)

    async def kill(self) -> None:
        """SIGKILL: no drain, no goodbye."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """SIGTERM, and the exit code."""
        return await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> int:
        process = self._process
        assert process is not None
        if process.exitcode is None:
            os.kill(self.pid, number)
        await eventually(lambda: process.exitcode is not None, 60)
        assert process.exitcode is not None
        return process.exitcode

    def text(self) -> str:
        if not self.log.exists():
            return ""
        return self.log.read_text(encoding="utf-8", errors="replace")


def _run(arguments: Sequence[str], environ: Mapping[str, str], out: Path, errors: Path) -> None:
    """Be the command, as if this process had been started for it."""
    os.setsid()
    os.environ.clear()
    os.environ.update(environ)
    for path, stream in ((out, sys.stdout), (errors, sys.stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), stream.fileno())
    defaults = Worker.__init__.__kwdefaults__
    assert defaults is not None
    defaults[_STICKY] = timedelta(seconds=2)
    sys.argv = ["tickless", *arguments]
    main()


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
