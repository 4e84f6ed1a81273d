"""`tickless admin …`: what an operator does to a cluster once.

Owns the command; the work is `client.setup`'s.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from client.cli.connected import config_file
from client.cli.options import command_group
from client.cli.output import OutputOption, print_fields, print_json, wants_json

if TYPE_CHECKING:
    from client.setup import SetupReport

app = command_group("Set up a Temporal cluster for Tickless.")


@app.callback()
def _admin() -> None:
    """Set up a Temporal cluster for Tickless."""


@app.command()
def setup(
    context: typer.Context,
    retention_days: Annotated[
        int,
        typer.Option(help="How long closed workflows are kept, at least 7.", min=7, metavar="N"),
    ] = 7,
    output: OutputOption = None,
) -> None:
    """Register search attributes and set the retention.

    Doing it twice is harmless; a longer retention is kept.
    """
    import asyncio
    import os
    from datetime import timedelta

    from client.connection import connect
    from client.settings import connect_config, load_settings
    from client.setup import setup_namespace

    async def work() -> "SetupReport":
        settings = load_settings(config_file(context), os.environ).settings
        client = await connect(connect_config(settings.temporal, os.environ))
        return await setup_namespace(client, timedelta(days=retention_days))

    report = asyncio.run(work())
    if wants_json(output):
        print_json(report.model_dump(mode="json"))
        return
    print_fields(
        {
            "namespace": report.namespace,
            "registered": ", ".join(report.registered) or "nothing was missing",
            "retention": f"{report.retention_seconds // 86_400} days"
            + (" (changed)" if report.retention_changed else ""),
        }
    )
