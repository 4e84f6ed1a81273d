"""`tickless approval …`: list, get, approve, deny, extend.

Owns the verbs and how an approval is shown; every call is `client.approvals'`. Source:
triggers-and-actions.md §8.
"""

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from client.cli.connected import connected
from client.cli.options import LimitOption, StatusOption, command_group, number_or_text
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
    from client.approvals import ApprovalList
    from client.tickless import TicklessClient
    from domain.approvals import Approval

app = command_group("Approvals: what jobs may do only when a person agrees.")

_Id = Annotated[str, typer.Argument(help="The approval's id.", metavar="ID")]
_Digest = Annotated[
    str | None, typer.Option(help="Of the arguments you have seen; no others.", metavar="SHA256")
]
_COLOURS = {"pending": "bold yellow", "approved": "green", "consumed": "green", "denied": "red"}


@app.command("list")
def list_approvals(
    context: typer.Context,
    status: StatusOption = "",
    limit: LimitOption = 20,
    output: OutputOption = None,
) -> None:
    """List approvals: those that wait first, then the newest."""

    async def use(tickless: "TicklessClient") -> "ApprovalList":
        return await tickless.approvals.list(status=status, limit=limit)

    found = connected(context, use)
    print_page(
        found,
        output,
        "No approvals.",
        ("APPROVAL", "STATUS", "TOOL", "UNTIL", "ARGUMENTS"),
        [
            (
                item.id,
                styled(item.status, _COLOURS.get(item.status, "")),
                item.tool,
                minute(item.expires_at),
                json.dumps(item.arguments, ensure_ascii=False)[:80],
            )
            for item in found.approvals
        ],
        optional=("UNTIL",),
        more="--limit, or --status" if found.more else None,
    )


@app.command()
def get(context: typer.Context, approval: _Id, output: OutputOption = None) -> None:
    """Show one approval with its arguments, secrets masked."""
    _answer(context, output, lambda tickless: tickless.approvals.get(approval))


@app.command()
def approve(
    context: typer.Context,
    approval: _Id,
    always: Annotated[
        bool, typer.Option("--always", help="Also later calls of this routine's runs.")
    ] = False,
    reason: Annotated[str | None, typer.Option(help="Kept with the approval.")] = None,
    digest: _Digest = None,
    output: OutputOption = None,
) -> None:
    """Let a call run."""
    _answer(
        context,
        output,
        lambda tickless: tickless.approvals.decide(
            approval, "approve", reason=reason, digest=digest, always=always
        ),
    )


@app.command()
def deny(
    context: typer.Context,
    approval: _Id,
    reason: Annotated[str | None, typer.Option(help="The model is told.")] = None,
    digest: _Digest = None,
    output: OutputOption = None,
) -> None:
    """Refuse a call; the job is told and goes on."""
    _answer(
        context,
        output,
        lambda tickless: tickless.approvals.decide(approval, "deny", reason=reason, digest=digest),
    )


@app.command()
def extend(
    context: typer.Context,
    approval: _Id,
    seconds: Annotated[str, typer.Argument(help="How much longer it waits.", metavar="SECONDS")],
    output: OutputOption = None,
) -> None:
    """Give an approval more time, 30 days in all."""
    body = {"seconds": number_or_text(seconds)}
    _answer(context, output, lambda tickless: tickless.approvals.extend_body(approval, body))


def _answer(
    context: typer.Context,
    output: OutputOption,
    use: "Callable[[TicklessClient], Awaitable[Approval]]",
) -> None:
    async def call(tickless: "TicklessClient") -> "Approval":
        return await use(tickless)

    found = connected(context, call)
    if wants_json(output):
        print_json(found.model_dump(mode="json"))
        return
    print_fields(
        {
            "approval": found.id,
            "status": styled(found.status, _COLOURS.get(found.status, "")),
            "tool": found.tool,
            "arguments": json.dumps(found.arguments, ensure_ascii=False, indent=1),
            "digest": found.digest,
            "job": found.job_id,
            "until": moment(found.expires_at),
            "decided by": found.decided_by,
            "reason": found.reason,
        }
    )
