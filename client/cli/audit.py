"""`tickless audit …`: export.

Owns the verb and the form, one JSON object a line; the call is `client.audit`'. Source:
triggers-and-actions.md §7 and §10.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from client.cli.connected import connected
from client.cli.options import command_group
from client.cli.output import print_json_line, say

if TYPE_CHECKING:
    from client.tickless import TicklessClient

app = command_group("The audit: everything that was done, for programs.")


@app.callback()
def _group() -> None:
    """A group, also while it has one verb."""


@app.command()
def export(
    context: typer.Context,
    table: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this table: runs, jobs, job_actions, llm_calls or approvals; repeatable.",
            metavar="TABLE",
        ),
    ] = None,
) -> None:
    """Write the audit of all scopes as JSON lines, secrets masked."""

    async def use(tickless: "TicklessClient") -> int:
        count = 0
        async for row in tickless.audit.export(table or ()):
            print_json_line(row)
            count += 1
        return count

    count = connected(context, use)
    say(f"{count} rows")
