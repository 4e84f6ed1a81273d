"""The processes behind `tickless dev` and `tickless worker`, from start to orderly end.

Owns signals, what is printed at the start, and the exit codes. The parts are `worker.stack`'s and
`worker.process`'s.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from client.connection import connect
from client.settings import Settings, connect_config, load_settings
from domain.errors import DomainError, ErrorKind
from worker.fetching import fetch_progress
from worker.logs import configure_logging, sdk_runtime
from worker.process import check_queues, running_workers
from worker.stack import Stack, running_stack


def run_dev(config: Path | None) -> int:
    """Run the dev stack until a signal; 0 after an orderly end.

    Raises:
        DomainError: What keeps it from starting, or that a part of it ended by itself.
    """
    settings = _settings(config)
    asyncio.run(_dev(settings))
    return 0


def run_worker(config: Path | None, queues: list[str]) -> int:
    """Serve queues until a signal; 0 after an orderly end.

    Raises:
        DomainError: What keeps it from starting, or the fault that ended it.
    """
    settings = _settings(config)
    asyncio.run(_worker(settings, check_queues(queues)))
    return 0


def _settings(config: Path | None) -> Settings:
    settings = load_settings(config, os.environ).settings
    configure_logging(settings.log.level, settings.log.format)
    return settings


async def _dev(settings: Settings) -> None:
    async with (
        stop_signal() as stop,
        running_stack(settings, os.environ, fetch_progress()) as stack,
    ):
        _announce(stack)
        await until_stopped(stop, stack.serving, stack.stopped_server)
        _say("Stopping: draining workers, then the server.")


async def _worker(settings: Settings, queues: list[str]) -> None:
    async with stop_signal() as stop:
        client = await connect(connect_config(settings.temporal, os.environ), sdk_runtime())
        async with running_workers(
            client, settings, os.environ, queues, fetch_progress()
        ) as serving:
            _say(f"Serving {', '.join(queues)} of {settings.temporal.target}/{client.namespace}.")
            await until_stopped(stop, serving)
            _say("Draining.")


@asynccontextmanager
async def stop_signal() -> AsyncGenerator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set, instead of ending the process."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def until_stopped(
    stop: asyncio.Event, *parts: "asyncio.Task[None] | asyncio.Task[int]"
) -> None:
    """Wait for a signal.

    Raises:
        DomainError: A part ended by itself.
    """
    waiting = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait({waiting, *parts}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    ended = done - {waiting}
    if ended:
        fault = next(iter(ended)).exception()
        raise DomainError(
            ErrorKind.UNAVAILABLE,
            "worker",
            f"a worker or the server ended by itself: {fault or 'see its log'}",
        ) from fault


def _announce(stack: Stack) -> None:
    settings = stack.settings
    _say("Tickless is running.")
    _say(f"  Temporal   {settings.temporal.target}, namespace {stack.client.namespace}")
    if settings.temporal.ui_url:
        _say(f"  UI         {settings.temporal.ui_url}")
    _say(f"  Data       {settings.store.folder}")
    _say("Ctrl-C stops it. In another terminal: tickless routine create --help")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
