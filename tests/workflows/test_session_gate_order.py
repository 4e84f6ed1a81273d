"""The holder's side of the gate when word of the session comes late, twice or in the wrong order.

Invariants: those of `workflows.session_gate`, and 1, 3 and 4 of docs/lifecycles/session.md.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio.client import WorkflowHandle
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.entity_updates import EntityUpdates
from activities.sessions import SessionActivities
from domain.identifiers import ENTITIES_QUEUE, session_workflow_id
from domain.lease_queue_state import Granted, LeaseKind, LeaseRef, RequestLease
from domain.session_requests import ReleaseSession, SessionState
from tests.support.harness import Harness, until
from tests.support.speakers import Automation, LateAnswers, Speaks, Spoken, UserTurn
from workflows.session import Session


@dataclass
class Stage:
    """A session, and a queue for those who speak in it."""

    harness: Harness
    mark: str = ""
    meanwhile: Callable[[], Awaitable[None]] | None = None
    started: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.mark = self.harness.name()

    @property
    def key(self) -> str:
        return f"chat-{self.mark}"

    @property
    def session(self) -> WorkflowHandle[Any, Any]:
        return self.harness.client.get_workflow_handle(session_workflow_id(self.key))

    @asynccontextmanager
    async def workers(self) -> AsyncGenerator[None]:
        client = self.harness.client
        real = SessionActivities(client, EntityUpdates(client))
        late = LateAnswers(real, self.meanwhile) if self.meanwhile else real
        async with Worker(
            client,
            task_queue=self.mark,
            workflows=[Automation, UserTurn],
            activities=[late.request_session],
            workflow_runner=UnsandboxedWorkflowRunner(),
            # Its workflows go on soon in the next worker.
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
            graceful_shutdown_timeout=timedelta(),
        ):
            yield

    async def begin(self) -> None:
        await self.harness.client.start_workflow(
            Session.run,
            SessionState(key=self.key),
            id=session_workflow_id(self.key),
            task_queue=ENTITIES_QUEUE,
        )

    async def automation(self, name: str, **fields: Any) -> WorkflowHandle[Any, Spoken]:
        return await self.harness.client.start_workflow(
            Automation.run,
            Speaks(session_key=self.key, **fields),
            id=f"{self.mark}-{name}",
            task_queue=self.mark,
        )

    async def user(self) -> WorkflowHandle[Any, str]:
        """A user who asks for the session."""
        turn = await self.harness.client.start_workflow(
            UserTurn.run, id=f"{self.mark}-user", task_queue=self.mark
        )
        request = RequestLease(
            owner=turn.id, request_id=turn.id, kind=LeaseKind.USER, lease_seconds=60, checked=True
        )
        await self.session.execute_update(Session.request, request)
        return turn

    async def let_go(self, turn: WorkflowHandle[Any, str]) -> None:
        await self.session.signal(Session.release, ReleaseSession(key=turn.id))
        await turn.signal(UserTurn.finish)

    async def holder(self) -> str | None:
        holder = (await self.session.query(Session.view)).holder
        return holder.owner if holder else None

    async def held_by(self, owner: str, seconds: float = 9) -> None:
        async def held() -> bool:
            return await self.holder() == owner

        await until(held, f"{owner} holds the session", seconds)

    async def signalled(self, workflow_id: str, names: Sequence[str]) -> None:
        """Wait until these signals stand in a history."""

        async def there() -> bool:
            handle = self.harness.client.get_workflow_handle(workflow_id)
            found = [
                event.workflow_execution_signaled_event_attributes.signal_name
                async for event in handle.fetch_history_events()
                if event.HasField("workflow_execution_signaled_event_attributes")
            ]
            return found == list(names)

        await until(there, f"{workflow_id} has the signals {names}")


async def _works(handle: WorkflowHandle[Any, Spoken]) -> None:
    async def working() -> bool:
        return (await handle.query(Automation.spoken)).working

    await until(working, f"{handle.id} is at work")


async def test_an_interrupt_that_comes_with_the_grant_ends_it(harness: Harness) -> None:
    stage = Stage(harness)
    await stage.begin()
    async with stage.workers():
        first = await stage.automation("first")
        await _works(first)
        second = await stage.automation("second")

        async def waits() -> bool:
            return (await stage.session.query(Session.view)).waiting == 1

        await until(waits, "the second waits")
    # While nobody serves the second, its turn comes and is over.
    await stage.session.signal(Session.release, ReleaseSession(key=first.id))
    await stage.signalled(second.id, ["granted"])
    turn = await stage.user()
    await stage.signalled(second.id, ["granted", "interrupt"])
    async with stage.workers():
        # Sooner than it would be taken away.
        await stage.held_by(turn.id)
        assert (await second.query(Automation.spoken)).begun == 0
        await stage.let_go(turn)
        await _works(second)
        await second.signal(Automation.finish)
        spoken = await second.result()
        assert (spoken.begun, spoken.asked, spoken.interrupts) == (1, 2, 0)
        await first.terminate("the test is over")


async def test_an_interrupt_before_the_answer_ends_what_it_granted(harness: Harness) -> None:
    turns: list[WorkflowHandle[Any, str]] = []

    async def meanwhile() -> None:
        turns.append(await stage.user())
        await stage.signalled(f"{stage.mark}-run", ["interrupt"])

    stage = Stage(harness, meanwhile=meanwhile)
    await stage.begin()
    async with stage.workers():
        run = await stage.automation("run")
        await stage.held_by(run.id)

        async def asked() -> bool:
            return bool(turns)

        await until(asked, "the user has asked")
        await stage.held_by(turns[0].id)
        assert not (await run.query(Automation.spoken)).working
        await stage.let_go(turns[0])
        await _works(run)
        await run.signal(Automation.finish)
        assert (await run.result()).asked == 2


async def test_a_grant_that_is_over_when_its_answer_comes_is_none(harness: Harness) -> None:
    async def meanwhile() -> None:
        await stage.session.signal(Session.release, ReleaseSession(key=f"{stage.mark}-run"))
        before = (await stage.session.describe()).run_id
        # Of the execution that comes next Temporal does not know what was answered.
        await stage.session.signal(Session.upgrade)

        async def renewed() -> bool:
            return (await stage.session.describe()).run_id != before

        await until(renewed, "the session has continued as new")

    stage = Stage(harness, meanwhile=meanwhile)
    await stage.begin()
    async with stage.workers():
        run = await stage.automation("run")
        await _works(run)
        assert await stage.holder() == run.id, "it works only while it holds"
        await run.signal(Automation.finish)
        assert (await run.result()).asked == 2


async def test_signals_of_other_turns_change_nothing(harness: Harness) -> None:
    stage = Stage(harness)
    await stage.begin()
    async with stage.workers():
        first = await stage.automation("first")
        await _works(first)
        second = await stage.automation("second")
        await second.signal(Automation.granted, Granted(lease=f"{second.id}:0", token="old"))
        await second.signal(Automation.granted, Granted(lease=f"{first.id}:1", token="foreign"))
        await first.signal(Automation.interrupt, LeaseRef(owner=first.id, token="old"))
        await stage.session.signal(Session.release, ReleaseSession(key="old"))
        assert (await first.query(Automation.spoken)).working
        assert not (await second.query(Automation.spoken)).working
        # Twice, as both release twice at their end.
        for handle in (first, second):
            await _works(handle)
            assert await stage.holder() == handle.id
            await handle.signal(Automation.finish)
            spoken = await handle.result()
            assert (spoken.begun, spoken.asked, spoken.interrupts) == (1, 1, 0)


async def test_who_let_go_for_a_user_comes_before_who_came_later(harness: Harness) -> None:
    stage = Stage(harness)
    await stage.begin()
    async with stage.workers():
        first = await stage.automation("first")
        await _works(first)
        second = await stage.automation("second")

        async def waits() -> bool:
            return (await stage.session.query(Session.view)).waiting == 1

        await until(waits, "the second waits")
        turn = await stage.user()
        await stage.held_by(turn.id)

        async def both_wait() -> bool:
            return (await stage.session.query(Session.view)).waiting == 2

        await until(both_wait, "both wait")
        await stage.let_go(turn)
        await _works(first)
        assert await stage.holder() == first.id
        for handle in (first, second):
            await handle.signal(Automation.finish)
            await handle.result()


async def test_a_session_that_was_terminated_is_asked_again(harness: Harness) -> None:
    stage = Stage(harness)
    await stage.begin()
    async with stage.workers():
        first = await stage.automation("first")
        await _works(first)
        # A lease of two seconds, with the minute that is added to what work may take.
        second = await stage.automation("second", limit_seconds=-58)

        async def waits() -> bool:
            return (await stage.session.query(Session.view)).waiting == 1

        await until(waits, "the second waits")
        await stage.session.terminate("by hand")
        await _works(second)
        # What held a session that is gone ends all the same.
        await first.signal(Automation.finish)
        await first.result()
        await stage.session.terminate("by hand")
        await second.signal(Automation.finish)
        assert (await second.result()).asked == 1
