"""What lies around every request: which host it is for, what became of it, no fault untold.

Owns the application's outermost layer. Plain ASGI, because a layer of Starlette's own would read
streams ahead. Source: DESIGN §7.

Invariants:
    1. A request for a name that is not ours is refused before anything else: a web page can make
       its own name point at a loopback address, but not change the name the browser sends.
    2. A fault of ours is logged once, with a reference that the answer names.
    3. Whatever was to change something is logged with who asked for it and what came of it.
"""

import time
from collections.abc import Collection
from typing import Final

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from client.gateway.auth import CHANGE
from client.gateway.metrics import Metrics
from client.gateway.problems import FAULT, response_of
from domain.errors import DomainError, ErrorKind
from domain.fields import shown

LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "::1")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})

log = structlog.get_logger(__name__)


class Layers:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, hosts: Collection[str], metrics: Metrics) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.monotonic(), 0

        async def watching(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._serve(scope, receive, watching)
        except ClientDisconnect:
            log.debug("the client left while it sent its request", path=scope["path"])
        except Exception:  # Whatever it is: the client has its answer, the log gets the rest.
            reference = scope.get("state", {}).get(FAULT)
            log.exception("a fault of ours", reference=reference, path=scope["path"])
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.answered(method, _template(scope), status, time.monotonic() - begun)
            change = scope.get("state", {}).get(CHANGE)
            if change is not None:
                log.info("change", **change, status=status)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = _host(Request(scope).headers.get("host", ""))
        if host in self._hosts:
            await self._app(scope, receive, send)
            return
        refused = DomainError(
            ErrorKind.INVALID_FIELD,
            "host",
            f"host {shown(host)} is not one that this gateway serves; add it to "
            "gateway.allowed_hosts if it should be",
        )
        await response_of(refused)(scope, receive, send)


def _host(header: str) -> str:
    """The name in a Host header, without port and brackets."""
    text = header.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]


def _template(scope: Scope) -> str:
    route = scope.get("route")
    return str(getattr(route, "path_format", "unknown"))
