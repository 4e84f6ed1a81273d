"""`tickless config`: what is set, where it was set, and what can be set.

Owns showing the settings. Reads them through `client.settings`, which masks secrets.
Source: automation.md §13.
"""

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from client.cli.connected import config_file
from client.cli.options import command_group
from client.cli.output import print_json

if TYPE_CHECKING:
    from client.settings import Loaded

app = command_group("Show the settings and what can be set.")


class ConfigOutput(StrEnum):
    """Form of the settings; YAML is what the settings file is written in."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


@app.command()
def show(
    context: typer.Context,
    origin: Annotated[
        bool, typer.Option("--origin", help="Also say where each value comes from.")
    ] = False,
    output: Annotated[
        ConfigOutput | None,
        typer.Option(
            "-o", "--output", help="table, json or yaml; table on a terminal, json elsewhere."
        ),
    ] = None,
) -> None:
    """Print the settings that are in force, secrets masked."""
    import os

    from client.settings import load_settings

    loaded = load_settings(config_file(context), os.environ)
    if output is None:
        output = ConfigOutput.TABLE if sys.stdout.isatty() else ConfigOutput.JSON
    if output == ConfigOutput.TABLE:
        _print_table(loaded, origin)
        return
    values: object = loaded.values()
    if origin:
        values = {
            key: {"value": value, "origin": loaded.origins[key]}
            for key, value in loaded.flat().items()
        }
    if output == ConfigOutput.JSON:
        print_json(values)
    else:
        import yaml

        sys.stdout.write(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


@app.command()
def schema() -> None:
    """Print the JSON schema of the settings, with a description of each."""
    from client.settings import Settings

    print_json(Settings.model_json_schema())


def _print_table(loaded: "Loaded", origin: bool) -> None:
    import json

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("Setting", "Value", "Origin")[: 3 if origin else 2]:
        # Folded, not cut: a path or an address is of no use without its end.
        table.add_column(name, overflow="fold")
    for key, value in loaded.flat().items():
        shown = value if isinstance(value, str) else json.dumps(value)
        # Text, because a value may hold the brackets of rich's markup.
        table.add_row(*map(Text, (key, shown, loaded.origins[key])[: 3 if origin else 2]))
    Console().print(table)
