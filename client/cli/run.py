"""`tickless run …`: get, tail, cancel.

Owns the flags and the look; every call is `client.runs`'.
"""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from client.cli.connected import connected
from client.cli.output import OutputOption, print_fields, print_json, say, wants_json

if TYPE_CHECKING:
    from client.tickless import TicklessClient
    from domain.run_view import RunView

app = typer.Typer(help="Runs: single executions of a routine.", no_args_is_help=True)

_Id = Annotated[str, typer.Argument(help="The run's id: ROUTINE/OCCURRENCE.", metavar="ID")]

EXIT_FAILED = 1


@app.command()
def get(
    context: typer.Context,
    run: _Id,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the run's end.")] = False,
    output: OutputOption = None,
) -> None:
    """Show one run: status, times, tokens, cost, deliveries, reply."""

    async def use(tickless: "TicklessClient") -> "tuple[RunView, str]":
        view = await (tickless.runs.wait(run) if wait else tickless.runs.get(run))
        return view, tickless.runs.ui_url(run)

    view, ui_url = connected(context, use)
    show_run(view, ui_url, output, exit_on_failure=wait)


@app.command()
def tail(
    context: typer.Context,
    run: _Id,
    offset: Annotated[int, typer.Option(help="Characters of the reply to skip.", min=0)] = 0,
    output: OutputOption = None,
) -> None:
    """Follow a run: its steps, the reply as it is written, its end."""

    async def use(tickless: "TicklessClient") -> "tuple[RunView | None, str]":
        view: RunView | None = None
        async for step in tickless.runs.watch(run, offset=offset):
            if step.text:
                sys.stdout.write(step.text)
                sys.stdout.flush()
            if step.view is not None:
                view = step.view
                if sys.stderr.isatty():
                    say(f"[{view.stage}]")
        return view, tickless.runs.ui_url(run)

    view, ui_url = connected(context, use)
    if view is not None and view.text:
        sys.stdout.write("\n")
    if view is not None and not wants_json(output):
        show_run(view, ui_url, output, with_text=False)


@app.command()
def cancel(
    context: typer.Context,
    run: _Id,
    reason: Annotated[str, typer.Option(help="Kept in the record.")] = "cancelled by user",
    output: OutputOption = None,
) -> None:
    """End a run; what was delivered stays delivered."""

    async def use(tickless: "TicklessClient") -> "tuple[RunView, str]":
        return await tickless.runs.cancel(run, reason=reason), tickless.runs.ui_url(run)

    view, ui_url = connected(context, use)
    show_run(view, ui_url, output)


def show_run(
    view: "RunView",
    ui_url: str,
    output: OutputOption,
    *,
    with_text: bool = True,
    exit_on_failure: bool = True,
) -> None:
    """Print a run; exits with 1 when it failed, so that scripts notice.

    Raises:
        typer.Exit: The run failed or timed out.
    """
    record = view.record
    if wants_json(output):
        print_json({**view.model_dump(mode="json"), "ui_url": ui_url})
    else:
        from domain.notices import cost_text, lateness

        tokens = f"{record.tokens_in} in, {record.tokens_out} out"
        print_fields(
            {
                "run": record.id,
                "status": record.status
                if view.stage == "ended"
                else f"{record.status}: {view.stage}",
                "reason": record.reason,
                "error": record.error,
                "fired by": f"{record.trigger_type} {record.trigger_detail}".strip(),
                "scheduled": record.scheduled_at,
                "started": record.started_at,
                "finished": record.finished_at,
                "late": lateness(view.late_seconds),
                "model": view.model,
                "tokens": tokens if record.tokens_in is not None else None,
                "cost": cost_text(record.cost_micros),
                "deliveries": [_delivery(item) for item in view.deliveries],
                "warnings": record.warnings,
                "reply": view.text if with_text else None,
                "ui": ui_url,
            }
        )
    if exit_on_failure and record.status in {"failed", "timed_out"}:
        raise typer.Exit(EXIT_FAILED)


def _delivery(item: object) -> str:
    from domain.run_view import DeliveryView

    assert isinstance(item, DeliveryView)
    part = item.occurrence_id.rpartition("/")[2]
    return f"{part}: {item.status}" + (f" ({item.error})" if item.error else "")
