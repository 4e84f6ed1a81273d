"""A scripted model provider: the OpenAI chat-completions protocol over a real socket, on loopback.

Owns the script, the record of what was asked, and playing each step on the wire. A request that no
step was written for, or that the real API would refuse, is a problem of the test (`assert_clean`).
Runs in a thread of its own, so a test that blocks its loop does not stall it; or as a process that
answers at once, for benchmarks: `python -m tests.support.model_server --port 0` prints its address.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tests.support.chat_requests import request_problem
from tests.support.http_connection import Connection, Request
from tests.support.model_steps import (
    Behaviour,
    Body,
    Disconnect,
    Hang,
    RawEvents,
    RawPage,
    Refusal,
    Reply,
    Step,
)


@dataclass(slots=True)
class Call:
    """One request, with what became of it; times are monotonic seconds."""

    body: Body
    headers: dict[str, str]
    received_at: float
    pieces_sent: int = 0
    finished_at: float | None = None
    client_closed_at: float | None = None

    @property
    def model(self) -> str:
        return str(self.body.get("model"))

    @property
    def texts(self) -> list[str]:
        """The contents of the messages, in order."""
        return [str(message.get("content")) for message in self.body["messages"]]


class ModelServer:
    """The server; a context manager. All its methods may be called from any thread."""

    def __init__(self, *, remember: bool = True) -> None:
        self.calls: list[Call] = []
        self.problems: list[str] = []
        self._remember = remember
        self._changed = threading.Condition()
        self._queues: dict[str | None, deque[Behaviour]] = {}
        self._always: dict[str | None, Behaviour] = {}
        self._port = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="model-server", daemon=True)

    @property
    def base_url(self) -> str:
        """What a client is configured with."""
        return f"http://127.0.0.1:{self._port}/v1"

    def script(self, *steps: Behaviour, model: str | None = None) -> None:
        """Add steps, one for each request; those of a model come before those of any model."""
        with self._changed:
            self._queues.setdefault(model, deque()).extend(steps)

    def always(self, behaviour: Behaviour, model: str | None = None) -> None:
        """Do this whenever the script has no step left."""
        with self._changed:
            self._always[model] = behaviour

    def assert_clean(self) -> None:
        """Fail when there was an unscripted or a bad request, or a step that nobody asked for."""
        left = sum(len(queue) for queue in self._queues.values())
        assert not self.problems, self.problems
        assert not left, f"{left} steps were not asked for"

    async def wait_for(self, condition: Callable[[], bool], seconds: float = 10) -> None:
        """Wait until a condition on `calls` holds."""

        def wait() -> bool:
            with self._changed:
                return self._changed.wait_for(condition, seconds)

        assert await asyncio.to_thread(wait), f"not within {seconds} s: {self.calls}"

    def __enter__(self) -> Self:
        self._thread.start()
        with self._changed:
            assert self._changed.wait_for(lambda: self._port != 0, 10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.run(self.serve(0))

    async def serve(self, port: int, *, announce: bool = False) -> None:
        """Serve on loopback until stopped."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        connections: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            connections.add(task)
            connection = Connection(reader, writer)
            try:
                while request := await connection.read_request():
                    if not await self._answer(connection, request):
                        break
            except asyncio.CancelledError:
                pass  # the server stops
            finally:
                connections.discard(task)
                await connection.close()

        server = await asyncio.start_server(connected, "127.0.0.1", port, backlog=1024)
        with self._changed:
            self._port = server.sockets[0].getsockname()[1]
            self._changed.notify_all()
        if announce:
            sys.stdout.write(self.base_url + "\n")
            sys.stdout.flush()
        await self._stop.wait()
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _answer(self, connection: Connection, request: Request) -> bool:
        """Answer one request; false when the connection is to be closed."""
        if request.method != "POST" or not request.path.endswith("/chat/completions"):
            await connection.send_json(404, {"error": {"message": "no such page"}}, ())
            return True
        body = json.loads(request.body)
        call = Call(body, request.headers, time.monotonic())
        if self._remember:
            with self._changed:
                self.calls.append(call)
                self._changed.notify_all()
        step = self._next_step(body)
        async with connection.watched():
            keep = await _Player(connection, call, self._changed).play(step)
        with self._changed:
            call.finished_at = time.monotonic()
            call.client_closed_at = connection.gone_at
            self._changed.notify_all()
        return keep and not connection.gone.is_set()

    def _next_step(self, body: Body) -> Step:
        problem = request_problem(body)
        with self._changed:
            found = None if problem else self._take(str(body.get("model")))
            if found is None:
                problem = problem or f"unscripted request for {body.get('model')!r}"
                self.problems.append(problem)
                return Refusal(400, {"error": {"message": problem}})
        return found(body) if callable(found) else found

    def _take(self, model: str) -> Behaviour | None:
        for key in (model, None):
            if queue := self._queues.get(key):
                return queue.popleft()
        return self._always.get(model) or self._always.get(None)


class _Player:
    """Plays one step on one connection."""

    def __init__(self, connection: Connection, call: Call, changed: threading.Condition) -> None:
        self._connection = connection
        self._call = call
        self._changed = changed

    async def play(self, step: Step) -> bool:
        """Play the step; false when the connection is to be closed."""
        connection = self._connection
        match step:
            case Reply():
                return await self._reply(step)
            case Refusal(status, body, headers, gate):
                if gate and not await self._passed(gate):
                    return False
                await connection.send_json(status, body, headers)
            case RawEvents(events):
                await connection.begin_stream()
                await connection.send_events(events)
                await connection.end_stream()
            case RawPage(body, content_type):
                await connection.send_page(200, body, content_type)
            case Hang(text, chunks) | Disconnect(text, chunks):
                await self._begin(text, chunks)
                if isinstance(step, Hang):
                    await connection.pause(None)
                return False
        return True

    async def _begin(self, text: str, chunks: int) -> None:
        if chunks:
            await self._connection.begin_stream()
            for piece in _pieces(text, chunks):
                await self._send([_chunk(self._call.model, {"content": piece})])

    async def _reply(self, step: Reply) -> bool:
        if step.before and not await self._connection.pause(step.before):
            return False
        if not self._call.body.get("stream"):
            await self._connection.send_json(200, _completion(self._call.model, step), ())
            return True
        await self._connection.begin_stream()
        frames = list(_frames(self._call, step))
        if step.gate:
            await self._send([frames.pop(0)])
            if not await self._passed(step.gate):
                return False
        batches = [[frame] for frame in frames] if step.delay else [frames]
        for batch in batches:
            await self._send(batch)
            if step.delay and not await self._connection.pause(step.delay):
                return False
        await self._connection.end_stream()
        return True

    async def _passed(self, gate: threading.Event) -> bool:
        """Wait for a gate; false when the client goes first."""
        while not gate.is_set():
            if not await self._connection.pause(0.02):
                return False
        return True

    async def _send(self, events: Sequence[str]) -> None:
        await self._connection.send_events(events)
        with self._changed:
            self._call.pieces_sent += len(events)
            self._changed.notify_all()


def _pieces(text: str, count: int) -> Iterator[str]:
    """The text in about `count` equal pieces."""
    size = max(1, -(-len(text) // max(1, count)))
    return (text[start : start + size] for start in range(0, len(text), size))


def _chunk(model: str, delta: Body, finish_reason: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return json.dumps({**_envelope(model, "chat.completion.chunk"), "choices": [choice]})


def _envelope(model: str, kind: str) -> Body:
    return {"id": "chatcmpl-1", "object": kind, "created": int(time.time()), "model": model}


def _frames(call: Call, step: Reply) -> Iterator[str]:
    deltas: list[Body] = [{"role": "assistant", "content": ""}]
    deltas += [{"reasoning_content": piece} for piece in _pieces(step.reasoning, step.chunks)]
    deltas += [{"content": piece} for piece in _pieces(step.text, step.chunks)]
    deltas += [{"tool_calls": [{"index": i, **c}]} for i, c in enumerate(_tool_calls(step))]
    yield from (_chunk(call.model, delta) for delta in deltas)
    if step.finish_reason is None:
        return
    yield _chunk(call.model, {}, step.finish_reason)
    wants_usage = (call.body.get("stream_options") or {}).get("include_usage")
    if step.usage and wants_usage:
        envelope = _envelope(call.model, "chat.completion.chunk")
        yield json.dumps({**envelope, "choices": [], "usage": step.usage.to_json()})
    yield "[DONE]"


def _tool_calls(step: Reply) -> list[Body]:
    return [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in step.tool_calls
    ]


def _completion(model: str, step: Reply) -> Body:
    message: Body = {"role": "assistant", "content": step.text or None}
    if step.reasoning:
        message["reasoning_content"] = step.reasoning
    if step.tool_calls:
        message["tool_calls"] = _tool_calls(step)
    answer: dict[str, Any] = _envelope(model, "chat.completion")
    answer["choices"] = [{"index": 0, "message": message, "finish_reason": step.finish_reason}]
    if step.usage:
        answer["usage"] = step.usage.to_json()
    return answer


def _numbered_reply(text: str, chunks: int, delay: float) -> Callable[[Body], Step]:
    """Answers that can be told apart."""
    numbers = itertools.count(1)
    return lambda body: Reply(f"{text} {next(numbers)}", chunks=chunks, delay=delay)


def main() -> None:
    """Serve until interrupted, printing the address first."""
    parser = argparse.ArgumentParser(description="A model provider that answers at once.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--text", default="answer")
    parser.add_argument("--chunks", type=int, default=3)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds between pieces")
    options = parser.parse_args()
    server = ModelServer(remember=False)
    server.always(_numbered_reply(options.text, options.chunks, options.delay))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(server.serve(options.port, announce=True))


if __name__ == "__main__":
    main()
