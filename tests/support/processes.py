"""Processes of tests: Python children that use the tree, and waiting for what they do."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]


async def eventually(condition: Callable[[], bool], timeout_seconds: float = 20) -> None:
    """Wait until the condition holds; fails with TimeoutError when it does not."""

    async def holds() -> bool:
        return condition()

    await _until(holds, timeout_seconds)


async def refuses(host: str, port: int) -> bool:
    """Whether nobody listens on the address."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return True
    writer.close()
    await writer.wait_closed()
    return False


async def eventually_refuses(host: str, port: int, timeout_seconds: float = 20) -> None:
    """Wait until nobody listens on the address."""
    await _until(lambda: refuses(host, port), timeout_seconds)


async def _until(holds: Callable[[], Awaitable[bool]], timeout_seconds: float) -> None:
    async with asyncio.timeout(timeout_seconds):
        while not await holds():  # noqa: ASYNC110 - other processes set no event of ours
            await asyncio.sleep(0.02)


@contextmanager
def frozen(pid: int | None) -> Generator[None]:
    """Keep a process from running; it goes on afterwards, unless it was killed meanwhile."""
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def python_child(script: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a script in a process group of its own, with pipes; killed at the end if need be."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, *arguments),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        if child.stdin:
            child.stdin.close()
        await child.wait()


async def next_line(child: asyncio.subprocess.Process) -> str:
    """The next line of the child's output; empty when it has ended."""
    assert child.stdout
    return (await child.stdout.readline()).decode().strip()
