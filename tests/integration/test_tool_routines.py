"""The tools that need Temporal: routines and events, on behalf of the caller of a tool."""

from typing import Any

import pytest

from activities.emitting import Emitter
from activities.tools.builtin.events import event_tools
from activities.tools.builtin.routines import routine_tools
from activities.tools.tool import ToolFailed
from domain.scopes import Route, Scope, ScopeKind
from domain.tool_specs import ToolCaller
from tests.support.harness import Harness
from tests.support.tools import Toolbox, caller_of
from worker.tool_callers import LibraryCalls, caller_context

ROUTINE = {"prompt": "Say OK.", "schedule": {"every_seconds": 86_400}}


def box(harness: Harness, caller: ToolCaller) -> Toolbox:
    calls = LibraryCalls(harness.client, harness.settings, harness.environ)
    return Toolbox([*routine_tools(calls), *event_tools(Emitter(harness.client))], caller)


async def test_the_life_of_a_routine(harness: Harness) -> None:
    user = harness.name()
    tools = box(harness, caller_of(user))
    created = [await tools.answer("routine_create", **ROUTINE, title="T") for _ in range(2)]
    assert created[0]["id"] == created[1]["id"]
    id = created[0]["id"]
    listed = await tools.answer("routine_list")
    assert [item["id"] for item in listed["routines"]] == [id]
    changed = await tools.answer("routine_update", id=id, changes={"status": "paused"})
    assert changed["routine"]["status"] == "paused"
    with pytest.raises(ToolFailed, match=r"status: .*paused.*accepted: force"):
        await tools.call("routine_trigger", id=id)
    started = [await tools.answer("routine_trigger", "k2", id=id, force=True) for _ in range(2)]
    assert started[0]["run_id"] == started[1]["run_id"]
    await harness.client.get_workflow_handle(started[0]["workflow_id"]).result()
    runs = await tools.answer("routine_runs", id=id)
    # The newest first; the refused one is on record too.
    assert runs["runs"][0]["id"] == started[0]["run_id"]
    deleted = await tools.answer("routine_delete", id=id)
    assert deleted["routine"]["status"] == "deleted"


async def test_routines_of_others_do_not_exist(harness: Harness) -> None:
    mine = await harness.routine()
    tools = box(harness, caller_of(harness.name()))
    for name, more in (
        ("routine_runs", {}),
        ("routine_trigger", {}),
        ("routine_delete", {}),
        ("routine_update", {"changes": {"title": "x"}}),
    ):
        with pytest.raises(ToolFailed, match=mine):
            await tools.call(name, id=mine, **more)
    assert (await tools.answer("routine_list"))["routines"] == []


async def test_what_is_wrong_is_told_as_everywhere(harness: Harness) -> None:
    tools = box(harness, caller_of(harness.name()))
    with pytest.raises(ToolFailed, match=r"schedule\.cron_expr: .*"):
        await tools.call("routine_create", prompt="x", schedule={"cron_expr": "61 * * * *"})
    # A tool is no operator: it may not name this process's variables.
    trigger = {"type": "webhook", "secret": {"env": "TICKLESS_CONFIG"}}
    with pytest.raises(ToolFailed, match=r"trigger\.secret"):
        await tools.call("routine_create", prompt="x", trigger=trigger)


async def test_a_group_chat_is_its_own_scope() -> None:
    chat = Scope(kind=ScopeKind.CHAT, id="hook:room:1")
    caller = caller_of("ann").model_copy(update={"scope": chat})
    context = caller_context(caller)
    assert context.scope() == chat
    assert context.route() == Route(receive_id_type="hook", receive_id="room:1")
    assert context.actor().user_id == "ann"
    assert caller_context(caller_of("ann")).scope() == caller_of("ann").scope


async def test_an_event_starts_what_listens_one_hop_further(harness: Harness) -> None:
    kind = harness.name()
    trigger = {"type": "system_event", "source": "tests", "event_type": kind}
    guardrails = {"cooldown_seconds": 0}
    routine = await harness.routine(trigger=trigger, guardrails=guardrails)
    tools = box(harness, caller_of("me", hop=7))
    event = {"source": "tests", "event_type": kind, "payload": {"a": 1}}
    told = [await tools.answer("event_emit", **event) for _ in range(2)]
    assert told[0] == told[1]
    assert told[0]["matched"] == 1
    (run,) = told[0]["runs"]
    assert run.startswith(f"{routine}/e-")
    view = await harness.tickless.runs.wait(run)
    assert view.record.hop == 8


@pytest.mark.parametrize(
    ("arguments", "hop", "reason"),
    [
        ({"source": "tickless", "event_type": "run.completed"}, 0, "Tickless' own"),
        ({"source": "tests", "event_type": "a b"}, 0, "event_type"),
        ({"source": "tests", "event_type": "a"}, 8, "hop 9"),
        ({"source": "tests", "event_type": "a", "payload": {"a": "x" * 70_000}}, 0, "65536"),
    ],
)
async def test_events_that_are_refused(
    harness: Harness, arguments: dict[str, Any], hop: int, reason: str
) -> None:
    with pytest.raises(ToolFailed, match=reason):
        await box(harness, caller_of("me", hop=hop)).call("event_emit", **arguments)
