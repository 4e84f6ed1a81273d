"""`tickless run …`: get, tail, cancel.

Owns the verbs and how a run is shown; every call is `client.runs`'. Source: automation.md §13.

Invariant: exit code 1 says that a run failed, and only where the command has waited for its end.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from client.cli.actions import action_line, actions_of
from client.cli.connected import connected
from client.cli.options import command_group
from client.cli.output import (
    OutputOption,
    duration,
    link,
    moment,
    print_fields,
    print_json,
    print_json_line,
    printable,
    say,
    styled,
    wants_json,
)

if TYPE_CHECKING:
    from client.runs import RunProgress
    from client.tickless import TicklessClient
    from domain.run_view import DeliveryView, RunView
    from domain.runs import RunRecord
    from domain.tool_actions import ActionRecord

app = command_group("Runs: single executions of a routine.")

_Id = Annotated[str, typer.Argument(help="The run's id: ROUTINE/OCCURRENCE.", metavar="ID")]

EXIT_FAILED = 1

_FAILED = ("failed", "timed_out")
_COLOURS = {
    "ok": "green",
    "attention": "bold cyan",
    "running": "blue",
    "queued": "blue",
    **dict.fromkeys(_FAILED, "red"),
}


@app.command()
def get(
    context: typer.Context,
    run: _Id,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the run's end.")] = False,
    actions: Annotated[bool, typer.Option("--actions", help="Show its calls of tools.")] = False,
    output: OutputOption = None,
) -> None:
    """Show one run: status, times, tokens, cost, deliveries, reply."""

    async def use(tickless: "TicklessClient") -> "tuple[RunView, str, list[ActionRecord] | None]":
        view = await (tickless.runs.wait(run) if wait else tickless.runs.get(run))
        # A run that was not let in has called nothing.
        called = await actions_of(tickless, run) if actions and view.record.thread_id else []
        return view, tickless.runs.ui_url(run), called if actions else None

    view, ui_url, called = connected(context, use)
    show_run(view, ui_url, output, actions=called)
    if wait:
        exit_if_failed(view)


@app.command()
def tail(
    context: typer.Context,
    run: _Id,
    offset: Annotated[
        int, typer.Option(help="Characters of the reply to skip.", min=0, metavar="N")
    ] = 0,
    output: OutputOption = None,
) -> None:
    """Follow a run to its end: its steps and the reply as it is written.

    As JSON, a line for each step: new text with its offset, or the run at a new stage.
    """
    in_json = wants_json(output)

    async def use(tickless: "TicklessClient") -> "tuple[RunView | None, str]":
        follower = Follower(offset)
        view: RunView | None = None
        async for step in tickless.runs.watch(run, offset=offset):
            view = step.view or view
            if in_json:
                print_json_line(step.model_dump(mode="json", exclude_none=True))
            else:
                follower.step(step)
        return view, tickless.runs.ui_url(run)

    view, ui_url = connected(context, use)
    if view is None:
        return
    if not in_json:
        show_run(view, ui_url, output, with_text=False)
    exit_if_failed(view)


@app.command()
def cancel(
    context: typer.Context,
    run: _Id,
    reason: Annotated[
        str, typer.Option(help="Kept in the record.", metavar="TEXT")
    ] = "cancelled by user",
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
    actions: "Sequence[ActionRecord] | None" = None,
) -> None:
    """Print a run; its reply only where it was not shown already."""
    if wants_json(output):
        shown = {**view.model_dump(mode="json"), "ui_url": ui_url}
        if actions is not None:
            shown["actions"] = [action.model_dump(mode="json") for action in actions]
        print_json(shown)
        return
    from domain.notices import lateness

    record = view.record
    status = record.status if view.stage == "ended" else f"{record.status}: {view.stage}"
    print_fields(
        {
            "run": record.id,
            "status": styled(status, _COLOURS.get(record.status, "")),
            "reason": record.reason,
            "same as": record.duplicate_of,
            "error": record.error,
            "fired by": f"{record.trigger_type} {record.trigger_detail}".strip(),
            "scheduled": moment(record.scheduled_at),
            "started": moment(record.started_at),
            "late": lateness(view.late_seconds),
            "finished": _finished(record),
            "model": view.model,
            "tokens": _tokens(record),
            "cost": _cost(record),
            "deliveries": [_delivery(item) for item in view.deliveries],
            "tools": [action_line(action) for action in actions or ()],
            "warnings": record.warnings,
            "reply": view.text if with_text else None,
            "ui": link(ui_url),
        }
    )


def exit_if_failed(view: "RunView") -> None:
    """Tell scripts that a run has failed.

    Raises:
        typer.Exit: It failed or timed out.
    """
    if view.record.status in _FAILED:
        raise typer.Exit(EXIT_FAILED)


class Follower:
    """Writes a run's reply as it comes, and its stages between the lines.

    Attributes:
        view: The run as it was seen last.
    """

    def __init__(self, offset: int = 0) -> None:
        self.view: RunView | None = None
        self._written = offset
        self._in_line = False

    def step(self, step: "RunProgress") -> None:
        """Write what is new; each character of the reply once."""
        self._write(step.text, step.offset)
        if step.view is None:
            return
        # Live text is some time behind: when the model is done, the view has the rest of it.
        self._write(step.view.text, 0)
        self.view = step.view
        if self._in_line:
            sys.stdout.write("\n")
            self._in_line = False
        if step.view.stage != "ended":
            say(f"[{step.view.stage}]")
        sys.stdout.flush()

    def _write(self, text: str, offset: int) -> None:
        new = text[max(0, self._written - offset) :]
        if new:
            sys.stdout.write(printable(new))
            sys.stdout.flush()
            self._written = offset + len(text)
            self._in_line = not new.endswith("\n")


def _finished(record: "RunRecord") -> str:
    if record.finished_at is None or record.started_at is None:
        return moment(record.finished_at)
    return (
        f"{moment(record.finished_at)} (after {duration(record.finished_at - record.started_at)})"
    )


def _tokens(record: "RunRecord") -> str:
    if record.tokens_in is None and record.tokens_out is None:
        return ""
    return f"{record.tokens_in or 0} in, {record.tokens_out or 0} out"


def _cost(record: "RunRecord") -> str:
    from domain.notices import cost_text

    if record.tokens_in is None and record.tokens_out is None:
        return ""
    return cost_text(record.cost_micros) or "not known: the settings have no price for this model"


def _delivery(item: "DeliveryView") -> str:
    part = item.occurrence_id.rpartition("/")[2]
    return f"{part}: {item.status}" + (f" ({item.error})" if item.error else "")
