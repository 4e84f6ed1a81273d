"""`tickless routine …`: create, get, list, trigger, pause, resume, delete, runs.

Owns the flags and the look; every call is `client.routines`' or `client.runs`'.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from client.cli.connected import connected
from client.cli.output import OutputOption, print_fields, print_json, print_table, say, wants_json

if TYPE_CHECKING:
    from client.routines import RoutineCreated
    from client.runs import RunStarted
    from client.tickless import TicklessClient
    from domain.routine_requests import RoutineAnswer
    from domain.run_view import RunView

app = typer.Typer(help="Routines: stored prompts that fire by themselves.", no_args_is_help=True)

_Id = Annotated[str, typer.Argument(help="The routine's name or id.", metavar="ID")]
_Key = Annotated[
    str | None, typer.Option("--idempotency-key", help="Makes a repetition the same request.")
]

SHOWN_FIRES = 5


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="A name of your choice.")] = None,
    prompt: Annotated[str | None, typer.Option(help="What the model is asked.")] = None,
    prompt_file: Annotated[
        Path | None, typer.Option(help="File that holds the prompt.", metavar="FILE")
    ] = None,
    cron: Annotated[
        str | None, typer.Option(help="Five cron fields, @daily, or words: 'every 2h'.")
    ] = None,
    every: Annotated[int | None, typer.Option(help="Interval in seconds, at least 60.")] = None,
    at: Annotated[str | None, typer.Option(help="Once, at an RFC 3339 time.")] = None,
    tz: Annotated[str | None, typer.Option(help="IANA zone, such as Europe/Berlin.")] = None,
    catchup: Annotated[str | None, typer.Option(help="Missed times: once, skip or all.")] = None,
    manual: Annotated[bool, typer.Option("--manual", help="Fires only by hand.")] = False,
    context_paths: Annotated[
        list[str] | None,
        typer.Option("--context", help="File of the workspace to show the model; repeatable."),
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest answer, in tokens.")] = None,
    title: Annotated[str | None, typer.Option(help="Shown in notices and in the UI.")] = None,
    max_runs: Annotated[int | None, typer.Option(help="Pause after so many runs.")] = None,
    deliver: Annotated[
        str | None, typer.Option(help="Where replies go.", metavar="CHANNEL[:TARGET]")
    ] = None,
    timeout: Annotated[
        int | None, typer.Option(help="Longest working time of a run, in seconds.")
    ] = None,
    json_file: Annotated[
        str | None,
        typer.Option("--json", help="The whole routine as JSON; - reads standard input."),
    ] = None,
    idempotency_key: _Key = None,
    output: OutputOption = None,
) -> None:
    """Create a routine.

    For example: tickless routine create morning-brief --prompt 'What is new?'
    --cron '0 9 * * 1-5' --tz Europe/Berlin
    """
    if json_file is not None:
        body = _read_body(json_file)
    else:
        schedule = {
            "cron_expr": cron,
            "every_seconds": every,
            "run_at": at,
            "timezone": tz,
            "catchup": catchup,
        }
        body = _body(
            prompt=_read_prompt(prompt, prompt_file),
            schedule=_given(schedule),
            manual=manual,
            action=_given({"context_paths": context_paths or None, "max_tokens": max_tokens}),
            deliver=deliver,
            extra=_given({"title": title, "max_runs": max_runs}),
            timeout=timeout,
        )

    async def use(tickless: "TicklessClient") -> "RoutineCreated":
        return await tickless.routines.create(body, name=name, idempotency_key=idempotency_key)

    created = connected(context, use)
    if wants_json(output):
        print_json(created.model_dump(mode="json"))
        return
    if created.routine is None:
        say("Accepted; it becomes active when a worker runs (tickless worker).")
        print_fields({"id": created.id, "workflow": created.workflow_id})
        return
    _show(created.routine, created.warnings)
    _show_fires(created.routine)


@app.command()
def get(context: typer.Context, routine: _Id, output: OutputOption = None) -> None:
    """Show one routine."""

    async def use(tickless: "TicklessClient") -> "RoutineAnswer":
        return await tickless.routines.get(routine)

    _answer(connected(context, use), output)


@app.command(name="list")
def list_(
    context: typer.Context,
    status: Annotated[
        str, typer.Option(help="active, paused, deleted or all; else all but deleted.")
    ] = "",
    limit: Annotated[int, typer.Option(help="1 to 200.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="next_cursor of the page before.")] = None,
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
    print_table(
        ("ID", "STATUS", "FIRES", "NEXT", "RUNS", "LAST RESULT"),
        (
            (
                item["id"],
                item["status"],
                _firing(item),
                item["next_run_at"],
                item["run_count"],
                item["last_result"],
            )
            for item in page["routines"]
        ),
    )
    if "next_cursor" in page:
        say(f"There are more: --cursor {page['next_cursor']}")


@app.command()
def trigger(
    context: typer.Context,
    routine: _Id,
    force: Annotated[bool, typer.Option("--force", help="Also while it is paused.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the run's end.")] = False,
    idempotency_key: _Key = None,
    output: OutputOption = None,
) -> None:
    """Start one extra run now."""

    async def use(tickless: "TicklessClient") -> "tuple[RunStarted, RunView | None]":
        started = await tickless.runs.trigger(routine, force=force, idempotency_key=idempotency_key)
        return started, await tickless.runs.wait(started.run_id) if wait else None

    started, view = connected(context, use)
    if view is not None:
        from client.cli.run import show_run

        show_run(view, started.ui_url, output)
        return
    answer = started.model_dump(mode="json", exclude_none=True)
    if wants_json(output):
        print_json(answer)
        return
    decision = started.verdict.decision if started.verdict else "accepted"
    print_fields({"run": started.run_id, "decision": decision, "ui": started.ui_url})
    say(f"Follow it with: tickless run tail {started.run_id}")


@app.command()
def pause(context: typer.Context, routine: _Id, output: OutputOption = None) -> None:
    """Pause a routine; a run in flight finishes."""

    async def use(tickless: "TicklessClient") -> "RoutineAnswer":
        return await tickless.routines.pause(routine)

    _answer(connected(context, use), output)


@app.command()
def resume(context: typer.Context, routine: _Id, output: OutputOption = None) -> None:
    """Let a paused routine fire again."""

    async def use(tickless: "TicklessClient") -> "RoutineAnswer":
        return await tickless.routines.resume(routine)

    _answer(connected(context, use), output)


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

    _answer(connected(context, use), output)


@app.command()
def runs(
    context: typer.Context,
    routine: _Id,
    limit: Annotated[int, typer.Option(help="1 to 200; the last hundred are kept.")] = 20,
    output: OutputOption = None,
) -> None:
    """List a routine's runs, newest first, also those that were refused."""

    async def use(tickless: "TicklessClient") -> list[dict[str, Any]]:
        found = await tickless.routines.runs(routine, limit=limit)
        return [record.model_dump(mode="json") for record in found]

    records = connected(context, use)
    if wants_json(output):
        print_json({"runs": records, "count": len(records)})
        return
    print_table(
        ("RUN", "FIRED BY", "STARTED", "STATUS", "REASON OR ERROR", "TOKENS", "SUMMARY"),
        (
            (
                record["id"],
                record["trigger_type"],
                record["started_at"] or record["occurred_at"],
                record["status"],
                record["reason"] or record["error"],
                (record["tokens_in"] or 0) + (record["tokens_out"] or 0) or None,
                (record["summary"] or "").splitlines()[0][:60] if record["summary"] else None,
            )
            for record in records
        ),
    )


# Reading input


def _read_body(source: str) -> dict[str, Any]:
    from domain.errors import DomainError, ErrorKind

    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
        body = json.loads(text)
    except OSError as error:
        raise DomainError(
            ErrorKind.INVALID_FIELD, "body", f"cannot read {source}: {error.strerror}"
        ) from error
    except ValueError as error:
        raise DomainError(
            ErrorKind.INVALID_FIELD, "body", f"body must be a JSON object: {error}"
        ) from error
    if not isinstance(body, dict):
        raise DomainError(
            ErrorKind.INVALID_FIELD,
            "body",
            f"body must be a JSON object, not {type(body).__name__}",
        )
    return cast("dict[str, Any]", body)


def _read_prompt(prompt: str | None, file: Path | None) -> str | None:
    from domain.errors import DomainError, ErrorKind

    if file is None:
        return prompt
    if prompt is not None:
        raise DomainError(
            ErrorKind.INVALID_FIELD, "prompt", "give exactly one of --prompt and --prompt-file"
        )
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DomainError(
            ErrorKind.INVALID_FIELD, "prompt", f"cannot read the prompt file {file}: {error}"
        ) from error


def _body(
    *,
    prompt: str | None,
    schedule: dict[str, Any],
    manual: bool,
    action: dict[str, Any],
    deliver: str | None,
    extra: dict[str, Any],
    timeout: int | None,
) -> dict[str, Any]:
    """The JSON of the API from the flags."""
    body: dict[str, Any] = dict(extra)
    if action and prompt is not None:
        body["action"] = {"type": "lightweight", "prompt": prompt, **action}
    elif prompt is not None:
        body["prompt"] = prompt
    if manual:
        body["trigger"] = {"type": "manual"}
    if schedule:
        body["schedule"] = schedule
    if deliver is not None:
        channel, _, target = deliver.partition(":")
        body["notify"] = {"route": {"receive_id_type": channel, "receive_id": target}}
    if timeout is not None:
        body["guardrails"] = {"run_timeout_seconds": timeout}
    return body


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


# Showing


def _answer(answer: "RoutineAnswer", output: OutputOption) -> None:
    if wants_json(output):
        print_json(answer.model_dump(mode="json"))
        return
    _show(answer.routine.model_dump(mode="json"), answer.warnings)


def _show(routine: dict[str, Any], warnings: list[str]) -> None:
    reason = routine["paused_reason"]
    print_fields(
        {
            "id": routine["id"],
            "title": routine["title"],
            "status": routine["status"] + (f" ({reason})" if reason else ""),
            "fires": _firing(routine),
            "next": routine["next_run_at"],
            "runs": f"{routine['run_count']}"
            + (f" of {routine['max_runs']}" if routine["max_runs"] else ""),
            "last run": routine["last_run_at"],
            "last result": routine["last_result"],
            "failures in a row": routine["consecutive_failures"] or None,
            "prompt": routine["prompt"],
        }
    )
    for warning in warnings:
        say(f"warning: {warning}")


def _firing(routine: dict[str, Any]) -> str:
    schedule = routine["schedule"]
    if schedule is None:
        return str(routine["trigger"]["type"])
    from domain.schedule import Schedule, schedule_text

    return schedule_text(Schedule.model_validate(schedule))


def _show_fires(routine: dict[str, Any]) -> None:
    """The next fires in the routine's zone and in UTC."""
    from domain.schedule import occurrences
    from domain.timestamps import parse_timestamp
    from domain.zones import load_zone

    schedule = routine["schedule"]
    if schedule is None or routine["status"] != "active":
        return
    created = parse_timestamp(routine["created_at"], "created_at")
    local = load_zone(schedule["timezone"])
    print_table(
        (f"NEXT FIRES ({schedule['timezone']})", "UTC"),
        (
            (at.astimezone(local).strftime("%a %Y-%m-%d %H:%M:%S"), at.strftime("%H:%M:%S"))
            for at in occurrences(created, schedule, SHOWN_FIRES, created)
        ),
    )
