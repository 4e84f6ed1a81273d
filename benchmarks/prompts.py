"""What the prompt of a long conversation costs: read from the ledger, pruned, compacted.

Owns a conversation of about 200,000 tokens with 100 results of tools, and the clock around it.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from activities.contexts import PromptMaker, ThreadContext
from activities.model_requests import CallModel
from activities.store import Ledger, open_store
from activities.workspace import WorkspaceFiles
from domain.call_prompts import CallPrompt, shortened
from domain.model_chain import ModelSpec
from domain.pruning_config import default_pruning_config
from domain.threads import Thread, ThreadKind, ThreadMessage
from domain.turns import TurnRecord

RESULTS = 100
RESULT_CHARS = 8_000
REPEATS = 15
NOW = datetime(2026, 3, 1, tzinfo=UTC)
THREAD = Thread(id="long", scope="user:me", kind=ThreadKind.SESSION, created_at=NOW)


class PromptReport:
    """Milliseconds of processor time of each step."""

    def __init__(self, tokens: int, sent: int, load: list[float], compact: list[float]) -> None:
        self.tokens = tokens
        self.sent = sent
        self.load = load
        self.compact = compact


async def measure_prompts() -> PromptReport:
    """Build the prompt of a long conversation again and again."""
    spec = ModelSpec(name="m", context_tokens=128_000)
    config = default_pruning_config()
    turn = TurnRecord(id="t", session_key="s", workflow_id="session/s", started_at=NOW)
    request = CallModel(turn=turn, thread=THREAD, prompt="And now?", timeout_seconds=60)
    maker = PromptMaker(request, WorkspaceFiles([], []), [], config)

    def build(ledger: Ledger) -> CallPrompt:
        context = ThreadContext.load(ledger, THREAD.id, asked=True)
        prompt = maker.make(context, spec).prompt
        prompt.messages  # noqa: B018 - what is sent is part of the work
        return prompt

    with tempfile.TemporaryDirectory() as folder:
        async with await open_store(f"sqlite:///{Path(folder) / 'bench.db'}") as store:
            await store.threads.ensure(THREAD)
            said = conversation()
            await store.threads.append(said)
            prompt = await store.read(build)
            load = [await _timed_read(lambda: store.read(build)) for _ in range(REPEATS)]
    compact = [_timed(lambda: shortened(prompt, config, 64_000)) for _ in range(REPEATS)]
    tokens = sum(len(message.content) for message in said) // 4
    return PromptReport(tokens, prompt.tokens, load, compact)


def conversation() -> list[ThreadMessage]:
    """Rounds of a user's question, a call, its result and an answer."""
    said: list[ThreadMessage] = []
    for number in range(RESULTS):
        call_id = f"call-{number}"
        function = {"name": "look", "arguments": "{}"}
        call: dict[str, object] = {"id": call_id, "type": "function", "function": function}
        said.append(_message(f"u{number}", "user", "What is new?"))
        said.append(_message(f"c{number}", "assistant", "", [call]))
        result: list[dict[str, object]] = [{"id": call_id, "name": "look"}]
        said.append(_message(f"r{number}", "tool", "word " * (RESULT_CHARS // 5), result))
        said.append(_message(f"a{number}", "assistant", "Nothing much."))
    return said


def _message(
    message_id: str, role: str, content: str, calls: list[dict[str, object]] | None = None
) -> ThreadMessage:
    return ThreadMessage.model_validate(
        {
            "id": message_id,
            "thread_id": THREAD.id,
            "role": role,
            "content": content,
            "tool_calls": calls,
            "created_at": NOW,
        }
    )


async def _timed_read(work: Callable[[], object]) -> float:
    started = time.process_time()
    result = work()
    assert asyncio.iscoroutine(result)
    await result
    return (time.process_time() - started) * 1000


def _timed(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1000


def summary(milliseconds: list[float]) -> str:
    """Best and median."""
    return f"best {min(milliseconds):5.1f}, p50 {statistics.median(milliseconds):5.1f} ms CPU"
