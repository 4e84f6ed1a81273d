"""Bad input that only a program can give, or that JSON itself cannot say: told, not a traceback."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from client import TicklessClient
from domain.errors import DomainError, ErrorKind
from tests.support.command import command
from tests.support.harness import Harness

Call = Callable[[TicklessClient, str], Awaitable[object]]
NAN = float("nan")

ROWS: list[tuple[str, Call, ErrorKind, str]] = [
    ("create-list", lambda t, _: t.routines.create(_any([1])), ErrorKind.INVALID_FIELD, "body"),
    ("create-none", lambda t, _: t.routines.create(_any(None)), ErrorKind.INVALID_FIELD, "body"),
    (
        "create-set",
        lambda t, _: t.routines.create({"prompt": {"a"}}),
        ErrorKind.INVALID_FIELD,
        "body",
    ),
    ("patch-list", lambda t, r: t.routines.patch(r, _any([1])), ErrorKind.INVALID_FIELD, "body"),
    (
        "patch-nan",
        lambda t, r: t.routines.patch(r, {"max_runs": NAN}),
        ErrorKind.INVALID_FIELD,
        "body",
    ),
    (
        "patch-surrogate",
        lambda t, r: t.routines.patch(r, {"title": "\ud800"}),
        ErrorKind.INVALID_FIELD,
        "body",
    ),
    (
        "patch-revision",
        lambda t, r: t.routines.patch(r, {"title": "x"}, if_revision=_any("x")),
        ErrorKind.INVALID_FIELD,
        "if_revision",
    ),
    (
        "list-limit",
        lambda t, _: t.routines.list(limit=_any("ten")),
        ErrorKind.INVALID_FIELD,
        "limit",
    ),
    (
        "runs-limit",
        lambda t, r: t.routines.runs(r, limit=_any(1.5)),
        ErrorKind.INVALID_FIELD,
        "limit",
    ),
    ("get-blank", lambda t, _: t.routines.get(""), ErrorKind.NOT_FOUND, "id"),
    ("get-surrogate", lambda t, _: t.routines.get("a\udcff"), ErrorKind.NOT_FOUND, "id"),
    ("trigger-blank", lambda t, _: t.runs.trigger(""), ErrorKind.NOT_FOUND, "id"),
]


def _any(value: Any) -> Any:
    """A value of a type that the call does not take."""
    return value


@pytest.mark.parametrize(("call", "kind", "field"), [pytest.param(*r[1:], id=r[0]) for r in ROWS])
async def test_it_is_told_and_changes_nothing(
    harness: Harness, call: Call, kind: ErrorKind, field: str
) -> None:
    routine = await harness.routine(max_runs=7)
    before = await harness.tickless.routines.get(routine)
    with pytest.raises(DomainError) as caught:
        await call(harness.tickless, routine)
    assert (caught.value.kind, caught.value.field) == (kind, field)
    assert await harness.tickless.routines.get(routine) == before


@pytest.mark.parametrize("value", ["NaN", "1e999", "-Infinity"])
async def test_no_number_of_json_is_no_silent_default(harness: Harness, value: str) -> None:
    routine = await harness.routine(max_runs=7)
    answer = await command(harness, "routine", "patch", routine, f'{{"max_runs": {value}}}')
    assert answer.code == 2
    assert answer.problem["kind"] == ErrorKind.INVALID_FIELD
    assert (await harness.tickless.routines.get(routine)).routine.max_runs == 7
