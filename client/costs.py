"""What calls of models have cost, as a caller reads it.

Owns the library call; the sums are `domain.costs`', the ledger's side `activities.cost_reads`'.
Source: triggers-and-actions.md §11.
"""

from temporalio.client import Client

from client.context import CallerContext
from client.ledger import LedgerCalls
from domain.costs import DEFAULT_DAYS, MAX_DAYS, CostBy, CostReport
from domain.errors import DomainError, ErrorKind
from domain.fields import shown
from domain.ledger_requests import SumCosts


class Costs:
    """Library calls for costs."""

    def __init__(self, temporal: Client, context: CallerContext) -> None:
        self._ledger = LedgerCalls(temporal)
        self._context = context

    async def report(self, by: str = CostBy.DAY, days: int = DEFAULT_DAYS) -> CostReport:
        """What the caller's scope has spent in the last days.

        Args:
            by: `routine`, `day` or `model`.
            days: 1 to 366, back from now.

        Raises:
            DomainError: `invalid_field` on `by` or `days`; `unavailable` without a worker.
        """
        accepted = [str(item) for item in CostBy]
        if by not in accepted:
            message = f"by must be one of {', '.join(accepted)}, not {shown(by)}"
            raise DomainError(ErrorKind.INVALID_FIELD, "by", message, accepted)
        if not 1 <= days <= MAX_DAYS:
            message = f"days must be an integer from 1 to {MAX_DAYS}, not {shown(days)}"
            raise DomainError(ErrorKind.INVALID_FIELD, "days", message)
        question = SumCosts(scope=self._context.scope().text, by=CostBy(by), days=days)
        return await self._ledger.ask(question, CostReport)
