"""Calls of tools on the command line: reading all of a run's, and showing one in a line.

Owns the two; the call is `client.audit`'. Source: triggers-and-actions.md §7.
"""

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from client.tickless import TicklessClient
    from domain.tool_actions import ActionRecord

_SHOWN_CHARS: Final = 120


async def actions_of(tickless: "TicklessClient", run: str) -> "list[ActionRecord]":
    """All calls of a run, in their sequence."""
    found: list[ActionRecord] = []
    while True:
        after = found[-1].sequence if found else 0
        page = await tickless.audit.actions(run_id=run, after=after)
        found += page.actions
        if not page.more or not page.actions:
            return found


def action_line(action: "ActionRecord") -> str:
    """`1 file_read {"path": "a.md"}: ok in 12 ms`, long arguments cut."""
    given = json.dumps(action.arguments, ensure_ascii=False)[:_SHOWN_CHARS]
    took = "" if action.duration_ms is None else f" in {action.duration_ms} ms"
    why = f" ({action.error})" if action.error else ""
    return f"{action.sequence} {action.tool} {given}: {action.status}{why}{took}"
