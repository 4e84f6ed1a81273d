"""One streamed call against a real HTTP server: answers, every fault, and cancellation."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from pydantic import SecretStr

from activities.completions import Completion, ProviderError
from activities.provider_errors import MAX_MESSAGE_CHARS, parse_retry_after
from activities.providers import OPENAI_URL, Provider, Providers
from domain.fallback import FailureClass, FallbackAction
from domain.messages import Message
from domain.model_chain import ModelSpec
from domain.prices import Usage
from tests.support import model_steps as steps
from tests.support.model_server import ModelServer

KEY = "sk-secret-0123456789abcdef"
HELLO: list[Message] = [{"role": "user", "content": "hello"}]

MakeProvider = Callable[..., Provider]


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running
        running.assert_clean()


@pytest.fixture
async def make(server: ModelServer) -> AsyncIterator[MakeProvider]:
    made: list[Provider] = []

    def provider(**fields: Any) -> Provider:
        fields = {"name": "m1", "base_url": server.base_url, "api_key": SecretStr(KEY)} | fields
        made.append(Provider(ModelSpec(**fields)))
        return made[-1]

    yield provider
    for item in made:
        await item.close()


async def complete(
    provider: Provider, on_text: Callable[[str], None] = lambda _: None, max_tokens: int = 100
) -> Completion:
    return await provider.complete(HELLO, max_tokens=max_tokens, on_text=on_text)


async def failure_of(provider: Provider) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await complete(provider)
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None
    return caught.value


async def test_an_answer_is_streamed(server: ModelServer, make: MakeProvider) -> None:
    server.script(steps.Reply("one two three", chunks=4, usage=steps.Usage(20, 5, cached=8)))
    pieces: list[str] = []
    completion = await complete(make(temperature=0.5, max_tokens=50), pieces.append)
    assert len(pieces) > 2
    assert "".join(pieces) == completion.text == "one two three"
    usage = Usage(input_tokens=12, output_tokens=5, cache_read_tokens=8, cache_write_tokens=None)
    assert completion.usage == usage
    assert not completion.truncated
    (call,) = server.calls
    assert call.body["messages"] == HELLO
    assert call.body["stream_options"] == {"include_usage": True}
    assert call.body["max_tokens"] == 50
    assert call.body["temperature"] == 0.5
    assert call.headers["authorization"] == f"Bearer {KEY}"


async def test_each_call_has_its_own_connection(server: ModelServer, make: MakeProvider) -> None:
    provider = make()
    server.script(steps.Reply("a"), steps.Reply("b"))
    assert (await complete(provider)).text == "a"
    assert (await complete(provider)).text == "b"
    assert [call.headers["connection"] for call in server.calls] == ["close", "close"]


async def test_without_usage_nothing_is_known(server: ModelServer, make: MakeProvider) -> None:
    server.script(steps.Reply("a", usage=None))
    assert (await complete(make())).usage is None


async def test_odd_usage_does_not_cost_the_answer(server: ModelServer, make: MakeProvider) -> None:
    choice = '"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]'
    usage = '"usage": {"prompt_tokens": null, "completion_tokens": "many"}'
    server.script(steps.RawEvents((f"{{{choice}, {usage}}}", "[DONE]")))
    assert await complete(make()) == Completion("a", "stop", None)


async def test_a_last_chunk_without_delta_is_fine(server: ModelServer, make: MakeProvider) -> None:
    text = '{"choices": [{"index": 0, "delta": {"content": "a"}}]}'
    end = '{"choices": [{"index": 0, "finish_reason": "length"}]}'
    server.script(steps.RawEvents((text, end, "[DONE]")))
    assert (await complete(make())).truncated


@pytest.mark.parametrize("step", [steps.empty(), steps.reasoning_only()])
async def test_silence_and_thoughts_are_empty_answers(
    server: ModelServer, make: MakeProvider, step: steps.Step
) -> None:
    server.script(step)
    completion = await complete(make())
    assert completion.is_empty
    assert completion.usage is not None


async def test_tool_calls_nobody_offered_are_no_text(
    server: ModelServer, make: MakeProvider
) -> None:
    calls = (steps.ToolCall("time_now"),)
    server.script(steps.Reply("", chunks=0, tool_calls=calls, finish_reason="tool_calls"))
    assert (await complete(make())).is_empty


def numbered_error(code: object) -> steps.RawEvents:
    start = '{"choices": [{"index": 0, "delta": {"content": "a"}}]}'
    return steps.RawEvents((start, f'{{"error": {{"code": {code}, "message": "it broke"}}}}'))


def said(status: int, message: str) -> steps.Refusal:
    return steps.Refusal(status, steps.error_body(message))


@pytest.mark.parametrize(
    ("step", "failure_class", "transient"),
    [
        (steps.rate_limited(), FailureClass.RATE_LIMIT, True),
        (steps.server_error(), FailureClass.PROVIDER_HARD, True),
        (steps.server_error(503), FailureClass.PROVIDER_HARD, True),
        (steps.server_error(504), FailureClass.PROVIDER_HARD, True),
        (steps.server_error(502), FailureClass.PROVIDER_HARD, True),
        (steps.unauthorized(KEY), FailureClass.AUTH, False),
        (said(403, "Country not supported"), FailureClass.AUTH, False),
        (said(402, "top up"), FailureClass.PROVIDER_HARD, False),
        (said(408, "too slow"), FailureClass.TIMEOUT, False),
        (steps.model_missing("m1"), FailureClass.PROVIDER_HARD, False),
        (said(400, "the model m1 is not available"), FailureClass.PROVIDER_HARD, False),
        (said(400, "unsupported parameter"), FailureClass.UNKNOWN, False),
        (said(400, "prompt is too long"), FailureClass.CONTEXT_OVERFLOW, False),
        (said(500, "the context size is exceeded"), FailureClass.CONTEXT_OVERFLOW, True),
        (steps.openai_overflow(), FailureClass.CONTEXT_OVERFLOW, False),
        (steps.llama_overflow(), FailureClass.CONTEXT_OVERFLOW, False),
        (steps.Refusal(502, "<html>bad gateway</html>"), FailureClass.PROVIDER_HARD, True),
        (steps.Disconnect(), FailureClass.NETWORK, False),
        (steps.Disconnect("half an ans", chunks=2), FailureClass.NETWORK, False),
        (steps.Reply("half an ans", finish_reason=None), FailureClass.NETWORK, False),
        (steps.garbage(), FailureClass.PROVIDER_HARD, True),
        (steps.RawEvents(("[1, 2]",)), FailureClass.PROVIDER_HARD, False),
        (steps.RawPage("<html>Log in first</html>"), FailureClass.PROVIDER_HARD, False),
        (numbered_error(429), FailureClass.RATE_LIMIT, True),
        (numbered_error('"server_error"'), FailureClass.PROVIDER_HARD, True),
        (numbered_error("400"), FailureClass.UNKNOWN, False),
    ],
    ids=repr,
)
async def test_every_fault_has_a_class(
    server: ModelServer,
    make: MakeProvider,
    step: steps.Step,
    failure_class: FailureClass,
    transient: bool,
) -> None:
    server.script(step)
    error = await failure_of(make())
    assert error.decision.failure_class is failure_class, error.message
    assert error.transient is transient
    assert error.retry_after is None
    assert 0 < len(error.message) <= MAX_MESSAGE_CHARS


async def test_a_long_message_is_cut(server: ModelServer, make: MakeProvider) -> None:
    server.script(said(400, "no " * 1000))
    assert len((await failure_of(make())).message) == MAX_MESSAGE_CHARS


async def test_the_key_is_taken_out_of_messages(server: ModelServer, make: MakeProvider) -> None:
    server.script(steps.unauthorized(KEY))
    assert "Incorrect API key provided: [REDACTED]" in (await failure_of(make())).message


async def test_a_stand_in_for_a_key_is_just_a_word(server: ModelServer, make: MakeProvider) -> None:
    server.script(said(400, "none of that"))
    assert "none of that" in (await failure_of(make(api_key=SecretStr("none")))).message


async def test_retry_after_is_read(server: ModelServer, make: MakeProvider) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    server.script(steps.rate_limited("7"), steps.rate_limited(date))
    provider = make()
    assert (await failure_of(provider)).retry_after == timedelta(seconds=7)
    asked = (await failure_of(provider)).retry_after
    assert asked is not None
    assert timedelta(seconds=80) < asked <= timedelta(seconds=90)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "1e40"}, 86_400),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2),
        ({"retry-after": "Sun, 01 Mar 2026 09:00:30 GMT"}, 30),
        ({"retry-after": "Sun, 01 Mar 2026 09:00:30 -0000"}, 30),
        ({"retry-after": "Sun, 01 Mar 2026 08:00:00 GMT"}, 0),
    ],
)
def test_dialects_of_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    expected = None if seconds is None else timedelta(seconds=seconds)
    assert parse_retry_after(headers, datetime(2026, 3, 1, 9, tzinfo=UTC)) == expected


async def test_a_server_that_is_not_there(make: MakeProvider) -> None:
    error = await failure_of(make(base_url="http://127.0.0.1:1/v1"))
    assert error.decision.failure_class is FailureClass.NETWORK
    assert error.decision.action is FallbackAction.RETRY


@pytest.mark.parametrize("chunks", [0, 2])
async def test_silence_is_a_timeout(server: ModelServer, make: MakeProvider, chunks: int) -> None:
    server.script(steps.Hang("half an answer", chunks=chunks))
    error = await failure_of(make(idle_timeout_seconds=0.2))
    assert error.decision.failure_class is FailureClass.TIMEOUT
    assert error.message == "silent for 0.2 s"
    await server.wait_for(lambda: server.calls[0].client_closed_at is not None)


async def test_a_slow_answer_that_keeps_coming_is_no_timeout(
    server: ModelServer, make: MakeProvider
) -> None:
    server.script(steps.Reply("one two three", chunks=6, delay=0.1))
    completion = await complete(make(idle_timeout_seconds=0.4))
    assert completion.text == "one two three"


async def test_cancelling_before_the_first_byte_closes_the_connection(
    server: ModelServer, make: MakeProvider
) -> None:
    server.script(steps.Hang())
    task = asyncio.create_task(complete(make()))
    await server.wait_for(lambda: bool(server.calls))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.wait_for(lambda: server.calls[0].client_closed_at is not None)


async def test_cancelling_in_mid_stream_closes_the_connection(
    server: ModelServer, make: MakeProvider
) -> None:
    server.script(steps.Reply("x" * 1000, chunks=1000, delay=0.02))
    started = asyncio.Event()
    provider = make()
    task = asyncio.create_task(complete(provider, lambda _: started.set()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.wait_for(lambda: server.calls[0].client_closed_at is not None)
    assert server.calls[0].pieces_sent < 1000
    server.script(steps.Reply("still usable"))
    assert (await complete(provider)).text == "still usable"


async def test_an_error_of_the_reader_closes_the_connection_too(
    server: ModelServer, make: MakeProvider
) -> None:
    def broken(_piece: str) -> None:
        raise RuntimeError("the reader broke")

    server.script(steps.Reply("x" * 100, chunks=100, delay=0.02))
    with pytest.raises(ProviderError) as caught:
        await complete(make(), broken)
    assert caught.value.decision.action is FallbackAction.NONE
    await server.wait_for(lambda: server.calls[0].client_closed_at is not None)


async def test_two_hundred_calls_at_once(server: ModelServer, make: MakeProvider) -> None:
    server.always(lambda body: steps.Reply(body["messages"][0]["content"]))
    provider = make()

    async def ask(number: int) -> str:
        messages: list[Message] = [{"role": "user", "content": f"call {number}"}]
        answer = await provider.complete(messages, max_tokens=5, on_text=lambda _: None)
        return answer.text

    answers = await asyncio.gather(*(ask(number) for number in range(200)))
    assert answers == [f"call {number}" for number in range(200)]


@pytest.mark.parametrize(
    ("base_url", "name"),
    [
        (None, "max_completion_tokens"),
        (OPENAI_URL, "max_completion_tokens"),
        ("http://127.0.0.1:8080/v1", "max_tokens"),
    ],
)
def test_the_name_of_the_limit_depends_on_the_server(base_url: str | None, name: str) -> None:
    provider = Provider(ModelSpec(name="m1", base_url=base_url))
    assert provider._options(7) == {name: 7}


async def test_a_server_without_keys_gets_none_of_ours(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    server.script(steps.Reply("a"))
    spec = ModelSpec(name="m1", base_url=server.base_url)
    providers = Providers([spec])
    assert (await complete(providers[spec])).text == "a"
    assert KEY not in server.calls[0].headers["authorization"]
    await providers.close()
