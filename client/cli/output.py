"""How the command line shows results: a table for people, JSON for programs.

Owns the choice between the two and the look of tables. Source: automation.md §13.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, cast

import typer


class Output(StrEnum):
    """Form of a result."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[
    Output | None,
    typer.Option("-o", "--output", help="table or json; table on a terminal, json elsewhere."),
]


def wants_json(output: Output | None) -> bool:
    """Whether to print JSON: as asked, else whenever nobody looks."""
    return output == Output.JSON or (output is None and not sys.stdout.isatty())


def print_json(value: object) -> None:
    """Print one JSON value."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under their columns."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(_words(cell)) for cell in row))
    Console().print(table)


def print_fields(fields: Mapping[str, Any]) -> None:
    """Print one thing, a field a line; empty ones are left out."""
    from rich.console import Console
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for name, value in fields.items():
        if value not in (None, "", []):
            table.add_row(f"[bold]{name}[/]", _plain(value))
    Console().print(table)


def say(text: str) -> None:
    """A line for people, on standard error, so that results stay clean."""
    sys.stderr.write(text + "\n")


def _words(cell: object) -> str:
    return "" if cell is None else str(cell)


def _plain(value: object) -> str:
    from rich.markup import escape

    if isinstance(value, list):
        return escape("\n".join(str(item) for item in cast("list[object]", value)))
    return escape(str(value))
