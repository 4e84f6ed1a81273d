"""`tickless tool …`: list.

Owns the verb and how tools are shown; the call is `client.tools`'. Source: triggers-and-actions.md
§7.
"""

from typing import TYPE_CHECKING

import typer

from client.cli.connected import connected
from client.cli.options import command_group
from client.cli.output import OutputOption, print_json, print_table, styled, wants_json

if TYPE_CHECKING:
    from client.tickless import TicklessClient
    from domain.tool_specs import ListedTool

app = command_group("Tools: what models can be allowed to do.")

_COLOURS = {"allow": "green", "ask": "yellow", "deny": "red"}


@app.callback()
def _group() -> None:
    """A group, also while it has one verb."""


@app.command("list")
def list_tools(context: typer.Context, output: OutputOption = None) -> None:
    """List the tools of the workers and what they may do."""

    async def use(tickless: "TicklessClient") -> "list[ListedTool]":
        return await tickless.tools.list()

    found = connected(context, use)
    if wants_json(output):
        print_json({"tools": [item.model_dump(mode="json") for item in found]})
        return
    print_table(
        ("TOOL", "PERMISSION", "SOURCE", "WHAT IT DOES"),
        (
            (
                item.name,
                styled(item.permission, _COLOURS.get(item.permission, "")),
                item.source,
                item.description if item.available else f"unavailable: {item.reason}",
            )
            for item in found
        ),
        optional=("SOURCE",),
    )
