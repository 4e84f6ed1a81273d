"""Workflows that hold a session in tests: automation whose work a test ends, and a user.

Owns no expectations. The gate of `Automation` is the real one; what lies between it and the session
can be slowed down by `LateAnswers`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from pydantic import BaseModel
from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError

from activities.failures import ENTITY_SILENT
from activities.sessions import SessionActivities
from domain.lease_queue_state import Granted, LeaseAnswer, LeaseRef
from domain.session_requests import RequestSession
from workflows.session_gate import Interrupted, SessionGate


class Speaks(BaseModel):
    """Hold a session; `limit_seconds` is how long the work may take."""

    session_key: str
    limit_seconds: float = 600


class Spoken(BaseModel):
    """What automation did: whether it works, how often it began, asked, and was interrupted."""

    working: bool = False
    begun: int = 0
    asked: int = 0
    interrupts: int = 0


@workflow.defn(name="Automation")
class Automation:
    """Holds a session while it works, until its work is ended by `finish`."""

    @workflow.init
    def __init__(self, speaks: Speaks) -> None:
        limit = timedelta(seconds=speaks.limit_seconds)
        self._gate = SessionGate(speaks.session_key, workflow.info().workflow_id, limit)
        self._spoken = Spoken()
        self._finished = False

    @workflow.run
    async def run(self, _speaks: Speaks) -> Spoken:
        while True:
            await self._gate.acquire()
            try:
                await self._gate.hold(self._work())
                break
            except Interrupted:
                self._spoken.interrupts += 1
            await self._gate.release()
        await self._gate.release()
        await self._gate.release()
        return self.spoken()

    @workflow.signal
    def granted(self, grant: Granted) -> None:
        self._gate.granted(grant)

    @workflow.signal
    def interrupt(self, lease: LeaseRef) -> None:
        self._gate.interrupt(lease)

    @workflow.signal
    def finish(self) -> None:
        self._finished = True

    @workflow.query
    def spoken(self) -> Spoken:
        return self._spoken.model_copy(update={"asked": self._gate.turn})

    async def _work(self) -> None:
        self._spoken.working = True
        self._spoken.begun += 1
        try:
            await workflow.wait_condition(lambda: self._finished)
        finally:
            self._spoken.working = False


@workflow.defn(name="UserTurn")
class UserTurn:
    """A user's turn that holds the session until it is told to let go."""

    def __init__(self) -> None:
        self._token: str | None = None
        self._over = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self._token is not None and self._over)
        return self._token or ""

    @workflow.signal
    def granted(self, grant: dict[str, str]) -> None:
        self._token = grant["token"]

    @workflow.signal
    def finish(self) -> None:
        self._over = True

    @workflow.query
    def token(self) -> str | None:
        return self._token


class LateAnswers:
    """Asks sessions for automation; the answer to its first request comes late.

    The local activity never answers that one, so that the question is asked again as a normal
    activity, after all that happened meanwhile.
    """

    def __init__(self, real: SessionActivities, meanwhile: Callable[[], Awaitable[None]]) -> None:
        self._real = real
        self._meanwhile = meanwhile
        self._happened: asyncio.Task[None] | None = None

    @activity.defn(name="request_session")
    async def request_session(self, request: RequestSession) -> LeaseAnswer:
        answer = await self._real.request_session(request)
        if not request.lease.request_id.endswith(":1"):
            return answer
        if self._happened is None:
            self._happened = asyncio.ensure_future(self._meanwhile())
        await asyncio.shield(self._happened)
        raise ApplicationError("nobody hears the answer", type=ENTITY_SILENT)
