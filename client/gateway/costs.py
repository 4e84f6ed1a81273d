"""`/api/v1/cost`: what calls of models have cost.

Owns the address; what is done is `client.costs`'. Source: triggers-and-actions.md §11.
"""

from typing import Annotated

from fastapi import APIRouter, Query

from client.gateway.paths import API
from client.gateway.permissions import COMMON_PROBLEMS, Reader
from domain.costs import DEFAULT_DAYS, MAX_DAYS, CostBy, CostReport

router = APIRouter(prefix=API, tags=["cost"])

By = Annotated[CostBy, Query(description="What to add up by.")]
Days = Annotated[int, Query(ge=1, le=MAX_DAYS, description="How many days back from now.")]


@router.get("/cost", operation_id="getCost", responses=COMMON_PROBLEMS)
async def get_cost(tickless: Reader, by: By = CostBy.DAY, days: Days = DEFAULT_DAYS) -> CostReport:
    """What the caller's scope has spent, in micros of USD."""
    return await tickless.costs.report(by, days)
