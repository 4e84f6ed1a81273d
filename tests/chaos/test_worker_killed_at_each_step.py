"""A worker is killed at every step of a run: the next one carries the same run on, once.

Runs are brought to their steps by gates, held locks, silent receivers and stopped processes, so
that the moment of each kill is known. One kill hits several runs, each at another step.
"""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import PendingActivityState

from activities.file_locks import locked
from client.runs import RunStarted
from domain.deliveries import DeliveryStatus
from domain.identifiers import ENTITIES_QUEUE, LLM_QUEUE, RUNS_QUEUE, routine_workflow_id
from domain.llm_calls import LlmCall, LlmCallStatus
from domain.run_view import RunView
from domain.runs import RunStatus, routine_of_run, run_workflow_id
from tests.chaos.stage import (
    answered,
    asked,
    assert_closed_normally,
    assert_counted,
    assert_happened_once,
    delivery_reaches,
    ended,
    ledger,
    lines,
    staged,
    streaming,
)
from tests.support.harness import Harness, until
from tests.support.model_steps import Behaviour, Hang, Refusal, Reply, error_body
from tests.support.processes import frozen
from tests.support.receiver import SECRET, Receiver, running_receiver
from tests.support.receiver import Hang as Silence
from tests.support.worker_process import WorkerProcess, worker_process

pytestmark = pytest.mark.chaos

PATIENCE = 60
ENTITIES = (ENTITIES_QUEUE,)
RUNS = (RUNS_QUEUE, LLM_QUEUE)
TEXT = "A whole answer."


@dataclass
class Scene:
    """Where a run is brought to its step: its routine, the file it speaks to, what holds it."""

    harness: Harness
    routine: str
    file: str
    gate: threading.Event = field(default_factory=threading.Event)
    run: str = ""

    @classmethod
    async def open(
        cls, harness: Harness, file: str, *steps: Behaviour, gate: threading.Event | None = None
    ) -> "Scene":
        """Make the routine; without steps its model answers when the gate opens."""
        gate = gate or threading.Event()
        route = {"receive_id_type": "file", "receive_id": file}
        given = steps or (Reply(TEXT, gate=gate),)
        routine = await harness.routine(*given, notify={"route": route})
        return cls(harness, routine, file, gate)

    async def begin(self) -> None:
        """Start the run and wait until its model is at work."""
        self.run = (await self.harness.tickless.runs.trigger(self.routine)).run_id
        await self.harness.models.wait_for(
            lambda: len(asked(self.harness, self.routine)) == 1, PATIENCE
        )

    async def reaches(self, part: str, status: DeliveryStatus) -> None:
        """Wait until the outbox says so of a text of the run."""
        await delivery_reaches(self.harness, f"{self.run}/{part}", status)

    @contextmanager
    def file_held(self) -> Generator[None]:
        """Keep the channel from writing; what waits for the file has begun its attempt."""
        path = self.harness.deliveries.with_name(self.file)
        with path.open("a+b") as file, locked(file, timedelta(seconds=PATIENCE)):
            yield


async def _assert_once(scene: Scene, calls: Sequence[LlmCallStatus]) -> RunView:
    """The run ended well under its id, spoke once, and has one row for each request it made."""
    harness = scene.harness
    view = await ended(harness, scene.run)
    assert view.record.id == scene.run
    assert view.text == TEXT
    found: list[LlmCall] = await assert_happened_once(harness, view)
    assert [call.status for call in found] == list(calls)
    assert len(asked(harness, scene.routine)) == len(calls)
    assert [item.status for item in view.deliveries] == [DeliveryStatus.SENT]
    parts = [line["part"] for line in lines(harness, scene.run, scene.file)]
    assert parts == ["start", "final"]
    await assert_counted(harness, scene.routine, 1)
    return view


ONE_CALL = (LlmCallStatus.OK,)
LOST_CALL = (LlmCallStatus.STARTED, LlmCallStatus.OK)


async def test_killed_while_runs_are_at_work(tmp_path: Path) -> None:
    """In mid-stream, delivering, telling a failure, announcing, and just before the model call."""
    async with running_receiver() as receiver, _with_webhook(tmp_path, receiver) as harness:
        async with worker_process(harness, "first") as first:
            stream = await Scene.open(harness, "stream.jsonl", Hang("half an ans", 2), Reply(TEXT))
            final = await Scene.open(harness, "final.jsonl")
            gate = threading.Event()
            refusal = Refusal(401, error_body("no such key"), gate=gate)
            failure = await Scene.open(harness, "failure.jsonl", refusal, gate=gate)
            before = await Scene.open(harness, "before.jsonl", Reply(TEXT))
            silent = await _speaking_to_webhook(harness)
            for scene in (stream, final, failure):
                await scene.begin()
                await scene.reaches("start", DeliveryStatus.SENT)
            await streaming(harness, stream.routine)
            receiver.script.append(Silence())
            announced = (await harness.tickless.runs.trigger(silent)).run_id
            await receiver.arrived.wait()
            with final.file_held(), failure.file_held():
                final.gate.set()
                failure.gate.set()
                await final.reaches("final", DeliveryStatus.UNKNOWN)
                await failure.reaches("first_failure", DeliveryStatus.UNKNOWN)
                with _ledger_held(harness):
                    before.run = (await harness.tickless.runs.trigger(before.routine)).run_id
                    await until(_at_work(harness, before.run), "the call has begun", PATIENCE)
                    assert asked(harness, before.routine) == []
                    await first.kill()
        async with worker_process(harness, "second"):
            await _assert_once(stream, LOST_CALL)
            await _assert_once(final, ONE_CALL)
            await _assert_once(before, ONE_CALL)
            await _assert_told_once(failure)
            await _assert_announced_once(harness, announced, receiver)


@asynccontextmanager
async def _with_webhook(folder: Path, receiver: Receiver) -> AsyncGenerator[Harness]:
    """A stage with the channel `hook`, which gives up late and does not recognise repetitions."""
    channel = {
        "TICKLESS_CHANNELS__HOOK__TYPE": "webhook",
        "TICKLESS_CHANNELS__HOOK__URL": receiver.url,
        "TICKLESS_CHANNELS__HOOK__SECRET": SECRET,
        "TICKLESS_CHANNELS__HOOK__TIMEOUT_SECONDS": "60",
    }
    async with staged(folder, **channel) as (_, harness):
        yield harness


async def _speaking_to_webhook(harness: Harness) -> str:
    """A routine whose first model call never ends."""
    route = {"receive_id_type": "hook", "receive_id": "alerts"}
    return await harness.routine(Hang("half an ans", 1), Reply(TEXT), notify={"route": route})


@contextmanager
def _ledger_held(harness: Harness) -> Generator[None]:
    """Keep everybody from writing to the ledger, as another writer does."""
    path = harness.folder / "ledger.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


def _at_work(harness: Harness, run: str) -> Callable[[], Awaitable[bool]]:
    """Whether a worker has taken up the run's model call."""

    async def holds() -> bool:
        handle = harness.client.get_workflow_handle(run_workflow_id(run))
        pending = (await handle.describe()).raw_description.pending_activities
        started = PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
        return [(item.activity_type.name, item.state) for item in pending] == [
            ("call_model", started)
        ]

    return holds


async def _assert_told_once(scene: Scene) -> None:
    """The failure was counted once and told once."""
    harness = scene.harness
    view = await ended(harness, scene.run)
    assert view.record.status == RunStatus.FAILED
    await assert_closed_normally(harness, scene.run)
    parts = [line["part"] for line in lines(harness, scene.run, scene.file)]
    assert parts == ["start", "first_failure"]
    assert [item.status for item in view.deliveries] == [DeliveryStatus.SENT]
    assert len(asked(harness, scene.routine)) == 1
    found = (await harness.tickless.routines.get(scene.routine)).routine
    assert (found.run_count, found.running, found.consecutive_failures) == (1, False, 1)


async def _assert_announced_once(harness: Harness, run: str, receiver: Receiver) -> None:
    """Nobody knows whether the start notice arrived, so it is not sent again."""
    view = await ended(harness, run)
    assert view.text == TEXT
    calls = await assert_happened_once(harness, view)
    assert [call.status for call in calls] == list(LOST_CALL)
    async with ledger(harness) as store:
        start = await store.outbox.get(f"{run}/start")
    assert start is not None
    assert (start.status, start.attempts) == (DeliveryStatus.UNKNOWN, 1)
    assert [item["key"] for item in receiver.contents()] == [f"{run}/start", f"{run}/final"]
    await assert_counted(harness, routine_of_run(run), 1)


async def test_killed_before_it_can_report(tmp_path: Path) -> None:
    """The server stands still while an answer is stored and a reply delivered."""
    async with staged(tmp_path) as (server, harness):
        async with worker_process(harness, "first") as first:
            stored = await Scene.open(harness, "stored.jsonl")
            delivered = await Scene.open(harness, "delivered.jsonl")
            for scene in (stored, delivered):
                await scene.begin()
                await scene.reaches("start", DeliveryStatus.SENT)
            with ExitStack() as stack:
                with delivered.file_held():
                    delivered.gate.set()
                    await delivered.reaches("final", DeliveryStatus.UNKNOWN)
                    stack.enter_context(frozen(server.pid))
                await delivered.reaches("final", DeliveryStatus.SENT)
                stored.gate.set()
                await answered(harness, stored.run)
                await first.kill()
        async with worker_process(harness, "second"):
            view = await _assert_once(stored, ONE_CALL)
            assert view.record.attempts == 2, "the second attempt found what the first had stored"
            await _assert_once(delivered, ONE_CALL)


@pytest.mark.parametrize("booked", [False, True], ids=["asked", "booked"])
async def test_killed_before_the_routine_answers(tmp_path: Path, *, booked: bool) -> None:
    """One run has asked for admission and one reports its end: neither hears what is answered."""
    async with (
        staged(tmp_path) as (_, harness),
        worker_process(harness, "entities", ENTITIES) as entities,
    ):
        beginning = await Scene.open(harness, "beginning.jsonl", Reply(TEXT))
        ending = await Scene.open(harness, "ending.jsonl")
        async with worker_process(harness, "runs", RUNS) as runs:
            await ending.begin()
            await ending.reaches("start", DeliveryStatus.SENT)
            trigger = await _kill_unanswered(beginning, ending, entities, runs, booked=booked)
        async with worker_process(harness, "runs-again", RUNS):
            beginning.run = (await trigger).run_id
            await _assert_once(beginning, ONE_CALL)
            await _assert_once(ending, ONE_CALL)


async def _kill_unanswered(
    beginning: Scene,
    ending: Scene,
    entities: WorkerProcess,
    runs: WorkerProcess,
    *,
    booked: bool,
) -> asyncio.Task[RunStarted]:
    """Kill the worker of the runs when the routines are asked, or when they have booked it."""
    harness = beginning.harness
    with ExitStack() as stack:
        with frozen(entities.pid):
            trigger = asyncio.create_task(harness.tickless.runs.trigger(beginning.routine))
            ending.gate.set()
            for scene in (beginning, ending):
                await until(_is_asked(scene), "the routine is asked", PATIENCE)
            if booked:
                # From here on the worker of the runs hears nothing any more.
                stack.enter_context(frozen(runs.pid))
            else:
                await runs.kill()
        if booked:
            await until(_is_running(beginning, True), "the beginning is booked", PATIENCE)
            await until(_is_running(ending, False), "the end is booked", PATIENCE)
            await runs.kill()
    return trigger


def _is_asked(scene: Scene) -> Callable[[], Awaitable[bool]]:
    """Whether the routine has something to answer."""

    async def holds() -> bool:
        workflow = routine_workflow_id(scene.routine)
        handle = scene.harness.client.get_workflow_handle(workflow)
        return (await handle.describe()).raw_description.HasField("pending_workflow_task")

    return holds


def _is_running(scene: Scene, wanted: bool) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return (await scene.harness.tickless.routines.get(scene.routine)).routine.running is wanted

    return holds
