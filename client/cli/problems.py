"""What a user sees of an error: a sentence on a terminal, a problem object elsewhere.

Owns the translation of every exception into words and an exit code. The codes of problems are
`domain.errors`'; those of interrupted and broken commands are the shell's conventions.
Source: automation.md §2 and §13.

Invariants:
    1. No traceback is shown. That of a fault of ours is kept in a file that the message names.
    2. A command line that cannot be read is a problem like any other: kind, field, exit code 2.
"""

import json
import os
import sys
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from domain.errors import DomainError

EXIT_USAGE = 2
EXIT_FAULT = 70
EXIT_INTERRUPTED = 130
# As Typer itself does where it meets the closed pipe first.
EXIT_PIPE_CLOSED = 1


def report(error: Exception) -> int:
    """Tell the user what went wrong; returns the exit code."""
    from domain.errors import DomainError

    if isinstance(error, BrokenPipeError):
        # Whoever read our output has seen enough; Python must not try to write the rest at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE_CLOSED
    if isinstance(error, typer.TyperException):
        _show_usage(error)
        return EXIT_USAGE
    if isinstance(error, DomainError):
        _show(error)
        return error.exit_code
    _show_fault(error)
    return EXIT_FAULT


def _show(error: "DomainError") -> None:
    if not sys.stderr.isatty():
        sys.stderr.write(json.dumps(error.to_problem().model_dump(mode="json")) + "\n")
        return
    from client.cli.output import printable

    problems = [(item.kind, item.message) for item in error.errors]
    for kind, message in problems or [(error.kind, error.message)]:
        sys.stderr.write(f"tickless: {kind}: {printable(message)}\n")


def _show_usage(error: typer.TyperException) -> None:
    context: typer.Context | None = getattr(error, "ctx", None)
    if sys.stderr.isatty():
        if type(error).__name__ == "NoArgsIsHelpError":
            sys.stderr.write(error.format_message() + "\n")
            return
        sys.stderr.write(f"tickless: {error.format_message()}\n")
        if context is not None:
            sys.stderr.write(f"See: {context.command_path} --help\n")
        return
    _show(_usage_problem(error, context))


def _usage_problem(error: typer.TyperException, context: typer.Context | None) -> "DomainError":
    """The command line's own refusals, which Typer's classes tell apart by name."""
    from domain.errors import DomainError, ErrorKind

    match type(error).__name__:
        case "NoArgsIsHelpError":
            return DomainError(
                ErrorKind.MISSING_FIELD, "command", "a command is missing", _commands(context)
            )
        case "MissingParameter":
            kind = ErrorKind.MISSING_FIELD
        case "NoSuchOption":
            kind = ErrorKind.UNKNOWN_FIELD
        case _:
            kind = ErrorKind.INVALID_FIELD
    parameter = getattr(error, "param", None)
    if isinstance(error, typer.BadParameter) and parameter is not None:
        option = parameter.param_type_name == "option"
        field = max(parameter.opts, key=len) if option else str(parameter.metavar)
    else:
        field = str(getattr(error, "option_name", "command"))
    accepted = _commands(context) if field == "command" else []
    name = field.lstrip("-").replace("-", "_").lower()
    return DomainError(kind, name, error.format_message(), accepted)


def _commands(context: typer.Context | None) -> list[str]:
    return list(getattr(context and context.command, "commands", {}))


def _show_fault(error: Exception) -> None:
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", prefix="tickless-fault-", suffix=".txt", delete=False
    ) as file:
        file.writelines(traceback.format_exception(error))
    sys.stderr.write(
        f"tickless: a fault of ours: {type(error).__name__}: {error}\n"
        f"Please report it, with what you did and with {file.name}\n"
    )
