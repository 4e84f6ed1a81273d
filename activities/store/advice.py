"""What to do about a store that cannot be opened.

Owns what databases say and what a person should do about it. Errors of a store that is open are
`activities.store.errors`'.
"""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from activities.store.errors import StoreError, is_retryable, reason_of
from activities.store.urls import shown

# What databases say (in part, lower case), and what a person should do about it.
_ADVICE: Final = (
    ("not a database", "the file is something else; point `store.url` to another one"),
    ("unable to open database file", "make it a file, not a folder, that you may write"),
    ("readonly database", "make the file and its folder writable"),
    ("already exists", "it holds tables of something else; give tickless a database of its own"),
    ("authentication failed", "check user and password in the address of the store"),
    ("no password supplied", "add the password to the address of the store"),
    ("permission denied", "let this user create tables in the database"),
    ("does not exist", "create the database or the user first, or correct the address"),
)
_BUSY: Final = (
    ("lock timeout", "another process is opening it; end that process if it hangs"),
    ("database is locked", "another program keeps the file locked; end it if it hangs"),
)
_OTHERWISE: Final = {
    "sqlite": "check that the path is a file that you may write, and that the disk has room",
    "postgresql": "check that the server runs and can be reached from here",
}


def opening_error(url: URL, error: SQLAlchemyError) -> StoreError:
    """The error to raise instead of what the database said while it was opened."""
    reason = reason_of(error)
    kind = url.get_backend_name()
    if todo := _first_match(_ADVICE, reason):
        retryable = False
    elif todo := _first_match(_BUSY, reason):
        retryable = True
    else:
        todo = _OTHERWISE[kind]
        retryable = is_retryable(error) and kind == "postgresql"
    return StoreError(
        f"the store {shown(url)} cannot be opened: {todo} ({reason})", retryable=retryable
    )


def _first_match(advice: Iterable[tuple[str, str]], reason: str) -> str | None:
    return next((todo for said, todo in advice if said in reason.lower()), None)
