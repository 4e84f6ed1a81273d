"""The tables of the ledger, each step a transaction of its own.

Owns turning a step of a table into something to await. The steps themselves are the tables'; who
needs several in one transaction calls them on a `Ledger`.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from sqlalchemy import Connection

from activities.store.approvals import ApprovalTable
from activities.store.engine import Database
from activities.store.inbound import InboundTable
from activities.store.job_actions import JobActionTable
from activities.store.jobs import JobTable
from activities.store.llm_calls import LlmCallTable
from activities.store.outbox import Outbox
from activities.store.runs import RunTable
from activities.store.standing_grants import StandingGrantTable
from activities.store.threads import ThreadTable
from activities.store.turns import TurnTable

P = ParamSpec("P")
T = TypeVar("T")
Table = TypeVar("Table")


class _Steps(Generic[Table]):
    """The steps of one table."""

    def __init__(self, database: Database, table: Callable[[Connection], Table]) -> None:
        self.database = database
        self.table = table


class _Step(Generic[Table, P, T]):
    """One step: what the table does, in a transaction of which kind."""

    def __init__(
        self,
        step: Callable[Concatenate[Table, P], T],
        transaction: Callable[[Database, Callable[[Connection], T]], Coroutine[Any, Any, T]],
    ) -> None:
        self._step = step
        self._transaction = transaction

    def __get__(self, on: _Steps[Table], _: object = None) -> Callable[P, Coroutine[Any, Any, T]]:
        def start(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
            return self._transaction(
                on.database,
                lambda connection: self._step(on.table(connection), *args, **kwargs),
            )

        return start


class RunSteps(_Steps[RunTable]):
    """Steps of `RunTable`."""

    put = _Step(RunTable.put, Database.write)
    get = _Step(RunTable.get, Database.read)


class ThreadSteps(_Steps[ThreadTable]):
    """Steps of `ThreadTable`."""

    ensure = _Step(ThreadTable.ensure, Database.write)
    get = _Step(ThreadTable.get, Database.read)
    append = _Step(ThreadTable.append, Database.write)
    messages = _Step(ThreadTable.messages, Database.read)
    message = _Step(ThreadTable.message, Database.read)


class TurnSteps(_Steps[TurnTable]):
    """Steps of `TurnTable`."""

    put = _Step(TurnTable.put, Database.write)
    get = _Step(TurnTable.get, Database.read)
    of_session = _Step(TurnTable.of_session, Database.read)


class InboundSteps(_Steps[InboundTable]):
    """Steps of `InboundTable`."""

    put = _Step(InboundTable.put, Database.write)
    texts = _Step(InboundTable.texts, Database.read)
    of_session = _Step(InboundTable.of_session, Database.read)
    counts = _Step(InboundTable.counts, Database.read)


class LlmCallSteps(_Steps[LlmCallTable]):
    """Steps of `LlmCallTable`."""

    put = _Step(LlmCallTable.put, Database.write)
    cancel = _Step(LlmCallTable.cancel, Database.write)
    of_run = _Step(LlmCallTable.of_run, Database.read)
    with_prefix = _Step(LlmCallTable.with_prefix, Database.read)


class OutboxSteps(_Steps[Outbox]):
    """Steps of `Outbox`."""

    enqueue = _Step(Outbox.enqueue, Database.write)
    begin_attempt = _Step(Outbox.begin_attempt, Database.write)
    settle = _Step(Outbox.settle, Database.write)
    get = _Step(Outbox.get, Database.read)
    of_run = _Step(Outbox.of_run, Database.read)
    listing = _Step(Outbox.listing, Database.read)


class JobSteps(_Steps[JobTable]):
    """Steps of `JobTable`."""

    put = _Step(JobTable.put, Database.write)
    get = _Step(JobTable.get, Database.read)
    of_run = _Step(JobTable.of_run, Database.read)
    listing = _Step(JobTable.listing, Database.read)


class JobActionSteps(_Steps[JobActionTable]):
    """Steps of `JobActionTable`."""

    begin = _Step(JobActionTable.begin, Database.write)
    end = _Step(JobActionTable.end, Database.write)
    get = _Step(JobActionTable.get, Database.read)
    of_run = _Step(JobActionTable.of_run, Database.read)
    of_job = _Step(JobActionTable.of_job, Database.read)
    of_goal = _Step(JobActionTable.of_goal, Database.read)
    of_turn = _Step(JobActionTable.of_turn, Database.read)


class ApprovalSteps(_Steps[ApprovalTable]):
    """Steps of `ApprovalTable`."""

    put = _Step(ApprovalTable.put, Database.write)
    consume = _Step(ApprovalTable.consume, Database.write)
    get = _Step(ApprovalTable.get, Database.read)
    listing = _Step(ApprovalTable.listing, Database.read)


class StandingGrantSteps(_Steps[StandingGrantTable]):
    """Steps of `StandingGrantTable`."""

    put = _Step(StandingGrantTable.put, Database.write)
    get = _Step(StandingGrantTable.get, Database.read)
    of_routine = _Step(StandingGrantTable.of_routine, Database.read)
    revoke = _Step(StandingGrantTable.revoke, Database.write)
