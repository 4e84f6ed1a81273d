"""`tickless routine preview`: when a schedule would fire.

Owns the command; the times and their notes are `client.schedules`'. No server is asked.
Source: automation.md §5 "Preview", §13.
"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.cli.connected import config_file
from client.cli.options import number_or_text
from client.cli.output import OutputOption, print_fields, print_json, say, wants_json

if TYPE_CHECKING:
    from client.schedules import PreviewRequest


def preview(
    context: typer.Context,
    body: Annotated[
        str | None,
        typer.Argument(
            help="A schedule, a trigger or the API's request as JSON; - is standard input.",
            metavar="JSON",
        ),
    ] = None,
    cron: Annotated[
        str | None,
        typer.Option(help="Five cron fields, or a nickname such as @daily.", metavar="EXPR"),
    ] = None,
    every: Annotated[
        object,
        typer.Option(
            help="Interval: seconds from 60, or 30m, 2h, 1d.",
            metavar="TIME",
            parser=number_or_text,
        ),
    ] = None,
    at: Annotated[str | None, typer.Option(help="Once, at an RFC 3339 time.", metavar="TIME")] = (
        None
    ),
    tz: Annotated[
        str | None, typer.Option(help="IANA zone, such as Europe/Berlin.", metavar="ZONE")
    ] = None,
    count: Annotated[
        object,
        typer.Option(help="How many times, 1 to 50; else 5.", metavar="N", parser=number_or_text),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(help="Times after this RFC 3339 time; else from now.", metavar="TIME"),
    ] = None,
    output: OutputOption = None,
) -> None:
    """Show when a schedule would fire; nothing is created.

    For example: tickless routine preview --cron '30 2 * * *' --tz Europe/Berlin
    """
    import os

    from client.schedules import Schedules
    from client.settings import load_settings

    flags = {"cron": cron, "every": every, "at": at, "tz": tz}
    request = _request(body, flags)
    zone = load_settings(config_file(context), os.environ).settings.default_timezone
    found = Schedules(default_timezone=zone).preview(
        request.schedule,
        count=request.count if count is None else count,
        after=request.after if after is None else after,
    )
    if wants_json(output):
        print_json(found.model_dump(mode="json"))
        return
    from client.cli.routine_view import show_occurrences

    print_fields({"in words": found.words})
    if found.times:
        say("")
        show_occurrences("FIRES", found.timezone, found.times)
    else:
        say("No more times.")


def _request(body: str | None, given: dict[str, Any]) -> "PreviewRequest":
    from client.cli.routine_body import piped_json, read_json, schedule_of
    from client.cli.routine_flags import RoutineFlags
    from client.schedules import PreviewRequest, read_request
    from domain.errors import DomainError, ErrorKind

    used = [f"--{name}" for name, value in given.items() if value is not None]
    if body is not None and used:
        message = f"the JSON is all there is: put {', '.join(used)} into it, or leave it out"
        raise DomainError(ErrorKind.INVALID_FIELD, "body", message)
    if used:
        return PreviewRequest(schedule_of(RoutineFlags(**given)))
    request = read_json(body, None) if body is not None else piped_json()
    return PreviewRequest(None) if request is None else read_request(request)
