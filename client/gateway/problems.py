"""Every error as `application/problem+json`.

Owns the translation of errors into HTTP answers and what the API's description says of them. Kinds
and their codes are `domain.errors`'. Source: automation.md §2 (Error).

Invariant: what a fault of ours was stands in the log and never in the answer.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from ulid import ULID

from domain.errors import (
    HTTP_STATUS,
    PROBLEM_TYPE_PREFIX,
    TITLES,
    DomainError,
    ErrorKind,
    FieldProblem,
)
from domain.fields import raise_first, shown

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 5

# Where a request's state has the reference under which its fault is logged.
FAULT: Final = "tickless_fault"

# What an address looks like, its methods, and whether it goes by the path as it was sent, in which
# a slash of an id is still written %2F.
Address = tuple[re.Pattern[str], Collection[str], bool]

# What pydantic cannot say in the words of the specification.
_EXPECTED: Final = {
    "limit": "an integer from 1 to 200",
    "purge": "true or false",
}


class TooManyRequests(DomainError):
    """A client asked more often than it may."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(ErrorKind.RATE_LIMITED, "client", message)
        self.retry_after = retry_after


def add_handlers(app: FastAPI) -> None:
    """Make the application tell its errors as problems."""
    app.add_exception_handler(DomainError, _of_domain)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(Exception, _of_fault)


def response_of(error: DomainError) -> Response:
    """The answer to a request that cannot be carried out."""
    return _response(error.to_problem().model_dump(mode="json"), _headers(error))


async def _of_fault(request: Request, _error: Exception) -> Response:
    """The answer to a fault of ours; whoever logs it finds the reference in the state."""
    reference = str(ULID())
    request.scope.setdefault("state", {})[FAULT] = reference
    return _response(
        {
            "type": PROBLEM_TYPE_PREFIX + "internal",
            "title": "A fault of ours",
            "status": 500,
            "detail": f"a fault of ours; the gateway's log tells of it under {reference}",
            "kind": "internal",
            "field": "",
            "accepted": [],
            "errors": [],
        }
    )


def problem_responses(*kinds: ErrorKind) -> dict[int | str, dict[str, Any]]:
    """The problems of an operation, for the API's description."""
    found: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        example = DomainError(kind, "field", "what was wrong and what is accepted").to_problem()
        answer = found.setdefault(HTTP_STATUS[kind], _described(TITLES[kind]))
        answer["content"][MEDIA_TYPE]["examples"][str(kind)] = {
            "value": example.model_dump(mode="json")
        }
    return found


def _described(title: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": title, "content": {MEDIA_TYPE: {"schema": schema, "examples": {}}}}


async def _of_domain(_request: Request, error: Exception) -> Response:
    assert isinstance(error, DomainError)
    return response_of(error)


async def _of_validation(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    try:
        raise_first([_field_problem(item) for item in error.errors()])
    except DomainError as problem:
        return response_of(problem)
    raise error


def _field_problem(item: Mapping[str, Any]) -> FieldProblem:
    field = ".".join(map(str, item["loc"][1:])) or str(item["loc"][0])
    expected = _EXPECTED.get(field)
    wrong = f"must be {expected}" if expected else f"is not accepted: {item['msg']}"
    return FieldProblem(
        kind=ErrorKind.MISSING_FIELD if item["type"] == "missing" else ErrorKind.INVALID_FIELD,
        field=field,
        message=f"{field} {wrong}, not {shown(item.get('input'))}",
    )


async def _of_http(request: Request, error: Exception) -> Response:
    """What the router itself refuses: an unknown path, a method that is none here."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        path = request.url.path
        return response_of(
            DomainError(ErrorKind.NOT_FOUND, "path", f"there is nothing at {shown(path)}")
        )
    allowed = _methods_at(request) if error.status_code == 405 else []
    headers, field, message = error.headers, "request", str(error.detail)
    if allowed:
        field = "method"
        message = f"method {request.method} is not accepted here; accepted: {', '.join(allowed)}"
        headers = {"Allow": ", ".join(allowed)}
    problem = DomainError(ErrorKind.INVALID_FIELD, field, message, allowed).to_problem()
    return _response({**problem.model_dump(mode="json"), "status": error.status_code}, headers)


def _methods_at(request: Request) -> list[str]:
    """Every method that an address takes; the router's own answer names those of one route."""
    addresses: Sequence[Address] = request.app.state.addresses
    read, sent = request.scope["path"], request.scope["raw_path"].decode("latin-1")
    return sorted(
        {
            name
            for form, methods, as_sent in addresses
            if form.match(sent if as_sent else read)
            for name in methods
        }
    )


def _response(problem: dict[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse(problem, problem["status"], dict(headers or {}), MEDIA_TYPE)


def _headers(error: DomainError) -> dict[str, str]:
    match error.kind:
        case ErrorKind.UNAUTHENTICATED:
            return {"WWW-Authenticate": 'Bearer realm="tickless"'}
        case ErrorKind.UNAVAILABLE:
            return {"Retry-After": str(RETRY_AFTER_SECONDS)}
        case ErrorKind.RATE_LIMITED:
            after = error.retry_after if isinstance(error, TooManyRequests) else RETRY_AFTER_SECONDS
            return {"Retry-After": str(after)}
        case _:
            return {}
