"""Options and groups that several commands have in common.

Owns how a group of commands is made, and how numbers are read: a number that is none is handed on
as it was given, so that one place tells what is accepted, whoever asks.
"""

from typing import Annotated

import typer

MAX_LIMIT = 200

KeyOption = Annotated[
    str | None,
    typer.Option("--idempotency-key", help="Makes a repetition the same request.", metavar="KEY"),
]


def command_group(about: str) -> typer.Typer:
    """A noun with its verbs."""
    # Plain help is half the work of a drawn one and can be searched and piped.
    return typer.Typer(help=about, no_args_is_help=True, rich_markup_mode=None)


def number_or_text(text: str) -> object:
    """The whole number, or the text as it is, for a check that says what is accepted."""
    try:
        return int(text)
    except ValueError:
        return text


def page_size(text: str) -> int:
    """The number of items of a page.

    Raises:
        DomainError: `invalid_field` on `limit`; also of a number outside its bounds.
    """
    number = number_or_text(text)
    if isinstance(number, int) and 1 <= number <= MAX_LIMIT:
        return number
    from domain.errors import DomainError, ErrorKind

    raise DomainError(
        ErrorKind.INVALID_FIELD,
        "limit",
        f"limit must be an integer from 1 to {MAX_LIMIT}, not {text!r}",
    )


LimitOption = Annotated[
    int, typer.Option("--limit", help=f"1 to {MAX_LIMIT}.", metavar="N", parser=page_size)
]
StatusOption = Annotated[str, typer.Option(help="Of one status only.", metavar="STATUS")]
CursorOption = Annotated[
    str | None, typer.Option("--cursor", help="next_cursor of the page before.", metavar="CURSOR")
]
