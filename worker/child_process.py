"""A program that this process starts, watches and ends: the Temporal server, the local model, pip.

Owns how children are started and ended. Knows nothing of what they do.

Invariants:
    1. Output goes to a log file, never to a pipe: a full pipe would stall the child.
    2. A child is in a session of its own, so Ctrl-C reaches this process alone, which drains first
       and ends its children after that.
    3. On Linux a child is killed when this process ends in whatever way (`worker.leash`), more
       exactly when the *thread* that started it ends: start children from the main thread's loop.
       Elsewhere a child outlives a killed parent, unless it watches its standard input.
    4. Signals go to the child only, never to a group.
Source: DESIGN §8.
"""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, Self

from worker import leash

_ROTATE_BYTES = 10_000_000
_TAIL_BYTES = 16_384


@dataclass(frozen=True)
class ChildOptions:
    """How a child is started.

    Attributes:
        command: The program as an absolute path, and its arguments.
        log_file: Takes standard error, and standard output unless `read_stdout`. Appended to; a
            file of more than 10 MB is first moved to `<name>.1`.
        environment: Variables added to those of this process.
        read_stdout: Standard output is for `ChildProcess.read_line`; only for a child that writes
            little, because of invariant 1.
        hold_stdin: Standard input is a pipe that ends when this process does; else it is empty.
    """

    command: Sequence[str | Path]
    log_file: Path
    environment: Mapping[str, str] | None = None
    read_stdout: bool = False
    hold_stdin: bool = False


class ChildProcess:
    """A running child, or one that has ended."""

    def __init__(self, process: asyncio.subprocess.Process, log_file: Path, log_start: int) -> None:
        self._process = process
        self._log_file = log_file
        self._log_start = log_start

    @classmethod
    async def start(cls, options: ChildOptions) -> Self:
        """Start the program; returns as soon as it exists.

        Args:
            options: What to start, and how.

        Raises:
            OSError: The log file cannot be written.
        """
        command = [str(part) for part in options.command]
        if sys.platform == "linux":
            script = leash.__file__
            command = [sys.executable, "-I", "-S", script, str(os.getpid()), *command]
        pipe, none = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        with _open_log(options.log_file) as log:
            start = log.tell()
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=pipe if options.hold_stdin else none,
                stdout=pipe if options.read_stdout else log,
                stderr=log,
                start_new_session=True,
                env=None if options.environment is None else {**os.environ, **options.environment},
            )
        return cls(process, options.log_file, start)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended: minus the signal's number for a signal; None while it runs."""
        return self._process.returncode

    async def read_line(self) -> bytes:
        """One line of standard output, empty at its end; needs `read_stdout`."""
        if self._process.stdout is None:
            raise RuntimeError("the child was started without read_stdout")
        return await self._process.stdout.readline()

    async def wait(self) -> int:
        """Wait until it ends; returns the exit code."""
        return await self._process.wait()

    async def stop(self, grace: timedelta) -> int:
        """Ask it to end (SIGTERM), kill it when it has not after `grace`; returns the exit code."""
        if self.exit_code is None:
            self._process.terminate()
        try:
            async with asyncio.timeout(grace.total_seconds()):
                return await self.wait()
        except TimeoutError:
            return await self.kill()

    async def kill(self) -> int:
        """End it at once (SIGKILL); returns the exit code."""
        if self.exit_code is None:
            self._process.kill()
        return await self.wait()

    def log_tail(self, lines: int = 15) -> str:
        """The last lines this child wrote to its log file."""
        with self._log_file.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - _TAIL_BYTES))
            text = log.read().decode(errors="replace")
        return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])


def _open_log(path: Path) -> BinaryIO:
    """The file, opened to append, after moving a big one aside."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > _ROTATE_BYTES:
        path.replace(path.with_name(path.name + ".1"))
    log = path.open("ab")
    log.seek(0, os.SEEK_END)
    return log
