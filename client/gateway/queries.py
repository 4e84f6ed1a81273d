"""The query of an address.

Owns the filter that lists have in common, and refusing what an operation does not know: a misspelt
filter must not look like one that found everything. What it knows is what the API's description
says. Source: automation.md §4.
"""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from fastapi import Query, Request

from client.tokens import PREFIX
from domain.errors import DomainError, ErrorKind

_TOKEN_NAMES = frozenset(
    {"access_token", "api_key", "apikey", "auth", "authorization", "bearer", "token"}
)


def status_filter(statuses: Iterable[str]) -> Any:
    """The parameter `status` of a list; its words are checked by the library."""
    return Query(
        alias="status",
        description="How they stand; left out: all.",
        json_schema_extra={"enum": ["", *statuses]},
    )


def refuse_token(request: Request) -> None:
    """Refuse a token in the query, also a right one: addresses are kept in logs and histories.

    Raises:
        DomainError: `unauthenticated`.
    """
    for name, value in request.query_params.multi_items():
        if name.lower() in _TOKEN_NAMES or value.startswith(PREFIX):
            raise DomainError(
                ErrorKind.UNAUTHENTICATED,
                "authorization",
                "a token does not belong into an address, which is kept in many places: revoke "
                "it, and send the next one as header Authorization: Bearer TOKEN",
            )


def refuse_unknown(request: Request) -> None:
    """Refuse parameters that the operation does not have, and those given twice.

    Raises:
        DomainError: `unknown_field` or `invalid_field`.
    """
    names = cast("Mapping[str, frozenset[str]]", request.app.state.query_names)
    accepted = sorted(names[request.scope["route"].operation_id])
    given = [name for name, _ in request.query_params.multi_items()]
    for name in given:
        if name not in accepted:
            raise DomainError(
                ErrorKind.UNKNOWN_FIELD,
                name,
                f"{name} is not known here; accepted: {', '.join(accepted) or 'nothing'}",
                accepted,
            )
        if given.count(name) > 1:
            raise DomainError(ErrorKind.INVALID_FIELD, name, f"{name} is given more than once")
