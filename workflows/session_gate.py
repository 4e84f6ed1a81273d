"""How a run waits for its session, and lets it go when a user speaks.

Owns the holder's side of the gate: asking, waiting, yielding. The session's side is
`workflows.session`. Source: automation.md §7.2, §7.11 and §8.

Invariants:
    1. Work is done only while the session is held; an interrupt ends it before anything else, also
       one that comes before word of the grant, and before the work has begun.
    2. Whatever happens, the session is let go, or no longer waited for, in the end.
    3. A grant that was taken back before its answer came is none: the session is asked for again.
    4. A session that was terminated, with all who waited for it, is asked again after a while.
    5. The result of a job is said, however often users are given the session before it is, unless
       whoever waits to say it is told to end.
    6. A run that let go for a user keeps its place among automation: it was the first to come.
    7. A request that is withdrawn is granted to nobody, also when it comes later than that word.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError

from workflows.bounded_waits import end_task
from workflows.cancellations import raise_if_cancelled
from workflows.entity_calls import ask_entity
from workflows.lease_rounds import signal_workflow

with workflow.unsafe.imports_passed_through():
    from activities import timeouts
    from activities.failures import SESSION_LOST, application_error_of
    from activities.sessions import SessionActivities
    from domain.identifiers import session_workflow_id
    from domain.lease_queue_state import (
        Granted,
        LeaseAnswer,
        LeaseDecision,
        LeaseRef,
        RequestLease,
    )
    from domain.session import gate_key
    from domain.session_requests import ReleaseSession, RequestSession, SessionHold

T = TypeVar("T")

# Of a text in a chat: five refusals of a channel are spread over 15 minutes.
SAYING_LIMIT = timedelta(minutes=15)
# Waiting costs a few events each time, so who waits long asks less and less often.
MAX_PATIENCE = timedelta(hours=24)
_EARLY = "2026-11-21-early-interrupts"
_TAKEN_BACK = "2026-11-21-grants-taken-back"
_ASK_AGAIN = "2026-11-21-asks-again"
_GIVEN_UP = "2026-11-21-result-given-up"


class Interrupted(Exception):
    """A user's turn has come: the work was ended, and is to be done again later."""


class SessionGate:
    """One workflow's hold of one session.

    Attributes:
        turn: How often the session was asked for.
    """

    def __init__(
        self,
        session_key: str,
        owner: str,
        limit: timedelta,
        *,
        work: str | None = None,
        rejoins: bool = False,
    ) -> None:
        """Name the session.

        Args:
            session_key: In any of its forms, with a base.
            owner: This workflow's id.
            limit: How long the work may take.
            work: Names the work among the owner's, where its id comes again with other work: an
                answer to one is none to another. Null: there is one work for one id.
            rejoins: A former hold of the same work was given back for a user.
        """
        self._key = session_key
        self._owner = owner
        self._work = work or owner
        self._rejoins = rejoins
        self._lease = int((limit + timeouts.LEASE_GRACE).total_seconds())
        self._token: str | None = None
        self._grant: Granted | None = None
        self._interrupts: set[str] = set()
        self._asked = False
        self._again: asyncio.Task[None] | None = None
        self.turn = 0

    # What the session signals

    def granted(self, grant: Granted) -> None:
        """The turn of a request has come."""
        if grant.lease == self._request_id:
            self._grant = grant

    def interrupt(self, lease: LeaseRef) -> None:
        """A user wants the session; an interrupt of a former hold changes nothing."""
        # Kept though no token is known yet: word of the grant may come later than this.
        self._interrupts.add(lease.token)

    # What the holder does

    async def acquire(self) -> None:
        """Wait for the session, as long as it takes."""
        rejoins = self._rejoins or self.turn > 0
        while True:
            self._begin_turn()
            token = await self._wait_for_token(front=rejoins)
            if token is None:
                # The grant was taken back before word of it came.
                continue
            early = token in self._interrupts and workflow.patched(_EARLY)
            self._token = token
            if not early:
                return
            await self.release()
            rejoins = True

    async def try_acquire(self) -> bool:
        """Take the session if nobody else has it; false when it is busy."""
        self._begin_turn()
        answer = await self._ask(0, front=self._rejoins)
        granted = answer.decision == LeaseDecision.GRANTED and answer.ended is None
        if granted and answer.token is not None and answer.token not in self._interrupts:
            self._token = answer.token
            return True
        await self.release()
        return False

    def _begin_turn(self) -> None:
        self.turn += 1
        self._asked = True
        self._token, self._grant = None, None
        self._interrupts.clear()

    async def _wait_for_token(self, *, front: bool) -> str | None:
        """Wait for the grant of the request at hand; null when it is over without one."""
        patience, repeat = timedelta(seconds=self._lease), 0
        while True:
            answer = await self._ask(repeat, front=front)
            raise_if_cancelled()
            if answer.ended is not None and workflow.patched(_TAKEN_BACK):
                return None
            if answer.decision == LeaseDecision.GRANTED and answer.token is not None:
                return answer.token
            if not workflow.patched(_ASK_AGAIN):
                await workflow.wait_condition(lambda: self._grant is not None)
            else:
                await self._wait_for_grant(patience)
            if self._grant is not None:
                return self._grant.token
            patience, repeat = min(2 * patience, MAX_PATIENCE), repeat + 1

    async def _ask(self, repeat: int, *, front: bool) -> LeaseAnswer:
        lease = RequestLease(
            owner=self._owner,
            request_id=self._request_id,
            lease_seconds=self._lease,
            front=front,
            repeat=repeat,
        )
        request = RequestSession(key=self._key, lease=lease)
        return await ask_entity(SessionActivities.request_session, request, "ask for the session")

    async def _wait_for_grant(self, patience: timedelta) -> None:
        if self._grant is not None:
            return
        try:
            await workflow.wait_condition(
                lambda: self._grant is not None,
                timeout=patience,
                timeout_summary="is there still a session?",
            )
        except TimeoutError:
            return

    async def hold(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work while the session is held.

        Raises:
            Interrupted: A user's turn has come; the work was cancelled and has ended.
        """
        if self.interrupted and workflow.patched(_EARLY):
            work.close()
            raise Interrupted
        task = asyncio.create_task(work)
        try:
            raise_if_cancelled()
            await workflow.wait_condition(lambda: task.done() or self.interrupted)
        except asyncio.CancelledError:
            await _ended(task)
            raise
        if not self.interrupted:
            return await task
        await _ended(task)
        raise Interrupted

    async def say(self, telling: Callable[[], Awaitable[None]], waits: Callable[[], None]) -> bool:
        """Say a job's result in the session; again, as often as a user was given that meanwhile.

        Args:
            telling: Says it.
            waits: Called whenever the session is waited for once more.

        Returns:
            Whether it was said, and not given up.
        """
        while True:
            try:
                await telling()
            except ActivityError as error:
                cause = application_error_of(error)
                if cause is None or cause.type != SESSION_LOST:
                    raise
            else:
                return True
            waits()
            again = self._again = asyncio.create_task(self._acquire_again())
            await workflow.wait([again])
            if again.cancelling():
                await _ended(again)
                return False
            await again

    def give_up(self) -> bool:
        """Say nothing any more; false where nothing waits to be said again."""
        again = self._again
        waits = again is not None and not (again.done() or again.cancelling())
        if again is None or not waits or not workflow.patched(_GIVEN_UP):
            return False
        again.cancel()
        return True

    async def _acquire_again(self) -> None:
        await self.release()
        await self.acquire()

    async def release(self) -> None:
        """Let the session go, or stop waiting for it; a second time nothing happens."""
        if not self._asked:
            return
        self._asked = False
        token, self._token = self._token, None
        if token is not None:
            await _say_release(self._key, ReleaseSession(key=token))
        else:
            # The request may still be on its way, and would then be granted to nobody.
            withdrawn = ReleaseSession(key=self._owner, request_id=self._request_id)
            await _say_release(self._key, withdrawn)

    def wants(self, request_id: str) -> bool:
        """Whether this is the request whose answer is waited for, or used."""
        return self._asked and request_id == self._request_id

    @property
    def held(self) -> SessionHold | None:
        """The hold, for those who speak because of it; null when there is none."""
        if self._token is None:
            return None
        return SessionHold(key=gate_key(self._key), token=self._token)

    @property
    def interrupted(self) -> bool:
        """Whether a user wants the session that is held."""
        return self._token in self._interrupts

    @property
    def _request_id(self) -> str:
        return f"{self._work}:{self.turn}"


async def give_back(session_key: str, token: str) -> None:
    """Let a lease go that nobody wants any more: others would wait for it."""
    await _say_release(session_key, ReleaseSession(key=token))


async def _say_release(session_key: str, release: ReleaseSession) -> None:
    # A session that is gone holds nothing.
    await signal_workflow(session_workflow_id(gate_key(session_key)), "release", release)


async def _ended(task: "asyncio.Task[Any]") -> None:
    """Cancel work, and wait until it has said what it has spent."""
    await end_task(task)
    if not task.cancelled():
        # A fault that comes now is of no interest: the work is done again, or not wanted.
        task.exception()
