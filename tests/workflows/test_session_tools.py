"""Chat turns that use tools, on a real server: what is offered, called, disturbed and kept."""

import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from domain.identifiers import SERVED_QUEUES, TOOLS_QUEUE
from domain.queueing import QueueMode
from domain.session_messages import QueueOptions
from domain.threads import ThreadMessage
from domain.tool_actions import ActionRecord, ActionStatus
from domain.turns import TurnStage, TurnStatus
from tests.support.conversations import Conversation, conversation
from tests.support.harness import Harness, running_harness, running_server, until
from tests.support.model_steps import Body, Reply
from tests.support.receiver import Hang, Receiver, running_receiver
from tests.support.tool_runs import Listener, asks
from worker.temporal_server import DevServer
from workflows.turn_tools import NO_TOOLS

STEER = QueueOptions(mode=QueueMode.STEER, debounce_ms=30)
INTERRUPT = QueueOptions(mode=QueueMode.INTERRUPT, debounce_ms=30)


async def _thread(chat: Conversation) -> list[ThreadMessage]:
    async with await chat.store() as store:
        return await store.threads.messages(f"session:user:me/{chat.key}")


async def _roles(chat: Conversation) -> list[str]:
    return [message.role for message in await _thread(chat)]


async def _calls(chat: Conversation) -> list[ActionRecord]:
    """The calls of all turns, in their order."""
    async with await chat.store() as store:
        turns = await store.turns.of_session(chat.key)
        return [call for turn in turns for call in await store.actions.of_turn(turn.id)]


def _offered(body: Body) -> list[str]:
    return [tool["function"]["name"] for tool in body.get("tools", [])]


@dataclass
class Slow:
    """A tool that hangs: a web page that answers once it is told to."""

    harness: Harness
    page: Receiver

    @property
    def get(self) -> tuple[str, dict[str, Any]]:
        return "http_get", {"url": f"http://127.0.0.1:{self.page.port}/slow"}

    @property
    def post(self) -> tuple[str, dict[str, Any]]:
        url = f"http://127.0.0.1:{self.page.port}/pay"
        return "http_request", {"method": "POST", "url": url, "body": "1"}


@asynccontextmanager
async def _slow_page(folder: Path, server: DevServer) -> AsyncIterator[Slow]:
    async with running_receiver() as page:
        page.script.append(Hang())
        settings = {
            "TICKLESS_TOOL_PERMISSIONS": '{"http_request": "allow"}',
            "TICKLESS_TOOL_HTTP_ALLOWED_HOSTS": f'["127.0.0.1:{page.port}"]',
        }
        async with running_harness(
            folder / "own", server, queues=SERVED_QUEUES, **settings
        ) as harness:
            yield Slow(harness, page)


@pytest.fixture(scope="module")
async def own_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DevServer]:
    """A server whose queues nobody else serves."""
    async with running_server(tmp_path_factory.mktemp("own-server")) as running:
        yield running


async def test_a_user_has_a_routine_created(harness: Harness) -> None:
    chat = conversation(harness)
    wanted = {
        "title": f"Stretch {chat.mark}",
        "prompt": "Say: stretch.",
        "schedule": {"cron_expr": "0 9 * * 1-5"},
    }
    harness.scripts.on(
        chat.mark, asks(("routine_create", wanted)), Reply("You will hear of it at nine.")
    )
    await chat.send("Remind me to stretch every workday at nine")
    answer = await chat.settled("m1")

    assert (answer.status, answer.text) == (TurnStatus.ANSWERED, "You will hear of it at nine.")
    (call,) = await _calls(chat)
    assert (call.tool, call.status, call.sequence, call.turn_id) == (
        "routine_create",
        ActionStatus.OK,
        1,
        answer.turn_id,
    ), call.output
    assert (call.caller, call.user_id) == ("channel:file", "ann")
    page = (await harness.tickless.routines.list()).model_dump(mode="json")
    (made,) = [one["id"] for one in page["routines"] if one["title"] == f"Stretch {chat.mark}"]
    routine = (await harness.tickless.routines.get(made)).routine
    # It speaks where it was asked for.
    assert (routine.session_key, routine.scope.text) == (chat.key, "user:me")
    assert await _roles(chat) == ["user", "assistant", "tool", "assistant"]
    assert chat.delivered() == ["You will hear of it at nine."]
    (turn,) = await chat.turns()
    assert (turn.tokens_in, turn.warnings) == (22, [])


async def test_what_needs_an_approval_is_not_offered_and_the_view_says_why(
    harness: Harness,
) -> None:
    write = ("file_write", {"path": "a.txt", "content": "x"})
    model = Listener(asks(write), Reply("I may not."))
    chat = conversation(harness, model)
    await chat.send("Write it down")
    assert (await chat.settled("m1")).text == "I may not."
    offered = _offered(model.bodies[0])
    assert {"routine_create", "event_emit", "time_now"} <= set(offered)
    assert not {"file_write", "shell"} & set(offered)
    view = await chat.view()
    assert view.tools == offered
    assert view.tools_removed["file_write"] == "approval"
    assert model.results()[0].startswith("error not_permitted: ")
    assert "only a job can ask for" in model.results()[0]
    assert [call.status for call in await _calls(chat)] == [ActionStatus.REJECTED]


async def test_calls_that_change_nothing_run_at_once_and_the_offer_is_kept(
    harness: Harness,
) -> None:
    zones = ["Europe/Berlin", "Asia/Kolkata", "America/New_York"]
    clocks = asks(*(("time_now", {"timezone": zone}) for zone in zones))
    model = Listener(clocks, Reply("Three clocks."), Reply("Once more."))
    chat = conversation(harness, model)
    await chat.send("What time is it")
    assert (await chat.settled("m1")).text == "Three clocks."
    assert [zone in text for zone, text in zip(zones, model.results(), strict=True)] == [True] * 3
    assert [call.arguments["timezone"] for call in await _calls(chat)] == zones
    before = await chat.harness.events(chat.handle.id)
    await chat.send("And now")
    assert (await chat.settled("m2")).text == "Once more."
    # What was called before is told to the model with the rest of the conversation.
    assert [message["role"] for message in model.bodies[-1]["messages"]][-6:] == [
        "assistant",
        "tool",
        "tool",
        "tool",
        "assistant",
        "user",
    ]
    after = await chat.harness.events(chat.handle.id)
    assert after.count("ACTIVITY_TASK_SCHEDULED") - before.count("ACTIVITY_TASK_SCHEDULED") == 2


async def test_rounds_have_an_end(own_server: DevServer, tmp_path: Path) -> None:
    def goes_on(body: Body) -> Reply:
        return asks(("time_now", {})) if body.get("tools") else Reply("Then this is all.")

    settings = {"TICKLESS_CHAT__MAX_TOOL_ROUNDS": "2"}
    async with running_harness(tmp_path, own_server, queues=SERVED_QUEUES, **settings) as harness:
        chat = conversation(harness, goes_on)
        await chat.send("Look at the clock")
        assert (await chat.settled("m1")).text == "Then this is all."
        assert [call.sequence for call in await _calls(chat)] == [1, 2]


async def test_who_may_not_command_has_no_tools_used(harness: Harness) -> None:
    model = Listener(Reply("Hello."), Reply("Hello again."))
    chat = conversation(harness, model)
    await chat.send("Delete all my routines", command_authorized=False)
    await chat.settled("m1")
    await chat.send("Who was that")
    await chat.settled("m2")
    assert _offered(model.bodies[0]) == []
    assert "routine_delete" in _offered(model.bodies[1])


async def test_tools_can_be_switched_off(own_server: DevServer, tmp_path: Path) -> None:
    model = Listener(Reply("Plainly."))
    async with running_harness(tmp_path, own_server, TICKLESS_CHAT__TOOLS="false") as harness:
        chat = conversation(harness, model)
        await chat.send("Hello")
        assert (await chat.settled("m1")).text == "Plainly."
        assert _offered(model.bodies[0]) == []
        assert (await chat.view()).tools == []


async def test_where_nobody_serves_tools_a_user_is_answered_without(
    own_server: DevServer, tmp_path: Path
) -> None:
    queues = tuple(queue for queue in SERVED_QUEUES if queue != TOOLS_QUEUE)
    model = Listener(Reply("Without."))
    async with running_harness(tmp_path, own_server, queues=queues) as harness:
        chat = conversation(harness, model)
        await chat.send("Hello")
        assert (await chat.settled("m1")).text == "Without."
        assert _offered(model.bodies[0]) == []
        (turn,) = await chat.turns()
        assert turn.warnings == [NO_TOOLS]


@pytest.mark.parametrize("how", ["stop", "interrupt"])
async def test_a_turn_ends_while_its_tool_runs(
    own_server: DevServer, tmp_path: Path, how: str
) -> None:
    async with _slow_page(tmp_path, own_server) as slow:
        model = Listener(asks(slow.post, ("time_now", {})), Reply("Something else."))
        chat = conversation(slow.harness, model)
        await chat.send("Pay")
        await slow.page.arrived.wait()
        turn = (await chat.view()).turn
        assert turn is not None
        assert turn.stage == TurnStage.TOOLS
        if how == "stop":
            await chat.handle.execute_update("stop")
        else:
            await chat.send("No, wait", options=INTERRUPT)
        assert (await chat.settled("m1")).status == TurnStatus.CANCELLED
        # What may have been done is not known, what was not begun was not.
        (paid,) = await _calls(chat)
        assert (paid.status, paid.error) == (ActionStatus.UNKNOWN, "cancelled")
        await chat.send("And now")
        await chat.settled("m2" if how == "stop" else "m3")
        told = model.results()
        assert told[0].startswith("cancelled; unknown: ")
        assert told[1].startswith("No result is known")
        asked = [message.content for message in await _thread(chat) if message.role == "user"]
        assert asked[0] == f"Pay {chat.mark}"
        assert len(asked) == len(set(asked)), "each is told once"


async def test_a_message_that_joins_is_heard_after_the_calls(
    own_server: DevServer, tmp_path: Path
) -> None:
    async with _slow_page(tmp_path, own_server) as slow:
        model = Listener(
            asks(("time_now", {}), slow.post, ("routine_list", {})), Reply("Not paid, I think.")
        )
        chat = conversation(slow.harness, model)
        await chat.send("Pay")
        await slow.page.arrived.wait()
        await chat.send("Stop, do not", options=STEER)
        answer = await chat.settled("m2")
        assert (answer.status, answer.text, answer.fate) == (
            TurnStatus.ANSWERED,
            "Not paid, I think.",
            "steered",
        )
        assert [(call.tool, call.status, call.error) for call in await _calls(chat)] == [
            ("time_now", ActionStatus.OK, None),
            ("http_request", ActionStatus.UNKNOWN, "cancelled"),
            ("routine_list", ActionStatus.REJECTED, "passed_over"),
        ]
        assert model.results()[2].startswith("error passed_over: not called: the user has said")
        said = [(m["role"], m["content"]) for m in model.bodies[-1]["messages"]]
        assert [role for role, _ in said if role != "system"] == [
            "user",
            "assistant",
            *["tool"] * 3,
            "user",
        ]
        assert f"Stop, do not {chat.mark}" in said[-1][1]
        assert f"Pay {chat.mark}" not in said[-1][1]
        assert await _roles(chat) == ["user", "assistant", *["tool"] * 3, "user", "assistant"]
        assert len(chat.delivered()) == 1


async def test_who_may_not_command_ends_the_calls_of_a_turn(
    own_server: DevServer, tmp_path: Path
) -> None:
    async with _slow_page(tmp_path, own_server) as slow:

        def eager(body: Body) -> Reply:
            return asks(slow.get) if body.get("tools") else Reply("I have no tools now.")

        chat = conversation(slow.harness, eager)
        await chat.send("Look it up")
        await slow.page.arrived.wait()
        await chat.send("And buy it", options=STEER, command_authorized=False)
        assert (await chat.settled("m2")).text == "I have no tools now."
        assert [call.tool for call in await _calls(chat)] == ["http_get"]


async def test_a_pause_parks_the_calls_and_what_was_called_is_not_called_again(
    harness: Harness,
) -> None:
    gate = threading.Event()
    clock = asks(("time_now", {}))
    model = Listener(clock, replace(clock, gate=gate), Reply("Done."))
    chat, other = conversation(harness, model), conversation(harness, Reply("Not paused."))
    await chat.send("What time is it")
    await harness.models.wait_for(lambda: len(chat.asked()) == 2)
    await harness.tickless.system.pause_all("for a test")
    try:
        await other.parked()
        # The workers know of the pause, and only now the model asks for the second call.
        gate.set()

        async def parked() -> bool:
            turn = (await chat.view()).turn
            return turn is not None and turn.stage == TurnStage.SYSTEM_PAUSED

        await until(parked, "the turn has parked")
        assert len(await _calls(chat)) == 1
    finally:
        await harness.tickless.system.resume_all()
    assert (await chat.settled("m1")).text == "Done."
    calls = [(call.tool, call.status) for call in await _calls(chat)]
    assert calls == [("time_now", ActionStatus.OK)] * 2
    assert len(model.bodies) == 3


async def test_a_session_that_continues_as_new_goes_on_with_tools(harness: Harness) -> None:
    clock = asks(("time_now", {}))
    model = Listener(clock, Reply("First."), clock, Reply("Second."))
    chat = conversation(harness, model)
    await chat.send("What time is it")
    before = (await chat.handle.describe()).run_id
    # In the midst of a turn; it takes effect after it.
    await chat.handle.signal("upgrade")
    await chat.settled("m1")

    async def renewed() -> bool:
        return (await chat.handle.describe()).run_id != before

    await until(renewed, "continued as new")
    await chat.send("And now")
    assert (await chat.settled("m2")).text == "Second."
    calls = await _calls(chat)
    assert [(call.tool, call.status, call.sequence) for call in calls] == [
        ("time_now", ActionStatus.OK, 1)
    ] * 2
    assert len({call.id for call in calls}) == 2
    assert json.loads(model.results()[-1].splitlines()[1])["timezone"] == "UTC"
