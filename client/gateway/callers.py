"""Who asks, from the headers of a request: the caller's context and the client that acts for it.

Owns the `X-Tickless-…` headers and how they, the settings and a token's own context come together.
Source: automation.md §10 and §13.

Invariants:
    1. A header is stronger than the setting, and what a token is bound to stronger than both; a
       header that says otherwise is refused, not ignored.
    2. Who gives one id of an actor gives the whole actor: the other one does not come from the
       settings.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import Depends, Request
from temporalio.client import Client

from client.context import CallerContext
from client.gateway.auth import authenticated, note_change
from client.gateway.parts import parts_of
from client.settings import Settings
from client.tickless import TicklessClient
from client.tokens import Token, TokenScope
from domain.actor import preferred_id
from domain.errors import DomainError, ErrorKind
from domain.fields import shown

PREFIX: Final = "x-tickless-"
MAX_VALUE_CHARS: Final = 512

_ACTOR: Final = frozenset({"actor_user_id", "actor_open_id"})
# What belongs together: a token that is bound to a part of it has the whole of it.
_BOUND_TOGETHER: Final = (_ACTOR, frozenset({"receive_id_type", "receive_id", "chat_type"}))
# Clients of callers that came lately, with what they know of updates under way.
_KEPT_CLIENTS: Final = 256


class Callers:
    """The library's clients, one a context, over one connection."""

    def __init__(self, temporal: Client, settings: Settings, environ: Mapping[str, str]) -> None:
        self._temporal = temporal
        self._settings = settings
        self._environ = environ
        self._clients: OrderedDict[tuple[CallerContext, bool], TicklessClient] = OrderedDict()

    def client(self, context: CallerContext, *, operator: bool = False) -> TicklessClient:
        """The client that acts for a caller.

        Args:
            context: The caller.
            operator: Whether the caller may name variables and files of this process as secrets.

        Raises:
            DomainError: `automation_disabled`.
        """
        key = (context, operator)
        found = self._clients.pop(key, None)
        if found is None:
            section = self._settings.context.model_copy(update=context.model_dump())
            found = TicklessClient.of_settings(
                self._temporal,
                self._settings.model_copy(update={"context": section}),
                self._environ,
                operator=operator,
            )
        self._clients[key] = found
        if len(self._clients) > _KEPT_CLIENTS:
            self._clients.popitem(last=False)
        return found

    def context(self, headers: Mapping[str, str], bound: Mapping[str, str]) -> CallerContext:
        """The context of a request.

        Args:
            headers: The values of the `X-Tickless-…` headers, by the names of the context.
            bound: What the token fixes.

        Raises:
            DomainError: `permission_denied` where a header differs from what is bound.
        """
        values: dict[str, str] = self._settings.context.model_dump()
        if _ACTOR & headers.keys():
            values.update(dict.fromkeys(_ACTOR, ""))
        values.update(headers)
        for group in (*_BOUND_TOGETHER, *(frozenset({name}) for name in bound)):
            if not group & bound.keys():
                continue
            for name in group:
                own = bound.get(name, "")
                if headers.get(name, own) != own:
                    raise DomainError(
                        ErrorKind.PERMISSION_DENIED,
                        name,
                        f"{name}: this token speaks for another one; leave the header out",
                    )
                values[name] = own
        return CallerContext.model_validate(values)


def context_headers(request: Request) -> dict[str, str]:
    """The values of a request's `X-Tickless-…` headers.

    Raises:
        DomainError: `unknown_field` or `invalid_field` on the header.
    """
    accepted = list(CallerContext.model_fields)
    found: dict[str, str] = {}
    for raw_name, raw_value in request.headers.raw:
        header = raw_name.decode("latin-1").lower()
        if not header.startswith(PREFIX):
            continue
        name = header.removeprefix(PREFIX).replace("-", "_")
        if name not in accepted:
            spelled = [header_name(field) for field in accepted]
            raise DomainError(
                ErrorKind.UNKNOWN_FIELD,
                header,
                f"{header} is not known; accepted: {', '.join(spelled)}",
                spelled,
            )
        if name in found:
            raise DomainError(ErrorKind.INVALID_FIELD, header, f"{header} is given twice")
        found[name] = _value(header, raw_value)
    return {name: value for name, value in found.items() if value}


def header_name(field: str) -> str:
    """The header of a name of the context."""
    return "X-Tickless-" + "-".join(part.capitalize() for part in field.split("_"))


async def caller(
    request: Request, token: Annotated[Token, Depends(authenticated)]
) -> TicklessClient:
    """The client that acts for whoever sent a request."""
    parts = parts_of(request)
    context = parts.callers.context(context_headers(request), token.context)
    client = parts.callers.client(context, operator=token.allows(TokenScope.ADMIN))
    if request.method != "GET":
        actor, scope = preferred_id(context.actor()), context.scope().text
        note_change(request, actor=actor, scope=scope)
    await parts.reachability.check()
    return client


def _value(header: str, raw: bytes) -> str:
    try:
        text = raw.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise DomainError(
            ErrorKind.INVALID_FIELD, header, f"{header} must be UTF-8, not {shown(raw)}"
        ) from None
    if len(text) > MAX_VALUE_CHARS or not text.isprintable():
        raise DomainError(
            ErrorKind.INVALID_FIELD,
            header,
            f"{header} must have at most {MAX_VALUE_CHARS} printable characters",
        )
    return text
