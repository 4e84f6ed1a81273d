"""`/codec/encode` and `/codec/decode`: how the Temporal UI and CLI read encrypted payloads.

Owns the endpoint of Temporal's remote codec protocol and who may use it. The cipher is
`client.codec`'s. Source: DESIGN §7.

Invariants:
    1. Only the scope `admin`, or a request that came straight from this machine, decodes anything:
       a proxy on this machine passes on requests of others, and says so in a header.
    2. Of web pages only those of the Temporal UI in the settings may read the answers.
    3. It stands outside of the API's description: its form is Temporal's.
"""

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Final, cast
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from google.protobuf import json_format
from temporalio.api.common.v1 import Payloads

from client.gateway.auth import client_address, is_loopback, require_scope
from client.gateway.parts import Parts, parts_of
from client.tokens import TokenScope
from domain.errors import DomainError, ErrorKind

router = APIRouter(prefix="/codec", tags=["codec"])

# The UI sends the payloads of a page of history at once.
MAX_BYTES: Final = 8 * 1_048_576

_BEARER: Final = HTTPBearer(auto_error=False, scheme_name="bearer")
_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-real-ip")


async def _permitted(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
) -> None:
    """Let the operator pass.

    Raises:
        DomainError: `unauthenticated`, `rate_limited`, or `permission_denied` on `scope`, or on
            `origin` for a foreign page.
    """
    origin = request.headers.get("origin")
    if origin is not None and origin != _ui_origin(parts_of(request)):
        raise DomainError(
            ErrorKind.PERMISSION_DENIED,
            "origin",
            "origin is not that of temporal.ui_url, the only page that may decode payloads",
        )
    forwarded = any(name in request.headers for name in _FORWARDED)
    if forwarded or not is_loopback(client_address(request)):
        await _check_token(request, credentials)


async def _check_token(request: Request, credentials: HTTPAuthorizationCredentials | None) -> None:
    parts, token = parts_of(request), None
    if credentials is not None:
        token = parts.tokens.check(credentials.credentials, datetime.now(UTC))
    if token is None:
        await parts.rates.count(f"address {client_address(request)}")
        raise DomainError(
            ErrorKind.UNAUTHENTICATED, "authorization", "a token with the scope admin is needed"
        )
    await parts.rates.count(f"token {token.id}")
    require_scope(token, TokenScope.ADMIN)


@router.post("/encode", dependencies=[Depends(_permitted)], include_in_schema=False)
async def encode(request: Request) -> Response:
    """Encrypt payloads."""
    parts = parts_of(request)
    payloads = await _payloads(request)
    if parts.codec is None:
        raise _without_key()
    return _answer(parts, Payloads(payloads=await parts.codec.encode(payloads.payloads)))


@router.post("/decode", dependencies=[Depends(_permitted)], include_in_schema=False)
async def decode(request: Request) -> Response:
    """Decrypt payloads."""
    parts = parts_of(request)
    payloads = await _payloads(request)
    if parts.codec is None:
        raise _without_key()
    try:
        decoded = await parts.codec.decode(payloads.payloads)
    except ValueError as error:
        raise DomainError(ErrorKind.INVALID_FIELD, "payloads", f"payloads: {error}") from None
    return _answer(parts, Payloads(payloads=decoded))


@router.options("/{operation}", include_in_schema=False)
async def preflight(request: Request, operation: str) -> Response:
    """What a browser asks before a page of the UI may send payloads."""
    return Response(status_code=204, headers=_cors(parts_of(request)))


async def _payloads(request: Request) -> Payloads:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BYTES:
            raise DomainError(
                ErrorKind.PAYLOAD_TOO_LARGE, "body", f"body must have at most {MAX_BYTES} bytes"
            )
    try:
        found: object = json.loads(body)
        if not isinstance(found, dict):
            # Of a list protobuf makes an empty message.
            raise ValueError
        return json_format.ParseDict(cast("dict[str, Any]", found), Payloads())
    except (json_format.ParseError, ValueError, RecursionError):
        raise DomainError(
            ErrorKind.INVALID_FIELD,
            "body",
            'body must be {"payloads": [...]} in the JSON form of Temporal\'s remote codecs',
        ) from None


def _answer(parts: Parts, payloads: Payloads) -> Response:
    text = json_format.MessageToJson(payloads, indent=None)
    return Response(text, media_type="application/json", headers=_cors(parts))


def _cors(parts: Parts) -> dict[str, str]:
    origin = _ui_origin(parts)
    if not origin:
        return {}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": "POST",
        "Access-Control-Allow-Headers": "authorization, content-type, x-namespace",
        "Access-Control-Max-Age": "600",
        "Vary": "Origin",
    }


def _ui_origin(parts: Parts) -> str:
    address = urlsplit(parts.settings.temporal.ui_url or "")
    return f"{address.scheme}://{address.netloc}" if address.netloc else ""


def _without_key() -> DomainError:
    return DomainError(
        ErrorKind.NOT_FOUND, "codec_key", "this deployment has no codec_key: payloads are in clear"
    )
