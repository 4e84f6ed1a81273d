"""Following a session: what the model writes, turn by turn, as it is written.

Owns the steps of a watched session. The text is in the heartbeats of the model's activity, so it
is read without a worker and without history; the workflow is asked only when something has
happened. Source: automation.md §7 (Live text), issue of sessions (Live view), DESIGN §4.

Invariants:
    1. A reader who comes back with a turn and the number of its characters goes on there.
    2. A turn that ends is told with its whole text, however much of it was shown live.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final

from pydantic import BaseModel
from temporalio.client import WorkflowExecutionDescription

from client.session_reader import SessionReader
from domain.live_replies import LiveReply
from domain.session_requests import AskTurn, SessionView, TurnAnswer

# How often a watcher looks for new text; the worker reports it at most once a second.
WATCH_INTERVAL: Final = timedelta(milliseconds=150)
IDLE: Final = "idle"


class SessionProgress(BaseModel):
    """A step of a watched session.

    Attributes:
        turn_id: The turn it is about; null while there is none.
        text: New text of the turn.
        offset: Its position in the turn's answer, in characters; 0 again when the model was asked
            anew.
        stage: The step that the turn has come to, or `idle`.
        view: With a stage: how the session stands.
        answer: The turn has ended; all of it.
    """

    turn_id: str | None = None
    text: str = ""
    offset: int = 0
    stage: str | None = None
    view: SessionView | None = None
    answer: TurnAnswer | None = None


async def watch_session(
    reader: SessionReader, turn_id: str | None, offset: int
) -> AsyncIterator[SessionProgress]:
    """The steps of a session; ends with it.

    Args:
        reader: The session.
        turn_id: The turn of which the caller has the beginning.
        offset: How many characters of it.

    Raises:
        DomainError: `not_found` on `id`; `unavailable` without a worker.
    """
    watch = _Watch(reader, turn_id, offset)
    for step in await watch.first():
        yield step
    while True:
        description = await reader.describe()
        if reader.has_changed(description):
            for step in await watch.looked(await reader.view()):
                yield step
        text = await watch.written(description)
        if text is not None:
            yield text
        await asyncio.sleep(WATCH_INTERVAL.total_seconds())


class _Watch:
    """What one reader has seen."""

    def __init__(self, reader: SessionReader, turn_id: str | None, offset: int) -> None:
        self._reader = reader
        self._turn = turn_id
        self._reply = LiveReply(offset)
        self._call: str | None = None
        self._stage: str | None = None
        self._ended: str | None = None

    async def first(self) -> list[SessionProgress]:
        """How the session stands, and what a reader who comes back has missed of its turn."""
        view = await self._reader.view()
        # A turn that ended before anybody looked is no news.
        self._ended = view.last.turn_id if view.last is not None else None
        if self._turn is not None and self._turn == self._ended:
            self._ended = None
        return await self.looked(view)

    async def looked(self, view: SessionView) -> list[SessionProgress]:
        """What a view shows that was not known: ends of turns, a new turn, a new stage."""
        now = view.turn.turn_id if view.turn is not None else None
        last = view.last.turn_id if view.last is not None else None
        found: list[SessionProgress] = []
        for turn in dict.fromkeys((self._turn, last)):
            if turn is None or turn in {now, self._ended}:
                continue
            answer = await self._reader.answer(AskTurn(turn_id=turn))
            if answer.settled:
                found.append(self._end(turn, answer))
        self._ended = last
        if now != self._turn:
            self._begin(now)
        stage = str(view.turn.stage) if view.turn is not None else IDLE
        if stage != self._stage:
            self._stage = stage
            offset = self._reply.offset if now else 0
            found.append(SessionProgress(turn_id=now, offset=offset, stage=stage, view=view))
        return found

    async def written(self, description: WorkflowExecutionDescription) -> SessionProgress | None:
        """New text of the turn that runs."""
        live = await self._reader.live_answer(description)
        if live is None or self._turn is None:
            return None
        if self._call is not None and live.call != self._call:
            # Asked anew: the answer begins anew.
            self._reply = LiveReply()
        self._call = live.call
        text = self._reply.grown(live.text.offset, live.text.tail)
        if not text:
            return None
        return SessionProgress(turn_id=self._turn, text=text, offset=self._reply.offset - len(text))

    def _begin(self, turn: str | None) -> None:
        self._turn = turn
        self._reply = LiveReply()
        self._call = None
        self._stage = None

    def _end(self, turn: str, answer: TurnAnswer) -> SessionProgress:
        reply = self._reply if turn == self._turn else LiveReply()
        text = reply.rest(answer.text)
        return SessionProgress(
            turn_id=turn, text=text, offset=len(answer.text) - len(text), answer=answer
        )
