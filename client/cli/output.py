"""How the command line shows results: a table for people, JSON for programs.

Owns the choice between the two, the look of tables and fields, and the wording of times. Source:
automation.md §13.

Invariants:
    1. What people copy, ids and addresses, is never cut or broken.
    2. Texts of models and other strangers reach a terminal without control characters.
"""

import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, cast

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.text import Text


class Output(StrEnum):
    """Form of a result."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[
    Output | None,
    typer.Option("-o", "--output", help="Form of the result; json where no terminal is."),
]

# The last column of a table and the values of fields are folded, but not to less than this.
_NARROWEST = 16
# What moves the cursor or changes the terminal, but not tabs and line breaks.
_CONTROLS = {code: "�" for code in [*range(32), *range(127, 160)] if chr(code) not in "\t\n"}


def wants_json(output: Output | None) -> bool:
    """Whether to print JSON: as asked, else whenever nobody looks."""
    return output == Output.JSON or (output is None and not sys.stdout.isatty())


def print_json(value: object) -> None:
    """Print one JSON value."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def print_json_line(value: object) -> None:
    """Print one JSON value of a sequence, a line each, at once.

    In ASCII: a text may hold a character that some readers take for the end of a line.
    """
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def print_page(
    page: "BaseModel",
    output: Output | None,
    nothing: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    optional: Sequence[str] = (),
    more: str | None = None,
) -> None:
    """Print a page of a list as JSON, or as a table; `more` is the option that shows the rest."""
    if wants_json(output):
        print_json(page.model_dump(mode="json"))
        return
    if rows:
        print_table(columns, rows, optional)
    else:
        say(nothing)
    if more:
        say(f"More with: {more}")


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], optional: Sequence[str] = ()
) -> None:
    """Print rows under their columns; only the last column is folded to the terminal's width.

    Args:
        columns: The headings.
        rows: The cells of each row.
        optional: Columns to leave out, in this order, while the terminal is too narrow.
    """
    texts = [[_text(cell) for cell in row] for row in (columns, *rows)]
    kept = list(range(len(columns)))
    room = _room()
    if room is not None:
        for name in optional:
            if _narrowest(texts, kept) > room:
                kept.remove(columns.index(name))
    _print_columns(texts, kept, room)


def _print_columns(texts: "list[list[Text]]", kept: list[int], room: int | None) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for place in kept[:-1]:
        table.add_column(texts[0][place], no_wrap=True)
    table.add_column(texts[0][kept[-1]], overflow="fold")
    for row in texts[1:]:
        table.add_row(*(row[place] for place in kept))
    # Too long lines are left to the terminal, which keeps them whole when they are copied.
    width = 10_000 if room is None else max(room, _narrowest(texts, kept))
    # With a height, too: without, rich takes every dumb terminal for 80 columns wide.
    console = Console(width=width, height=1)
    with console.capture() as printed:
        console.print(table)
    # Rows are filled up with blanks, which a narrower terminal would show as empty lines.
    sys.stdout.writelines(line.rstrip() + "\n" for line in printed.get().splitlines())


def _room() -> int | None:
    """The width of the terminal; null where none is, and nothing is folded."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _narrowest(texts: "list[list[Text]]", kept: list[int]) -> int:
    """The width a table needs when its last column is folded as far as it may be."""
    widths = [
        max(line.cell_len for row in texts for line in row[place].split("\n", allow_blank=True))
        for place in kept
    ]
    return sum(widths[:-1]) + min(widths[-1], _NARROWEST) + 2 * (len(kept) - 1)


def print_fields(fields: Mapping[str, object]) -> None:
    """Print one thing, a field a line; empty ones are left out."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    room = _room()
    shown = {name: value for name, value in fields.items() if value not in (None, "", [])}
    indent = max(map(len, shown), default=0) + 2
    fold = None if room is None else max(_NARROWEST, room - indent)
    for name, value in shown.items():
        lines = cast("list[object]", value) if isinstance(value, list) else [value]
        text = Text("\n").join(_text(line) for line in lines)
        for number, line in enumerate(_folded(text, fold)):
            head = Text((name if number == 0 else "").ljust(indent), style="bold")
            console.print(head + line, soft_wrap=True)


def say(text: str) -> None:
    """A line for people, on standard error, so that results stay clean."""
    sys.stderr.write(text + "\n")


def styled(text: object, style: str) -> "Text":
    """A cell or a value in a colour."""
    from rich.text import Text

    return Text(printable(str(text)), style=style)


def printable(text: str) -> str:
    """A text without what a terminal would obey."""
    return text.translate(_CONTROLS)


def link(address: str) -> str:
    """An address to show; nothing for one whose server is not known."""
    return address if "://" in address else ""


def moment(value: datetime | str | None) -> str:
    """A time to the second, RFC 3339 in UTC; nothing for none."""
    from domain.timestamps import format_timestamp, parse_timestamp, whole_second

    return format_timestamp(whole_second(parse_timestamp(value, "time"))) if value else ""


def minute(value: datetime | str | None) -> str:
    """A time to the minute, for lists; nothing for none."""
    return moment(value)[:16].replace("T", " ") + "Z" if value else ""


def duration(length: timedelta) -> str:
    """How long, in the two largest units: `3 d 4 h`, `12 min`, `4.3 s`."""
    seconds = length.total_seconds()
    if seconds < 60:
        return f"{seconds:.1f} s".replace(".0 ", " ")
    minutes, _ = divmod(round(seconds), 60)
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [(days, "d"), (hours, "h"), (minutes, "min")]
    first = next(place for place, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count)


def _text(cell: object) -> "Text":
    from rich.text import Text

    if isinstance(cell, Text):
        return cell
    return Text("" if cell is None else printable(str(cell)))


def _folded(text: "Text", room: int | None) -> "Iterable[Text]":
    """The lines of a text, long ones folded between words; a long word stays in one piece."""
    from rich.console import Console

    for line in text.split("\n", allow_blank=True):
        words = line.plain.split()
        if room is None or (len(words) == 1) or line.cell_len <= room:
            yield line
        else:
            width = max(room, *(len(word) for word in words))
            yield from line.wrap(Console(width=width), width)
