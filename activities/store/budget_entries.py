"""The table `budget_entries`: what each call has reserved and spent, in each of its scopes.

Owns the sums of a scope and the order of those who count in it. Whether a call may be made is
`domain.budget`'s. Source: triggers-and-actions.md §10 and §11.

Invariants:
    1. Between the reading of a locked scope's sums and the end of the transaction nobody else
       reserves in it: on SQLite a write is alone anyway, on PostgreSQL an advisory lock sees to it.
    2. An entry is settled once.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, Connection, bindparam, case, func, select, text, update

from activities.store.tables import budget_entries
from activities.store.writes import insert, or_nothing
from domain.budget_entries import BudgetEntry, BudgetSums

_INSERT: Final = insert(budget_entries, or_nothing)
_LOCK: Final = text("SELECT pg_advisory_xact_lock(hashtextextended(:scope, 0))")
_SUMS: Final = select(
    func.coalesce(func.sum(budget_entries.c.spent), 0),
    func.coalesce(
        func.sum(case((budget_entries.c.settled_at.is_(None), budget_entries.c.reserved))), 0
    ),
).where(budget_entries.c.scope == bindparam("in_scope"))
_SUMS_OF_DAY: Final = _SUMS.where(budget_entries.c.day == bindparam("on_day"))
_SETTLE: Final = (
    update(budget_entries)
    .where(
        budget_entries.c.id.in_(bindparam("ids", expanding=True)),
        budget_entries.c.settled_at.is_(None),
    )
    .values(
        spent=func.coalesce(bindparam("actual", type_=BigInteger()), budget_entries.c.reserved),
        settled_at=bindparam("at", type_=budget_entries.c.settled_at.type),
    )
)


class BudgetTable:
    """Entries of budgets."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def lock(self, scope: str) -> None:
        """Let nobody else reserve in a scope until the transaction ends.

        Several scopes are locked in one order by everybody: run, routine, deployment.
        """
        if self._connection.dialect.name == "postgresql":
            self._connection.execute(_LOCK, {"scope": scope})

    def sums(self, scope: str, day: str | None = None) -> BudgetSums:
        """The sums of a scope; of one day, or of all."""
        statement, wanted = _SUMS, {"in_scope": scope}
        if day is not None:
            statement, wanted = _SUMS_OF_DAY, wanted | {"on_day": day}
        row = self._connection.execute(statement, wanted).one()
        return BudgetSums(int(row[0]), int(row[1]))

    def reserve(self, entries: Iterable[BudgetEntry]) -> None:
        """Insert entries unless they exist.

        Raises:
            StoreError: The database failed, or `call_id` names no call.
        """
        statement = _INSERT[self._connection.dialect.name]
        if rows := [entry.model_dump() for entry in entries]:
            self._connection.execute(statement, rows)

    def settle(self, ids: Iterable[str], actual: int | None, at: datetime) -> None:
        """Book what a call has cost; null books what was reserved, 0 gives it back."""
        self._connection.execute(_SETTLE, {"ids": list(ids), "actual": actual, "at": at})
