"""Bad input as tables: what is asked, the problem that answers it, and proof that nothing changed.

Owns the shape of a row and the ways to ask: as a user of the command line, as a caller of the
library. Which rows there are is the specification's.
"""

import json
from collections import Counter
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from temporalio.service import RPCError, RPCStatusCode

from client.tickless import TicklessClient
from domain.errors import DomainError
from domain.identifiers import routine_workflow_id, schedule_id
from tests.support.command import Answer, command
from tests.support.harness import Harness

INVALID, MISSING, UNKNOWN = "invalid_field", "missing_field", "unknown_field"
CONFLICT, DENIED, NOT_FOUND = "conflict", "permission_denied", "not_found"

# The table of kinds of automation.md §2: HTTP status and exit code.
_CODES = {
    INVALID: (400, 2),
    MISSING: (400, 2),
    UNKNOWN: (400, 2),
    "payload_too_large": (413, 2),
    DENIED: (403, 4),
    NOT_FOUND: (404, 3),
    CONFLICT: (409, 5),
}
# It does not fire while the tests run, whatever is merged into it.
RARELY = {"every_seconds": 31_536_000}


@dataclass(frozen=True)
class Row:
    """A row of a table of bad input: its number there, what is asked, what is answered."""

    number: str
    body: Mapping[str, Any]
    kind: str
    field: str
    says: tuple[str, ...]


def cases(rows: Iterable[Row]) -> list[Any]:
    """Rows as parameters of a test, named for their number: `row-07b`, `row-03.2`."""
    listed = list(rows)
    several = Counter(row.number for row in listed)
    seen: Counter[str] = Counter()
    found = []
    for row in listed:
        seen[row.number] += 1
        part = f".{seen[row.number]}" if several[row.number] > 1 else ""
        found.append(pytest.param(row, id=f"row-{row.number}{part}"))
    return found


def creation(row: Row) -> dict[str, Any]:
    """A new routine with nothing wrong but what the row says."""
    body = dict(row.body)
    if "action" not in body:
        body.setdefault("prompt", "x")
    if "trigger" not in body:
        body.setdefault("schedule", RARELY)
    return body


def assert_problem(answer: Answer, row: Row) -> None:
    """The command printed the row's problem and nothing else, and ended with the kind's code."""
    problem = answer.problem
    status, code = _CODES[row.kind]
    assert (problem["kind"], problem["field"]) == (row.kind, row.field), problem["detail"]
    assert (problem["status"], answer.code) == (status, code)
    assert problem["type"].endswith(row.kind)
    _assert_says(problem["detail"], row)


async def assert_raises(call: Awaitable[object], row: Row) -> None:
    """The call of the library raises the row's problem."""
    with pytest.raises(DomainError) as caught:
        await call
    error = caught.value
    assert (error.kind, error.field) == (row.kind, row.field), error.message
    _assert_says(error.message, row)


async def assert_not_created(harness: Harness, row: Row, body: Mapping[str, Any]) -> None:
    """Both ways to create a routine are refused, and neither leaves anything behind."""
    name = harness.name()
    answer = await command(harness, "routine", "create", name, "--json", "-", stdin=_json(body))
    assert_problem(answer, row)
    await assert_raises(harness.tickless.routines.create(body, name=name), row)
    workflow = harness.client.get_workflow_handle(routine_workflow_id(name))
    schedule = harness.client.get_schedule_handle(schedule_id(name))
    for described in (workflow.describe(), schedule.describe()):
        with pytest.raises(RPCError) as caught:
            await described
        assert caught.value.status == RPCStatusCode.NOT_FOUND


async def assert_not_changed(
    harness: Harness,
    row: Row,
    routine: str,
    *,
    tickless: TicklessClient | None = None,
    environ: Mapping[str, str] | None = None,
) -> None:
    """Both ways to patch a routine are refused; it and its Schedule stay as they are.

    Args:
        harness: The running parts.
        row: The patch, and what is answered.
        routine: The routine.
        tickless: Who asks by the library; else the harness's caller.
        environ: Who asks on the command line, in the same way.
    """
    asker = tickless or harness.tickless
    before = await state_of(harness, asker, routine)
    patch = ("routine", "patch", routine, _json(row.body))
    assert_problem(await command(harness, *patch, environ=environ), row)
    await assert_raises(asker.routines.patch(routine, row.body), row)
    assert await state_of(harness, asker, routine) == before


async def state_of(
    harness: Harness, tickless: TicklessClient, routine: str
) -> tuple[dict[str, Any], datetime | None]:
    """The whole answer about a routine, and when its Schedule was put last; null without one."""
    answer = (await tickless.routines.get(routine)).model_dump()
    if answer["routine"]["schedule"] is None or answer["routine"]["status"] == "deleted":
        return answer, None
    schedule = await harness.client.get_schedule_handle(schedule_id(routine)).describe()
    return answer, schedule.info.last_updated_at or schedule.info.created_at


def _json(body: Mapping[str, Any]) -> str:
    return json.dumps(body)


def _assert_says(message: str, row: Row) -> None:
    assert [text for text in row.says if text not in message] == [], message
