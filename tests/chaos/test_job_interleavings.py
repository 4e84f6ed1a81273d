"""Workers are killed while people pause, resume and cancel: no effect of a job happens twice.

The lives of jobs are chosen by hypothesis, always the same ones unless `TICKLESS_FUZZ_LIVES` says
how many others are wanted. All of them are lived at once on one stage, so that they share what
takes its time: the deaths of the workers, and the seconds until a lost step is noticed.

A life says where its steps are held up, so that a kill meets them there, and what people say in
each round. A round: everybody comes to where he is held, people speak, the worker dies or does not,
people speak again, a worker comes. What a job does is a POST to a server that counts.
"""

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from temporalio.service import RPCError

from activities.store import Store
from domain.job_messages import JobEnded, JobView
from domain.jobs import MAX_RECOVERIES, TERMINAL_STATUSES, JobStatus, JobWaiting
from domain.tool_actions import ActionRecord, ActionStatus
from tests.chaos.stage import ledger, staged
from tests.support.effects import Effects, running_effects
from tests.support.harness import Harness, until
from tests.support.jobs import StartedJob, said, start_job, tool_texts
from tests.support.model_steps import Body, Reply
from tests.support.tool_runs import asks
from tests.support.worker_process import WorkerProcess, worker_process

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

LIVES = int(os.environ.get("TICKLESS_FUZZ_LIVES", "7"))
ROUNDS = 3
# Until a life settles, or ends: some have lost several steps by then, on a machine that is busy.
LONGEST_SECONDS = 150
# More jobs than slots: some wait for one when the worker dies.
SLOTS = 6

# What the ledger may say of a call, by how often it happened: `ok` only of what has, and nothing
# only of what has not.
POSSIBLE: dict[int, set[str | None]] = {
    0: {None, ActionStatus.UNKNOWN, ActionStatus.TIMED_OUT},
    1: {ActionStatus.OK, ActionStatus.UNKNOWN, ActionStatus.TIMED_OUT},
}


class Move(StrEnum):
    """What people say; each is a signal of its own name."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"


class Place(StrEnum):
    """Where a batch of calls is held up: its model still answers, or its first call has arrived."""

    MODEL = "model"
    EFFECT = "effect"


class Kill(StrEnum):
    """When the worker dies: while all are held up, or a moment after they were let go."""

    HELD = "held"
    RUNNING = "running"


@dataclass(frozen=True)
class Batch:
    """Calls that a model asks for at once."""

    calls: int
    held: Place | None


@dataclass(frozen=True)
class Life:
    """What one job does, and what it is told in each round: before the worker dies, and after."""

    batches: tuple[Batch, ...]
    told: tuple[tuple[tuple[Move, ...], tuple[Move, ...]], ...]

    @property
    def is_cancelled(self) -> bool:
        return any(Move.CANCEL in moves for pair in self.told for moves in pair)


_MOVES = st.lists(st.sampled_from([Move.PAUSE, Move.RESUME] * 3 + [Move.CANCEL]), max_size=2).map(
    tuple
)
_BATCHES = st.builds(
    Batch, calls=st.integers(1, 2), held=st.sampled_from([Place.EFFECT, Place.MODEL, None])
)
_LIVES = st.builds(
    Life,
    batches=st.lists(_BATCHES, min_size=ROUNDS, max_size=ROUNDS).map(tuple),
    told=st.lists(st.tuples(_MOVES, _MOVES), min_size=ROUNDS, max_size=ROUNDS).map(tuple),
)


_SILENT: tuple[Move, ...] = ()
# Whatever is chosen: one that is held up in the middle of a call when the worker dies, and one that
# is told to end then.
ALWAYS = (
    Life((Batch(2, Place.EFFECT),) * ROUNDS, ((_SILENT, _SILENT),) * ROUNDS),
    Life((Batch(1, Place.EFFECT),) * ROUNDS, ((_SILENT, (Move.CANCEL,)),) * ROUNDS),
)


def chosen() -> tuple[list[Life], list[Kill | None], float]:
    """Lives, in which round the worker dies, and how soon after they were let go."""
    found: list[tuple[list[Life], list[Kill | None], float]] = []

    @settings(
        derandomize="TICKLESS_FUZZ_LIVES" not in os.environ,
        database=None,
        # The first one is the simplest there is.
        max_examples=2,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.lists(_LIVES, min_size=LIVES, max_size=LIVES, unique=True),
        st.permutations([Kill.HELD, Kill.RUNNING, None]),
        st.floats(0, 0.4),
    )
    def choose(lives: list[Life], kills: list[Kill | None], moment: float) -> None:
        found.append(([*ALWAYS, *lives], kills, moment))

    choose()
    return found[-1]


class Living:
    """A job that lives its life."""

    def __init__(self, name: str, life: Life, effects: Effects, harness: Harness) -> None:
        self.name = name
        self._harness = harness
        self.life = life
        self._effects = effects
        self._job: StartedJob | None = None
        self._asked = 0
        self._gates = {
            number: self._gate(number, batch.held)
            for number, batch in enumerate(life.batches)
            if batch.held is not None
        }

    @property
    def job(self) -> StartedJob:
        assert self._job is not None
        return self._job

    @property
    def paths(self) -> list[str]:
        """All effects that the job would have if nothing came between."""
        batches = enumerate(self.life.batches)
        return [
            self._path(number, place) for number, batch in batches for place in range(batch.calls)
        ]

    async def begin(self) -> None:
        self._job = await start_job(self._harness, self._model)

    async def say(self, moves: Iterable[Move]) -> None:
        for move in moves:
            with suppress(RPCError):  # it has ended
                await self.job.handle.signal(move)

    async def settled(self) -> bool:
        """Whether it is held up, or waits for something that does not come by itself."""
        if any(
            not gate.is_set() and self._has_come_to(number) for number, gate in self._gates.items()
        ):
            return True
        try:
            record = (await self.job.view()).record
        except RPCError:  # the worker is too busy to say
            return False
        resting = {JobStatus.PAUSED, *TERMINAL_STATUSES}
        return record.status in resting or record.waiting_for == JobWaiting.SLOT

    def let_go(self, *, for_good: bool = False) -> None:
        """Hold it up no more where it is held up now."""
        for number, gate in self._gates.items():
            if for_good or self._has_come_to(number):
                gate.set()

    async def end(self) -> JobEnded:
        """Wait for its end; one that is paused, or was told to, goes on."""
        await self.say([Move.RESUME])
        try:
            return await asyncio.wait_for(self.job.result(), LONGEST_SECONDS)
        except TimeoutError:
            events = await self._harness.events(self.job.handle.id)
            raise AssertionError(f"{self.life} has not ended: {events}") from None

    def _model(self, body: Body) -> Reply:
        """Ask for the batch after those that the conversation has."""
        number = sum(bool(message.get("tool_calls")) for message in body["messages"])
        if number >= len(self.life.batches):
            return said("Done.")
        again, self._asked = self._asked > number, max(self._asked, number + 1)
        batch = self.life.batches[number]
        posts = [
            {"method": "POST", "url": self._effects.url(self._path(number, place))}
            for place in range(batch.calls)
        ]
        answer = asks(*(("http_request", post) for post in posts))
        if batch.held is not Place.MODEL:
            return answer
        if again:
            # The answer that was held up is lost; this one comes at once.
            self._gates[number].set()
        return replace(answer, gate=self._gates[number])

    def _gate(self, number: int, held: Place) -> threading.Event:
        return (
            threading.Event() if held is Place.MODEL else self._effects.hold(self._path(number, 0))
        )

    def _has_come_to(self, number: int) -> bool:
        if self.life.batches[number].held is Place.MODEL:
            return self._asked > number
        return self._effects.count(self._path(number, 0)) > 0

    def _path(self, number: int, place: int) -> str:
        return f"{self.name}/{number}/{place}"


async def _live(
    living: Sequence[Living], worker: WorkerProcess, kills: Sequence[Kill | None], moment: float
) -> None:
    """All rounds of all lives; in the end a worker runs and nobody is held up."""
    for number, kill in enumerate(kills):
        for one in living:
            what = f"round {number} of {one.life}"
            await until(one.settled, what, LONGEST_SECONDS, pause=0.1)
        for one in living:
            await one.say(one.life.told[number][0])
        if kill is Kill.HELD:
            await worker.kill()
        for one in living:
            one.let_go()
        if kill is Kill.RUNNING:
            # No wait for anything: the worker dies wherever it is by then.
            await asyncio.sleep(moment)
            await worker.kill()
        for one in living:
            await one.say(one.life.told[number][1])
        if kill is not None:
            await worker.start()
    for one in living:
        one.let_go(for_good=True)


async def test_no_effect_happens_twice_and_every_job_ends(tmp_path: Path) -> None:
    lives, kills, moment = chosen()
    with running_effects() as effects:
        given_settings = {
            "TICKLESS_TOOL_PERMISSIONS": '{"http_request": "allow"}',
            "TICKLESS_TOOL_HTTP_ALLOWED_HOSTS": f'["127.0.0.1:{effects.port}"]',
            "TICKLESS_MAX_PARALLEL_JOBS": str(SLOTS),
        }
        async with (
            staged(tmp_path, **given_settings) as (_server, harness),
            worker_process(harness) as worker,
            ledger(harness) as store,
        ):
            living = [
                Living(f"life-{number}", life, effects, harness)
                for number, life in enumerate(lives)
            ]
            for one in living:
                await one.begin()
            await _live(living, worker, kills, moment)
            ends = await asyncio.gather(*(one.end() for one in living))
            found = [
                await _assert_once(one, ended, effects, harness, store)
                for one, ended in zip(living, ends, strict=True)
            ]
            views = [await one.job.view() for one in living]
            await _assert_slots_are_left(harness)
    _assert_something_was_tried(living, ends, found, views)


async def _assert_once(
    one: Living, ended: JobEnded, effects: Effects, harness: Harness, store: Store
) -> list[ActionRecord]:
    """Check a job that has ended: what was counted outside is what its ledger says.

    Returns:
        The rows of its calls.
    """
    rows = await store.actions.of_job(one.job.id)
    told = {path: str(row.status) for row in rows for path in one.paths if _is_of(row, path)}
    about = f"{one.life} ended as {ended.status} ({ended.error}): {told}"
    view = await one.job.view()
    match ended.status:
        case JobStatus.COMPLETED:
            assert ended.text == "Done.", about
            assert set(told) == set(one.paths), about
            _assert_model_knows(harness, one.job.mark, Counter(told.values()))
        case JobStatus.CANCELLED:
            assert one.life.is_cancelled, about
        case _:
            assert view.record.recoveries == MAX_RECOVERIES, about
    assert len(told) == len(rows), about
    for path in one.paths:
        count = effects.count(path)
        assert count <= 1, f"{path} happened {count} times: {about}"
        assert told.get(path) in POSSIBLE[count], f"{path} happened {count} times: {about}"
    stored = await store.jobs.get(one.job.id)
    assert stored is not None
    assert stored.finished_at is not None, about
    assert (stored.status, stored.recoveries) == (ended.status, view.record.recoveries), about
    events = await harness.events(one.job.handle.id)
    assert events[-1] == "WORKFLOW_EXECUTION_COMPLETED", about
    assert await harness.failed_tasks(one.job.handle.id) == [], about
    return list(rows)


def _assert_model_knows(harness: Harness, mark: str, statuses: Mapping[str, int]) -> None:
    """Check that the model was told of each call in the end what the ledger says of it."""
    bodies = [call.body for call in harness.models.calls if mark in str(call.body)]
    texts = tool_texts(bodies)
    assert sum(text.startswith("unknown: ") for text in texts) == statuses.get("unknown", 0)
    assert sum(text.startswith("[output of ") for text in texts) == statuses.get("ok", 0)
    assert len(texts) == sum(statuses.values())


def _is_of(row: ActionRecord, path: str) -> bool:
    return str(row.arguments.get("url", "")).endswith(f"/{path}")


async def _assert_slots_are_left(harness: Harness) -> None:
    """Check that as many jobs as before can run: who has ended holds no slot that is needed."""
    gate = threading.Event()
    jobs = [await start_job(harness, Reply("Done.", gate=gate)) for _ in range(SLOTS)]
    for job in jobs:
        await job.reaches(JobStatus.RUNNING)
    gate.set()
    for job in jobs:
        await job.result()


def _assert_something_was_tried(
    living: Sequence[Living],
    ends: Sequence[JobEnded],
    found: Sequence[Sequence[ActionRecord]],
    views: Sequence[JobView],
) -> None:
    """Check that the lives were eventful: a stage on which nothing happens proves nothing."""
    assert {JobStatus.CANCELLED, JobStatus.COMPLETED} <= {ended.status for ended in ends}
    statuses = Counter(str(row.status) for rows in found for row in rows)
    assert statuses[ActionStatus.UNKNOWN] > 0, statuses
    assert statuses[ActionStatus.OK] > len(living), statuses
    assert any(view.record.recoveries > 0 for view in views)
