"""A program that a tool runs: limited in time and output, ended with all it has started.

Owns starting it in a process group of its own, collecting what it says, and ending the group.

Invariants:
    1. When this returns or raises, also by cancellation, nothing of the group runs any more. A
       program that leaves its group escapes; only a container holds that one.
    2. The output kept has at most `2 * KEPT_BYTES`: its head and its tail.
    3. A program that leaves something behind in the background does not keep the caller waiting.
"""

import asyncio
import os
import signal
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

KEPT_BYTES: Final = 128 * 1024
# What says more than this is not for reading; it would only keep the worker busy.
MAX_OUTPUT_BYTES: Final = 16 * 1024 * 1024
_PIECE: Final = 64 * 1024
_DRAIN_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class BoundedProgram:
    """A program and its limits; `environment` is all it gets of one."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    timeout_seconds: float
    folder: Path | None = None
    stdin: bytes = b""


@dataclass(frozen=True, slots=True)
class BoundedResult:
    """How it ended; `ended` says why it was ended from outside, then it has no exit code."""

    output: bytes
    exit_code: int | None
    ended: str = ""


@dataclass
class _Kept:
    """The head and the tail of what was said."""

    head: bytearray = field(default_factory=bytearray)
    tail: bytearray = field(default_factory=bytearray)
    said: int = 0

    def add(self, piece: bytes) -> None:
        self.said += len(piece)
        room = KEPT_BYTES - len(self.head)
        self.head += piece[:room]
        self.tail += piece[room:] if room > 0 else piece
        del self.tail[:-KEPT_BYTES]

    def output(self) -> bytes:
        left_out = self.said - len(self.head) - len(self.tail)
        gap = b"\n[... %d bytes omitted ...]\n" % left_out if left_out else b""
        return bytes(self.head) + gap + bytes(self.tail)


class _TooMuch(Exception):
    """It said more than anybody reads."""


async def run_bounded(program: BoundedProgram) -> BoundedResult:
    """Run a program to its end, or to the end of its time.

    Args:
        program: What to run.

    Returns:
        Its output, standard output and error in one, and how it ended.

    Raises:
        OSError: It cannot be started.
    """
    kept = _Kept()
    ended = ""
    process, reader, transport = await _started(program)
    reading = asyncio.create_task(_read(reader, kept))
    waiting = asyncio.create_task(process.wait())
    try:
        async with asyncio.timeout(program.timeout_seconds):
            await asyncio.wait({reading, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done() and reading.exception() is None:
                await waiting  # it closed its output and goes on
    except TimeoutError:
        ended = f"it was ended after {program.timeout_seconds:g} s"
    finally:
        waiting.cancel()
        await _end(process, reading, transport)
    if not ended and reading.done() and not reading.cancelled() and reading.exception():
        ended = f"it was ended: it wrote more than {MAX_OUTPUT_BYTES} bytes"
    return BoundedResult(kept.output(), None if ended else process.returncode, ended)


async def _started(
    program: BoundedProgram,
) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader, asyncio.ReadTransport]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    # Not asyncio's own pipes: its `wait` would also wait for whoever inherited them.
    read_end, write_end = os.pipe()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", buffering=0)
    )
    try:
        with tempfile.TemporaryFile() as stdin:
            stdin.write(program.stdin)
            stdin.seek(0)
            process = await asyncio.create_subprocess_exec(
                *program.arguments,
                stdin=stdin,
                stdout=write_end,
                stderr=write_end,
                cwd=program.folder,
                env=dict(program.environment),
                start_new_session=True,
            )
    except BaseException:
        transport.close()
        raise
    finally:
        os.close(write_end)
    return process, reader, transport


async def _read(reader: asyncio.StreamReader, kept: _Kept) -> None:
    while piece := await reader.read(_PIECE):
        kept.add(piece)
        if kept.said > MAX_OUTPUT_BYTES:
            raise _TooMuch


async def _end(
    process: asyncio.subprocess.Process,
    reading: "asyncio.Task[None]",
    transport: asyncio.ReadTransport,
) -> None:
    """End what is left of the group, and read what it had still said."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError, _TooMuch):
        async with asyncio.timeout(_DRAIN_SECONDS):
            await process.wait()
            await reading
    reading.cancel()
    transport.close()
