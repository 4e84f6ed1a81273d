"""`tickless pause --all` and `tickless resume --all`: the big red button.

Owns the two commands; the calls are `client.system`'.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from client.cli.connected import connected
from client.cli.output import OutputOption, print_fields, print_json, wants_json

if TYPE_CHECKING:
    from activities.control import SystemPause
    from client.tickless import TicklessClient

_All = Annotated[bool, typer.Option("--all", help="Everything; single routines: routine pause ID.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the root."""
    app.command()(pause)
    app.command()(resume)


def pause(
    context: typer.Context,
    everything: _All = False,
    reason: Annotated[str, typer.Option(help="Shown wherever work is refused.")] = "",
    output: OutputOption = None,
) -> None:
    """Pause everything: new fires are refused, work under way parks."""
    _require_all(everything, "pause")

    async def use(tickless: "TicklessClient") -> "SystemPause":
        return await tickless.system.pause_all(reason)

    _show(connected(context, use), output)


def resume(context: typer.Context, everything: _All = False, output: OutputOption = None) -> None:
    """Let everything go on."""
    _require_all(everything, "resume")

    async def use(tickless: "TicklessClient") -> "SystemPause":
        return await tickless.system.resume_all()

    _show(connected(context, use), output)


def _require_all(everything: bool, verb: str) -> None:
    if not everything:
        from domain.errors import DomainError, ErrorKind

        raise DomainError(
            ErrorKind.MISSING_FIELD,
            "all",
            f"{verb} needs --all; for one routine use `tickless routine {verb} ID`",
        )


def _show(status: "SystemPause", output: OutputOption) -> None:
    values = status.model_dump(mode="json")
    if wants_json(output):
        print_json(values)
    else:
        print_fields({**values, "paused": "yes" if status.paused else "no"})
