"""`tickless goal …`: create, get, list, pause, resume, complete, delay, wait, extend, and so on.

Owns the verbs and how a goal is shown; every call is `client.goals`'. Source: automation.md §9 and
§13.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.cli.connected import connected
from client.cli.options import CursorOption, KeyOption, LimitOption, StatusOption, command_group
from client.cli.output import (
    OutputOption,
    link,
    minute,
    moment,
    print_fields,
    print_json,
    print_page,
    say,
    styled,
    wants_json,
)
from client.cli.routine_body import is_json, piped_json, read_json

if TYPE_CHECKING:
    from client.goal_reader import GoalAnswer, GoalList
    from client.goals import GoalCreated
    from client.tickless import TicklessClient

app = command_group("Goals: worked on round after round until reached.")

# Durations may begin with a minus, for the check that says what is accepted.
_DURATIONS: dict[str, Any] = {"ignore_unknown_options": True}
# Left out, they are told as missing in the words of the library.
_Duration = Annotated[
    str, typer.Argument(help="0s, or 1m to 12h, such as 90m or 2h30m.", metavar="DURATION")
]
_Reason = Annotated[str, typer.Argument(help="What is done next, or waited for.", metavar="REASON")]
_COLOURS = {
    "active": "blue",
    "complete": "green",
    "paused": "bold yellow",
    "timeout": "red",
}


@app.command()
def create(
    context: typer.Context,
    goal: Annotated[
        str | None,
        typer.Argument(
            help="The objective, or the goal as JSON, or - for standard input.", metavar="TEXT"
        ),
    ] = None,
    deadline: Annotated[
        str | None, typer.Option(help="How far away, such as 48h or 7d.", metavar="DURATION")
    ] = None,
    key: KeyOption = None,
    output: OutputOption = None,
) -> None:
    """Set the goal of your scope; its first round begins at once."""
    body = _body(goal, deadline)

    async def use(tickless: "TicklessClient") -> "GoalCreated":
        return await tickless.goals.create(body, idempotency_key=key)

    created = connected(context, use)
    if created.goal is not None:
        _show(created.goal, output)
    elif wants_json(output):
        print_json(created.model_dump(mode="json", include={"id", "workflow_id", "accepted"}))
    else:
        say(f"Accepted as {created.id}: it begins when a worker runs.")


@app.command()
def get(context: typer.Context, output: OutputOption = None) -> None:
    """Show the goal of your scope."""
    _answer(context, output, lambda tickless: tickless.goals.get())


@app.command("list")
def list_goals(
    context: typer.Context,
    status: StatusOption = "",
    limit: LimitOption = 20,
    cursor: CursorOption = None,
    output: OutputOption = None,
) -> None:
    """List the goals of all scopes, newest first."""

    async def use(tickless: "TicklessClient") -> "GoalList":
        return await tickless.goals.list(status=status, limit=limit, cursor=cursor)

    found = connected(context, use)
    print_page(
        found,
        output,
        "No goals.",
        ("GOAL", "SCOPE", "STATUS", "ROUND", "DEADLINE", "OBJECTIVE"),
        [
            (
                item.id,
                item.scope.text,
                styled(item.status, _COLOURS.get(item.status, "")),
                item.iteration,
                minute(item.deadline_at),
                " ".join(item.objective.split()),
            )
            for item in found.goals
        ],
        optional=("DEADLINE", "ROUND"),
        more=found.next_cursor and f"--cursor {found.next_cursor}",
    )


@app.command()
def pause(
    context: typer.Context,
    now: Annotated[bool, typer.Option("--now", help="Interrupt the round that runs.")] = False,
    output: OutputOption = None,
) -> None:
    """Pause the goal when its round has ended."""
    _answer(context, output, lambda tickless: tickless.goals.pause(now=now))


@app.command()
def resume(context: typer.Context, output: OutputOption = None) -> None:
    """Go on at once, also with a goal that paused itself or waits."""
    _answer(context, output, lambda tickless: tickless.goals.resume())


@app.command()
def complete(
    context: typer.Context,
    summary: Annotated[str, typer.Option(help="What was reached; told with it.")] = "",
    output: OutputOption = None,
) -> None:
    """Say that the goal is reached."""
    _answer(context, output, lambda tickless: tickless.goals.complete(summary))


@app.command(context_settings=_DURATIONS)
def delay(
    context: typer.Context,
    duration: _Duration = "",
    reason: _Reason = "",
    output: OutputOption = None,
) -> None:
    """Let the goal rest for a while; 0s goes on at once."""
    _answer(context, output, lambda tickless: tickless.goals.delay(duration, reason))


@app.command(context_settings=_DURATIONS)
def wait(
    context: typer.Context,
    duration: _Duration = "",
    reason: _Reason = "",
    event: Annotated[str, typer.Option(help="What wakes it earlier.", metavar="SOURCE:TYPE")] = "",
    output: OutputOption = None,
) -> None:
    """Let the goal rest until an event comes, or the time is over."""
    _answer(context, output, lambda tickless: tickless.goals.wait(event, duration, reason))


@app.command(context_settings=_DURATIONS)
def extend(
    context: typer.Context,
    duration: Annotated[
        str, typer.Argument(help="From now, at most 2160h, such as 48h.", metavar="DURATION")
    ] = "",
    output: OutputOption = None,
) -> None:
    """Move the deadline; reopens a goal that timed out."""
    _answer(context, output, lambda tickless: tickless.goals.extend(duration))


@app.command()
def cancel(
    context: typer.Context,
    reason: Annotated[str | None, typer.Option(help="Kept with the round's job.")] = None,
    output: OutputOption = None,
) -> None:
    """End the round that runs, not the goal; the next one follows."""
    _answer(context, output, lambda tickless: tickless.goals.cancel(reason))


@app.command()
@app.command("clear")
def delete(context: typer.Context, output: OutputOption = None) -> None:
    """Remove the goal; a round that runs is interrupted."""

    async def use(tickless: "TicklessClient") -> None:
        await tickless.goals.delete()

    connected(context, use)
    if wants_json(output):
        print_json({"deleted": True})
    else:
        say("Deleted.")


def _body(goal: str | None, deadline: str | None) -> dict[str, Any]:
    """The new goal as it was given.

    Raises:
        DomainError: `invalid_field` on `body` for what is no JSON object, or a flag beside one.
    """
    if goal is not None and not is_json(goal):
        return {"objective": goal, "deadline_in": deadline}
    given = read_json(goal, None) or piped_json() or {}
    if deadline is None:
        return given
    if given:
        from domain.errors import DomainError, ErrorKind

        message = "the JSON is all there is: put deadline_in into it in place of --deadline"
        raise DomainError(ErrorKind.INVALID_FIELD, "body", message)
    return {"deadline_in": deadline}


def _answer(
    context: typer.Context,
    output: OutputOption,
    use: "Callable[[TicklessClient], Awaitable[GoalAnswer]]",
) -> None:
    async def call(tickless: "TicklessClient") -> "GoalAnswer":
        return await use(tickless)

    _show(connected(context, call), output)


def _show(found: "GoalAnswer", output: OutputOption) -> None:
    if wants_json(output):
        print_json({"goal": found.model_dump(mode="json")})
        return
    from domain.notices import cost_text

    waits = found.wait_event or found.waiting_for
    print_fields(
        {
            "goal": found.id,
            "objective": found.objective,
            "status": styled(found.status, _COLOURS.get(found.status, "")),
            "because": found.paused_reason,
            "does": found.stage,
            "round": found.iteration,
            "job": found.job_id,
            "waits for": waits,
            "until": moment(found.next_run_at),
            "reason": found.delay_reason,
            "deadline": moment(found.deadline_at),
            "created": moment(found.created_at),
            "error": found.last_error,
            "summary": found.summary,
            "tokens": None
            if found.tokens_in is None
            else f"{found.tokens_in} in, {found.tokens_out or 0} out",
            "cost": cost_text(found.cost_micros),
            "ui": link(found.ui_url),
        }
    )
