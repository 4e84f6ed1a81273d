"""Lightweight runs that use tools: real workers, real tools, a scripted model over HTTP."""

import pytest

from domain.runs import RunStatus
from domain.tool_actions import ActionStatus
from tests.support.harness import Harness
from tests.support.model_steps import Body, Reply
from tests.support.tool_runs import Listener, asks, left_by, run_with


async def test_tools_are_called_and_the_answer_delivered(harness: Harness) -> None:
    model = Listener(
        asks(("time_now", {"timezone": "Europe/Berlin"})), Reply("It is late in Berlin.")
    )
    view = await run_with(harness, model)

    assert (view.record.status, view.text) == (RunStatus.ATTENTION, "It is late in Berlin.")
    assert (view.record.tokens_in, view.record.tokens_out) == (22, 14)
    (told,) = model.results()
    assert told.startswith("[output of time_now ")
    assert "Europe/Berlin" in told
    names = {tool["function"]["name"] for tool in model.bodies[0]["tools"]}
    assert {"time_now", "file_read"} <= names
    assert not {"file_write", "shell", "routine_create", "event_emit"} & names
    actions, thread = await left_by(harness, view)
    assert [(row.tool, row.status, row.sequence) for row in actions] == [("time_now", "ok", 1)]
    assert actions[0].caller == f"routine:{view.record.routine_id}"
    assert [message.role for message in thread] == ["user", "assistant", "tool", "assistant"]


async def test_mistakes_of_the_model_are_told_to_it(harness: Harness) -> None:
    model = Listener(
        asks(
            ("time_now", {"zone": "UTC"}),
            ("no_such_tool", {}),
            ("file_write", {"path": "mistaken.txt", "content": "x"}),
            ("time_now", "{broken"),
        ),
        Reply("I give up."),
    )
    view = await run_with(harness, model)

    assert view.record.status is RunStatus.ATTENTION
    kinds = [text.split(":")[0] for text in model.results()]
    assert kinds == [
        "error invalid_arguments",
        "error unknown_tool",
        "error not_permitted",
        "error invalid_arguments",
    ]
    actions, _ = await left_by(harness, view)
    assert [row.status for row in actions] == [ActionStatus.REJECTED] * 4
    assert list((harness.folder / "workspace").rglob("mistaken.txt")) == []


async def test_calls_that_change_nothing_run_at_once_and_are_told_in_order(
    harness: Harness,
) -> None:
    zones = ["Europe/Berlin", "Asia/Kolkata", "America/New_York"]
    model = Listener(
        asks(*(("time_now", {"timezone": zone}) for zone in zones)), Reply("Three clocks.")
    )
    view = await run_with(harness, model)
    assert view.text == "Three clocks."
    assert [zone in text for zone, text in zip(zones, model.results(), strict=True)] == [True] * 3
    actions, _ = await left_by(harness, view)
    assert [row.arguments["timezone"] for row in actions] == zones


async def test_a_model_that_never_stops_is_asked_for_text(harness: Harness) -> None:
    def goes_on(body: Body) -> Reply:
        return asks(("time_now", {})) if body.get("tools") else Reply("Then this is all.")

    view = await run_with(harness, goes_on, action={"max_tool_rounds": 2})
    assert (view.record.status, view.text) == (RunStatus.ATTENTION, "Then this is all.")
    actions, thread = await left_by(harness, view)
    assert [row.sequence for row in actions] == [1, 2]
    assert sum(message.role == "assistant" for message in thread) == 3


async def test_max_tool_calls_ends_the_rounds(harness: Harness) -> None:
    def goes_on(body: Body) -> Reply:
        return asks(*[("time_now", {})] * 2) if body.get("tools") else Reply("Enough.")

    view = await run_with(harness, goes_on, guardrails={"max_tool_calls": 3})
    assert view.text == "Enough."
    actions, _ = await left_by(harness, view)
    assert [(row.status, row.error) for row in actions] == [
        ("ok", None),
        ("ok", None),
        ("ok", None),
        ("rejected", "rate_limited"),
    ]


@pytest.mark.parametrize(
    ("allowed", "offered"), [(["time_now"], ["time_now"]), (["shell"], []), ([], [])]
)
async def test_allowed_tools_are_all_there_is(
    harness: Harness, allowed: list[str], offered: list[str]
) -> None:
    model = Listener(Reply("Fine."))
    view = await run_with(harness, model, guardrails={"allowed_tools": allowed})
    assert view.text == "Fine."
    names = [tool["function"]["name"] for tool in model.bodies[0].get("tools", [])]
    assert names == offered
