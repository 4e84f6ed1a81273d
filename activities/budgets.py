"""The money of a model call: reserved before it, settled after it, in every budget it counts in.

Owns which budgets those are, and what a refusal and a warning say. The arithmetic is
`domain.budget`'s, the rows `activities.store.budget_entries`'.
Source: triggers-and-actions.md §11.

Invariants:
    1. An amount is reserved in every budget or in none, in the transaction that writes the call's
       row: of any number of calls at once none passes a limit.
    2. What is settled belongs to the day on which it was reserved.
    3. Each budget warns once at 80 %: when what is spent passes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog
from temporalio.exceptions import ApplicationError

from activities.failures import BUDGET_EXCEEDED, BudgetRefusal
from activities.model_callers import Caller
from domain.budget import (
    BudgetScope,
    BudgetScopeName,
    RefusedReservation,
    RunLimits,
    RunUsage,
    day_key,
    format_usd,
    reserve,
    run_limit,
)
from domain.budget_entries import BudgetEntry, BudgetSums, budget_key, entry_id

if TYPE_CHECKING:
    from activities.store import Ledger, Store

log = structlog.get_logger(__name__)

WARN_PERCENT: Final = 80


@dataclass(frozen=True, slots=True)
class DailyLimits:
    """What may be spent in a day of `timezone`, in micros of USD; null is no limit."""

    routine_micros: int | None = None
    deployment_micros: int | None = None
    timezone: str = "UTC"


class _Budget(NamedTuple):
    """One budget of a call; a run's has no day."""

    scope: BudgetScopeName
    key: str
    limit: int | None
    day: str | None

    def sums(self, ledger: "Ledger") -> BudgetSums:
        return ledger.budgets.sums(self.key, self.day)


class CallBudget:
    """The budgets of one call."""

    def __init__(
        self,
        limits: DailyLimits,
        caller: Caller,
        *,
        max_cost_micros: int | None = None,
        max_tokens_total: int | None = None,
    ) -> None:
        """Say what a call counts for.

        Args:
            limits: Those of each day.
            caller: Who calls.
            max_cost_micros: The limit of its run.
            max_tokens_total: The most tokens that all its calls may use.
        """
        self._limits = limits
        self._caller = caller
        self._max_cost = max_cost_micros
        self._max_tokens = max_tokens_total
        self._budgets: list[_Budget] = []

    def reserve(
        self, ledger: "Ledger", call_id: str, amount: int | None, model: str, now: datetime
    ) -> None:
        """Set the most a call can cost aside, after its row was written.

        Args:
            ledger: The transaction of the call's row.
            call_id: The call.
            amount: In micros; null is an unknown price.
            model: The model, for the message.
            now: Decides on the day.

        Raises:
            ApplicationError: `budget_exceeded`, with a `BudgetRefusal`.
        """
        self._check_tokens(ledger)
        day = day_key(now, self._limits.timezone)
        budgets = self._of(day)
        scopes: list[BudgetScope] = []
        for budget in budgets:
            sums = BudgetSums(0, 0)
            if budget.limit is not None:
                ledger.budgets.lock(budget.key)
                sums = budget.sums(ledger)
            scopes.append(
                BudgetScope(
                    scope=budget.scope,
                    limit_micros=budget.limit,
                    spent_micros=sums.spent,
                    reserved_micros=sums.reserved,
                )
            )
        verdict = reserve(scopes, amount)
        if not verdict.allowed:
            place = next(i for i, scope in enumerate(scopes) if scope.scope is verdict.scope)
            raise _refused(budgets[place], scopes[place], verdict.reason, model)
        if amount is None:
            return
        self._budgets = budgets
        ledger.budgets.reserve(
            BudgetEntry(
                id=entry_id(call_id, budget.scope),
                scope=budget.key,
                day=day,
                call_id=call_id,
                reserved=amount,
            )
            for budget in budgets
        )

    def settle(
        self, ledger: "Ledger", call_id: str, actual: int | None, now: datetime
    ) -> Sequence[str]:
        """Book what a call has cost.

        Args:
            ledger: The transaction of the call's row.
            call_id: The call.
            actual: In micros; null is unknown, 0 when nothing was sent or billed.
            now: When.

        Returns:
            Warnings of budgets that are nearly used up by it.
        """
        if not self._budgets:
            return []
        limited = [budget for budget in self._budgets if budget.limit is not None]
        for budget in limited:
            ledger.budgets.lock(budget.key)  # two at once would both see the limit pass, or none
        before = [budget.sums(ledger).spent for budget in limited]
        ids = [entry_id(call_id, budget.scope) for budget in self._budgets]
        ledger.budgets.settle(ids, actual, now)
        return [
            _warning(budget, spent)
            for budget, spent_before in zip(limited, before, strict=True)
            if _is_warned(budget, spent_before, spent := budget.sums(ledger).spent)
        ]

    def _of(self, day: str) -> list[_Budget]:
        """The budgets in the order they are asked; days are booked without a limit as well."""
        found: list[_Budget] = []
        # A job of a run counts for the run, one by hand for itself.
        whose = self._caller.run_id or self._caller.job_id
        if whose and self._max_cost is not None:
            key = budget_key(BudgetScopeName.RUN, whose)
            found.append(_Budget(BudgetScopeName.RUN, key, self._max_cost, None))
        if self._caller.routine_id:
            key = budget_key(BudgetScopeName.ROUTINE_DAY, self._caller.routine_id)
            limit = self._limits.routine_micros
            found.append(_Budget(BudgetScopeName.ROUTINE_DAY, key, limit, day))
        key = budget_key(BudgetScopeName.DEPLOYMENT_DAY)
        limit = self._limits.deployment_micros
        found.append(_Budget(BudgetScopeName.DEPLOYMENT_DAY, key, limit, day))
        return found

    def _check_tokens(self, ledger: "Ledger") -> None:
        if self._max_tokens is None:
            return
        caller = self._caller
        used = ledger.calls.tokens(
            run_id=caller.run_id, turn_id=caller.turn_id, job_id=caller.job_id
        )
        limits = RunLimits(max_tokens_total=self._max_tokens)
        if run_limit(limits, RunUsage(tokens=used)).exceeded is None:
            return
        refusal = BudgetRefusal(
            scope="max_tokens_total",
            reason="tokens",
            key=caller.id,
            limit=self._max_tokens,
            used=used,
        )
        message = f"max_tokens_total: {used} of {self._max_tokens} tokens are used"
        raise ApplicationError(message, refusal, type=BUDGET_EXCEEDED, non_retryable=True)


class DayBudgets:
    """Whether the budgets of today are used up, for whoever decides on a run."""

    def __init__(self, store: "Store", limits: DailyLimits) -> None:
        self._store = store
        self._limits = limits

    async def exhausted(self, routine_id: str) -> bool:
        """Whether a routine's budget of today, or that of the deployment, is used up.

        Without limits the database is not asked. Where it fails there is room: each call asks again
        before it is made.
        """
        limits = self._limits
        if limits.routine_micros is None and limits.deployment_micros is None:
            return False
        try:
            return await self._store.read(self._is_exhausted, routine_id)
        except Exception as error:  # a run is not refused for a fault of ours
            log.warning("budgets_not_read", error=str(error))
            return False

    def _is_exhausted(self, ledger: "Ledger", routine_id: str) -> bool:
        day = day_key(datetime.now(UTC), self._limits.timezone)
        budgets = [
            (BudgetScopeName.ROUTINE_DAY, routine_id, self._limits.routine_micros),
            (BudgetScopeName.DEPLOYMENT_DAY, "", self._limits.deployment_micros),
        ]
        return any(
            limit is not None and ledger.budgets.sums(budget_key(scope, owner), day).used >= limit
            for scope, owner, limit in budgets
        )


def _refused(
    budget: _Budget, scope: BudgetScope, reason: RefusedReservation | None, model: str
) -> ApplicationError:
    used, limit = scope.spent_micros + scope.reserved_micros, scope.limit_micros or 0
    if reason is RefusedReservation.UNKNOWN_PRICE:
        why = f"`prices` does not name {model}, and there is a limit"
    else:
        why = f"{format_usd(used)} of {format_usd(limit)} USD are spent or reserved"
    refusal = BudgetRefusal(
        scope=budget.scope,
        reason=reason or RefusedReservation.BUDGET,
        key=budget.key,
        day=budget.day,
        limit=limit,
        used=used,
    )
    message = f"budget: {budget.scope} ({why})"
    return ApplicationError(message, refusal, type=BUDGET_EXCEEDED, non_retryable=True)


def _is_warned(budget: _Budget, before: int, after: int) -> bool:
    threshold = (budget.limit or 0) * WARN_PERCENT
    return before * 100 < threshold <= after * 100


def _warning(budget: _Budget, spent: int) -> str:
    limit = budget.limit or 0
    return f"budget {budget.scope}: {format_usd(spent)} of {format_usd(limit)} USD are spent"
