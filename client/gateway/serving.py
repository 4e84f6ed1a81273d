"""Serving the gateway: the socket, the server around the application, and their orderly end.

Owns `running_gateway`, for `tickless gateway` and for whoever runs a gateway beside other things.

Invariants:
    1. Where others could reach it, it does not start without a token that admits somebody.
    2. What it started ends with it: server, watch, and every reader of live text.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import uvicorn
from temporalio.client import Client

from activities.entity_updates import EntityUpdates
from client.codec import payload_codec
from client.gateway.app import create_app
from client.gateway.auth import is_loopback
from client.gateway.callers import Callers
from client.gateway.layers import LOOPBACK_NAMES
from client.gateway.metrics import Metrics
from client.gateway.parts import Parts
from client.gateway.protocol import ProblemProtocol
from client.gateway.rates import Rates
from client.gateway.reachability import Reachability
from client.gateway.watch import QueueWatch
from client.gateway.webhooks import WebhookDoor
from client.settings import Settings, resolve_secret
from client.system import System
from client.tokens import TokenFile
from client.webhook_paths import WebhookPaths
from client.webhook_secrets import WebhookSecrets
from client.webhooks import Webhooks
from domain.errors import DomainError, ErrorKind

# What is under way may take this long when the gateway ends.
DRAIN_SECONDS: Final = 5
_BACKLOG: Final = 2048
_WILDCARDS: Final = frozenset({"0.0.0.0", "::"})


@dataclass(frozen=True)
class Gateway:
    """A running gateway.

    Attributes:
        host: The address it listens at.
        port: The port it really has.
        has_tokens: Whether anybody can use it.
        serving: Ends only by a fault.
    """

    host: str
    port: int
    has_tokens: bool
    serving: "asyncio.Task[None]"

    @property
    def url(self) -> str:
        """Where it is reached."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


@asynccontextmanager
async def running_gateway(
    temporal: Client,
    settings: Settings,
    environ: Mapping[str, str],
    watch: QueueWatch | None = None,
) -> AsyncGenerator[Gateway]:
    """Serve the HTTP API for as long as the context is open.

    Args:
        temporal: The connection that all requests share.
        settings: All settings; `gateway.port` 0 takes a free one.
        environ: Where an `env:` reference of `gateway.alert_url` is looked up.
        watch: The watch to run instead of one with the default times.

    Raises:
        DomainError: `conflict` on `gateway.port` when it is taken, `missing_field` on
            `gateway.tokens_file` when others could reach it and nobody has a token.
    """
    tokens = TokenFile(settings.gateway.tokens_file)
    has_tokens = _has_tokens(tokens, settings.gateway.host)
    parts = _parts(temporal, settings, environ, tokens, watch)
    with _listening(settings.gateway.host, settings.gateway.port) as listener:
        server = _Server(
            uvicorn.Config(
                create_app(parts, _hosts(settings)),
                http=ProblemProtocol,
                log_config=None,
                access_log=False,
                lifespan="off",
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=DRAIN_SECONDS,
                backlog=_BACKLOG,
            )
        )
        serving = asyncio.create_task(server.serve([listener]))
        watching = asyncio.create_task(parts.watch.run())
        try:
            await _until_started(server, serving)
            host, port = listener.getsockname()[:2]
            yield Gateway(host, port, has_tokens, serving)
        finally:
            parts.stopping.set()
            server.should_exit = True
            watching.cancel()
            await asyncio.gather(serving, watching, return_exceptions=True)


class _Server(uvicorn.Server):
    """Signals are the process's matter, not the server's: it may be one of several parts."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def _until_started(server: uvicorn.Server, serving: "asyncio.Task[None]") -> None:
    while not server.started:
        if serving.done():
            await serving
        await asyncio.sleep(0.005)


def _parts(
    temporal: Client,
    settings: Settings,
    environ: Mapping[str, str],
    tokens: TokenFile,
    watch: QueueWatch | None,
) -> Parts:
    address = settings.gateway.alert_url
    alert_url = resolve_secret(address, environ, "gateway.alert_url") if address else None
    return Parts(
        temporal=temporal,
        settings=settings,
        tokens=tokens,
        system=System(temporal, EntityUpdates(temporal)),
        callers=Callers(temporal, settings, environ),
        rates=Rates(settings.gateway.requests_per_minute),
        reachability=Reachability(temporal),
        watch=watch
        or QueueWatch(
            temporal,
            target=f"{settings.temporal.target}/{temporal.namespace}",
            alert_url=alert_url,
        ),
        metrics=Metrics(),
        webhooks=_webhook_door(temporal, settings, environ),
        codec=payload_codec(settings, environ),
    )


def _webhook_door(temporal: Client, settings: Settings, environ: Mapping[str, str]) -> WebhookDoor:
    secrets = WebhookSecrets.of_settings(settings, environ)
    paths = WebhookPaths(temporal)
    return WebhookDoor(
        Webhooks(temporal, paths, secrets, settings.temporal.ui_url),
        enabled=settings.webhooks_enabled and settings.allow_automation,
        per_minute=settings.webhook_rate_per_minute,
    )


def _has_tokens(tokens: TokenFile, host: str) -> bool:
    now = datetime.now(UTC)
    found = any(not token.expired(now) for token in tokens.all())
    if not found and not is_loopback(host):
        raise DomainError(
            ErrorKind.MISSING_FIELD,
            "gateway.tokens_file",
            f"gateway.host {host} can be reached by others, but {tokens.path} has no token that is "
            "accepted: make one with `tickless token create NAME --scope read,run`, or listen at "
            "127.0.0.1",
        )
    return found


def _hosts(settings: Settings) -> list[str]:
    host = settings.gateway.host
    own = [] if host in _WILDCARDS else [host]
    return [*LOOPBACK_NAMES, *own, *settings.gateway.allowed_hosts]


@contextlib.contextmanager
def _listening(host: str, port: int) -> Generator[socket.socket]:
    """A socket that listens.

    Raises:
        DomainError: `conflict` on `gateway.port`, or `invalid_field` on `gateway.host`.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, proto)
    except OSError as error:
        raise _not_bound(host, port, error) from error
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            raise _not_bound(host, port, error) from error
        listener.setblocking(False)
        yield listener


def _not_bound(host: str, port: int, error: OSError) -> DomainError:
    import errno

    if error.errno in {errno.EADDRINUSE, errno.EACCES}:
        return DomainError(
            ErrorKind.CONFLICT,
            "gateway.port",
            f"gateway.port: cannot listen at {host}:{port}: {error.strerror}; stop what does, or "
            "choose another port (TICKLESS_GATEWAY__PORT)",
        )
    return DomainError(
        ErrorKind.INVALID_FIELD,
        "gateway.host",
        f"gateway.host: cannot listen at {host}: {error.strerror}",
        ["127.0.0.1", "0.0.0.0"],
    )
