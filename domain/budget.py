"""What model calls may cost: reservations, settlements, limits of a run.

Owns the decision whether a call may be made, and the sums after it. Prices are in `domain.prices`,
amounts in `domain.money`; what the specification names is offered here. Does not own where the sums
are kept (the ledger's table `budget_entries`) nor what happens after a refusal.
Source: triggers-and-actions.md §11 and §14.

Invariants:
    1. A reservation is taken in every scope or in none; settling books all of it or gives it back.
    2. Where the price is unknown, any limit refuses the call.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from domain.money import format_usd, parse_usd
from domain.prices import Price, PriceTable, Usage, cost_micros, estimate_micros
from domain.timestamps import parse_timestamp
from domain.zones import load_zone

__all__ = [
    "BudgetScope",
    "BudgetScopeName",
    "Price",
    "PriceTable",
    "RefusedReservation",
    "Reservation",
    "RunLimitVerdict",
    "RunLimits",
    "RunUsage",
    "Settlement",
    "Usage",
    "cost_micros",
    "day_key",
    "estimate_micros",
    "format_usd",
    "parse_usd",
    "reserve",
    "run_limit",
    "settle",
]


class BudgetScopeName(StrEnum):
    """What a limit holds for, in the order in which limits are asked."""

    RUN = "run"
    ROUTINE_DAY = "routine_day"
    DEPLOYMENT_DAY = "deployment_day"


class BudgetScope(BaseModel):
    """The sums of one scope; a null limit is none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scope: BudgetScopeName
    limit_micros: int | None = None
    spent_micros: int = 0
    reserved_micros: int = 0


class RefusedReservation(StrEnum):
    """Why a call may not be made."""

    BUDGET = "budget"
    UNKNOWN_PRICE = "unknown_price"


class Reservation(BaseModel):
    """Whether a call may be made; `scopes` are the sums after, `scope` the one that refused."""

    model_config = ConfigDict(frozen=True)

    allowed: bool
    reason: RefusedReservation | None = None
    scope: BudgetScopeName | None = None
    scopes: list[BudgetScope]


class Settlement(BaseModel):
    """The sums after a call, and by how much it was dearer than reserved."""

    model_config = ConfigDict(frozen=True)

    scopes: list[BudgetScope]
    overrun_micros: int


class RunLimits(BaseModel):
    """The limits of one run that are counted, not priced; null is none."""

    model_config = ConfigDict(frozen=True)

    max_tokens_total: int | None = None
    max_tool_calls: int | None = None


class RunUsage(BaseModel):
    """What a run has used over all attempts: tokens in and out, tool calls."""

    model_config = ConfigDict(frozen=True)

    tokens: int = 0
    tool_calls: int = 0


class RunLimitVerdict(BaseModel):
    """The limit that is reached, if any."""

    model_config = ConfigDict(frozen=True)

    exceeded: Literal["max_tokens_total", "max_tool_calls"] | None = None


def reserve(scopes: Sequence[BudgetScope], amount_micros: int | None) -> Reservation:
    """Set an amount aside before a call.

    Args:
        scopes: The sums of every scope the call counts in, in the order they are asked.
        amount_micros: The estimate of the call; null when its price is unknown.

    Returns:
        The sums with the amount reserved in each scope; unchanged, with the first scope that
        refuses, when any limit would be passed.
    """
    for scope in scopes:
        if scope.limit_micros is None:
            continue
        if amount_micros is None:
            reason = RefusedReservation.UNKNOWN_PRICE
        elif scope.spent_micros + scope.reserved_micros + amount_micros > scope.limit_micros:
            reason = RefusedReservation.BUDGET
        else:
            continue
        return Reservation(allowed=False, reason=reason, scope=scope.scope, scopes=list(scopes))
    return Reservation(
        allowed=True, scopes=[_moved(scope, 0, amount_micros or 0) for scope in scopes]
    )


def settle(
    scopes: Sequence[BudgetScope], reserved_micros: int, actual_micros: int | None
) -> Settlement:
    """Replace a reservation by what the call really cost.

    Args:
        scopes: The sums of every scope the amount was reserved in.
        reserved_micros: What was reserved for this call.
        actual_micros: Its cost; null when unknown (all that was reserved counts as spent), 0 when
            the call was never sent.
    """
    actual = reserved_micros if actual_micros is None else actual_micros
    return Settlement(
        scopes=[_moved(scope, actual, -reserved_micros) for scope in scopes],
        overrun_micros=max(0, actual - reserved_micros),
    )


def day_key(now: datetime, timezone: str = "UTC") -> str:
    """The calendar day that a reservation made now belongs to, `YYYY-MM-DD`."""
    return parse_timestamp(now, "now").astimezone(load_zone(timezone)).date().isoformat()


def run_limit(limits: RunLimits, usage: RunUsage) -> RunLimitVerdict:
    """Whether a run has reached a limit, asked before its next call; tokens are asked first."""
    if limits.max_tokens_total is not None and usage.tokens >= limits.max_tokens_total:
        return RunLimitVerdict(exceeded="max_tokens_total")
    if limits.max_tool_calls is not None and usage.tool_calls >= limits.max_tool_calls:
        return RunLimitVerdict(exceeded="max_tool_calls")
    return RunLimitVerdict()


def _moved(scope: BudgetScope, spent: int, reserved: int) -> BudgetScope:
    """The scope with both sums changed; what is reserved never falls below 0."""
    return scope.model_copy(
        update={
            "spent_micros": scope.spent_micros + spent,
            "reserved_micros": max(0, scope.reserved_micros + reserved),
        }
    )
