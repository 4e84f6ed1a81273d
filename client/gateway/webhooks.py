"""`/api/webhooks/{path}`: deliveries, signed by their senders instead of bearing a token.

Owns the address, the codes and their order: method, rate, length, path, body, signature, delivery
id. What a delivery starts is `client.webhooks`'. Source: triggers-and-actions.md §3.

Invariants:
    1. Off unless the setting `webhooks_enabled` says otherwise.
    2. A path that is unknown, and one of a routine that is paused or deleted, cannot be told apart.
    3. The body is judged and kept as the bytes that came: nothing is unpacked.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import structlog
from fastapi import APIRouter, HTTPException, Request, Response, status

from client.gateway.auth import note_change
from client.gateway.bodies import refuse_declared, whole_body
from client.gateway.buckets import Buckets
from client.gateway.conditions import Wait
from client.gateway.parts import parts_of
from client.gateway.paths import status_url
from client.gateway.problems import problem_responses
from client.gateway.routines import accepted_run
from client.gateway.shapes import RunAccepted
from client.webhook_paths import Webhook
from client.webhooks import Delivery, UnreachableSecret, Webhooks, unknown_path
from domain.errors import DomainError, ErrorKind
from domain.routine_model import RoutineStatus

router = APIRouter(prefix="/api/webhooks", tags=["webhooks"])

log = structlog.get_logger(__name__)

# No path of a routine: it holds a blank.
_UNKNOWN: Final = "unknown paths"


class WebhookDoor:
    """What the route shares between requests."""

    def __init__(self, webhooks: Webhooks, *, enabled: bool, per_minute: int) -> None:
        self.webhooks = webhooks
        self.enabled = enabled
        self._buckets = Buckets(per_minute)

    async def find(self, path: str, request: Request) -> Webhook | None:
        """Who has the path, after a token of its bucket and the declared length.

        Raises:
            DomainError: `rate_limited`, `payload_too_large` or `unavailable`.
        """
        paths = self.webhooks.paths
        failure: DomainError | None = None
        found: Webhook | None = None
        try:
            found = await paths.find(path)
        except DomainError as error:
            failure = error
        known = found is not None or (failure is not None and paths.is_known(path))
        self._buckets.take(path if known else _UNKNOWN)
        await refuse_declared(request)
        if failure is not None:
            raise failure
        # A routine that was made within the last second.
        return found or await paths.find(path, fresh=True)


@router.post(
    "/{path}",
    operation_id="postDelivery",
    status_code=status.HTTP_202_ACCEPTED,
    openapi_extra={
        "security": [],
        "requestBody": {"content": {"*/*": {"schema": {}}}},
    },
    responses=problem_responses(
        ErrorKind.INVALID_FIELD,
        ErrorKind.UNAUTHENTICATED,
        ErrorKind.NOT_FOUND,
        ErrorKind.CONFLICT,
        ErrorKind.PAYLOAD_TOO_LARGE,
        ErrorKind.RATE_LIMITED,
        ErrorKind.UNAVAILABLE,
    ),
)
async def post_delivery(request: Request, path: str, response: Response, wait: Wait) -> RunAccepted:
    """Deliver to a webhook: any content type, signed as its routine says.

    With `wait` a signed delivery is answered with its run, if that ends in time.
    """
    parts = parts_of(request)
    door = parts.webhooks
    if not door.enabled:
        raise unknown_path()
    _check_framing(request)
    webhook = await door.find(path, request)
    if webhook is None or webhook.status == RoutineStatus.DELETED:
        raise unknown_path()
    try:
        body = await whole_body(request)
        delivery = Delivery(joined_headers(request.headers.raw), body, datetime.now(UTC))
        await parts.reachability.check()
        started = await door.webhooks.accept(webhook, delivery, signed=wait is not None)
    except UnreachableSecret as error:
        log.warning("a secret cannot be read", routine=webhook.routine_id, reasons=error.reasons)
        raise _hidden(webhook, error) from None
    except DomainError as error:
        raise _hidden(webhook, error) from None
    note_change(request, action="postDelivery", id=path, run=started.run_id)
    response.headers["Location"] = status_url(started.run_id)
    answer = accepted_run(started)
    if wait:
        run = await parts.within(wait, door.webhooks.end_of(started.run_id))
        answer = answer.model_copy(update={"run": run})
    return answer


def joined_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by lower-case name; those that were sent twice joined (RFC 9110 §5.3)."""
    found: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1").strip()
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _hidden(webhook: Webhook, error: DomainError) -> DomainError:
    """The problem to tell: that of an unknown path, unless the routine is active.

    An outage is told: the same delivery has to come again.
    """
    told = webhook.status == RoutineStatus.ACTIVE or error.kind == ErrorKind.UNAVAILABLE
    return error if told else unknown_path()


def _check_framing(request: Request) -> None:
    """Refuse a request that says twice where it ends: a proxy may have read it the other way."""
    if "transfer-encoding" in request.headers and "content-length" in request.headers:
        raise HTTPException(
            status.HTTP_400_BAD_REQUEST,
            "give content-length or transfer-encoding, not both",
            {"Connection": "close"},
        )
