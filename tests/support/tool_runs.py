"""Lightweight runs that use tools, with a model that asks for them.

`asks` is an answer that asks for tools, `Listener` a model that keeps what it was sent, `run_with`
one run of a routine, `left_by` what it has left in the ledger.
"""

import json
from collections.abc import Sequence
from typing import Any

from activities.store import open_store
from domain.run_view import RunView
from domain.threads import ThreadMessage
from domain.tool_actions import ActionRecord
from tests.support.harness import Harness
from tests.support.model_steps import Behaviour, Body, Reply, ToolCall


def asks(*calls: tuple[str, object]) -> Reply:
    """An answer that asks for tools; arguments as a text are sent as they are."""
    written = tuple(
        ToolCall(name, given if isinstance(given, str) else json.dumps(given), f"call_{number}")
        for number, (name, given) in enumerate(calls, 1)
    )
    return Reply(text="", chunks=0, tool_calls=written)


class Listener:
    """Answers as told, and keeps what the model was sent."""

    def __init__(self, *answers: Reply) -> None:
        self._answers = list(answers)
        self.bodies: list[Body] = []

    def __call__(self, body: Body) -> Reply:
        self.bodies.append(body)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def results(self) -> list[str]:
        """The tools' messages of the last request."""
        return [item["content"] for item in self.bodies[-1]["messages"] if item["role"] == "tool"]


async def run_with(
    harness: Harness, *steps: Behaviour, action: dict[str, Any] | None = None, **body: Any
) -> RunView:
    """One run of a routine that uses tools."""
    name = harness.name()
    harness.scripts.on(name, *steps)
    given = {
        "trigger": {"type": "manual"},
        "action": {"type": "lightweight", "prompt": f"Do {name}.", "use_tools": True}
        | (action or {}),
        "notify": {"route": {"receive_id_type": "file", "receive_id": ""}},
    }
    await harness.tickless.routines.create(given | body, name=name)
    return await harness.run_once(name)


async def left_by(
    harness: Harness, view: RunView
) -> tuple[Sequence[ActionRecord], Sequence[ThreadMessage]]:
    """The calls of a run, and its thread."""
    async with await open_store(harness.settings.store.url.get_secret_value()) as store:
        thread = view.record.thread_id or view.record.id
        return await store.actions.of_run(view.record.id), await store.threads.messages(thread)
