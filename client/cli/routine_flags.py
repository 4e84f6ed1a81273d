"""The flags of `routine create` and `routine patch`, one for each thing a routine may say.

Owns their names, forms and help, and how the help is laid out in parts. What is made of them is
`client.cli.routine_body`'s. Source: automation.md §13, triggers-and-actions.md §4.

Invariant: a flag hands on what was given, also a number that is none, so that one place tells what
is accepted.
"""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand, TyperOption

from client.cli.options import number_or_text

if TYPE_CHECKING:
    from typer._click import Context, HelpFormatter

NONE = "none"

_LENGTH = re.compile(r"(\d{1,9})?\s*([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
# What is called otherwise in Python, where a command has a context already.
_NAMES = {"files": "--context"}
_WHEN, _LIMITS, _REPLIES = "When it fires", "Limits (none takes one away)", "Replies"


def seconds_or_text(text: str) -> object:
    """A length in seconds, also written `90s`, `10m`, `1h`, `2d`, or `h` for one; else the text."""
    if found := _LENGTH.fullmatch(text.strip()):
        return int(found[1] or 1) * _SECONDS[found[2]]
    return number_or_text(text)


def _text(about: str, metavar: str = "TEXT", panel: str | None = None) -> Any:
    return typer.Option(help=about, metavar=metavar, rich_help_panel=panel)


def _number(about: str, panel: str | None = None) -> Any:
    return typer.Option(help=about, metavar="N", parser=number_or_text, rich_help_panel=panel)


def _length(about: str, panel: str) -> Any:
    return typer.Option(help=about, metavar="TIME", parser=seconds_or_text, rich_help_panel=panel)


def _switch(names: str, about: str, panel: str | None = None) -> Any:
    return typer.Option(names, help=about, rich_help_panel=panel)


def _many(name: str, about: str, metavar: str, panel: str | None = None) -> Any:
    return typer.Option(name, help=about, metavar=metavar, rich_help_panel=panel)


@dataclass(frozen=True)
class RoutineFlags:
    """What was given by flags; null where nothing was."""

    prompt: Annotated[str | None, _text("What the model is asked.")] = None
    prompt_file: Annotated[
        str | None, _text("File that holds the prompt; - is standard input.", "FILE")
    ] = None
    title: Annotated[str | None, _text("Shown in notices and in the UI.")] = None
    files: Annotated[
        list[str] | None,
        _many("--context", "File of the workspace to show the model; repeatable.", "PATH"),
    ] = None
    max_tokens: Annotated[object, _number("Longest answer, in tokens.")] = None
    use_tools: Annotated[
        bool | None, _switch("--use-tools/--no-use-tools", "Let the model use tools.")
    ] = None
    max_tool_rounds: Annotated[object, _number("Rounds of tools in a run.")] = None
    fresh: Annotated[
        bool | None, _switch("--fresh/--no-fresh", "Begin each run without former messages.")
    ] = None
    manage_mode: Annotated[
        str | None, _text("Who may change it: creator_only or scope_all.", "WHO")
    ] = None
    enabled: Annotated[
        bool | None, _switch("--enabled/--disabled", "Whether it fires, or is paused.")
    ] = None

    cron: Annotated[
        str | None, _text("Five cron fields, or a nickname such as @daily.", "EXPR", _WHEN)
    ] = None
    every: Annotated[
        object,
        typer.Option(
            help="Interval: seconds from 60, or 30m, 2h, 1d.",
            metavar="TIME",
            parser=number_or_text,
            rich_help_panel=_WHEN,
        ),
    ] = None
    at: Annotated[
        str | None, _text("Once, at an RFC 3339 time: 2027-01-31T09:00:00+01:00.", "TIME", _WHEN)
    ] = None
    manual: Annotated[bool | None, _switch("--manual", "Fires only by hand.", _WHEN)] = None
    on_message: Annotated[
        str | None, _text("On messages that match this RE2 pattern.", "PATTERN", _WHEN)
    ] = None
    on_event: Annotated[
        str | None,
        _text("On events such as github:issue.opened or github:issue.*.", "SOURCE:TYPE", _WHEN),
    ] = None
    webhook: Annotated[
        str | None,
        _text("On signed posts to /api/webhooks/PATH; - is the routine's id.", "PATH", _WHEN),
    ] = None
    secret: Annotated[
        list[str] | None,
        _many(
            "--secret",
            "What deliveries are signed with: env:NAME, file:/PATH or the secret; repeatable.",
            "SECRET",
            _WHEN,
        ),
    ] = None
    scheme: Annotated[
        str | None,
        _text("How: auto, standard, slack, github or generic.", "SCHEME", _WHEN),
    ] = None
    allow_unsigned: Annotated[
        bool | None,
        _switch("--allow-unsigned/--no-allow-unsigned", "Take unsigned deliveries.", _WHEN),
    ] = None
    tz: Annotated[str | None, _text("IANA zone, such as Europe/Berlin.", "ZONE", _WHEN)] = None
    catchup: Annotated[str | None, _text("Missed times: once, skip or all.", "HOW", _WHEN)] = None
    catchup_window: Annotated[
        object, _length("How far back --catchup all goes; seconds, or 2h, 7d.", _WHEN)
    ] = None
    next_run_at: Annotated[
        str | None, _text("The next run exactly then, once; RFC 3339.", "TIME", _WHEN)
    ] = None
    max_runs: Annotated[object, _number("Pause after so many runs; 0 is no limit.", _WHEN)] = None

    timeout: Annotated[object, _length("Longest working time of a run.", _LIMITS)] = None
    cooldown: Annotated[object, _length("Least time between two starts.", _LIMITS)] = None
    max_concurrent: Annotated[object, _number("Runs at the same time, 1 to 10.", _LIMITS)] = None
    overlap: Annotated[
        str | None, _text("A fire at --max-concurrent: queue_one or skip.", "HOW", _LIMITS)
    ] = None
    dedup_window: Annotated[
        object, _length("How long the same content is not run again.", _LIMITS)
    ] = None
    max_age: Annotated[object, _length("A fire older than this is skipped.", _LIMITS)] = None
    rate_limit: Annotated[
        str | None, _text("Starts in a sliding time: 10/3600, 10/1h.", "N/TIME", _LIMITS)
    ] = None
    max_tokens_total: Annotated[object, _number("Tokens of a run, in and out.", _LIMITS)] = None
    max_tool_calls: Annotated[object, _number("Tool calls of a run.", _LIMITS)] = None
    allowed_tool: Annotated[
        list[str] | None,
        _many("--allowed-tool", "The only tools a run may use; repeatable.", "NAME", _LIMITS),
    ] = None
    max_cost: Annotated[str | None, _text("Cost of a run in USD: 0.50.", "USD", _LIMITS)] = None

    deliver: Annotated[str | None, _text("Where replies go.", "CHANNEL[:TARGET]", _REPLIES)] = None
    notify_on_attention: Annotated[
        bool | None,
        _switch("--notify-on-attention/--no-notify-on-attention", "Send replies.", _REPLIES),
    ] = None
    notify_on_failure: Annotated[
        bool | None,
        _switch("--notify-on-failure/--no-notify-on-failure", "Tell of failed runs.", _REPLIES),
    ] = None
    notify_on_success: Annotated[
        bool | None,
        _switch("--notify-on-success/--no-notify-on-success", "Tell of silent runs.", _REPLIES),
    ] = None

    def given(self) -> list[str]:
        """The flags that were used, as they are written."""
        return [
            _NAMES.get(field.name, "--" + field.name.replace("_", "-"))
            for field in fields(self)
            if getattr(self, field.name) not in (None, [])
        ]


def with_routine_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command all these flags; it gets them as its argument `flags`."""
    hints = get_type_hints(RoutineFlags, include_extras=True)
    flags = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in fields(RoutineFlags)
    ]

    @wraps(command)
    def with_flags(**given: Any) -> None:
        flags = RoutineFlags(**{key: given.pop(key) for key in hints})
        command(**given, flags=flags)

    signature = inspect.signature(command, eval_str=True)
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in signature.parameters.values()
        if parameter.name != "flags"
    ]
    whole = inspect.Signature([*own, *flags])
    # What Typer reads: the parameters, and their types once more.
    setattr(with_flags, "__signature__", whole)  # noqa: B010 - functions declare no such attribute
    with_flags.__annotations__ = {p.name: p.annotation for p in whole.parameters.values()}
    return with_flags


class PanelledCommand(TyperCommand):
    """A command whose help shows its options in parts, as plain text."""

    def format_options(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Write arguments and options, each part under its heading."""
        parts: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if record := parameter.get_help_record(ctx):
                parts.setdefault(_panel(parameter), []).append(record)
        for heading, records in parts.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def _panel(parameter: object) -> str:
    if isinstance(parameter, TyperOption):
        return parameter.rich_help_panel or "Options"
    return "Arguments"


JsonSource = Annotated[
    str | None,
    typer.Option("--json", help="All of it as JSON; - is standard input.", metavar="FILE"),
]
