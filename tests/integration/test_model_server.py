"""The scripted model server itself: its judgement of requests, its record, its process."""

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support import model_steps as steps
from tests.support.chat_requests import request_problem
from tests.support.model_server import ModelServer

USER = {"role": "user", "content": "hi"}
CALLS = {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}, {"id": "b"}]}


def result(call_id: str) -> dict[str, str]:
    return {"role": "tool", "tool_call_id": call_id, "content": "done"}


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([USER], None),
        ([{"role": "system", "content": "s"}, USER], None),
        ([USER, CALLS, result("b"), result("a"), USER], None),
        ([], "messages is missing or empty"),
        (["hi"], "messages[0] is no object"),
        ([{"role": "boss", "content": "hi"}], "messages[0].role is 'boss'"),
        ([{"role": "user", "content": ""}], "messages[0] is empty"),
        ([{"role": "system", "content": "s"}], "there is nothing but instructions"),
        ([USER, result("a")], "messages[1] answers no tool call before it"),
        ([USER, CALLS, result("a"), USER], "messages[3] comes before the results of ['b']"),
        ([USER, CALLS, result("a")], "no results for ['b']"),
    ],
)
def test_messages_are_judged_as_the_real_api_would(messages: Any, problem: str | None) -> None:
    assert request_problem({"model": "m", "messages": messages}) == problem


def test_a_request_needs_a_model() -> None:
    assert request_problem([]) == "the body is no JSON object"
    assert request_problem({"messages": [USER]}) == "model is missing"


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


async def post(base_url: str, **body: Any) -> httpx.Response:
    # The address is on loopback: no proxy of the environment has a part in this.
    async with httpx.AsyncClient(trust_env=False) as client:
        known = {"model": "m", "messages": [USER]}
        return await client.post(f"{base_url}/chat/completions", json=known | body)


async def test_an_unscripted_request_fails_the_test(server: ModelServer) -> None:
    assert (await post(server.base_url)).status_code == 400
    with pytest.raises(AssertionError, match="unscripted request for 'm'"):
        server.assert_clean()


async def test_a_bad_request_fails_the_test_and_takes_no_step(server: ModelServer) -> None:
    server.script(steps.Reply())
    assert (await post(server.base_url, messages=[])).status_code == 400
    with pytest.raises(AssertionError, match="messages is missing"):
        server.assert_clean()
    assert (await post(server.base_url)).status_code == 200


def test_a_step_that_nobody_asked_for_fails_the_test(server: ModelServer) -> None:
    server.script(steps.Reply())
    with pytest.raises(AssertionError, match="1 steps"):
        server.assert_clean()


async def test_each_model_has_its_own_script(server: ModelServer) -> None:
    server.script(steps.Reply("any"))
    server.script(steps.Reply("mine"), model="m")
    server.always(lambda body: steps.Reply(f"always {body['model']}"))
    answers = [await post(server.base_url, model=model) for model in ("m", "m", "m", "n")]
    texts = [answer.json()["choices"][0]["message"]["content"] for answer in answers]
    assert texts == ["mine", "any", "always m", "always n"]
    assert [call.model for call in server.calls] == ["m", "m", "m", "n"]
    server.assert_clean()


async def test_an_answer_that_is_not_streamed(server: ModelServer) -> None:
    call = steps.ToolCall("now", "{}", "c1")
    server.script(steps.Reply("", reasoning="hm", tool_calls=(call,), finish_reason="tool_calls"))
    body = (await post(server.base_url)).json()
    assert body["usage"] == steps.Usage().to_json()
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "now"
    assert choice["message"]["reasoning_content"] == "hm"


async def test_usage_is_streamed_only_when_asked_for(server: ModelServer) -> None:
    server.script(steps.Reply(), steps.Reply())
    plain = await post(server.base_url, stream=True)
    full = await post(server.base_url, stream=True, stream_options={"include_usage": True})
    assert ('"usage"' in plain.text, '"usage"' in full.text) == (False, True)
    assert plain.text.endswith("data: [DONE]\n\n")


async def test_other_pages_do_not_exist(server: ModelServer) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{server.base_url}/models")).status_code == 404


async def test_it_runs_as_a_process_and_prints_its_address() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.support.model_server", "--port", "0", "--text", "hi"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        address = (await process.stdout.readline()).decode().strip()
        answers = await asyncio.gather(*(post(address) for _ in range(20)))
    finally:
        process.terminate()
        await process.communicate()
    texts = {answer.json()["choices"][0]["message"]["content"] for answer in answers}
    assert texts == {f"hi {number}" for number in range(1, 21)}
