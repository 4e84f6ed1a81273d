"""The processes behind `tickless dev` and `tickless worker`, from start to orderly end.

Owns signals, what is printed at the start, and the exit codes. The parts are `worker.stack`'s and
`worker.process`'s.

Invariants:
    1. A first signal while everything runs drains; while it still starts, it gives the start up.
    2. Whatever keeps a process from starting is told as a problem, with what to do.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from temporalio.client import Client

from activities.store import StoreError
from client.codec import payload_codec
from client.connection import connect
from client.settings import Settings, connect_config, load_settings, without_password
from client.setup import missing_search_attributes
from domain.errors import DomainError, ErrorKind
from worker.fetching import fetch_progress
from worker.logs import configure_logging, sdk_runtime
from worker.process import check_queues, running_workers
from worker.stack import Stack, running_stack

EXIT_INTERRUPTED = 130


class StopSignal:
    """SIGINT and SIGTERM of this process, once `stop_signal` has taken them over.

    Attributes:
        interrupted: Whether a signal came before everything had started.
    """

    def __init__(self, task: "asyncio.Task[object] | None") -> None:
        self.interrupted = False
        self._starting = task
        self._event = asyncio.Event()

    def started(self) -> None:
        """From now on a signal ends the waiting; until now it cancels what is being started."""
        self._starting = None

    async def wait(self) -> None:
        """Wait for a signal."""
        await self._event.wait()

    def arrive(self) -> None:
        """What a signal does."""
        self._event.set()
        if self._starting is not None:
            self.interrupted = True
            self._starting.cancel()
            self._starting = None


def run_dev(config: Path | None) -> int:
    """Run the dev stack until a signal.

    Returns:
        0 after an orderly end, 130 when it was interrupted before it ran.

    Raises:
        DomainError: What keeps it from starting, or that a part of it ended by itself.
    """
    settings = _settings(config)
    return run_process(_dev(settings))


def run_worker(config: Path | None, queues: list[str]) -> int:
    """Serve queues until a signal.

    Returns:
        0 after an orderly end, 130 when it was interrupted before it served.

    Raises:
        DomainError: What keeps it from starting, or the fault that ended it.
    """
    settings = _settings(config)
    return run_process(_worker(settings, check_queues(queues)))


def run_process(work: Coroutine[object, object, int]) -> int:
    """Run the whole life of a process; returns its exit code."""
    try:
        with _store_problems():
            return asyncio.run(work)
    except asyncio.CancelledError:
        return EXIT_INTERRUPTED


@asynccontextmanager
async def stop_signal() -> AsyncGenerator[StopSignal]:
    """Take over SIGINT and SIGTERM for the task that asks."""
    stop = StopSignal(asyncio.current_task())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.arrive)
    try:
        yield stop
    except Exception as error:
        if stop.interrupted:
            # The SDK tells a cancellation of its calls as an error of its own.
            raise asyncio.CancelledError from error
        raise
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def until_stopped(stop: StopSignal, *parts: "asyncio.Task[None] | asyncio.Task[int]") -> None:
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


def _settings(config: Path | None) -> Settings:
    settings = load_settings(config, os.environ).settings
    configure_logging(settings.log.level, settings.log.format)
    # It tells of every worker's drain, which is told here in our words.
    if settings.log.level != "debug":
        logging.getLogger("temporalio.worker").setLevel(logging.WARNING)
    return settings


async def _dev(settings: Settings) -> int:
    async with stop_signal() as stop:
        _say("Starting the Temporal server, the workers and the model …")
        async with running_stack(settings, os.environ, fetch_progress(), gateway=True) as stack:
            stop.started()
            _announce(stack, settings)
            await until_stopped(stop, stack.serving, stack.stopped_server)
            _say("Stopping: the workers finish what they can within 10 s, then the server ends.")
    _say("Stopped. Everything is kept; `tickless dev` goes on with it.")
    return 0


async def _worker(settings: Settings, queues: list[str]) -> int:
    async with stop_signal() as stop:
        client = await connect(
            connect_config(settings.temporal, os.environ),
            sdk_runtime(),
            codec=payload_codec(settings, os.environ),
        )
        await _require_search_attributes(client)
        async with running_workers(
            client, settings, os.environ, queues, fetch_progress()
        ) as serving:
            stop.started()
            _say(f"Serving {', '.join(queues)} of {settings.temporal.target}/{client.namespace}.")
            await until_stopped(stop, serving)
            _say("Draining: what is under way may end within 10 s, then others go on with it.")
    _say("Stopped.")
    return 0


async def _require_search_attributes(client: Client) -> None:
    """Refuse a namespace that was not set up, where every run would fail at its end.

    Raises:
        DomainError: `unavailable` naming what is missing, `conflict` on one of another type.
    """
    try:
        missing = await missing_search_attributes(client)
    except DomainError as error:
        if error.kind == ErrorKind.CONFLICT:
            raise
        return  # not everybody who may work here may ask that
    if missing:
        raise DomainError(
            ErrorKind.UNAVAILABLE,
            "temporal.search_attributes",
            f"namespace {client.namespace!r} lacks the search attributes {', '.join(missing)}; "
            "register them with `tickless admin setup`",
        )


@contextmanager
def _store_problems() -> Generator[None]:
    """A store that cannot be opened, told as the setting that names it."""
    try:
        yield
    except StoreError as error:
        kind = ErrorKind.UNAVAILABLE if error.retryable else ErrorKind.INVALID_FIELD
        raise DomainError(kind, "store.url", str(error)) from None


def _announce(stack: Stack, asked: Settings) -> None:
    settings = stack.settings
    address = settings.temporal.target
    _say("Tickless is running.")
    _say(f"  Temporal   {address}, namespace {stack.client.namespace}")
    if settings.temporal.ui_url:
        _say(f"  UI         {settings.temporal.ui_url}")
    if stack.gateway is not None:
        _say(f"  HTTP API   {stack.gateway.url}/api/v1, token in {stack.token_file}")
    _say(f"  Model      {_model(settings)}")
    _say(f"  Data       {settings.store.folder}")
    if asked.temporal.target != address:
        _say("In other terminals, so that commands find it:")
        _say(f"  export TEMPORAL_ADDRESS={address}")
        if settings.temporal.ui_url:
            _say(f"  export TICKLESS_TEMPORAL__UI_URL={settings.temporal.ui_url}")
    _say("Ctrl-C stops it. In another terminal: tickless routine create --help")


def _model(settings: Settings) -> str:
    """Which model answers, and that the small one is no more than a demonstration."""
    if settings.models:
        return ", then ".join(
            spec.key + (f" at {without_password(spec.base_url)}" if spec.base_url else "")
            for spec in settings.models
        )
    if settings.local_model.gguf is not None:
        return f"{settings.local_model.gguf}, on this machine"
    return (
        "SmolLM2-135M, on this machine: a demonstration, it gets facts wrong.\n"
        "             For a better one set OPENAI_API_KEY, or TICKLESS_MODELS__0__BASE_URL,\n"
        "             or local_model.gguf."
    )


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
