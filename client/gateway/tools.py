"""`/api/v1/tools` and `/api/v1/runs/{id}/actions`: what models can do, and what they did.

Owns the addresses; what is done is `client.tools`' and `client.audit`'. Source:
triggers-and-actions.md §7.
"""

from typing import Annotated

from fastapi import APIRouter, Query

from client.gateway.paths import API, RunId
from client.gateway.permissions import COMMON_PROBLEMS, READ_PROBLEMS, Reader
from client.gateway.routines import Limit
from domain.audit import ActionPage
from domain.tool_specs import ToolPage

router = APIRouter(prefix=API, tags=["tools"])

After = Annotated[
    int, Query(ge=0, le=2**31 - 1, description="The `sequence` of the last call that is known.")
]


@router.get("/tools", operation_id="listTools", responses=COMMON_PROBLEMS)
async def list_tools(tickless: Reader) -> ToolPage:
    """All tools, with their permissions and whether they could be called now."""
    return ToolPage(tools=await tickless.tools.list())


@router.get("/runs/{run_id:run}/actions", operation_id="listRunActions", responses=READ_PROBLEMS)
async def list_run_actions(
    tickless: Reader, run_id: RunId, limit: Limit = 100, after: After = 0
) -> ActionPage:
    """The calls of tools of a run, in their sequence; secrets are masked in them."""
    return await tickless.audit.actions(run_id=run_id, after=after, limit=limit)
