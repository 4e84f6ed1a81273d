"""`tickless job …`: list, create, get, pause, resume, cancel, send, actions.

Owns the verbs and how a job is shown; every call is `client.jobs'`. Source:
triggers-and-actions.md §6.

Invariant: exit code 1 says that a job failed, and only where the command has waited for its end.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.cli.actions import action_line
from client.cli.connected import connected
from client.cli.options import (
    CursorOption,
    KeyOption,
    LimitOption,
    StatusOption,
    command_group,
    number_or_text,
)
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
from client.cli.routine_body import piped_json, read_json

if TYPE_CHECKING:
    from client.job_reader import JobAnswer, JobList
    from client.jobs import JobStarted
    from client.tickless import TicklessClient
    from domain.audit import ActionPage

app = command_group("Jobs: agents that work on their own, with tools and approvals.")

EXIT_FAILED = 1

_Id = Annotated[str, typer.Argument(help="The job's id.", metavar="ID")]
_SANDBOXES = {"host": "host: commands of tools run on the worker's machine"}
_COLOURS = {
    "completed": "green",
    "running": "blue",
    "pending": "blue",
    "waiting_approval": "bold yellow",
    "paused": "yellow",
    "stuck": "red",
    "failed": "red",
}


@app.command("list")
def list_jobs(
    context: typer.Context,
    status: StatusOption = "",
    limit: LimitOption = 20,
    cursor: CursorOption = None,
    output: OutputOption = None,
) -> None:
    """List jobs, newest first."""

    async def use(tickless: "TicklessClient") -> "JobList":
        return await tickless.jobs.list(status=status, limit=limit, cursor=cursor)

    found = connected(context, use)
    print_page(
        found,
        output,
        "No jobs.",
        ("JOB", "STATUS", "STEP", "SANDBOX", "CREATED", "TITLE"),
        [
            (
                item.id,
                styled(item.status, _COLOURS.get(item.status, "")),
                f"{item.iteration}/{item.max_iterations}",
                item.sandbox_mode or "",
                minute(item.created_at),
                item.title,
            )
            for item in found.jobs
        ],
        optional=("CREATED", "SANDBOX"),
        more=found.next_cursor and f"--cursor {found.next_cursor}",
    )


@app.command()
def create(
    context: typer.Context,
    argument: Annotated[
        str | None, typer.Argument(help="The job as JSON, or - for standard input.", metavar="JSON")
    ] = None,
    title: Annotated[str, typer.Option(help="At most 200 characters.")] = "",
    description: Annotated[str, typer.Option(help="What is to be done.")] = "",
    max_iterations: Annotated[
        str | None, typer.Option(help="Most calls of the model with tools.", metavar="N")
    ] = None,
    tool: Annotated[
        list[str] | None, typer.Option(help="Exactly these tools; repeat it.", metavar="NAME")
    ] = None,
    key: KeyOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the job's end.")] = False,
    output: OutputOption = None,
) -> None:
    """Start a job by hand."""
    flags: dict[str, Any] = {"title": title, "description": description}
    if max_iterations is not None:
        flags["max_iterations"] = number_or_text(max_iterations)
    if tool:
        flags["guardrails"] = {"allowed_tools": tool}
    given = {name: value for name, value in flags.items() if value}
    body = read_json(argument, None) or (given or piped_json() or {})

    async def use(tickless: "TicklessClient") -> "tuple[JobStarted, JobAnswer | None]":
        started = await tickless.jobs.create(body, idempotency_key=key)
        if not wait:
            return started, None
        return started, await tickless.jobs.wait(started.job_id)

    started, ended = connected(context, use)
    if ended is not None:
        _show(ended, output)
        if ended.status == "failed":
            raise typer.Exit(EXIT_FAILED)
    elif wants_json(output):
        print_json(started.model_dump(mode="json"))
    else:
        print_fields({"job": started.job_id, "ui": link(started.ui_url)})


@app.command()
def get(context: typer.Context, job: _Id, output: OutputOption = None) -> None:
    """Show one job: status, steps, cost, result."""
    _answer(context, output, lambda tickless: tickless.jobs.get(job))


@app.command()
def pause(context: typer.Context, job: _Id, output: OutputOption = None) -> None:
    """Pause a job before its next step."""
    _answer(context, output, lambda tickless: tickless.jobs.pause(job))


@app.command()
def resume(context: typer.Context, job: _Id, output: OutputOption = None) -> None:
    """Let a paused job go on."""
    _answer(context, output, lambda tickless: tickless.jobs.resume(job))


@app.command()
def cancel(
    context: typer.Context,
    job: _Id,
    reason: Annotated[str | None, typer.Option(help="Kept with the job.")] = None,
    output: OutputOption = None,
) -> None:
    """End a job; what it does is cancelled with it."""
    _answer(context, output, lambda tickless: tickless.jobs.cancel(job, reason=reason))


@app.command()
def send(
    context: typer.Context,
    job: _Id,
    text: Annotated[str, typer.Argument(help="What the job is to know.", metavar="TEXT")],
    key: KeyOption = None,
    output: OutputOption = None,
) -> None:
    """Say something that the job reads before its next step."""
    _answer(context, output, lambda tickless: tickless.jobs.send(job, text, key=key))


@app.command()
def actions(
    context: typer.Context,
    job: _Id,
    after: Annotated[int, typer.Option(help="The sequence of the last known call.", min=0)] = 0,
    limit: LimitOption = 100,
    output: OutputOption = None,
) -> None:
    """Show the calls of tools of a job, in their sequence."""

    async def use(tickless: "TicklessClient") -> "ActionPage":
        return await tickless.audit.actions(job_id=job, after=after, limit=limit)

    found = connected(context, use)
    if wants_json(output):
        print_json(found.model_dump(mode="json"))
        return
    if not found.actions:
        say("No calls of tools.")
    for action in found.actions:
        say(action_line(action))
    if found.more and found.actions:
        say(f"More with: --after {found.actions[-1].sequence}")


def _answer(
    context: typer.Context,
    output: OutputOption,
    use: "Callable[[TicklessClient], Awaitable[JobAnswer]]",
) -> None:
    async def call(tickless: "TicklessClient") -> "JobAnswer":
        return await use(tickless)

    _show(connected(context, call), output)


def _show(found: "JobAnswer", output: OutputOption) -> None:
    if wants_json(output):
        print_json(found.model_dump(mode="json"))
        return
    print_fields(
        {
            "job": found.id,
            "title": found.title,
            "status": styled(found.status, _COLOURS.get(found.status, "")),
            "does": None if found.stage == "ended" else found.stage,
            "approvals": ", ".join(found.approvals),
            "waits for": found.waiting_for,
            "sandbox": _SANDBOXES.get(found.sandbox_mode or "", found.sandbox_mode),
            "error": found.error,
            "step": f"{found.iteration} of {found.max_iterations}",
            "run": found.run_id,
            "created": moment(found.created_at),
            "finished": moment(found.finished_at),
            "tokens": None
            if found.tokens_in is None
            else f"{found.tokens_in} in, {found.tokens_out or 0} out",
            "ui": link(found.ui_url),
            "result": found.result,
        }
    )
