"""Sessions, as a caller works with them: say something, see what waits, change it, stop it.

Owns the library calls for conversations. What becomes of a message is decided by the session's
workflow; what is wrong with a request is also told here, before anything is started. Handing a
message in is `client.session_sender`'s, following a session `client.session_watch`'s.
Source: automation.md §8 and §13.

Invariant: another scope's session is not known, in the same words as one that does not exist.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Final, TypeVar

from pydantic import BaseModel
from temporalio.client import Client
from ulid import ULID

from activities import search_attributes as attributes
from activities.entity_updates import EntityUpdates
from client.connection import translated
from client.context import CallerContext
from client.events import Messages
from client.json_objects import checked_object
from client.pages import check_limit, find_newest, one_page
from client.session_reader import SessionReader
from client.session_sender import MessageSender, MessageSent
from client.session_watch import SessionProgress, watch_session
from client.ui_links import UiLinks
from domain.errors import DomainError, ErrorKind
from domain.identifiers import SESSION_PREFIX, session_workflow_id
from domain.session import gate_key, visibility_key
from domain.session_bodies import read_queue_edit, read_session_key, read_stop
from domain.session_messages import EditQueue, Stopped
from domain.session_requests import AskTurn, SessionQueue, SessionView, TurnAnswer

PATIENCE: Final = timedelta(seconds=10)
WAIT_INTERVAL: Final = timedelta(milliseconds=150)
QUERIES_AT_ONCE: Final = 8

AnswerT = TypeVar("AnswerT", bound=BaseModel)


class SessionPage(BaseModel):
    """A page of sessions, newest first; `next_cursor` while there is more."""

    sessions: list[SessionView]
    count: int
    next_cursor: str | None = None


class Sessions:
    """Library calls for conversations, in the scope of one caller."""

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
        self._links = links
        self._sender = MessageSender(temporal, updates, context, messages, links)

    async def send(
        self,
        message: str | Mapping[str, object],
        *,
        key: str | None = None,
        message_id: str | None = None,
    ) -> MessageSent:
        """Say something in a conversation; one that nobody spoke in before begins.

        Routines that listen to messages hear it once the session has taken it. Slash commands fire
        none.

        Args:
            message: A text, or the JSON object with `text` and, if known, `message_id`,
                `sender_label`, `reply_to_id`, `options` and the rest of what the channel says.
            key: The conversation, `base` or `base|thread:<id>`; else that of the caller's context.
            message_id: Names the message where the object does not; left out, a new one is made.

        Returns:
            What the session decided, or only the ids when no worker answered within 2 s.

        Raises:
            DomainError: What is wrong with the message; `not_found` on `id` in another's session;
                `conflict` on `message_id` when it was used for another message.
        """
        return await self._sender.send(message, self._key(key), message_id)

    async def list(self, *, limit: int = 20, cursor: str | None = None) -> SessionPage:
        """The caller's sessions, newest first; one that nobody wanted for a day has ended.

        Raises:
            DomainError: `invalid_field` on `limit` or `cursor`; `unavailable` without a worker.
        """
        check_limit(limit)
        query = (
            f"{attributes.KIND.name} = 'session' AND ExecutionStatus = 'Running' AND "
            f"{attributes.SCOPE.name} = '{attributes.quoted(self._context.scope().text)}'"
        )
        found = await find_newest(
            self._temporal, query, SESSION_PREFIX, "sessions: ask for them by their keys"
        )
        page, following = one_page(found, limit, cursor)
        gate = asyncio.Semaphore(QUERIES_AT_ONCE)

        async def read(key: str) -> SessionView | None:
            async with gate:
                try:
                    return await self.get(key)
                except DomainError as error:
                    # It has ended between the listing and now.
                    if error.kind == ErrorKind.NOT_FOUND:
                        return None
                    raise

        views = await asyncio.gather(*(read(key) for _, key in page))
        sessions = [view for view in views if view is not None]
        return SessionPage(sessions=sessions, count=len(sessions), next_cursor=following)

    async def get(self, key: str | None = None) -> SessionView:
        """A session: who speaks, what waits, what was said last.

        Raises:
            DomainError: `not_found` on `id`; `unavailable` without a worker.
        """
        return await self._reader(self._gate(key)).view()

    async def queue(self, key: str | None = None) -> SessionQueue:
        """What waits in a session, in the order of its turns.

        Raises:
            DomainError: As `get`.
        """
        gate = self._gate(key)
        reader = self._reader(gate)
        await reader.view()
        return await reader.queue()

    async def edit_queue(
        self, key: str | None = None, change: EditQueue | Mapping[str, object] | None = None
    ) -> SessionQueue:
        """Change what waits: order, drop, merge, clear; all of it or nothing.

        Args:
            key: The conversation; else that of the caller's context.
            change: The JSON object, or the model.

        Returns:
            The queue as it is now.

        Raises:
            DomainError: What is wrong with the change; `conflict` on `revision` when somebody was
                faster; `not_found` on `id`.
        """
        gate = self._gate(key)
        given = change.model_dump(mode="json") if isinstance(change, EditQueue) else change or {}
        request = read_queue_edit(checked_object(given))
        await self._reader(gate).view()
        return await self._update(gate, "edit_queue", request, SessionQueue)

    async def stop(self, key: str | None = None, *, reason: str | None = None) -> Stopped:
        """Stop what speaks in a session: the answer to its user, else the automation that has it.

        What waits keeps waiting; where nothing speaks nothing changes.

        Raises:
            DomainError: `not_found` on `id`; `unavailable` without a worker.
        """
        return await self.stop_body({"reason": reason}, key)

    async def stop_body(self, body: Mapping[str, object], key: str | None = None) -> Stopped:
        """The same from a JSON object."""
        gate = self._gate(key)
        request = read_stop(checked_object(body))
        await self._reader(gate).view()
        return await self._update(gate, "stop", request, Stopped)

    async def answer(self, message_id: str, key: str | None = None) -> TurnAnswer:
        """What became of a message so far.

        Raises:
            DomainError: As `get`; `not_found` on `id` also for a message that never came, or that
                the session has forgotten.
        """
        reader = self._reader(self._gate(key))
        await reader.view()
        found = await reader.answer(AskTurn(message_id=message_id))
        if not found.fate:
            raise DomainError(ErrorKind.NOT_FOUND, "id", message_id)
        return found

    async def wait(self, message_id: str, key: str | None = None) -> TurnAnswer:
        """Wait until a message has come to its end: answered, merged, dropped, failed.

        Raises:
            DomainError: `not_found` on `id` when there is no such session.
        """
        reader = self._reader(self._gate(key))
        asked = AskTurn(message_id=message_id)
        while True:
            found = await self._news(reader, asked)
            if found is not None and found.settled:
                return found
            await asyncio.sleep(WAIT_INTERVAL.total_seconds())

    def watch(
        self, key: str | None = None, *, turn_id: str | None = None, offset: int = 0
    ) -> AsyncIterator[SessionProgress]:
        """Follow a session, turn by turn, for as long as it is asked.

        Args:
            key: The conversation; else that of the caller's context.
            turn_id: The turn of which the caller has the beginning.
            offset: How many characters of it.

        Yields:
            At first how the session stands; then new text of the model, stages, ends of turns.

        Raises:
            DomainError: As `get`.
        """
        return watch_session(self._reader(self._gate(key)), turn_id, offset)

    def key(self, key: str | None = None) -> str:
        """The key of a conversation without its message; else of that of the caller's context.

        Raises:
            DomainError: `missing_field` or `invalid_field` on `key`.
        """
        return self._gate(key)

    def ui_url(self, key: str) -> str:
        """Where the Temporal UI shows a session; empty where the settings do not say."""
        return self._links.workflow(session_workflow_id(gate_key(key)))

    # Inside

    def _key(self, key: str | None) -> str:
        """The key as it was given, or that of the context."""
        if key is None:
            key = self._context.session_key.strip() or self._context.route().text
        return read_session_key(key)

    def _gate(self, key: str | None) -> str:
        return gate_key(self._key(key))

    def _reader(self, gate: str) -> SessionReader:
        own = self._own_key()
        return SessionReader(
            self._temporal,
            gate,
            self._context.scope().text,
            own=own != "" and visibility_key(own) == visibility_key(gate),
        )

    def _own_key(self) -> str:
        """The key of the caller's own conversation; empty where the context names none."""
        context = self._context
        return context.session_key.strip() or (
            context.route().text if context.receive_id_type.strip() else ""
        )

    async def _update(
        self, gate: str, update: str, request: BaseModel, result: type[AnswerT]
    ) -> AnswerT:
        with translated(gate):
            return await self._updates.send(
                session_workflow_id(gate),
                update,
                request,
                result,
                update_id=str(ULID()),
                patience=PATIENCE,
            )

    async def _news(self, reader: SessionReader, asked: AskTurn) -> TurnAnswer | None:
        """What became of a message, if anything has happened; null without a worker, too."""
        if not reader.has_changed(await reader.describe()):
            return None
        try:
            await reader.view()
            return await reader.answer(asked)
        except DomainError as error:
            if error.kind != ErrorKind.UNAVAILABLE:
                raise
            reader.look_again()
            return None
