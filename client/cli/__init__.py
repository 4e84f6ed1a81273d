"""The command `tickless`.

Owns the root of the command line. Each noun has a module of its own; errors are told by
`client.cli.problems`.

Invariant: nothing heavy is imported before a command runs; `--help` must answer at once.
"""

import io
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from client.cli import (
    admin,
    approval,
    audit,
    backfill,
    config,
    cost,
    delivery,
    doctor,
    event,
    gateway,
    goal,
    job,
    manifests,
    routine,
    run,
    session,
    stack,
    system,
    tool,
    watchdog,
)
from client.cli.options import command_group
from client.cli.problems import EXIT_INTERRUPTED, report

app = command_group("Durable routines and goals for LLM agents, on Temporal.")
app.add_typer(routine.app, name="routine")
app.add_typer(run.app, name="run")
app.add_typer(session.app, name="session")
app.add_typer(job.app, name="job")
app.add_typer(goal.app, name="goal")
app.add_typer(approval.app, name="approval")
app.add_typer(delivery.app, name="delivery")
app.add_typer(tool.app, name="tool")
app.add_typer(audit.app, name="audit")
app.add_typer(event.app, name="event")
app.add_typer(config.app, name="config")
app.add_typer(admin.app, name="admin")
backfill.add_to(routine.app)
manifests.add_to(app)
system.add_to(app)
watchdog.add_to(app)
cost.add_to(app)
gateway.add_to(app)
stack.add_to(app)
doctor.add_to(app)


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
    """Run the command line of this process and exit."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that knows no umlauts is no reason to fail.
        sys.stdout.reconfigure(errors="backslashreplace")
    leave(execute(sys.argv[1:]))


def leave(code: int) -> NoReturn:
    """End this process at once, with everything written.

    Without the interpreter's own end: threads of the Temporal SDK may call into it meanwhile, to
    hand over a line of their log, and then it aborts with a signal in place of the exit code.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(code)


def execute(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code.

    Args:
        arguments: What follows the program's name.
    """
    try:
        code = app(list(arguments), prog_name="tickless", standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    except Exception as error:  # whatever it is, a user gets a sentence
        return report(error)
    return code if isinstance(code, int) else 0
