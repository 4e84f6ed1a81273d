"""Logging of the worker's process: one form for ours and the SDK's.

Owns structlog's configuration and the forwarding of SDK Core's log, which otherwise writes to
standard output and stops the worker when nobody reads that.
"""

import logging
import sys
from typing import TextIO

import structlog
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

CORE_LOGGER = "temporalio.core"


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
        structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer()
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
    handler = logging.StreamHandler(target)
    tail: list[structlog.types.Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        *([] if pretty else [structlog.processors.format_exc_info]),
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
