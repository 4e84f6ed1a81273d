"""Who may: bearer tokens and their scopes, on every request but those for the process's health.

Owns reading the token and the refusals. The tokens are `client.tokens`'. Source: DESIGN §7.

Invariants:
    1. A token in the query string is refused even when it is right: addresses end up in logs.
    2. Whoever is not known is told nothing but that; whoever is known and lacks a scope is told
       which.
    3. Refused tries count against the address they come from, accepted requests against the token.
"""

import ipaddress
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from client.gateway.parts import parts_of
from client.gateway.queries import refuse_token, refuse_unknown
from client.tokens import Token, TokenScope
from domain.errors import DomainError, ErrorKind

# Where a request's state has what the log will say of it.
CHANGE: Final = "tickless_change"

_BEARER = HTTPBearer(
    auto_error=False,
    scheme_name="bearer",
    description="A token of `tickless token create`, with the scope that the operation needs.",
)


async def authenticated(
    request: Request,
    needed: SecurityScopes,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
) -> Token:
    """The token of a request, with every scope that the operation needs.

    Raises:
        DomainError: `unauthenticated`, `permission_denied` on `scope`, or `rate_limited`.
    """
    parts = parts_of(request)
    refuse_token(request)
    token = None
    if credentials is not None:
        token = parts.tokens.check(credentials.credentials, datetime.now(UTC))
    if token is None:
        await parts.rates.count(f"address {client_address(request)}")
        raise _unauthenticated(given=credentials is not None)
    await parts.rates.count(f"token {token.id}")
    for scope in needed.scopes:
        require_scope(token, TokenScope(scope))
    refuse_unknown(request)
    if request.method != "GET":
        note_change(
            request,
            action=request.scope["route"].operation_id,
            id="/".join(map(str, request.path_params.values())),
            token=token.id,
        )
    return token


async def on_loopback_or_reader(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
) -> None:
    """Let requests from this machine pass without a token; others need the scope `read`.

    Raises:
        DomainError: As `authenticated`.
    """
    if not is_loopback((request.scope.get("server") or ("", 0))[0]):
        await authenticated(request, SecurityScopes([TokenScope.READ]), credentials)
    refuse_unknown(request)


def note_change(request: Request, **known: str) -> None:
    """Add to what the log will say of a request that is to change something."""
    noted: dict[str, str] = request.scope.setdefault("state", {}).setdefault(CHANGE, {})
    noted.update(known)


def require_scope(token: Token, scope: TokenScope) -> None:
    """Refuse a token that lacks a scope.

    Raises:
        DomainError: `permission_denied` on `scope`, naming it.
    """
    if not token.allows(scope):
        raise DomainError(
            ErrorKind.PERMISSION_DENIED,
            "scope",
            f"scope {scope} is needed; this token has {', '.join(token.scopes)}",
            [scope],
        )


def client_address(request: Request) -> str:
    """Where a request comes from; headers of proxies are not believed."""
    return request.client.host if request.client else "unknown"


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _unauthenticated(*, given: bool) -> DomainError:
    return DomainError(
        ErrorKind.UNAUTHENTICATED,
        "authorization",
        "the token is not known, or no longer accepted"
        if given
        else "a token is needed: header Authorization: Bearer TOKEN, from `tickless token create`",
    )
