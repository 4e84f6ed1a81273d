"""The activity that tells those outside what calls of models have cost.

Owns reading; nothing is changed. Its name is that of the question it answers
(`domain.ledger_requests`). Source: triggers-and-actions.md §11, DESIGN §3 (Lists).

Invariant: who asks is told of the calls of its own scope.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from temporalio import activity

from activities.ledger_reads import answering
from domain.costs import CostReport, cost_report
from domain.ledger_requests import LedgerAnswer, SumCosts

if TYPE_CHECKING:
    from activities.store import Ledger, Store


class CostReads:
    """Answers questions about costs."""

    def __init__(self, store: "Store", timezone: str) -> None:
        """Take what is needed.

        Args:
            store: The ledger; stays its owner's.
            timezone: Whose days budgets count in.
        """
        self._store = store
        self._timezone = timezone

    def all(self) -> list[Callable[..., Awaitable[LedgerAnswer]]]:
        """The activities, for the worker that serves them."""
        return [self.sum_costs]

    @activity.defn
    @answering
    async def sum_costs(self, question: SumCosts) -> CostReport:
        """What was spent in the last days."""
        since = datetime.now(UTC) - timedelta(days=question.days)

        def work(ledger: "Ledger") -> CostReport:
            calls = ledger.calls.costs(question.scope, since)
            return cost_report(calls, question.by, since, self._timezone)

        return await self._store.read(work)
