"""The rows on goals of the table of bad input, automation.md §14, by command line and library."""

from collections.abc import Sequence
from typing import Any

import pytest

from domain.goal_bodies import GoalVerb
from tests.support.bad_input import (
    CONFLICT,
    INVALID,
    MISSING,
    NOT_FOUND,
    Row,
    assert_problem,
    assert_raises,
    cases,
)
from tests.support.goal_setters import GoalSetter, waiting_setter
from tests.support.harness import Harness

STATUSES = ("active", "paused", "complete", "timeout", "waiting_for_session")
DELAYS, DEADLINES = ("0s", "1m", "12h"), ("48h", "2160h")
# Every verb with a body that is right.
RIGHT: dict[GoalVerb, dict[str, Any]] = {
    GoalVerb.PAUSE: {"now": True},
    GoalVerb.RESUME: {},
    GoalVerb.COMPLETE: {"summary": "Done."},
    GoalVerb.DELAY: {"duration": "5m", "reason": "x"},
    GoalVerb.WAIT: {"event": "a:b", "duration": "5m", "reason": "x"},
    GoalVerb.EXTEND: {"deadline_in": "1h"},
    GoalVerb.CANCEL: {"reason": "x"},
}


def arguments(verb: GoalVerb, body: dict[str, Any]) -> Sequence[str]:
    """The same on the command line."""
    match verb:
        case GoalVerb.PAUSE:
            return ("pause", "--now")
        case GoalVerb.RESUME:
            return ("resume",)
        case GoalVerb.DELAY:
            return ("delay", *(body[key] for key in ("duration", "reason") if key in body))
        case GoalVerb.WAIT:
            return ("wait", "--event", body["event"], body["duration"], body["reason"])
        case GoalVerb.EXTEND:
            return ("extend", body["deadline_in"])
        case _:
            (key,) = body
            return (verb, f"--{key}", body[key])


CREATIONS = [
    Row("41", {}, MISSING, "objective", ("objective",)),
    Row("41", {"objective": "  "}, MISSING, "objective", ("objective",)),
    *(
        Row("44", {"objective": "x", "deadline_in": text}, INVALID, "deadline_in", DEADLINES)
        for text in ("soon", "300", "0s", "-1h", "2161h")
    ),
]
RESTS = [
    *(
        Row(number, {"duration": text, "reason": "x"}, INVALID, "duration", DELAYS)
        for number, texts in (("45", ("30s", "59s")), ("46", ("12h1s", "-5m", "abc", "5")))
        for text in texts
    ),
    Row("46", {"duration": "", "reason": "x"}, MISSING, "duration", DELAYS),
    Row("47", {"duration": "5m"}, MISSING, "reason", ("reason",)),
    Row("47", {"duration": "5m", "reason": " "}, MISSING, "reason", ("reason",)),
]
EXTENSIONS = [
    Row("44", {"deadline_in": text}, INVALID, "deadline_in", DEADLINES)
    for text in ("soon", "300", "0s", "-1h", "2161h")
]


@pytest.fixture(scope="module")
async def setter(harness: Harness) -> GoalSetter:
    """A user with a goal that every request here leaves as it is."""
    found = waiting_setter(harness)
    await found.goals.create(found.objective)
    return found


@pytest.mark.parametrize("row", cases(CREATIONS))
async def test_it_is_not_created(harness: Harness, row: Row) -> None:
    nobody = waiting_setter(harness)
    body = dict(row.body)
    flags = ("--deadline", body["deadline_in"]) if "deadline_in" in body else ()
    texts = (body["objective"],) if "objective" in body else ()
    assert_problem(await nobody.command("create", *texts, *flags), row)
    await assert_raises(nobody.goals.create(body), row)
    gone = Row("48", {}, NOT_FOUND, "goal", ("goal",))
    await assert_raises(nobody.goals.get(), gone)


@pytest.mark.parametrize("row", cases([*RESTS, *EXTENSIONS]))
async def test_it_is_not_changed(setter: GoalSetter, row: Row) -> None:
    verb = GoalVerb.EXTEND if "deadline_in" in row.body else GoalVerb.DELAY
    before = await setter.goals.get()
    assert_problem(await setter.command(*arguments(verb, dict(row.body))), row)
    await assert_raises(setter.goals.change(verb, row.body), row)
    assert await setter.goals.get() == before


async def test_row_43(setter: GoalSetter) -> None:
    before = await setter.goals.get()
    row = Row("43", {}, CONFLICT, "goal", (before.id,))
    assert_problem(await setter.command("create", "Another one."), row)
    await assert_raises(setter.goals.create("Another one."), row)
    assert await setter.goals.get() == before


async def test_row_48(harness: Harness) -> None:
    nobody = waiting_setter(harness)
    row = Row("48", {}, NOT_FOUND, "goal", ("goal",))
    for verb, body in RIGHT.items():
        assert_problem(await nobody.command(*arguments(verb, body)), row)
        await assert_raises(nobody.goals.change(verb, body), row)
    for word in ("get", "delete", "clear"):
        assert_problem(await nobody.command(word), row)
    await assert_raises(nobody.goals.delete(), row)


async def test_row_49(harness: Harness) -> None:
    done = waiting_setter(harness)
    await done.goals.create(done.objective)
    before = await done.goals.complete("Done.")
    row = Row("49", {}, CONFLICT, "status", ("complete",))
    for verb, body in RIGHT.items():
        if verb is not GoalVerb.COMPLETE:
            assert_problem(await done.command(*arguments(verb, body)), row)
            await assert_raises(done.goals.change(verb, body), row)
    assert await done.goals.get() == before


async def test_row_50(setter: GoalSetter) -> None:
    row = Row("50", {}, INVALID, "status", STATUSES)
    assert_problem(await setter.command("list", "--status", "x"), row)
    await assert_raises(setter.goals.list(status="x"), row)
