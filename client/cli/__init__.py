"""The command `tickless`.

Owns the root of the command line and what happens to errors: a problem on standard error, the exit
code of its kind, never a traceback. Each noun has a module of its own.

Invariant: nothing heavy is imported before a command runs; `--help` must answer at once.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.exceptions import TyperException

from client.cli import admin, config, doctor, routine, run, stack, system

if TYPE_CHECKING:
    from domain.errors import DomainError

app = typer.Typer(
    name="tickless",
    help="Durable routines and goals for LLM agents, on Temporal.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(routine.app, name="routine")
app.add_typer(run.app, name="run")
app.add_typer(config.app, name="config")
app.add_typer(admin.app, name="admin")
system.add_to(app)
stack.add_to(app)
doctor.add_to(app)

EXIT_USAGE = 2
EXIT_FAULT = 70
EXIT_INTERRUPTED = 130


@app.callback()
def _root(
    context: typer.Context,
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="Settings file; else TICKLESS_CONFIG, ./temporal-dev.yaml, or defaults.",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    context.obj = config_file


def main() -> None:
    """Run the command line and exit."""
    try:
        code = app(standalone_mode=False)
    except TyperException as error:
        sys.stderr.write(f"tickless: {error.format_message()}\n")
        code = EXIT_USAGE
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED
    except Exception as error:  # whatever it is, a user gets a sentence
        code = _report(error)
    sys.exit(code if isinstance(code, int) else 0)


def _report(error: Exception) -> int:
    from domain.errors import DomainError

    if isinstance(error, DomainError):
        _show(error)
        return error.exit_code
    sys.stderr.write(
        f"tickless: a fault of ours: {type(error).__name__}: {error}\n"
        "Please report it, with what you did.\n"
    )
    return EXIT_FAULT


def _show(error: "DomainError") -> None:
    """The problem in words on a terminal, as its JSON object elsewhere."""
    if not sys.stderr.isatty():
        sys.stderr.write(json.dumps(error.to_problem().model_dump(mode="json")) + "\n")
        return
    problems = [item.message for item in error.errors] or [error.message]
    for message in problems:
        sys.stderr.write(f"tickless: {error.kind}: {message}\n")
