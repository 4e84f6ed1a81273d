"""Lists of a caller's objects, newest first, a page at a time.

Owns what all such lists have in common: the limit, the cursor, and reading visibility, which cannot
sort and follows late. What is listed is the noun's. Source: automation.md §6 (List) and §14 rows
26 and 26b.
"""

import asyncio
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from temporalio.client import Client, WorkflowExecution

from activities import search_attributes as attributes
from client.connection import translated
from domain.errors import DomainError, ErrorKind

MAX_LIMIT: Final = 200
MAX_LISTED: Final = 5_000
LISTED_WITHIN: Final = timedelta(seconds=5)
_PAGE_SIZE: Final = 1_000

# When an object was made, and its id.
Entry = tuple[str, str]


def check_limit(limit: int) -> None:
    """Check the size of a page.

    Raises:
        DomainError: `invalid_field` on `limit`.
    """
    if type(limit) is not int or not 1 <= limit <= MAX_LIMIT:
        raise DomainError(
            ErrorKind.INVALID_FIELD,
            "limit",
            f"limit must be an integer from 1 to {MAX_LIMIT}, not {limit!r}",
        )


async def find_newest(temporal: Client, query: str, prefix: str, too_many: str) -> list[Entry]:
    """Everything that a query of visibility finds, newest first.

    Args:
        temporal: The connection.
        query: In visibility's language.
        prefix: What the workflow ids begin with; taken off.
        too_many: What to say of more than `MAX_LISTED`.

    Raises:
        DomainError: `invalid_field` on `limit` when there are too many to sort.
    """
    found: dict[str, str] = {}
    with translated():
        async for execution in temporal.list_workflows(query, page_size=_PAGE_SIZE):
            found[execution.id.removeprefix(prefix)] = _created(execution)
            if len(found) > MAX_LISTED:
                raise DomainError(
                    ErrorKind.INVALID_FIELD, "limit", f"more than {MAX_LISTED} {too_many}"
                )
    return sorted(((created, key) for key, created in found.items()), reverse=True)


async def wait_until_listed(temporal: Client, query: str) -> None:
    """Visibility follows within milliseconds; a list right after an answer must show what is new.

    Args:
        temporal: The connection.
        query: Finds the new object, in visibility's language.

    Raises:
        DomainError: `unavailable`.
    """
    deadline = time.monotonic() + LISTED_WITHIN.total_seconds()
    pause = 0.005
    with translated():
        while (await temporal.count_workflows(query)).count == 0:
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.1)


def one_page(
    found: Sequence[Entry], limit: int, cursor: str | None
) -> tuple[Sequence[Entry], str | None]:
    """The page after a cursor, and the cursor of the next one; null when nothing follows.

    Raises:
        DomainError: `invalid_field` on `cursor`.
    """
    if cursor is not None:
        after = read_cursor(cursor)
        found = [entry for entry in found if entry < after]
    page = found[:limit]
    return page, write_cursor(page[-1]) if len(found) > limit else None


def write_cursor(entry: Entry) -> str:
    """The cursor after an item of a list."""
    return urlsafe_b64encode("\n".join(entry).encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> Entry:
    """The item of a cursor.

    Raises:
        DomainError: `invalid_field` on `cursor`.
    """
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        created, key = text.split("\n")
        if datetime.fromisoformat(created).tzinfo is None:
            raise ValueError("a time without its offset")
    except ValueError as error:
        raise DomainError(
            ErrorKind.INVALID_FIELD, "cursor", "cursor must be the next_cursor of a former page"
        ) from error
    return created, key


def _created(execution: WorkflowExecution) -> str:
    created = execution.typed_search_attributes.get(attributes.CREATED)
    return (created or execution.start_time).astimezone(UTC).isoformat()
