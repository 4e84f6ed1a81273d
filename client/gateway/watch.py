"""The gateway's own watch: are there workers, and do they keep up?

Owns looking every 15 s, what counts as wrong, the log lines, and the posts to `gateway.alert_url`.
It needs no worker, so it tells of the one thing that nothing inside Temporal can: that nobody
works there any more. Source: DESIGN §3 rule 15.

Invariants:
    1. What is wrong is logged when it begins and when it has ended, not at every look. Workers
       that start together with the gateway are not missed before they had time to poll.
    2. It is posted again at the earliest 30 minutes after the last post that was accepted; one
       that failed is tried again at the next look.
    3. The address, which may hold a secret, is in no log line of this module.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import httpx
import structlog
from temporalio.client import Client

from client.gateway.queues import (
    MAX_BACKLOG_AGE,
    MAX_POLLER_AGE,
    QueueState,
    look_at_queues,
)
from domain.errors import DomainError, ErrorKind, FieldProblem
from domain.timestamps import format_timestamp, whole_second

INTERVAL: Final = timedelta(seconds=15)
COOLDOWN: Final = timedelta(minutes=30)
POST_TIMEOUT: Final = timedelta(seconds=10)
# How old a look may be that `/readyz` answers from.
MAX_AGE: Final = timedelta(seconds=1)

_POLLERS = "pollers."

log = structlog.get_logger(__name__)


class QueueWatch:
    """What is wrong with queues and server; `run` keeps looking."""

    def __init__(
        self,
        temporal: Client,
        *,
        target: str,
        alert_url: str | None = None,
        interval: timedelta = INTERVAL,
        cooldown: timedelta = COOLDOWN,
        max_backlog_age: timedelta = MAX_BACKLOG_AGE,
        max_poller_age: timedelta = MAX_POLLER_AGE,
        grace: timedelta = MAX_POLLER_AGE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """A watch.

        Args:
            temporal: The connection.
            target: How the deployment is called in alerts.
            alert_url: Where to post; null for nowhere.
            interval: Between two looks.
            cooldown: Between two posts of the same problem.
            max_backlog_age: How long work may wait.
            max_poller_age: How long ago a poller may have asked.
            grace: From the first look, before workers that are missing are told of.
            clock: Seconds that only grow; the time between posts is measured by it.
        """
        self._temporal = temporal
        self._target = target
        self._alert_url = alert_url
        self._interval = interval
        self._cooldown = cooldown
        self._max_backlog_age = max_backlog_age
        self._max_poller_age = max_poller_age
        self._grace = grace
        self._clock = clock
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()
        self._known: dict[str, FieldProblem] = {}
        self._posted: dict[str, float] = {}
        self.queues: Sequence[QueueState] = ()
        self.problems: Sequence[FieldProblem] = ()

    async def run(self) -> None:
        """Look for ever."""
        begun = time.monotonic()
        async with httpx.AsyncClient(timeout=POST_TIMEOUT.total_seconds()) as client:
            while True:
                problems = await self.look(max_age=timedelta())
                if time.monotonic() - begun < self._grace.total_seconds():
                    problems = [item for item in problems if not item.field.startswith(_POLLERS)]
                await self.tell(client, problems)
                await asyncio.sleep(self._interval.total_seconds())

    async def look(self, max_age: timedelta = MAX_AGE) -> Sequence[FieldProblem]:
        """What is wrong now; a look that is not older than `max_age` will do."""
        async with self._looking:
            if time.monotonic() - self._looked_at >= max_age.total_seconds():
                self.problems = await self._problems()
                self._looked_at = time.monotonic()
        return self.problems

    async def _problems(self) -> list[FieldProblem]:
        try:
            self.queues = await look_at_queues(self._temporal, max_poller_age=self._max_poller_age)
        except DomainError as error:
            self.queues = ()
            return [_problem("temporal", error.message)]
        return [problem for state in self.queues for problem in self._wrong(state)]

    def _wrong(self, state: QueueState) -> list[FieldProblem]:
        found: list[FieldProblem] = []
        if not state.pollers:
            age = self._max_poller_age.total_seconds()
            found.append(
                _problem(
                    f"{_POLLERS}{state.queue}.{state.kind}",
                    f"no worker has polled {state.name} for {age:g} s: start `tickless worker`",
                )
            )
        if state.backlog_seconds > self._max_backlog_age.total_seconds():
            found.append(
                _problem(
                    f"backlog.{state.queue}.{state.kind}",
                    f"{state.backlog} tasks wait at {state.name}, the oldest for "
                    f"{state.backlog_seconds:.0f} s: the workers are too few, or stuck",
                )
            )
        return found

    async def tell(self, client: httpx.AsyncClient, problems: Sequence[FieldProblem]) -> None:
        """Log what has begun and ended since the last time, and post what is due."""
        self._log_changes(problems)
        await self._post(client, problems)

    def _log_changes(self, problems: Sequence[FieldProblem]) -> None:
        now = {problem.field: problem for problem in problems}
        for field, problem in now.items():
            if field not in self._known:
                log.warning("something is wrong", field=field, problem=problem.message)
        for field in self._known.keys() - now.keys():
            log.info("all right again", field=field)
            self._posted.pop(field, None)
        self._known = now

    async def _post(self, client: httpx.AsyncClient, problems: Sequence[FieldProblem]) -> None:
        since = self._clock() - self._cooldown.total_seconds()
        due = [
            problem
            for problem in problems
            if self._posted.get(problem.field, float("-inf")) <= since
        ]
        if self._alert_url is None or not due:
            return
        try:
            answer = await client.post(self._alert_url, json=self._alert(due))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            log.warning("the alert could not be posted", error=type(error).__name__)
            return
        if not answer.is_success:
            log.warning("the alert was refused", status=answer.status_code)
            return
        self._posted.update({problem.field: self._clock() for problem in due})

    def _alert(self, problems: Sequence[FieldProblem]) -> Mapping[str, object]:
        return {
            "type": "tickless.gateway.alert",
            "target": self._target,
            "at": format_timestamp(whole_second(datetime.now(UTC))),
            # What chat services show of a post.
            "text": f"Tickless at {self._target}: " + "; ".join(p.message for p in problems),
            "problems": [problem.model_dump(mode="json") for problem in problems],
        }


def _problem(field: str, message: str) -> FieldProblem:
    return FieldProblem(kind=ErrorKind.UNAVAILABLE, field=field, message=message)
