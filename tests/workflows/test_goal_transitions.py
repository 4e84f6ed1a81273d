"""The table of a goal's states and events (automation.md §9), each cell through real workflows.

Every goal is that of a user nobody else is. Most of them rest, so that no model is needed; where an
iteration has to run, its model waits for the test. All cells begin at once and each test looks at
its own: what takes time is the deadline of a second. Cells that nothing can bring about, such as a
brake where no iteration can run, are left to the pure function.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError
from temporalio.service import RPCError, RPCStatusCode

from client.context import CallerContext
from client.goal_places import GoalPlace, goal_place
from client.goals import GoalDefaults
from client.tickless import TicklessClient
from domain.errors import DomainError, ErrorKind
from domain.goal import GoalEvent, GoalStatus, is_terminal, transition
from domain.goal_messages import THREAD_READY, ClaimGoal, GoalView, ThreadReady
from domain.goal_record import GoalPausedReason
from domain.goal_state import GoalLimits
from domain.session_requests import session_thread_id
from tests.support.goal_setters import GoalSetter
from tests.support.harness import Harness
from tests.support.model_steps import Refusal, Reply, error_body, unauthorized

ACTIVE, PAUSED, WAITING = GoalStatus.ACTIVE, GoalStatus.PAUSED, GoalStatus.WAITING_FOR_SESSION
COMPLETE, TIMEOUT = GoalStatus.COMPLETE, GoalStatus.TIMEOUT
CONFLICT, DELETED = "conflict", "deleted"

# The rows of the table; the columns are the members of `GoalEvent`, in their order.
_A, _P, _W, _C, _T, _X, _D = ACTIVE, PAUSED, WAITING, COMPLETE, TIMEOUT, CONFLICT, DELETED
ROWS: Final[dict[GoalStatus, tuple[str, ...]]] = {
    WAITING: (_A, _P, _W, _C, _C, _W, _W, _W, _T, _X, _X, _X, _D),
    ACTIVE: (_A, _P, _A, _C, _C, _A, _A, _A, _T, _P, _P, _P, _D),
    PAUSED: (_P, _P, _A, _C, _C, _X, _X, _P, _T, _P, _P, _P, _D),
    COMPLETE: (_C, _X, _X, _C, _C, _X, _X, _X, _C, _C, _C, _C, _D),
    TIMEOUT: (_T, _X, _X, _C, _C, _X, _X, _A, _T, _T, _T, _T, _D),
}
BRAKES: Final = (GoalEvent.FAST_LOOP, GoalEvent.FAILURES, GoalEvent.LIMIT)
# What an iteration brings about: none can run in the other states.
OF_ITERATIONS: Final = (GoalEvent.GOAL_DONE, *BRAKES)
RUNS_IN: Final = (ACTIVE, PAUSED)
REASONS: Final = {
    GoalEvent.FAST_LOOP: GoalPausedReason.FAST_LOOP,
    GoalEvent.FAILURES: GoalPausedReason.FAILURES,
    GoalEvent.LIMIT: GoalPausedReason.MAX_ITERATIONS,
}
LIMITS: Final = {
    GoalEvent.FAST_LOOP: GoalLimits(fast_loop_limit=1),
    GoalEvent.LIMIT: GoalLimits(max_iterations=1),
}


@dataclass(frozen=True)
class Cell:
    """A cell of the table; without a thread where a row has two ends."""

    status: GoalStatus
    event: GoalEvent
    after: str
    has_thread: bool = True

    @property
    def name(self) -> str:
        """What it is called in the report."""
        return f"{self.status}-{self.event}" + ("" if self.has_thread else "-without-thread")

    @property
    def is_possible(self) -> bool:
        """Whether a workflow can come there."""
        return self.event not in OF_ITERATIONS or self.status in RUNS_IN


def _cells() -> list[Cell]:
    found = [
        Cell(status, event, after)
        for status, row in ROWS.items()
        for event, after in zip(GoalEvent, row, strict=True)
    ]
    without = [
        Cell(PAUSED, GoalEvent.RESUME, WAITING, has_thread=False),
        Cell(TIMEOUT, GoalEvent.EXTEND, WAITING, has_thread=False),
    ]
    return [*found, *without]


CELLS: Final = _cells()


@dataclass
class Stage:
    """One goal on its way to a state, and through an event."""

    setter: GoalSetter
    place: GoalPlace
    cell: Cell
    gate: threading.Event = field(default_factory=threading.Event)

    @property
    def handle(self) -> WorkflowHandle[Any, GoalView]:
        """Its workflow."""
        return self.setter.harness.client.get_workflow_handle(self.place.workflow_id)

    async def status(self) -> GoalStatus:
        """How it stands."""
        return (await self.setter.goals.get()).status

    async def reaches(self, status: GoalStatus) -> None:
        """Wait until it stands so."""
        await self.setter.reaches(lambda goal: goal.status == status, f"it is {status}")

    async def thread_ready(self) -> None:
        """The conversation gets its thread."""
        place = self.place
        thread = session_thread_id(place.work_scope, place.session_key)
        ready = ThreadReady(thread_id=thread, session_key=place.session_key)
        await self.handle.signal(THREAD_READY, ready)

    # To the state

    async def comes_to_its_state(self) -> None:
        """Create the goal and lead it to the state of the row."""
        goals = self.setter.goals
        await goals.create(self.setter.objective)
        assert await self.status() == WAITING
        match self.cell.status:
            case GoalStatus.WAITING_FOR_SESSION:
                pass
            case GoalStatus.ACTIVE:
                await self._becomes_active()
            case GoalStatus.PAUSED:
                if self.cell.has_thread:
                    await self._becomes_active()
                await goals.pause()
            case GoalStatus.COMPLETE:
                await goals.complete()
            case GoalStatus.TIMEOUT:
                if self.cell.has_thread:
                    # Paused: no closing report is asked for.
                    await self._becomes_active()
                    await goals.pause()
                await goals.extend("1s")
                await self.reaches(TIMEOUT)
        if is_terminal(self.cell.status):
            await self.handle.result()
        assert await self.status() == self.cell.status

    async def _becomes_active(self) -> None:
        if self.cell.event not in OF_ITERATIONS:
            # So that no iteration begins before the event.
            await self.setter.goals.delay("1h", "to be looked at")
        await self.thread_ready()
        await self.reaches(ACTIVE)
        if self.cell.event in OF_ITERATIONS:
            await self._fails_twice()
            await self.setter.reaches(lambda goal: goal.job_id is not None, "an iteration runs")

    async def _fails_twice(self) -> None:
        if self.cell.event is not GoalEvent.FAILURES:
            return
        for number in (1, 2):
            await self._has_failed(number)
            await self.setter.goals.delay("0s", "at once")

    async def _has_failed(self, number: int) -> None:
        await self.setter.reaches(
            lambda goal: goal.iteration == number and goal.job_id is None,
            f"iteration {number} has failed",
        )

    # Through the event

    async def goes_through_its_event(self) -> None:
        """Let the event happen.

        Raises:
            DomainError: It is refused.
        """
        goals = self.setter.goals
        match self.cell.event:
            case GoalEvent.THREAD_READY:
                await self._thread_comes()
            case GoalEvent.PAUSE:
                await goals.pause()
            case GoalEvent.RESUME:
                await goals.resume()
            case GoalEvent.COMPLETE:
                await goals.complete("Done.")
            case GoalEvent.GOAL_DONE:
                await self._is_claimed()
            case GoalEvent.DELAY:
                await goals.delay("1h", "nothing to do")
            case GoalEvent.WAIT:
                await goals.wait("github:issue.*", "1h", "an answer")
            case GoalEvent.EXTEND:
                await goals.extend("2h")
            case GoalEvent.DEADLINE:
                await self._deadline_comes()
            case GoalEvent.DELETE:
                await goals.delete()
            case _:
                self.gate.set()
                await self.setter.reaches(lambda goal: goal.job_id is None, "it has ended")

    async def _thread_comes(self) -> None:
        if is_terminal(self.cell.status):
            with pytest.raises(RPCError) as caught:
                await self.thread_ready()
            assert caught.value.status == RPCStatusCode.NOT_FOUND
            return
        await self.thread_ready()
        if self.cell.status == WAITING:
            await self.reaches(ACTIVE)

    async def _is_claimed(self) -> None:
        goal = await self.setter.goals.get()
        claim = ClaimGoal(job_id=goal.job_id or "", summary="Done.", proven=True)
        await self.handle.execute_update("claim", claim)
        self.gate.set()

    async def _deadline_comes(self) -> None:
        if is_terminal(self.cell.status):
            return  # no timer runs any more: the workflow has closed
        self.gate.set()  # for the closing report
        await self.setter.goals.extend("1s")
        await self.reaches(TIMEOUT)


def _stage(harness: Harness, cell: Cell) -> Stage:
    name = harness.name()
    context = CallerContext(actor_user_id=name, receive_id_type="file", session_key=f"file:{name}")
    defaults = GoalDefaults(limits=LIMITS.get(cell.event, GoalLimits()))
    client = TicklessClient(harness.client, context, goal_defaults=defaults)
    setter = GoalSetter(harness, name, client)
    stage = Stage(setter, goal_place(context), cell)
    if cell.event is GoalEvent.FAILURES:
        refused = Refusal(401, error_body("no"), gate=stage.gate)
        # Each failure asks both models.
        setter.works(*[unauthorized()] * 4, refused)
    else:
        setter.works(Reply(text="Working.", gate=stage.gate))
    return stage


async def _play(harness: Harness, cell: Cell) -> None:
    """Lead a goal through a cell, and check what has become of it."""
    stage = _stage(harness, cell)
    goals = stage.setter.goals
    await stage.comes_to_its_state()
    try:
        if cell.after == CONFLICT:
            with pytest.raises(DomainError, match=str(cell.status)) as caught:
                await stage.goes_through_its_event()
            assert (caught.value.kind, caught.value.field) == (ErrorKind.CONFLICT, "status")
            assert await stage.status() == cell.status
            return
        await stage.goes_through_its_event()
        if cell.after == DELETED:
            with pytest.raises(DomainError, match="no goal") as caught:
                await goals.get()
            assert (caught.value.kind, caught.value.field) == (ErrorKind.NOT_FOUND, "goal")
            return
        goal = await goals.get()
        assert goal.status == cell.after
        if cell.after == PAUSED:
            by_user = cell.status == PAUSED or cell.event not in BRAKES
            assert goal.paused_reason == ("user" if by_user else REASONS[cell.event])
        if cell.after == COMPLETE and cell.status != COMPLETE:
            assert goal.summary == "Done."
    finally:
        stage.gate.set()
        if cell.after != DELETED:
            await goals.delete()
        await stage.handle.result()


@pytest.fixture(scope="module")
async def played(harness: Harness) -> AsyncIterator[dict[str, "asyncio.Task[None]"]]:
    """All cells that a workflow can come to, on their way."""
    gate = asyncio.Semaphore(8)

    async def play(cell: Cell) -> None:
        async with gate:
            await _play(harness, cell)

    tasks = {
        cell.name: asyncio.create_task(play(cell), name=cell.name)
        for cell in CELLS
        if cell.is_possible
    }
    yield tasks
    await asyncio.gather(*tasks.values(), return_exceptions=True)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
async def test_the_table(played: dict[str, "asyncio.Task[None]"], cell: Cell) -> None:
    if cell.is_possible:
        await played[cell.name]
    if cell.after == CONFLICT:
        with pytest.raises(DomainError) as caught:
            transition(cell.status, cell.event, cell.has_thread)
        assert (caught.value.kind, caught.value.field) == (ErrorKind.CONFLICT, "status")
    else:
        assert transition(cell.status, cell.event, cell.has_thread) == cell.after


async def test_a_goal_that_waits_for_its_conversation_runs_nothing(harness: Harness) -> None:
    stage = _stage(harness, Cell(WAITING, GoalEvent.GOAL_DONE, COMPLETE))
    await stage.setter.goals.create(stage.setter.objective)
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await stage.handle.execute_update("claim", ClaimGoal(job_id="job_1", proven=True))
    assert "job_id" in str(caught.value.cause)
    goal = await stage.setter.goals.get()
    assert (goal.status, goal.iteration, goal.job_id) == (WAITING, 0, None)
    await stage.setter.goals.delete()
    await stage.handle.result()
