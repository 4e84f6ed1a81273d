"""A message on its way to its session: read, handed in, matched against routines.

Owns the order in which a message passes and what is done when the session does not answer. What
becomes of it is decided by the session's workflow. Source: triggers-and-actions.md §2 (Messages),
automation.md §8, DESIGN §3 rule 6.

Invariants:
    1. A message that was handed in is not lost: without an answer within 2 s it goes as a signal.
    2. The same message again, from wherever, is the same message, to the routines it fires too.
    3. What the channel's adapter itself has said goes nowhere.
    4. What the session refuses fires nothing; handed in again later, it fires once.
    5. What the session has taken is answered as taken, also if its routines were not reached.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import BaseModel
from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
)
from ulid import ULID

from activities import search_attributes as attributes
from activities.entity_updates import EntityUpdates, NoAnswer
from client.connection import translated
from client.context import CallerContext
from client.events import FiredRun, Messages
from client.json_objects import checked_object
from client.ui_links import UiLinks
from domain.actor import preferred_id
from domain.errors import DomainError, ErrorKind
from domain.identifiers import ENTITIES_QUEUE, session_workflow_id
from domain.session import gate_key
from domain.session_bodies import GivenMessage, Speaker, read_inbound
from domain.session_messages import InboundMessage, MessageAccepted, MessageDecision
from domain.session_requests import SessionState

# How long a sender waits for a verdict before the message goes as a signal.
SEND_PATIENCE: Final = timedelta(seconds=2)
_KEPT_KEYS: Final = 1_000


class MessageSent(BaseModel):
    """Answer of `send`.

    Attributes:
        decision: What became of the message when it arrived; null while no worker has taken it up.
        reason: Why, as `domain.queueing` names it.
        position: Its place among those that wait, 1 is next.
        turn_id: The turn that answers it, once one has begun.
        retryable: With `drop`: the queue is full now, later it may not be.
        duplicate: It had been handed in before; this is what was answered then.
        ui_url: Where the Temporal UI shows the session.
        runs: The runs of routines that the message has fired.
        warnings: What did not work although the session has the message.
    """

    message_id: str
    session_key: str
    workflow_id: str
    decision: MessageDecision | None = None
    reason: str = ""
    position: int | None = None
    turn_id: str | None = None
    retryable: bool = False
    duplicate: bool = False
    ui_url: str = ""
    runs: list[FiredRun] = []
    warnings: list[str] = []

    @property
    def refusal(self) -> DomainError | None:
        """The problem of a message that a full queue has refused."""
        if self.decision != MessageDecision.DROP or not self.retryable:
            return None
        return DomainError(
            ErrorKind.RATE_LIMITED,
            "queue",
            f"the queue of {self.session_key!r} is full: message_id {self.message_id} was dropped; "
            "hand it in again later, or with options that make room",
        )


class MessageSender:
    """Hands messages in, for one caller."""

    def __init__(
        self,
        temporal: Client,
        updates: EntityUpdates,
        context: CallerContext,
        messages: Messages,
        links: UiLinks,
    ) -> None:
        self._temporal = temporal
        self._updates = updates
        self._context = context
        self._messages = messages
        self._links = links
        # Sessions that have taken a message of this caller: theirs is the last word on whose they
        # are, so there is no need to look before each message.
        self._own: set[str] = set()

    async def send(
        self, message: str | Mapping[str, object], session_key: str, message_id: str | None
    ) -> MessageSent:
        """Hand a message in.

        Args:
            message: A text or a JSON object.
            session_key: The session's key, checked.
            message_id: Names the message where the object does not.

        Raises:
            DomainError: As `client.sessions.Sessions.send`.
        """
        gate = gate_key(session_key)
        given = self._read(message, session_key, message_id)
        await self._check_sender(gate)
        sent = MessageSent(
            message_id=given.message.message_id,
            session_key=gate,
            workflow_id=session_workflow_id(gate),
            ui_url=self._links.workflow(session_workflow_id(gate)),
        )
        if given.is_echo:
            ignored = {"decision": MessageDecision.IGNORE, "reason": "self_echo"}
            return sent.model_copy(update=ignored)
        answer = await self._hand_in(gate, given.message)
        sent = sent.model_copy(update=_said(answer, given.message))
        if sent.refusal is not None:
            return sent
        return sent.model_copy(update=await self._fired(given, sent.message_id))

    def _read(
        self, message: str | Mapping[str, object], key: str, message_id: str | None
    ) -> GivenMessage:
        body: dict[str, Any] = (
            {"text": message} if isinstance(message, str) else checked_object(message, "message")
        )
        if message_id is not None and body.get("message_id") is None:
            body = {**body, "message_id": message_id}
        context = self._context
        speaker = Speaker(
            scope=context.scope(),
            route=context.route(),
            sender_id=preferred_id(context.actor()),
            chat_type=context.chat_type.strip(),
            chat_id=context.receive_id.strip(),
        )
        return read_inbound(
            body, key=key, speaker=speaker, new_id=str(ULID()), request_id=str(ULID())
        )

    async def _check_sender(self, gate: str) -> None:
        """Look whose session it is, without asking a worker; nobody's is for whoever speaks first.

        Raises:
            DomainError: `not_found` on `id`.
        """
        if gate in self._own:
            return
        handle = self._temporal.get_workflow_handle(session_workflow_id(gate))
        try:
            with translated(gate):
                description = await handle.describe()
        except DomainError as error:
            if error.kind == ErrorKind.NOT_FOUND:
                return
            raise
        scope = description.typed_search_attributes.get(attributes.SCOPE)
        # Also of one that has ended: its conversation is in the store.
        if scope not in {None, attributes.capped(self._context.scope().text)}:
            raise DomainError(ErrorKind.NOT_FOUND, "id", gate)

    async def _fired(self, given: GivenMessage, message_id: str) -> dict[str, Any]:
        """What of the answer tells of routines; the session has the message, whatever happens."""
        try:
            return {"runs": await self._fire(given, message_id)}
        except DomainError as error:
            if error.kind != ErrorKind.UNAVAILABLE:
                raise
            text = (
                f"routines that listen to messages may not have heard it ({error.message}): "
                f"hand it in again with message_id {message_id}, and it fires each of them once"
            )
            return {"warnings": [text]}

    async def _fire(self, given: GivenMessage, message_id: str) -> list[FiredRun]:
        """Start the routines that listen to messages; those of a message are started once."""
        message = given.message
        ingested = await self._messages.ingest(
            {
                "channel": message.provider or message.route.receive_id_type,
                "id": message_id,
                "text": message.text,
                "author_id": message.sender_id or None,
                "author_name": message.sender_label or None,
                "self_ids": given.self_ids,
            }
        )
        return ingested.runs

    async def _hand_in(self, gate: str, message: InboundMessage) -> MessageAccepted | None:
        """Give the message to its session; null when that did not answer, but will get it."""
        # The server repeats what it answered to an update id, also a refusal that may be over or
        # was another's: then the session is asked again.
        for update_id in (message.message_id, f"{message.message_id}:{message.request_id}"):
            last = update_id != message.message_id
            try:
                answer = await self._ask(gate, message, update_id)
            except NoAnswer:
                await self._signal(gate, message)
                return None
            except DomainError as error:
                if not last:
                    continue
                if error.kind == ErrorKind.NOT_FOUND:
                    raise DomainError(ErrorKind.NOT_FOUND, "id", gate) from error
                raise
            if len(self._own) >= _KEPT_KEYS:
                self._own.clear()
            self._own.add(gate)
            if last or not answer.retryable or answer.request_id == message.request_id:
                return answer
        return None

    async def _ask(self, gate: str, message: InboundMessage, update_id: str) -> MessageAccepted:
        workflow_id = session_workflow_id(gate)
        with translated(gate):
            return await self._updates.send(
                workflow_id,
                "send",
                message,
                MessageAccepted,
                update_id=update_id,
                patience=SEND_PATIENCE,
                start=lambda: self._operation(workflow_id, gate),
            )

    async def _signal(self, gate: str, message: InboundMessage) -> None:
        """Leave the message with Temporal for when a worker comes."""
        with translated(gate):
            await self._temporal.start_workflow(
                "Session",
                SessionState(key=gate),
                id=session_workflow_id(gate),
                task_queue=ENTITIES_QUEUE,
                start_signal="send",
                start_signal_args=[message],
                search_attributes=self._attributes(),
                static_summary=_summary(gate),
            )

    def _operation(self, workflow_id: str, gate: str) -> WithStartWorkflowOperation[Any, Any]:
        return WithStartWorkflowOperation(
            "Session",
            SessionState(key=gate),
            id=workflow_id,
            task_queue=ENTITIES_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            search_attributes=self._attributes(),
            static_summary=_summary(gate),
        )

    def _attributes(self) -> TypedSearchAttributes:
        return TypedSearchAttributes(
            [
                SearchAttributePair(attributes.KIND, "session"),
                SearchAttributePair(
                    attributes.SCOPE, attributes.capped(self._context.scope().text)
                ),
                SearchAttributePair(attributes.CREATED, datetime.now(UTC)),
            ]
        )


def _said(answer: MessageAccepted | None, message: InboundMessage) -> dict[str, Any]:
    """What a session has answered to a message.

    Raises:
        DomainError: `conflict` on `message_id` when the answer is to another message.
    """
    if answer is None:
        return {}
    if answer.digest not in {"", message.digest}:
        raise DomainError(
            ErrorKind.CONFLICT,
            "message_id",
            f"message_id {message.message_id} was used with another body",
        )
    return {
        # The same words that wait already, under another id that was made, are the same message.
        "message_id": answer.message_id,
        "decision": answer.decision,
        "reason": answer.reason,
        "position": answer.position,
        "turn_id": answer.turn_id,
        "retryable": answer.retryable,
        # The server repeats the answer to a known update id, which says nothing of a repetition.
        "duplicate": answer.duplicate or answer.request_id not in {"", message.request_id},
    }


def _summary(key: str) -> str:
    return f"session {key}"[:200]
