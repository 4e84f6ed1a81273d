"""How often the gateway's watch posts the same problem: each half hour, by a clock of the test."""

import json
import logging
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest
from temporalio.client import Client

from client.gateway.watch import COOLDOWN, INTERVAL, QueueWatch
from domain.errors import ErrorKind, FieldProblem
from tests.support.receiver import Answer, Receiver, running_receiver

MINUTE = timedelta(minutes=1).total_seconds()


class Rounds:
    """A watch whose looks find what a test says, at the times that it says."""

    def __init__(
        self, receiver: Receiver, client: httpx.AsyncClient, begins_at: float = 10_000.0
    ) -> None:
        self._now = begins_at
        self._receiver = receiver
        self._client = client
        self._watch = QueueWatch(
            Client.__new__(Client),  # never asked: what is wrong comes from the test
            target="here",
            alert_url=receiver.url,
            clock=lambda: self._now,
        )

    async def find(self, *fields: str, after: float = 0.0) -> list[str]:
        """Go on for so many seconds, find these problems, and return what is posted of them."""
        self._now += after
        problems = [
            FieldProblem(kind=ErrorKind.UNAVAILABLE, field=field, message=f"{field} is wrong")
            for field in fields
        ]
        before = len(self._receiver.requests)
        await self._watch.tell(self._client, problems)
        posts = [json.loads(item.body) for item in self._receiver.requests[before:]]
        return [problem["field"] for post in posts for problem in post["problems"]]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with running_receiver() as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as opened:
        yield opened


async def test_what_stays_wrong_is_told_again_after_half_an_hour(
    receiver: Receiver, client: httpx.AsyncClient
) -> None:
    assert timedelta(minutes=30) == COOLDOWN
    rounds = Rounds(receiver, client)
    assert await rounds.find("temporal") == ["temporal"]
    step = INTERVAL.total_seconds()
    for _ in range(COOLDOWN // INTERVAL - 1):
        assert await rounds.find("temporal", after=step) == []
    assert await rounds.find("temporal", after=step) == ["temporal"]
    assert await rounds.find("temporal", after=step) == []


async def test_each_problem_has_a_time_of_its_own(
    receiver: Receiver, client: httpx.AsyncClient
) -> None:
    rounds = Rounds(receiver, client)
    both = ("pollers.a", "backlog.b")
    assert await rounds.find("pollers.a") == ["pollers.a"]
    assert await rounds.find(*both, after=20 * MINUTE) == ["backlog.b"]
    assert await rounds.find(*both, after=10 * MINUTE) == ["pollers.a"]
    assert await rounds.find(*both, after=20 * MINUTE) == ["backlog.b"]


async def test_what_had_ended_is_told_at_once_when_it_comes_back(
    receiver: Receiver, client: httpx.AsyncClient
) -> None:
    rounds = Rounds(receiver, client)
    assert await rounds.find("temporal") == ["temporal"]
    assert await rounds.find(after=MINUTE) == []
    assert await rounds.find("temporal", after=MINUTE) == ["temporal"]


async def test_a_post_that_was_refused_starts_no_time(
    receiver: Receiver, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    receiver.script.append(Answer(500))
    rounds = Rounds(receiver, client)
    assert await rounds.find("temporal") == ["temporal"]
    assert await rounds.find("temporal", after=MINUTE) == ["temporal"]
    assert await rounds.find("temporal", after=MINUTE) == []


async def test_also_when_the_machine_has_just_started(
    receiver: Receiver, client: httpx.AsyncClient
) -> None:
    """Its clock counts from there: it shows less than the time between two posts."""
    rounds = Rounds(receiver, client, begins_at=5.0)
    assert await rounds.find("temporal") == ["temporal"]
    assert await rounds.find("temporal", after=MINUTE) == []
