"""`/api/v1/deliveries`: what was said, whether it arrived, and what a person decides about it.

Owns the addresses and codes; what is done is `client.deliveries`'. Source: triggers-and-actions.md
§9.
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, status
from pydantic import BaseModel, ConfigDict
from starlette.convertors import Convertor, register_url_convertor

from client.deliveries import DeliveryList
from client.gateway.conditions import IdempotencyKey
from client.gateway.paths import API
from client.gateway.permissions import (
    CHANGE_PROBLEMS,
    COMMON_PROBLEMS,
    READ_PROBLEMS,
    Reader,
    Runner,
)
from client.gateway.queries import status_filter
from client.gateway.routines import Cursor, JsonBody, Limit, read_body
from client.gateway.shapes import NoBody, body_of
from domain.deliveries import DeliveryStatus
from domain.ledger_requests import DeliveryRecord

router = APIRouter(prefix=API, tags=["deliveries"])


class _DeliveryConvertor(Convertor[str]):
    """The part of a path that is a delivery's id, whose slashes arrive as slashes."""

    regex = ".+?"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("delivery", _DeliveryConvertor())

DeliveryId = Annotated[
    str,
    Path(
        description="Id of a delivery: RUN/PART, its slashes as %2F.",
        examples=["morning-brief/s-2026-11-23T08:00:00Z/final"],
    ),
]


class ResolveBody(BaseModel):
    """What a person has found out."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"status": "sent"}]})

    status: Literal["sent", "failed"]


@router.get("/deliveries", operation_id="listDeliveries", responses=COMMON_PROBLEMS)
async def list_deliveries(
    tickless: Reader,
    wanted: Annotated[str, status_filter(DeliveryStatus)] = "",
    limit: Limit = 20,
    cursor: Cursor = None,
) -> DeliveryList:
    """The caller's deliveries, newest first; long texts are cut."""
    return await tickless.deliveries.list(status=wanted, limit=limit, cursor=cursor)


@router.post(
    "/deliveries/{delivery_id:delivery}/resend",
    operation_id="resendDelivery",
    status_code=status.HTTP_202_ACCEPTED,
    openapi_extra=body_of(NoBody, required=False),
    responses=CHANGE_PROBLEMS,
)
async def resend_delivery(
    tickless: Runner, delivery_id: DeliveryId, body: JsonBody, key: IdempotencyKey
) -> DeliveryRecord:
    """Send a text again that is `unknown` or `failed`; answers the new delivery."""
    read_body(NoBody, body)
    return await tickless.deliveries.resend(delivery_id, idempotency_key=key)


@router.post(
    "/deliveries/{delivery_id:delivery}/resolve",
    operation_id="resolveDelivery",
    openapi_extra=body_of(ResolveBody),
    responses=CHANGE_PROBLEMS,
)
async def resolve_delivery(
    tickless: Runner, delivery_id: DeliveryId, body: JsonBody
) -> DeliveryRecord:
    """Say how a delivery ended that is `unknown`."""
    return await tickless.deliveries.resolve(delivery_id, read_body(ResolveBody, body).status)


@router.get(
    "/deliveries/{delivery_id:delivery}", operation_id="getDelivery", responses=READ_PROBLEMS
)
async def get_delivery(tickless: Reader, delivery_id: DeliveryId) -> DeliveryRecord:
    """One delivery, with its text."""
    return await tickless.deliveries.get(delivery_id)
