"""`tickless routine …`: create, preview, get, list, patch, trigger, pause, resume, delete, runs.

Owns the verbs and their flags; every call is `client.routines`' or `client.runs`', the look is
`client.cli.routine_view`'s. Source: automation.md §13.
"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.cli import routine_flags as flags
from client.cli.connected import connected
from client.cli.options import CursorOption, KeyOption, LimitOption, command_group, number_or_text
from client.cli.output import OutputOption, link, print_fields, print_json, say, wants_json
from client.cli.preview import preview

if TYPE_CHECKING:
    from collections.abc import Sequence

    from client.routines import RoutineCreated
    from client.runs import RunStarted
    from client.tickless import TicklessClient
    from domain.routine_requests import RoutineAnswer
    from domain.run_view import RunView
    from domain.runs import RunRecord

app = command_group("Routines: stored prompts that fire by themselves.")
app.command()(preview)

_Id = Annotated[str, typer.Argument(help="The routine's name or id.", metavar="ID")]


@app.command(cls=flags.PanelledCommand)
@flags.with_routine_flags
def create(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(help="A name of your choice, or all of it as JSON.", metavar="NAME|JSON"),
    ] = None,
    json_source: flags.JsonSource = None,
    idempotency_key: KeyOption = None,
    output: OutputOption = None,
    *,
    flags: flags.RoutineFlags,
) -> None:
    """Create a routine; shows when it will fire.

    For example: tickless routine create morning-brief --prompt 'What is new?'
    --cron '0 9 * * 1-5' --tz Europe/Berlin
    """
    from client.cli.routine_body import read_creation
    from client.cli.routine_view import show_fires, show_routine

    chosen, body = read_creation(name, json_source, flags)

    async def use(tickless: "TicklessClient") -> "RoutineCreated":
        return await tickless.routines.create(body, name=chosen, idempotency_key=idempotency_key)

    created = connected(context, use)
    if wants_json(output):
        print_json(created.model_dump(mode="json"))
    elif created.routine is None:
        say("Accepted; it becomes active when a worker runs (tickless worker).")
        print_fields({"id": created.id, "workflow": created.workflow_id})
    else:
        show_routine(created.routine, created.warnings)
        show_fires(created.routine)


@app.command(cls=flags.PanelledCommand)
@flags.with_routine_flags
def patch(
    context: typer.Context,
    routine: _Id,
    body: Annotated[
        str | None, typer.Argument(help="A JSON merge patch; - is standard input.", metavar="JSON")
    ] = None,
    json_source: flags.JsonSource = None,
    if_revision: Annotated[
        object,
        typer.Option(
            help="Only if this is still its revision.", metavar="N", parser=number_or_text
        ),
    ] = None,
    output: OutputOption = None,
    *,
    flags: flags.RoutineFlags,
) -> None:
    """Change a routine, by flags or by a JSON merge patch.

    Null takes a value away; trigger, action, guardrails and notify are replaced as a whole by
    JSON, and in part by flags. A deleted routine is restored by '{"status": "active"}' or
    --enabled, and takes no other change before.
    """
    from client.cli.routine_body import read_patch
    from client.cli.routine_change import change_by_flags
    from client.cli.routine_view import show_fires, show_routine

    changes = read_patch(body, json_source, flags)

    async def use(tickless: "TicklessClient") -> "RoutineAnswer":
        if changes is None:
            return await change_by_flags(tickless.routines, routine, flags, if_revision)
        condition = {} if if_revision is None else {"if_revision": if_revision}
        return await tickless.routines.patch(routine, {**changes, **condition})

    answer = connected(context, use).model_dump(mode="json")
    if wants_json(output):
        print_json(answer)
        return
    show_routine(answer["routine"], answer["warnings"])
    show_fires(answer["routine"])


@app.command()
def get(context: typer.Context, routine: _Id, output: OutputOption = None) -> None:
    """Show one routine."""

    async def use(tickless: "TicklessClient") -> "RoutineAnswer":
        return await tickless.routines.get(routine)

    answer = connected(context, use).model_dump(mode="json")
    if wants_json(output):
        print_json(answer)
        return
    from client.cli.routine_view import show_routine

    show_routine(answer["routine"], answer["warnings"], answer.get("skipped"))


@app.command(name="list")
def list_(
    context: typer.Context,
    status: Annotated[
        str,
        typer.Option(
            help="active, paused, deleted or all; else all but deleted.", metavar="STATUS"
        ),
    ] = "",
    limit: LimitOption = 20,
    cursor: CursorOption = None,
    output: OutputOption = None,
) -> None:
    """List your routines, newest first."""

    async def use(tickless: "TicklessClient") -> dict[str, Any]:
        page = await tickless.routines.list(status=status, limit=limit, cursor=cursor)
        return page.model_dump(mode="json", exclude_none=True)

    page = connected(context, use)
    if wants_json(output):
        print_json(page)
        return
    from client.cli.routine_view import show_routines

    if page["routines"]:
        show_routines(page["routines"])
    else:
        say("No routines. Create one with: tickless routine create --help")
    if "next_cursor" in page:
        say(f"There are more: --cursor {page['next_cursor']}")


@app.command()
def trigger(
    context: typer.Context,
    routine: _Id,
    force: Annotated[bool, typer.Option("--force", help="Also while it is paused.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the run's end.")] = False,
    idempotency_key: KeyOption = None,
    output: OutputOption = None,
) -> None:
    """Start one extra run now.

    With --wait, exit code 1 says that the run failed.
    """

    async def use(tickless: "TicklessClient") -> "tuple[RunStarted, RunView | None]":
        started = await tickless.runs.trigger(routine, force=force, idempotency_key=idempotency_key)
        if not wait:
            return started, None
        if not wants_json(output):
            say(f"Waiting for {started.run_id}; Ctrl-C ends the waiting, not the run.")
        return started, await tickless.runs.wait(started.run_id)

    started, view = connected(context, use)
    if view is not None:
        from client.cli.run import exit_if_failed, show_run

        show_run(view, started.ui_url, output)
        exit_if_failed(view)
    elif wants_json(output):
        print_json(started.model_dump(mode="json", exclude_none=True))
    else:
        _show_started(started)


@app.command()
def pause(context: typer.Context, routine: _Id, output: OutputOption = None) -> None:
    """Pause a routine; a run in flight finishes."""

    async def use(tickless: "TicklessClient") -> "RoutineAnswer":
        return await tickless.routines.pause(routine)

    _show_change(connected(context, use), output)


@app.command()
def resume(context: typer.Context, routine: _Id, output: OutputOption = None) -> None:
    """Let a paused routine fire again."""

    async def use(tickless: "TicklessClient") -> "RoutineAnswer":
        return await tickless.routines.resume(routine)

    _show_change(connected(context, use), output)


@app.command()
def delete(
    context: typer.Context,
    routine: _Id,
    purge: Annotated[
        bool, typer.Option("--purge", help="Free the name at once; nothing can be restored.")
    ] = False,
    output: OutputOption = None,
) -> None:
    """Delete a routine; its runs are cancelled."""

    async def use(tickless: "TicklessClient") -> "RoutineAnswer":
        return await tickless.routines.delete(routine, purge=purge)

    _show_change(connected(context, use), output)
    if purge and not wants_json(output):
        say("Purged: the name is free.")


@app.command()
def runs(
    context: typer.Context,
    routine: _Id,
    limit: LimitOption = 20,
    output: OutputOption = None,
) -> None:
    """List a routine's runs, newest first, refused ones too."""

    async def use(tickless: "TicklessClient") -> "Sequence[RunRecord]":
        return await tickless.routines.runs(routine, limit=limit)

    records = connected(context, use)
    if wants_json(output):
        found = [record.model_dump(mode="json") for record in records]
        print_json({"runs": found, "count": len(found)})
    elif records:
        from client.cli.routine_view import show_runs

        show_runs([record.model_dump(mode="json") for record in records])
    else:
        say(f"No runs yet. Start one with: tickless routine trigger {routine}")


def _show_started(started: "RunStarted") -> None:
    if started.duplicate:
        decision = "the same request as before: this is its run"
    else:
        decision = started.verdict.decision if started.verdict else "accepted; no worker answers"
    print_fields({"run": started.run_id, "decision": decision, "ui": link(started.ui_url)})
    say(f"Follow it with: tickless run tail {started.run_id}")


def _show_change(answer: "RoutineAnswer", output: OutputOption) -> None:
    values = answer.model_dump(mode="json")
    if wants_json(output):
        print_json(values)
        return
    from client.cli.routine_view import show_change

    show_change(values["routine"], values["warnings"])
