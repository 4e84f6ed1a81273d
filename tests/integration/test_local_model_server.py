"""The real local model behind HTTP: a real answer, and its process comes and goes as told."""

import asyncio
import importlib.util
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from importlib.machinery import ModuleSpec
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from openai import AsyncOpenAI
from openai.types.shared_params import ResponseFormatJSONSchema

from domain.errors import ErrorKind
from tests.support.processes import ROOT, eventually_refuses, next_line, python_child, refuses
from worker import local_model_server
from worker.llama_server import default_threads
from worker.local_model import LocalModelError, fetch_weights
from worker.local_model_server import LocalModelOptions, LocalModelServer

NOTE = "The meeting is on Friday at noon, in the big room."


def port_of(base_url: str) -> int:
    port = urlsplit(base_url).port
    assert port
    return port


@pytest.fixture(scope="session")
async def weights() -> Path:
    return await fetch_weights()


@pytest.fixture
def options(weights: Path, tmp_path: Path) -> LocalModelOptions:
    return LocalModelOptions(model=weights, log_file=tmp_path / "model.log", alias="smol")


@pytest.fixture(scope="module")
async def server(
    weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LocalModelServer]:
    log = tmp_path_factory.mktemp("model") / "model.log"
    async with LocalModelServer(LocalModelOptions(weights, log, "smol")) as running:
        yield running


async def test_the_model_answers_over_http(server: LocalModelServer) -> None:
    assert server.base_url.startswith("http://127.0.0.1:")
    async with AsyncOpenAI(base_url=server.base_url, api_key="none") as client:
        models = await client.models.list()
        assert [model.id for model in models.data] == ["smol"]
        answer = await client.chat.completions.create(
            model="smol",
            messages=[{"role": "user", "content": f"{NOTE} On which day is the meeting?"}],
            temperature=0,
            max_tokens=20,
        )
    assert "Friday" in (answer.choices[0].message.content or "")
    assert answer.usage
    assert 0 < answer.usage.completion_tokens <= 20


async def test_a_schema_binds_the_answer(server: LocalModelServer) -> None:
    schema: dict[str, object] = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}, "people": {"type": "integer"}},
        "required": ["city", "people"],
    }
    form: ResponseFormatJSONSchema = {
        "type": "json_schema",
        "json_schema": {"name": "city", "schema": schema},
    }
    async with AsyncOpenAI(base_url=server.base_url, api_key="none") as client:
        answer = await client.chat.completions.create(
            model="smol",
            messages=[{"role": "user", "content": "A city and how many people live there."}],
            response_format=form,
            temperature=0,
            max_tokens=60,
        )
    city = json.loads(answer.choices[0].message.content or "")
    assert city["city"] in {"Paris", "Rome"}
    assert isinstance(city["people"], int)


async def test_pages_of_other_origins_may_not_read_answers(server: LocalModelServer) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        origin = {"Origin": "http://elsewhere.example"}
        answer = await client.get(f"{server.base_url}/models", headers=origin)
        assert answer.headers.get("access-control-allow-origin", "") == ""
        root = server.base_url.removesuffix("/v1")
        assert (await client.get(root)).status_code == 404  # no web UI
        assert (await client.get(f"{root}/slots")).status_code == 501  # no prompts of others


async def test_it_stops_in_the_middle_of_an_answer_and_starts_again_on_its_port(
    options: LocalModelOptions,
) -> None:
    server = LocalModelServer(options)
    with pytest.raises(RuntimeError, match="no address"):
        _ = server.base_url
    with pytest.raises(RuntimeError, match="not started"):
        await server.wait()
    async with server:
        base_url = server.base_url
        with pytest.raises(RuntimeError, match="running already"):
            await server.start()
        question = {"messages": [{"role": "user", "content": "Count to 9999."}], "stream": True}
        async with (
            httpx.AsyncClient(trust_env=False) as client,
            client.stream("POST", f"{base_url}/chat/completions", json=question) as answer,
        ):
            lines = answer.aiter_lines()
            assert (await anext(lines)).startswith("data:")
            async with asyncio.timeout(1):
                await server.stop()
            with pytest.raises(httpx.TransportError):
                async for _ in lines:
                    pass
        assert server.pid is None
        assert await server.wait() == 0
        assert await refuses("127.0.0.1", port_of(base_url))
        await server.start()
        assert server.base_url == base_url
    assert server.pid is None


async def test_a_model_that_cannot_be_loaded_is_told_with_the_end_of_the_log(
    options: LocalModelOptions, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\xff" * 1000)
    server = LocalModelServer(replace(options, model=broken))
    with pytest.raises(LocalModelError) as raised:
        await server.start()
    assert raised.value.kind is ErrorKind.UNAVAILABLE
    assert "broken.gguf ended with exit code 1" in raised.value.message
    assert "failed to load model" in raised.value.message
    assert "OPENAI_API_KEY" in raised.value.message
    assert server.pid is None


async def test_a_log_that_cannot_be_written_is_named(
    options: LocalModelOptions, tmp_path: Path
) -> None:
    server = LocalModelServer(replace(options, log_file=tmp_path))
    with pytest.raises(LocalModelError, match=r"its log .* cannot be written \(Is a directory\)"):
        await server.start()


async def test_a_model_that_takes_too_long_is_not_left_behind(options: LocalModelOptions) -> None:
    server = LocalModelServer(replace(options, start_timeout=timedelta(milliseconds=1)))
    with pytest.raises(LocalModelError, match=r"did not answer within 0\.001 s"):
        await server.start()
    assert server.pid is None


async def test_without_the_runtime_the_extra_is_named(
    options: LocalModelOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_spec(name: str) -> ModuleSpec | None:
        return None if name == "xllamacpp" else importlib.util.find_spec(name)

    monkeypatch.setattr(local_model_server, "find_spec", find_spec)
    with pytest.raises(LocalModelError, match="extra `local-model`"):
        await LocalModelServer(options).start()


PARENT = """
import asyncio, sys
from pathlib import Path
from worker.local_model_server import LocalModelOptions, LocalModelServer
async def main():
    async with LocalModelServer(LocalModelOptions(Path(sys.argv[1]), Path(sys.argv[2]))) as server:
        print(server.base_url, flush=True)
        await server.wait()
asyncio.run(main())
"""


async def test_it_dies_with_a_parent_that_is_killed(options: LocalModelOptions) -> None:
    async with python_child(PARENT, str(options.model), str(options.log_file)) as parent:
        port = port_of(await next_line(parent))
        assert not await refuses("127.0.0.1", port)
        parent.kill()
        await eventually_refuses("127.0.0.1", port)


async def served(weights: Path, *arguments: str) -> asyncio.subprocess.Process:
    """The server run by hand, with all its output in the pipe."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker.llama_server", "--model", str(weights), *arguments),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )


@pytest.mark.parametrize("by_signal", [False, True])
async def test_run_by_hand_it_writes_one_line_and_ends_with_its_input_or_sigterm(
    weights: Path, by_signal: bool
) -> None:
    child = await served(weights, "--threads", "1", *(() if by_signal else ("--stop-on-eof",)))
    assert child.stdin
    assert child.stdout
    base_url = json.loads(await child.stdout.readline())["base_url"]
    assert not await refuses("127.0.0.1", port_of(base_url))
    if by_signal:
        child.stdin.close()
        child.send_signal(signal.SIGTERM)
    else:
        child.stdin.close()
    async with asyncio.timeout(5):
        assert await child.stdout.read() == b""
        assert await child.wait() == 0


def test_one_processor_is_left_for_the_rest() -> None:
    assert default_threads() == max(1, (os.cpu_count() or 1) - 1)
