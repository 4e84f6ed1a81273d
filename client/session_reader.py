"""Reading one session: its queries, and whose it is.

Owns asking the session's workflow on behalf of a caller. Source: automation.md §8, DESIGN §3.

Invariant: a session of another scope is not found. One in which no user has spoken yet belongs to
the conversation that its key names.
"""

from typing import TypeVar

from pydantic import BaseModel
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowQueryRejectedError,
)
from temporalio.common import QueryRejectCondition

from activities import search_attributes as attributes
from client.connection import QUERY_TIMEOUT, translated
from client.live_answers import LiveAnswer, live_answer
from domain.errors import DomainError, ErrorKind
from domain.identifiers import session_workflow_id
from domain.session_requests import AskTurn, SessionQueue, SessionView, TurnAnswer

AnswerT = TypeVar("AnswerT", bound=BaseModel)


class SessionReader:
    """One session as one caller may read it.

    Attributes:
        key: The session's key, without the message.
    """

    def __init__(self, temporal: Client, key: str, scope: str, *, own: bool) -> None:
        """Name the session.

        Args:
            temporal: The connection.
            key: The session's key, as its workflow id has it.
            scope: The caller's, in its text form.
            own: Whether the key names the caller's own conversation.
        """
        self.key = key
        self._temporal = temporal
        self._scope = scope
        self._own = own
        self._seen: tuple[str, int] | None = None

    async def view(self) -> SessionView:
        """How the session stands.

        Raises:
            DomainError: `not_found` on `id`; `unavailable` without a worker.
        """
        view = await self._query("view", SessionView)
        if view.scope != self._scope and not (view.scope is None and self._own):
            raise self._unknown()
        return view

    async def queue(self) -> SessionQueue:
        """What waits, of a session whose view may be read."""
        return await self._query("queue", SessionQueue)

    async def answer(self, asked: AskTurn) -> TurnAnswer:
        """What became of a message or a turn, of a session whose view may be read."""
        return await self._query("answer", TurnAnswer, asked)

    async def describe(self) -> WorkflowExecutionDescription:
        """The workflow as the server knows it; needs no worker.

        Raises:
            DomainError: `not_found` on `id`.
        """
        with translated(self.key):
            handle = self._temporal.get_workflow_handle(session_workflow_id(self.key))
            found = await handle.describe()
        scope = found.typed_search_attributes.get(attributes.SCOPE)
        if scope not in {None, attributes.capped(self._scope)}:
            raise self._unknown()
        if found.status != WorkflowExecutionStatus.RUNNING:
            raise self._unknown()
        return found

    async def live_answer(self, description: WorkflowExecutionDescription) -> LiveAnswer | None:
        """What the model is writing."""
        with translated(self.key):
            return await live_answer(self._temporal, description)

    def has_changed(self, description: WorkflowExecutionDescription) -> bool:
        """Whether anything has happened since this was asked last."""
        stamp = (description.run_id, description.history_length)
        changed = stamp != self._seen
        self._seen = stamp
        return changed

    def look_again(self) -> None:
        """Let the next description count as changed."""
        self._seen = None

    async def _query(
        self, name: str, result: type[AnswerT], argument: BaseModel | None = None
    ) -> AnswerT:
        handle = self._temporal.get_workflow_handle(session_workflow_id(self.key))
        try:
            with translated(self.key):
                answer: AnswerT = await handle.query(
                    name,
                    args=[] if argument is None else [argument],
                    result_type=result,
                    reject_condition=QueryRejectCondition.NOT_OPEN,
                    rpc_timeout=QUERY_TIMEOUT,
                )
        except WorkflowQueryRejectedError:
            raise self._unknown() from None
        return answer

    def _unknown(self) -> DomainError:
        return DomainError(ErrorKind.NOT_FOUND, "id", self.key)
