"""`tickless event emit`: tell the routines that listen what has happened.

Owns the verb and how its answer looks; the call is `client.events`'.
"""

from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from client.cli.connected import connected
from client.cli.options import command_group
from client.cli.output import OutputOption, print_json, print_table, say, wants_json

if TYPE_CHECKING:
    from client.events import EventEmitted
    from client.tickless import TicklessClient

app = command_group("Events that fire routines.")


@app.command()
def emit(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="Who tells it, for example github.")],
    event_type: Annotated[
        str, typer.Argument(help="What has happened, for example issue.opened.", metavar="TYPE")
    ],
    payload: Annotated[
        str | None, typer.Option(help="A JSON object of at most 64 KiB.", metavar="JSON")
    ] = None,
    event_id: Annotated[
        str | None,
        typer.Option("--id", help="Makes a repetition the same event.", metavar="ID"),
    ] = None,
    all_scopes: Annotated[
        bool, typer.Option("--all-scopes", help="Reach the routines of every scope.")
    ] = False,
    output: OutputOption = None,
) -> None:
    """Emit an event; every routine that listens to it is started.

    For example: tickless event emit github issue.opened --payload '{"number": 42}'
    """
    given = _payload(payload)

    async def use(tickless: "TicklessClient") -> "EventEmitted":
        scope = "all" if all_scopes else None
        return await tickless.events.emit(source, event_type, given, id=event_id, scope=scope)

    answer = connected(context, use)
    if wants_json(output):
        print_json(answer.model_dump(mode="json"))
        return
    if not answer.runs:
        say("No routine listens to this event.")
        return
    print_table(
        ("RUN", "STARTED"),
        (
            (run.run_id, "before, by the same event" if run.duplicate else "now")
            for run in answer.runs
        ),
    )
    say("See what became of it with: tickless run get RUN")


def _payload(text: str | None) -> dict[str, Any] | None:
    """The payload as it was written.

    Raises:
        DomainError: `invalid_field` on `payload`.
    """
    if text is None:
        return None
    import json

    from domain.errors import DomainError, ErrorKind
    from domain.fields import shown

    try:
        value = json.loads(text)
    except ValueError as error:
        message = f"payload must be a JSON object: {error}"
        raise DomainError(ErrorKind.INVALID_FIELD, "payload", message) from None
    if not isinstance(value, dict):
        message = f"payload must be a JSON object, not {shown(value)}"
        raise DomainError(ErrorKind.INVALID_FIELD, "payload", message)
    return cast("dict[str, Any]", value)
