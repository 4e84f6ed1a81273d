"""`tickless routine backfill`: make up for missed times.

Owns the verb and how its answer looks; the call is `client.routines`'.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from client.cli.connected import connected
from client.cli.output import OutputOption, moment, print_json, print_table, say, wants_json

if TYPE_CHECKING:
    from client.tickless import TicklessClient
    from domain.routine_requests import BackfillAnswer


def add_to(app: typer.Typer) -> None:
    """Add the verb to the noun `routine`."""
    app.command()(backfill)


def backfill(
    context: typer.Context,
    routine: Annotated[str, typer.Argument(help="The routine's name or id.", metavar="ID")],
    start: Annotated[
        str, typer.Option("--from", help="First time, RFC 3339 with offset.", metavar="TIME")
    ],
    end: Annotated[str, typer.Option("--to", help="Last time, not in the future.", metavar="TIME")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show which runs these would be.")
    ] = False,
    output: OutputOption = None,
) -> None:
    """Run a routine for times of its schedule that have passed.

    The runs start one after the other; each is admitted like any other. For example: tickless
    routine backfill morning-brief --from 2026-11-16T00:00:00Z --to 2026-11-20T23:59:59Z --dry-run
    """

    async def use(tickless: "TicklessClient") -> "BackfillAnswer":
        return await tickless.routines.backfill(routine, start, end, dry_run=dry_run)

    answer = connected(context, use)
    if wants_json(output):
        print_json(answer.model_dump(mode="json"))
        return
    if not answer.runs:
        say("The schedule has no time in between.")
        return
    print_table(
        ("TIME (UTC)", "RUN"),
        (
            (moment(run["scheduled_at"]), run["run_id"])
            for run in answer.model_dump(mode="json")["runs"]
        ),
    )
    say("Nothing was started." if dry_run else f"Follow them with: tickless routine runs {routine}")
