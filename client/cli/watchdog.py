"""`tickless watchdog`: which routines are late or do not end.

Owns the command; the calls are `client.watchdog`'. Source: automation.md §13.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from client.cli.connected import connected
from client.cli.output import OutputOption, moment, print_json, print_table, say, wants_json

if TYPE_CHECKING:
    from client.tickless import TicklessClient
    from client.watchdog import WatchdogRound

EXIT_FOUND = 1


def add_to(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command()(watchdog)


def watchdog(
    context: typer.Context,
    once: Annotated[
        bool, typer.Option("--once", help="Look now; else show what the last round found.")
    ] = False,
    output: OutputOption = None,
) -> None:
    """Show which routines are overdue or stuck.

    Exit code 1 says that there are any.
    """

    async def use(tickless: "TicklessClient") -> "WatchdogRound | None":
        return await (tickless.watchdog.once() if once else tickless.watchdog.last())

    found = connected(context, use)
    if found is None:
        if wants_json(output):
            print_json({"at": None, "looked_at": 0, "alerts": []})
        else:
            say("No round yet. Have one now with: tickless watchdog --once")
        return
    values = found.model_dump(mode="json")
    if wants_json(output):
        print_json(values)
    elif found.alerts:
        _show(values)
    else:
        say(f"All in order at {moment(values['at'])}.")
    if found.alerts:
        raise typer.Exit(EXIT_FOUND)


def _show(values: "dict[str, list[dict[str, object]]]") -> None:
    from domain.watchdog import format_duration

    def how_long(alert: "dict[str, object]") -> str:
        seconds = alert["overdue_by"] if alert["running_for"] is None else alert["running_for"]
        return format_duration(float(str(seconds or 0)))

    print_table(
        ("ROUTINE", "KIND", "FOR", "ALERT"),
        (
            (
                str(alert["routine"]),
                str(alert["kind"]),
                how_long(alert),
                "sent" if alert["told"] else "not sent in this round",
            )
            for alert in values["alerts"]
        ),
    )
