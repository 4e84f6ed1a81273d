"""The process behind `tickless gateway`, from start to orderly end.

Owns its signals, its log, and what is printed at the start.
"""

import asyncio
import logging
import queue
import signal
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path

import structlog

from client.codec import payload_codec
from client.connection import connect
from client.gateway.serving import Gateway, running_gateway
from client.settings import Settings, connect_config, load_settings
from domain.errors import DomainError, ErrorKind

EXIT_INTERRUPTED = 130
# Lines that wait for a slow reader; those beyond are dropped.
_MAX_WAITING = 10_000


def run_gateway(config: Path | None, environ: Mapping[str, str]) -> int:
    """Serve until a signal.

    Args:
        config: The settings file; else as `load_settings` finds it.
        environ: The variables of this process.

    Returns:
        0 after an orderly end, 130 when it was interrupted before it served.

    Raises:
        DomainError: What keeps it from starting, or the fault that ended it.
    """
    settings = load_settings(config, environ).settings
    with _logging(settings):
        try:
            return asyncio.run(_serve(settings, environ))
        except asyncio.CancelledError:
            return EXIT_INTERRUPTED


async def _serve(settings: Settings, environ: Mapping[str, str]) -> int:
    task, stop = asyncio.current_task(), asyncio.Event()
    serves = False

    def arrived() -> None:
        stop.set()
        if not serves and task is not None:
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, arrived)
    # The SDK leaves errors behind in futures beside those it raises.
    loop.set_exception_handler(lambda _loop, _context: None)
    temporal = await connect(
        connect_config(settings.temporal, environ), codec=payload_codec(settings, environ)
    )
    async with running_gateway(temporal, settings, environ) as gateway:
        serves = True
        _announce(gateway, settings)
        waiting = asyncio.create_task(stop.wait())
        await asyncio.wait({waiting, gateway.serving}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not stop.is_set():
            raise DomainError(
                ErrorKind.UNAVAILABLE, "gateway", "the HTTP server ended by itself; see its log"
            )
        _say("Stopping: requests under way may end within 5 s.")
    _say("Stopped.")
    return 0


def _announce(gateway: Gateway, settings: Settings) -> None:
    _say(f"Serving HTTP at {gateway.url}, for {settings.temporal.target}.")
    if not gateway.has_tokens:
        _say("Nobody has a token yet: tickless token create NAME --scope read,run")


@contextmanager
def _logging(settings: Settings) -> Generator[None]:
    """Log lines to standard error, written by a thread, so that no request waits for a reader."""
    pretty = settings.log.format == "console" or (
        settings.log.format == "auto" and sys.stderr.isatty()
    )
    lines: queue.Queue[logging.LogRecord] = queue.Queue(_MAX_WAITING)
    listener = QueueListener(lines, logging.StreamHandler(sys.stderr))
    root = logging.getLogger()
    before = root.handlers[:]
    root.handlers[:] = [_DroppingHandler(lines)]
    root.setLevel(settings.log.level.upper())
    for chatty in ("httpx", "httpcore", "uvicorn", "asyncio", "sse_starlette"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if pretty else [structlog.processors.format_exc_info]),
            structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    listener.start()
    try:
        yield
    finally:
        root.handlers[:] = before
        listener.stop()


class _DroppingHandler(QueueHandler):
    """Drops a line that has no room: there is no other place to tell it."""

    def enqueue(self, record: logging.LogRecord) -> None:
        with suppress(queue.Full):
            self.queue.put_nowait(record)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
