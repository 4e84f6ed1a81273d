"""`tickless delivery …`: list, get, resend, resolve.

Owns the verbs and how a delivery is shown; every call is `client.deliveries`'. Source:
triggers-and-actions.md §9.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from client.cli.connected import connected
from client.cli.options import CursorOption, KeyOption, LimitOption, command_group
from client.cli.output import (
    OutputOption,
    minute,
    moment,
    print_fields,
    print_json,
    print_page,
    styled,
    wants_json,
)

if TYPE_CHECKING:
    from client.deliveries import DeliveryList
    from client.tickless import TicklessClient
    from domain.ledger_requests import DeliveryRecord

app = command_group("Deliveries: what was said, and whether it arrived.")

_Id = Annotated[
    str, typer.Argument(help="The delivery's id: RUN/PART, see `run get`.", metavar="ID")
]
_COLOURS = {"sent": "green", "unknown": "bold yellow", "failed": "red", "pending": "blue"}


@app.command("list")
def list_deliveries(
    context: typer.Context,
    status: Annotated[
        str,
        typer.Option(help="pending, sent, failed, unknown or suppressed.", metavar="STATUS"),
    ] = "",
    limit: LimitOption = 20,
    cursor: CursorOption = None,
    output: OutputOption = None,
) -> None:
    """List deliveries, newest first."""

    async def use(tickless: "TicklessClient") -> "DeliveryList":
        return await tickless.deliveries.list(status=status, limit=limit, cursor=cursor)

    found = connected(context, use)
    print_page(
        found,
        output,
        "No deliveries.",
        ("DELIVERY", "STATUS", "ROUTE", "AT", "TEXT"),
        [
            (
                item.occurrence_id,
                styled(item.status, _COLOURS.get(item.status, "")),
                item.route,
                minute(item.created_at),
                " ".join(item.text.split())[:80],
            )
            for item in found.deliveries
        ],
        optional=("AT", "ROUTE"),
        more=found.next_cursor and f"--cursor {found.next_cursor}",
    )


@app.command()
def get(context: typer.Context, delivery: _Id, output: OutputOption = None) -> None:
    """Show one delivery with its text."""

    async def use(tickless: "TicklessClient") -> "DeliveryRecord":
        return await tickless.deliveries.get(delivery)

    _show(connected(context, use), output)


@app.command()
def resend(
    context: typer.Context, delivery: _Id, key: KeyOption = None, output: OutputOption = None
) -> None:
    """Send a text again; it may then arrive twice."""

    async def use(tickless: "TicklessClient") -> "DeliveryRecord":
        return await tickless.deliveries.resend(delivery, idempotency_key=key)

    _show(connected(context, use), output)


@app.command()
def resolve(
    context: typer.Context,
    delivery: _Id,
    sent: Annotated[bool, typer.Option("--sent", help="It did arrive.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="It did not.")] = False,
    output: OutputOption = None,
) -> None:
    """Say how a delivery ended of which nobody knows."""
    from domain.errors import DomainError, ErrorKind

    if sent == failed:
        raise DomainError(
            ErrorKind.INVALID_FIELD if sent else ErrorKind.MISSING_FIELD,
            "status",
            "status: give exactly one of --sent, --failed",
            ["--sent", "--failed"],
        )

    async def use(tickless: "TicklessClient") -> "DeliveryRecord":
        return await tickless.deliveries.resolve(delivery, "sent" if sent else "failed")

    _show(connected(context, use), output)


def _show(found: "DeliveryRecord", output: OutputOption) -> None:
    if wants_json(output):
        print_json(found.model_dump(mode="json"))
        return
    print_fields(
        {
            "delivery": found.occurrence_id,
            "status": styled(found.status, _COLOURS.get(found.status, "")),
            "error": found.error,
            "run": found.run_id,
            "route": found.route,
            "attempts": found.attempts,
            "created": moment(found.created_at),
            "sent": moment(found.sent_at),
            "message": found.message_id,
            "text": found.text + ("\n[cut]" if found.truncated else ""),
        }
    )
