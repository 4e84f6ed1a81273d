"""How a run waits for its session, and lets it go when a user speaks.

Owns the holder's side of the gate: asking, waiting, yielding. The session's side is
`workflows.session`. Source: automation.md §7.2, §7.11 and §8.

Invariants:
    1. Work is done only while the session is held; an interrupt ends it before anything else.
    2. Whatever happens, the session is let go, or no longer waited for, in the end.
"""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow

from workflows.entity_calls import ask_entity

with workflow.unsafe.imports_passed_through():
    from activities.sessions import SessionActivities
    from domain.identifiers import session_workflow_id
    from domain.lease_queue_state import (
        Granted,
        LeaseDecision,
        LeaseRef,
        RequestLease,
    )
    from domain.session import gate_key
    from domain.session_requests import ReleaseSession, RequestSession

T = TypeVar("T")

LEASE_GRACE = timedelta(seconds=60)


class Interrupted(Exception):
    """A user's turn has come: the work was ended, and is to be done again later."""


class SessionGate:
    """One workflow's hold of one session.

    Attributes:
        turn: How often the session was asked for.
    """

    def __init__(self, session_key: str, owner: str, limit: timedelta) -> None:
        """Name the session.

        Args:
            session_key: In any of its forms, with a base.
            owner: This workflow's id.
            limit: How long the work may take.
        """
        self._key = session_key
        self._owner = owner
        self._lease = int((limit + LEASE_GRACE).total_seconds())
        self._token: str | None = None
        self._grant: Granted | None = None
        self._interrupted = False
        self._asked = False
        self.turn = 0

    # What the session signals

    def granted(self, grant: Granted) -> None:
        """The turn of a request has come."""
        if grant.lease == self._request_id:
            self._grant = grant

    def interrupt(self, lease: LeaseRef) -> None:
        """A user wants the session; an interrupt of a former hold changes nothing."""
        if lease.token == self._token:
            self._interrupted = True

    # What the holder does

    async def acquire(self) -> None:
        """Wait for the session, as long as it takes."""
        self.turn += 1
        self._asked = True
        self._token, self._grant, self._interrupted = None, None, False
        request = RequestSession(
            key=self._key,
            lease=RequestLease(
                owner=self._owner, request_id=self._request_id, lease_seconds=self._lease
            ),
        )
        answer = await ask_entity(SessionActivities.request_session, request, "ask for the session")
        if answer.decision == LeaseDecision.GRANTED and answer.token is not None:
            self._token = answer.token
            return
        await workflow.wait_condition(lambda: self._grant is not None)
        assert self._grant is not None  # the condition, for the type checker
        self._token = self._grant.token

    async def hold(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work while the session is held.

        Raises:
            Interrupted: A user's turn has come; the work was cancelled and has ended.
        """
        task = asyncio.create_task(work)
        try:
            await workflow.wait_condition(lambda: task.done() or self._interrupted)
        except asyncio.CancelledError:
            await _ended(task)
            raise
        if not self._interrupted:
            return await task
        await _ended(task)
        raise Interrupted

    async def release(self) -> None:
        """Let the session go, or stop waiting for it; a second time nothing happens."""
        if not self._asked:
            return
        self._asked = False
        key = self._token or self._owner
        session = workflow.get_external_workflow_handle(session_workflow_id(gate_key(self._key)))
        await session.signal("release", ReleaseSession(key=key))

    @property
    def _request_id(self) -> str:
        return f"{self._owner}:{self.turn}"


async def _ended(task: "asyncio.Task[Any]") -> None:
    """Cancel work, and wait until it has said what it has spent."""
    task.cancel()
    await workflow.wait([task])
    if not task.cancelled():
        # A fault that comes now is of no interest: the work is done again, or not wanted.
        task.exception()
