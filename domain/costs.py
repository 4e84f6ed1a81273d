"""What calls of models have cost, added up by routine, by day or by model.

Owns the sums. What one call costs is `domain.prices`', its row `domain.llm_calls`'.
Source: triggers-and-actions.md §11.

Invariants:
    1. Every call is in exactly one entry, and in the total.
    2. Unknown is not 0: a sum is of what is known, and beside it stands how many calls did not say.
"""

from collections.abc import Iterable
from datetime import tzinfo
from enum import StrEnum
from typing import Final, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict

from domain.zones import load_zone

MAX_DAYS: Final = 366
DEFAULT_DAYS: Final = 30
# Calls of no routine, and the entries beyond the dearest ones.
NO_ROUTINE: Final = "-"
OTHERS: Final = "(others)"
MAX_ENTRIES: Final = 1_000


class CostBy(StrEnum):
    """What costs are added up by."""

    ROUTINE = "routine"
    DAY = "day"
    MODEL = "model"


class CallCost(NamedTuple):
    """What one call says of its cost; `model` is `provider/name`, cached tokens are tokens in."""

    started_at: AwareDatetime
    routine_id: str | None
    model: str
    tokens_in: int | None
    tokens_out: int | None
    cost_micros: int | None


class CostEntry(BaseModel):
    """The sum of some calls.

    Attributes:
        key: The routine, the day `YYYY-MM-DD`, or `provider/model`.
        calls: How many there were.
        tokens_in: Tokens in, as far as they are known.
        tokens_out: Tokens out, likewise.
        cost_micros: Micros of USD, likewise.
        unpriced: Calls whose cost is not known.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_micros: int = 0
    unpriced: int = 0

    def plus(self, other: "CostEntry") -> "CostEntry":
        """The sum with another one, under this one's key."""
        return CostEntry(
            key=self.key,
            calls=self.calls + other.calls,
            tokens_in=self.tokens_in + other.tokens_in,
            tokens_out=self.tokens_out + other.tokens_out,
            cost_micros=self.cost_micros + other.cost_micros,
            unpriced=self.unpriced + other.unpriced,
        )


class CostReport(BaseModel):
    """What was spent since a time: days in their order, the others the dearest first."""

    model_config = ConfigDict(frozen=True)

    by: CostBy
    since: AwareDatetime
    timezone: str
    entries: list[CostEntry]
    total: CostEntry


def cost_report(
    calls: Iterable[CallCost], by: CostBy, since: AwareDatetime, timezone: str
) -> CostReport:
    """Add calls up.

    Args:
        calls: The calls since that time.
        by: What to add up by.
        since: The beginning, for the reader.
        timezone: Whose days.
    """
    zone = load_zone(timezone)
    sums: dict[str, CostEntry] = {}
    for call in calls:
        key = _key(call, by, zone)
        sums[key] = sums.get(key, CostEntry(key=key)).plus(_entry(call))
    if by is CostBy.DAY:
        entries = sorted(sums.values(), key=lambda entry: entry.key)
    else:
        entries = sorted(sums.values(), key=lambda entry: (-entry.cost_micros, entry.key))
    total = _total("total", entries)
    kept, rest = entries[:MAX_ENTRIES], entries[MAX_ENTRIES:]
    if rest:
        kept.append(_total(OTHERS, rest))
    return CostReport(by=by, since=since, timezone=timezone, entries=kept, total=total)


def _key(call: CallCost, by: CostBy, zone: tzinfo) -> str:
    if by is CostBy.ROUTINE:
        return call.routine_id or NO_ROUTINE
    if by is CostBy.DAY:
        return call.started_at.astimezone(zone).date().isoformat()
    return call.model


def _entry(call: CallCost) -> CostEntry:
    return CostEntry(
        key="",
        calls=1,
        tokens_in=call.tokens_in or 0,
        tokens_out=call.tokens_out or 0,
        cost_micros=call.cost_micros or 0,
        unpriced=int(call.cost_micros is None),
    )


def _total(key: str, entries: Iterable[CostEntry]) -> CostEntry:
    total = CostEntry(key=key)
    for entry in entries:
        total = total.plus(entry)
    return total
