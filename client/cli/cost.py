"""`tickless cost`: what calls of models have cost.

Owns the command and how costs are shown; the call is `client.costs`'. Source:
triggers-and-actions.md §11.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from client.cli.connected import connected
from client.cli.output import OutputOption, print_json, print_table, wants_json

if TYPE_CHECKING:
    from client.tickless import TicklessClient
    from domain.costs import CostEntry, CostReport

ByOption = Annotated[str, typer.Option("--by", help="routine, day or model.", metavar="WHAT")]
DaysOption = Annotated[
    int, typer.Option("--days", help="Days back from now, 1 to 366.", metavar="N")
]


def add_to(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command("cost")(cost)


def cost(
    context: typer.Context, by: ByOption = "day", days: DaysOption = 30, output: OutputOption = None
) -> None:
    """Show what calls of models have cost."""

    async def use(tickless: "TicklessClient") -> "CostReport":
        return await tickless.costs.report(by, days)

    report = connected(context, use)
    if wants_json(output):
        print_json(report.model_dump(mode="json"))
        return
    print_table(
        (by.upper(), "CALLS", "TOKENS IN", "TOKENS OUT", "USD"),
        map(_row, [*report.entries, report.total]),
    )


def _row(entry: "CostEntry") -> tuple[str, str, str, str, str]:
    from domain.money import format_usd

    # What is not known is not nothing.
    unpriced = f" + {entry.unpriced} unpriced" if entry.unpriced else ""
    return (
        entry.key,
        str(entry.calls),
        str(entry.tokens_in),
        str(entry.tokens_out),
        format_usd(entry.cost_micros) + unpriced,
    )
