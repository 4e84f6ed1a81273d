"""Tools in model calls: offered, called in pieces, told with their results, in both styles."""

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from activities import failures
from activities.store import Store, open_store
from domain.history import NO_RESULT
from domain.model_chain import ToolCallStyle
from domain.prompts import LIGHTWEIGHT, PromptFrame
from domain.threads import ThreadKind, ThreadMessage
from domain.tool_specs import AskedCall, ToolSpec
from domain.turns import TurnRecord
from tests.support import model_steps as steps
from tests.support.ledger_rows import NOON, job_record, thread
from tests.support.model_bench import Bench, running_bench
from tests.support.model_server import ModelServer

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"zone": {"type": "string"}}}
CLOCK = ToolSpec(name="clock", description="Tells the time.", parameters=SCHEMA)
DICE = ToolSpec(name="dice", description="Rolls a die.")


def catalog(names: Sequence[str]) -> list[ToolSpec]:
    known = {spec.name: spec for spec in (CLOCK, DICE)}
    return [known[name] for name in names]


@pytest.fixture(scope="module")
async def store(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Store]:
    path = tmp_path_factory.mktemp("store") / "tickless.db"
    async with await open_store(f"sqlite:///{path}") as opened:
        yield opened


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


@pytest.fixture
async def bench(store: Store, server: ModelServer, tmp_path: Path) -> AsyncIterator[Bench]:
    async with running_bench(store, server, tmp_path, catalog=catalog) as made:
        yield made


def calling(*calls: steps.ToolCall, text: str = "", chunks: int = 1) -> steps.Reply:
    return steps.Reply(text, chunks=chunks, tool_calls=calls, finish_reason="tool_calls")


async def answer_call(bench: Bench, call: AskedCall, text: str) -> None:
    result = ThreadMessage(
        id=f"{bench.run_id}/{call.id}",
        thread_id=bench.thread_id,
        role="tool",
        content=text,
        tool_calls=[{"id": call.id, "name": call.name}],
        created_at=NOON,
    )
    await bench.store.threads.append([result])


async def test_tools_are_offered_and_called(bench: Bench) -> None:
    clock = steps.ToolCall("clock", '{"zone": "Europe/Berlin"}', "call_a")
    bench.server.script(calling(clock, steps.ToolCall("dice", "{}", "call_b")))
    answer = await bench.call(bench.request(tools=["clock", "dice"]))
    assert answer.text == ""
    assert answer.tool_calls == [
        AskedCall(id="call_a", name="clock"),
        AskedCall(id="call_b", name="dice"),
    ]
    offered = [tool["function"] for tool in bench.server.calls[0].body["tools"]]
    assert [tool["name"] for tool in offered] == ["clock", "dice"]
    assert offered[0]["parameters"] == SCHEMA
    stored = await bench.store.threads.message(answer.message_id)
    assert stored is not None
    assert stored.tool_calls is not None
    assert stored.tool_calls[0] == {
        "id": "call_a",
        "type": "function",
        "function": {"name": "clock", "arguments": '{"zone": "Europe/Berlin"}'},
    }
    # A further attempt finds the calls as well.
    again = await bench.call(bench.request(tools=["clock", "dice"]), attempt=2)
    assert again.tool_calls == answer.tool_calls


async def test_the_pieces_of_calls_are_put_together(bench: Bench) -> None:
    bench.server.script(
        steps.RawEvents(
            (
                piece(0, "call_a", "clock", ""),
                piece(0, None, None, '{"zo'),
                piece(1, "call_b", "dice", ""),
                piece(0, None, None, 'ne": "UTC"}'),
                piece(None, "call_c", "dice", '{"sides"'),
                piece(None, None, None, ": 6}"),
                piece(0, "call_d", "clock", "{}"),
                ending(),
                "[DONE]",
            )
        )
    )
    answer = await bench.call(bench.request(tools=["clock", "dice"]))
    stored = await bench.store.threads.message(answer.message_id)
    assert stored is not None
    said = [
        (call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in stored.tool_calls or ()
    ]
    assert said == [
        ("call_a", "clock", '{"zone": "UTC"}'),
        ("call_b", "dice", "{}"),
        ("call_c", "dice", '{"sides": 6}'),
        ("call_d", "clock", "{}"),
    ]


def piece(index: int | None, call_id: str | None, name: str | None, arguments: str) -> str:
    call: dict[str, Any] = {"type": "function", "function": {"arguments": arguments}}
    call |= {} if index is None else {"index": index}
    call |= {} if call_id is None else {"id": call_id}
    if name is not None:
        call["function"]["name"] = name
    return json.dumps({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]})


def ending() -> str:
    return json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})


async def test_the_thread_is_answered_after_the_results(bench: Bench) -> None:
    bench.server.script(calling(steps.ToolCall("clock", "{}", "call_a"), text="I look."))
    first = await bench.call(bench.request(tools=["clock"]))
    assert first.text == "I look."
    await answer_call(bench, first.tool_calls[0], "noon")
    bench.server.script(steps.Reply("It is noon."))
    request = bench.request(prompt=None, tools=["clock"])
    answer = await bench.call(request, activity_id="2")
    assert (answer.text, answer.tool_calls) == ("It is noon.", [])
    system, asked, called, result = bench.server.calls[1].body["messages"]
    # The frame of the call stands around the question again.
    assert asked["content"] == bench.server.calls[0].texts[1]
    assert LIGHTWEIGHT.after in asked["content"]
    assert system["content"] == LIGHTWEIGHT.system[0]
    assert called["tool_calls"][0]["id"] == "call_a"
    assert result == {"role": "tool", "content": "noon", "tool_call_id": "call_a"}
    texts = await bench.texts()
    assert [role for role, _ in texts] == ["user", "assistant", "tool", "assistant"]
    assert texts[0] == ("user", "Say hello.")


async def test_a_call_without_result_does_not_stop_the_thread(bench: Bench) -> None:
    bench.server.script(calling(steps.ToolCall("clock")), steps.Reply("I do not know."))
    await bench.call(bench.request(tools=["clock"]))
    await bench.call(bench.request(prompt="Well?"), activity_id="2")
    roles = [message["role"] for message in bench.server.calls[1].body["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "user"]
    assert NO_RESULT in bench.server.calls[1].texts


async def test_ids_that_are_counted_anew_are_told_apart(bench: Bench) -> None:
    bench.server.script(*[calling(steps.ToolCall("dice"), steps.ToolCall("dice"))] * 2)
    first = await bench.call(bench.request(tools=["dice"]))
    second = await bench.call(bench.request(prompt="Again.", tools=["dice"]), activity_id="2")
    ids = [call.id for call in (*first.tool_calls, *second.tool_calls)]
    assert len(set(ids)) == 4
    assert ids[0] == "call_1"
    found = await bench.call(bench.request(tools=["dice"]), activity_id="2", attempt=2)
    assert found.tool_calls == second.tool_calls


async def test_text_only_offers_nothing_and_hears_no_call(bench: Bench) -> None:
    bench.server.script(
        calling(steps.ToolCall("clock")), calling(steps.ToolCall("clock"), text="Hm.")
    )
    await bench.call(bench.request(tools=["clock"]))
    request = bench.request(prompt=None, tools=["clock"], text_only=True)
    answer = await bench.call(request, activity_id="2")
    assert (answer.text, answer.tool_calls) == ("Hm.", [])
    assert "tools" not in bench.server.calls[1].body


async def test_an_answer_without_text_and_calls_is_empty(bench: Bench) -> None:
    bench.server.script(steps.empty())
    error, _ = await bench.fails(request=bench.request(tools=["clock"]))
    assert error.type == failures.EMPTY_REPLY


async def test_a_small_model_calls_by_answering_in_json(bench: Bench) -> None:
    chain = [bench.spec(tool_calls=ToolCallStyle.CONSTRAINED)]
    bench.server.script(
        steps.Reply('{"name": "clock", "arguments": {"zone": "UTC"}}', chunks=5),
        steps.Reply('{"answer": "It is noon."}', chunks=5),
    )
    first = await bench.call(bench.request(tools=["clock"]), chain=chain)
    (call,) = first.tool_calls
    assert (first.text, call.name, len(call.id)) == ("", "clock", 9)
    assert all(not beat.tail for beat in bench.beats)
    await answer_call(bench, call, "noon")
    request = bench.request(prompt=None, tools=["clock"])
    second = await bench.call(request, chain=chain, activity_id="2")
    assert (second.text, second.tool_calls) == ("It is noon.", [])
    one, two = (sent.body for sent in bench.server.calls)
    assert "tools" not in one
    shapes = one["response_format"]["json_schema"]["schema"]["anyOf"]
    assert shapes[0]["properties"]["name"] == {"const": "clock"}
    assert "clock: Tells the time." in one["messages"][1]["content"]
    assert [message["role"] for message in two["messages"]] == [
        "system",
        "system",
        "user",
        "assistant",
        "user",
    ]
    assert two["messages"][-1]["content"] == "[result of clock]\nnoon"


async def test_a_worker_without_tools_says_so(bench: Bench) -> None:
    bench.options["catalog"] = None
    with pytest.raises(ApplicationError, match="'clock'") as caught:
        await bench.call(bench.request(tools=["clock"]))
    assert (caught.value.type, caught.value.non_retryable) == (failures.PROMPT_REFUSED, True)


async def test_there_has_to_be_something_to_answer(bench: Bench) -> None:
    with pytest.raises(ApplicationError, match="is empty") as caught:
        await bench.call(bench.request(prompt=None))
    assert caught.value.type == failures.PROMPT_REFUSED


@pytest.mark.parametrize("callers", [0, 2])
async def test_exactly_one_calls(bench: Bench, callers: int) -> None:
    record = bench.request().run if callers else None
    turn = turn_record(bench) if callers else None
    with pytest.raises(ApplicationError, match=f"exactly one .* not {callers}") as caught:
        await bench.call(bench.request(run=record, turn=turn))
    assert caught.value.type == failures.PROMPT_REFUSED


def turn_record(bench: Bench) -> TurnRecord:
    return TurnRecord(
        id=f"{bench.run_id}/t-1", session_key="s", workflow_id="session/s", started_at=NOON
    )


async def test_a_turn_calls_in_its_own_frame(bench: Bench) -> None:
    turn = turn_record(bench)
    frame = PromptFrame(system=["You chat.", "  ", "Be brief."], before="[context]", after="[rule]")
    bench.server.script(steps.Reply("Hi."))
    request = bench.request(
        run=None,
        turn=turn,
        thread=thread(bench.thread_id, kind=ThreadKind.SESSION),
        frame=frame,
        purpose="chat",
    )
    await bench.call(request)
    assert bench.server.calls[0].texts == [
        "You chat.",
        "Be brief.",
        "[context]\n\nSay hello.\n\n[rule]",
    ]
    assert (await bench.texts())[0] == ("user", "Say hello.")
    # Its ids begin with the turn's: those of activities begin anew in each execution of a session.
    (row,) = await bench.store.calls.with_prefix(f"{turn.id}/")
    assert (row.turn_id, row.run_id, row.job_id, row.purpose) == (turn.id, None, None, "chat")
    stored = await bench.store.read(lambda ledger: ledger.turns.get(turn.id))
    assert stored is not None
    assert stored.thread_id == bench.thread_id


async def test_a_job_calls_for_its_run(bench: Bench) -> None:
    bench.server.script(steps.Reply("One."), steps.Reply("Two."))
    await bench.call()
    job = job_record(f"job of {bench.run_id}", run_id=bench.run_id, goal_id=None)
    await bench.call(bench.request(run=None, job=job, purpose="job"), activity_id="2")
    rows = await bench.rows()
    assert [(row.run_id, row.job_id) for row in rows] == [
        (bench.run_id, None),
        (bench.run_id, job.id),
    ]
    stored = await bench.store.jobs.get(job.id)
    assert stored is not None
    assert stored.thread_id == bench.thread_id
