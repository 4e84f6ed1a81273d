"""What a tool says when the workspace refuses a path.

Owns the one way in which the tools of the workspace do their blocking work.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from activities.tools.tool import ToolFailed
from activities.workspace import PathRefused

_Result = TypeVar("_Result")


async def in_workspace(path: str, work: Callable[[], _Result]) -> _Result:
    """Do blocking work on files in a thread.

    Args:
        path: What the model named.
        work: The work.

    Raises:
        ToolFailed: The workspace refuses, with its reason.
    """
    try:
        return await asyncio.to_thread(work)
    except PathRefused as refusal:
        raise ToolFailed(f"{path!r} {refusal}") from None
