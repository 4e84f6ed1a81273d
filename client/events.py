"""Events and messages, as a caller hands them in.

Owns the library calls that fire routines by what happens elsewhere. Who listens and what is started
is `activities.emitting`'s; what an event may hold is `domain.emissions`'.
Source: triggers-and-actions.md §2.
"""

from collections.abc import Callable, Mapping, Sequence

from pydantic import BaseModel
from ulid import ULID

from activities.emitting import Emitter, StartedFire
from client.connection import translated
from client.context import GROUP_CHAT, CallerContext
from client.json_objects import checked_object
from client.ledger import LedgerCalls
from domain.actor import preferred_id
from domain.emissions import read_event, read_message
from domain.ledger_requests import FindOwnMessage, OwnMessage
from domain.scopes import Scope, ScopeKind


class FiredRun(BaseModel):
    """A run that an event has started; `duplicate` when it had started it before."""

    run_id: str
    workflow_id: str
    ui_url: str = ""
    duplicate: bool = False


class EventEmitted(BaseModel):
    """Answer of `emit`; the verdicts on the runs are read from the runs."""

    event_id: str
    matched: int
    runs: list[FiredRun]


class MessageIngested(BaseModel):
    """Answer of `ingest`; the verdicts on the runs are read from the runs."""

    message_id: str
    matched: int
    runs: list[FiredRun]


class Events:
    """Library calls for events, in the scope of one caller."""

    def __init__(
        self, emitter: Emitter, context: CallerContext, ui_url: Callable[[str], str]
    ) -> None:
        self._emitter = emitter
        self._context = context
        self._ui_url = ui_url

    async def emit(
        self,
        source: str,
        event_type: str,
        payload: Mapping[str, object] | None = None,
        *,
        id: str | None = None,
        scope: str | None = None,
    ) -> EventEmitted:
        """Tell the routines that listen.

        Args:
            source: Who tells it: letters, digits and `_ . : / -`, at most 200.
            event_type: What has happened; the same form.
            payload: A JSON object of at most 64 KiB.
            id: Makes a repetition the same event.
            scope: `all` reaches the routines of every scope; left out, those of the caller.

        Returns:
            The runs, all of which Temporal has.

        Raises:
            DomainError: What is wrong with the event; `unavailable`, then repeat it with the same
                id.
        """
        body: dict[str, object] = {
            "source": source,
            "event_type": event_type,
            "payload": payload,
            "id": id,
            "scope": scope,
        }
        return await self.emit_body(body)

    async def emit_body(self, body: Mapping[str, object]) -> EventEmitted:
        """The same from the JSON object of the specification."""
        checked = checked_object({key: value for key, value in body.items() if value is not None})
        event, everywhere = read_event(checked, str(ULID()))
        own = None if everywhere else self._context.scope().text
        with translated():
            started = await self._emitter.emit(event, own)
        runs = _runs(started, self._ui_url)
        return EventEmitted(event_id=event.id, matched=len(runs), runs=runs)


class Messages:
    """Library calls for incoming messages, in the conversation of one caller."""

    def __init__(
        self,
        emitter: Emitter,
        context: CallerContext,
        ui_url: Callable[[str], str],
        ledger: LedgerCalls,
    ) -> None:
        self._emitter = emitter
        self._context = context
        self._ui_url = ui_url
        self._ledger = ledger

    async def ingest(self, message: Mapping[str, object]) -> MessageIngested:
        """Hand in a message of a user; it reaches the routines of its chat and of its author.

        Who the author is and which chat it is, the caller's context says.

        Args:
            message: `channel`, `id`, `text`, and if known `author_id`, `author_name`, `is_self`
                and `self_ids`, the ids under which the channel's adapter itself writes.

        A message that fires something and whose author nobody knows is looked for among those
        that we have sent ourselves, which takes a worker.

        Returns:
            The runs, all of which Temporal has. The same message again has the same runs.

        Raises:
            DomainError: What is wrong with the message; `unavailable`, then hand it in again.
        """
        found = read_message(checked_object(message, "message"))
        with translated():
            scopes = message_scopes(self._context)
            started = await self._emitter.receive(found, scopes, self._is_ours)
        runs = _runs(started, self._ui_url)
        return MessageIngested(message_id=found.id, matched=len(runs), runs=runs)

    async def _is_ours(self, message_id: str) -> bool:
        """Whether we have sent a message ourselves: an echo may come back without its author."""
        return (await self._ledger.ask(FindOwnMessage(message_id=message_id), OwnMessage)).ours


def message_scopes(context: CallerContext) -> list[str]:
    """The scopes that a message of this caller reaches: its chat's and its author's."""
    author = Scope(kind=ScopeKind.USER, id=preferred_id(context.actor())).text
    if context.chat_type.strip().lower() != GROUP_CHAT:
        return [author]
    return [context.scope().text, author]


def _runs(started: Sequence[StartedFire], ui_url: Callable[[str], str]) -> list[FiredRun]:
    return [
        FiredRun(
            run_id=item.run_id,
            workflow_id=item.workflow_id,
            ui_url=ui_url(item.run_id),
            duplicate=item.duplicate,
        )
        for item in started
    ]
