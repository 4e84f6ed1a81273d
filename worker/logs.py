"""Logging of the worker's process: one form for ours and the SDK's.

Owns structlog's configuration, the forwarding of SDK Core's log, and the writing of both.

Invariants:
    1. No line waits for a reader. A pipe that nobody reads is full after a minute of an outage;
       whoever then wrote to it directly would stand still with it, and so would the worker.
    2. No line holds a secret, whoever logs it: ours, the SDK's, a library's, a traceback.
"""

import io
import logging
import os
import queue
import sys
import threading
from datetime import timedelta
from typing import Final, TextIO, cast

import structlog
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

from domain.redaction import redact, redact_text

CORE_LOGGER = "temporalio.core"

# Names that only sound like secrets: the key of a conversation, and a traceback for the renderer.
_SHOWN_AS_THEY_ARE: Final = ("session_key", "exc_info")
# Lines that wait for a slow reader; those beyond are dropped.
MAX_WAITING: Final = 10_000
# How long the end of the process waits for the last lines.
FLUSH_TIMEOUT: Final = timedelta(seconds=1)


def configure_logging(level: str, form: str, stream: TextIO | None = None) -> None:
    """Write logs to standard error, for people on a terminal and as JSON elsewhere.

    Args:
        level: Least important level that is written.
        form: `console`, `json`, or `auto`.
        stream: Where to write instead.
    """
    target = stream or sys.stderr
    pretty = form == "console" or (form == "auto" and target.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=_plain_traceback)
        if pretty
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = _ThreadedHandler(target)
    tail: list[structlog.types.Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        *([] if pretty else [structlog.processors.format_exc_info]),
        _masked,
        renderer,
    ]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=tail)
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Every request of a client library at level info says nothing a user wants to know.
    for chatty in ("httpx", "httpx2", "httpcore", "httpcore2", "openai", "alembic"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))


def sdk_runtime() -> Runtime:
    """The SDK's runtime with its log forwarded to ours."""
    return Runtime(
        telemetry=TelemetryConfig(
            logging=LoggingConfig(
                filter=TelemetryFilter(core_level="WARN", other_level="ERROR"),
                forwarding=LogForwardingConfig(logger=logging.getLogger(CORE_LOGGER)),
            )
        )
    )


def _masked(
    _logger: object, _method: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    """The event without secrets."""
    kept = {name: event.pop(name) for name in _SHOWN_AS_THEY_ARE if name in event}
    return {**cast("structlog.types.EventDict", redact(event)), **kept}


def _plain_traceback(stream: TextIO, info: structlog.typing.ExcInfo) -> None:
    """A traceback without the values of variables, and without what its message should not hold."""
    text = io.StringIO()
    structlog.dev.plain_traceback(text, info)
    stream.write(redact_text(text.getvalue()))


class _ThreadedHandler(logging.Handler):
    """Formats where the line is logged and writes in a thread, which alone waits for the reader."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._lines: queue.Queue[str] = queue.Queue(MAX_WAITING)
        threading.Thread(target=self._write_all, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(self.format(record) + "\n")
        except queue.Full:
            pass  # There is no other place to tell it.
        except Exception:  # The contract of `logging`: a bad record must not stop its caller.
            self.handleError(record)

    def flush(self) -> None:
        """Wait for the lines so far, but not for ever: `logging` does when the process ends."""
        lines = self._lines
        with lines.all_tasks_done:
            lines.all_tasks_done.wait_for(
                lambda: not lines.unfinished_tasks, FLUSH_TIMEOUT.total_seconds()
            )

    def _write_all(self) -> None:
        while True:
            line = self._lines.get()
            try:
                _write(self._stream, line)
            except (OSError, ValueError):
                pass  # The reader has gone, and with it the place where that could be told.
            finally:
                self._lines.task_done()


def _write(stream: TextIO, line: str) -> None:
    """Write past the stream's buffer: a thread that waits with its lock would abort the exit."""
    try:
        descriptor = stream.fileno()
    except (OSError, AttributeError):  # a stream in memory
        stream.write(line)
        return
    data = line.encode(stream.encoding or "utf-8", "backslashreplace")
    while data:
        data = data[os.write(descriptor, data) :]
