"""Speaking to a session as an adapter of a channel does: Updates with the message's id.

Owns making messages and looking at what became of them; no test's expectations.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from temporalio.client import WithStartWorkflowOperation, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy

from activities.store import Store, open_store
from domain.identifiers import ENTITIES_QUEUE, session_workflow_id
from domain.inbound_records import InboundRecord, MessageFate
from domain.scopes import Route, Scope, ScopeKind
from domain.session import gate_key
from domain.session_messages import InboundMessage, MessageAccepted, QueueOptions
from domain.session_requests import AskTurn, SessionQueue, SessionState, SessionView, TurnAnswer
from domain.turns import TurnRecord, TurnStage
from tests.support.harness import Harness, until
from tests.support.model_server import Call

FAST = QueueOptions(debounce_ms=30)


@dataclass
class Conversation:
    """One session of a harness; `mark` stands in every text, so that the model knows its script."""

    harness: Harness
    mark: str
    thread: str = ""
    options: QueueOptions = FAST
    count: int = 0
    sent: list[InboundMessage] = field(default_factory=list[InboundMessage])

    @property
    def key(self) -> str:
        return f"chat-{self.mark}" + (f"|thread:{self.thread}" if self.thread else "")

    @property
    def handle(self) -> WorkflowHandle[Any, Any]:
        return self.harness.client.get_workflow_handle(session_workflow_id(gate_key(self.key)))

    def message(self, said: str, **fields: Any) -> InboundMessage:
        """A message; `mark` is put into its text."""
        self.count += 1
        given: dict[str, Any] = {
            "message_id": f"m{self.count}",
            "text": f"{said} {self.mark}",
            "session_key": self.key,
            "scope": Scope(kind=ScopeKind.USER, id="me"),
            "route": Route(receive_id_type="file", receive_id=f"{self.mark}.jsonl"),
            "sender_id": "ann",
            "sender_label": "Ann",
            "options": self.options,
            **fields,
        }
        made = InboundMessage.model_validate(given)
        self.sent.append(made)
        return made

    async def send(self, said: str, **fields: Any) -> MessageAccepted:
        """Send a message and wait for the session's answer."""
        return await self.hand_in(self.message(said, **fields))

    async def hand_in(self, message: InboundMessage) -> MessageAccepted:
        """Hand a message in, which may have been handed in before."""
        operation: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
            "Session",
            SessionState(key=gate_key(message.session_key)),
            id=session_workflow_id(gate_key(message.session_key)),
            task_queue=ENTITIES_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )
        answer: MessageAccepted = await self.harness.client.execute_update_with_start_workflow(
            "send",
            message,
            start_workflow_operation=operation,
            id=message.message_id,
            result_type=MessageAccepted,
        )
        return answer

    # What became of it

    async def view(self) -> SessionView:
        view: SessionView = await self.handle.query("view", result_type=SessionView)
        return view

    async def queue(self) -> SessionQueue:
        queue: SessionQueue = await self.handle.query("queue", result_type=SessionQueue)
        return queue

    async def answer(self, message_id: str) -> TurnAnswer:
        ask = AskTurn(message_id=message_id)
        answer: TurnAnswer = await self.handle.query("answer", ask, result_type=TurnAnswer)
        return answer

    async def settled(self, message_id: str, seconds: float = 30) -> TurnAnswer:
        """Wait until a message has come to its end."""

        async def over() -> bool:
            return (await self.answer(message_id)).settled

        await until(over, f"{message_id} is settled", seconds)
        return await self.answer(message_id)

    async def idle(self, seconds: float = 30) -> None:
        """Wait until nothing runs and nothing waits."""

        async def over() -> bool:
            view = await self.view()
            return view.turn is None and view.queued == 0

        await until(over, "the session is idle", seconds)

    async def parked(self) -> str:
        """Send messages until one has parked: workers believe an old answer for a second.

        Returns:
            Its id.
        """
        while True:
            message_id = (await self.send("Hello")).message_id

            async def ended_or_parked(message_id: str = message_id) -> bool:
                turn = (await self.view()).turn
                if turn is not None and turn.stage == TurnStage.SYSTEM_PAUSED:
                    return True
                return (await self.answer(message_id)).settled

            await until(ended_or_parked, "the turn has ended or parked")
            if not (await self.answer(message_id)).settled:
                return message_id

    async def store(self) -> Store:
        return await open_store(self.harness.settings.store.url.get_secret_value())

    async def rows(self) -> dict[str, InboundRecord]:
        """The rows of its messages, by message id."""
        async with await self.store() as store:
            return {row.message_id: row for row in await store.inbound.of_session(self.key)}

    async def fates(self) -> dict[str, MessageFate]:
        """How its messages ended, as the ledger has it."""
        return {message_id: row.status for message_id, row in (await self.rows()).items()}

    async def turns(self) -> list[TurnRecord]:
        async with await self.store() as store:
            return await store.turns.of_session(self.key)

    def asked(self) -> list[Call]:
        """The requests that reached the models."""
        return [call for call in self.harness.models.calls if self.mark in " ".join(call.texts)]

    def prompts(self) -> list[str]:
        """The last message of each request."""
        return [call.texts[-1] for call in self.asked()]

    def delivered(self) -> list[str]:
        """The texts that the channel got, in order."""
        path = self.harness.deliveries.with_name(f"{self.mark}.jsonl")
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["text"] for line in lines]


def conversation(harness: Harness, *steps: Any, **fields: Any) -> Conversation:
    """A conversation whose model does these steps."""
    mark = harness.name()
    if steps:
        harness.scripts.on(mark, *steps)
    return Conversation(harness, mark, **fields)
