"""`tickless dev` and `tickless worker`: the processes that do the work.

Owns the two commands. They load the package `worker`, which nothing else of the client does.
"""

from typing import Annotated

import typer

from client.cli.connected import config_file


def add_to(app: typer.Typer) -> None:
    """Add the commands to the root."""
    app.command()(dev)
    app.command()(worker)


def dev(context: typer.Context) -> None:
    """Start the whole stack on this machine; Ctrl-C stops it.

    The Temporal server with its UI, the workers, and a small model where none is configured.
    """
    from worker.commands import run_dev

    raise typer.Exit(run_dev(config_file(context)))


def worker(
    context: typer.Context,
    queues: Annotated[
        list[str] | None,
        typer.Option(
            help="Queues to serve, repeatable or with commas; all when left out.",
            metavar="NAMES",
        ),
    ] = None,
) -> None:
    """Serve task queues of a Temporal cluster until SIGTERM."""
    from worker.commands import run_worker

    names = [name.strip() for item in queues or [] for name in item.split(",") if name.strip()]
    raise typer.Exit(run_worker(config_file(context), names))
