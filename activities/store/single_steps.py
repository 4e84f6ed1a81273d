"""The tables of the ledger, each step a transaction of its own.

Owns turning a step of a table into something to await. The steps themselves are the tables'; who
needs several in one transaction calls them on a `Ledger`.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from sqlalchemy import Connection

from activities.store.engine import Database
from activities.store.llm_calls import LlmCallTable
from activities.store.outbox import Outbox
from activities.store.runs import RunTable
from activities.store.threads import ThreadTable

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
