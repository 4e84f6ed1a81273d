"""Random cron expressions, each with the numbers its fields stand for.

The numbers come from how an expression was put together, not from reading it, so that tests which
compare with them do not depend on the parser. Hypothesis draws a seed only: drawing item by item
costs more than all that is tested with the result, and five short fields need no shrinking.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

WEEKDAYS = ("sun", "Mon", "TUE", "wed", "Thu", "FRI", "sat")
UNRESTRICTED = ("*", "?", "*/1")


@dataclass(frozen=True)
class FieldText:
    """One field: its text, its numbers, and what the day rule and the fixed hour need to know."""

    text: str
    values: frozenset[int]
    restricted: bool = True
    plain: bool = False


@dataclass(frozen=True)
class CronCase:
    """One expression."""

    minute: FieldText
    hour: FieldText
    day_of_month: FieldText
    month: FieldText
    day_of_week: FieldText

    @property
    def expr(self) -> str:
        fields = (self.minute, self.hour, self.day_of_month, self.month, self.day_of_week)
        return " ".join(field.text for field in fields)

    @property
    def can_fire(self) -> bool:
        longest = max(30 if m in {4, 6, 9, 11} else 29 if m == 2 else 31 for m in self.month.values)
        return self.day_of_week.restricted or min(self.day_of_month.values) <= longest


# Hours in which clocks change, in forms that are fixed and forms that are not.
NIGHT_HOURS = (
    FieldText("*", frozenset(range(24)), restricted=False),
    FieldText("*/2", frozenset(range(0, 24, 2))),
    FieldText("0-3", frozenset(range(4))),
    FieldText("2-2", frozenset({2})),
    FieldText("1-1/5", frozenset({1})),
    FieldText("0,1,2,3", frozenset(range(4)), plain=True),
    FieldText("1", frozenset({1}), plain=True),
    FieldText("02", frozenset({2}), plain=True),
    FieldText("23,0", frozenset({23, 0}), plain=True),
)


def cron_case(
    seed: int, unrestricted: Sequence[str] = UNRESTRICTED, *, by_night: bool = False
) -> CronCase:
    """An expression, which most often fires often.

    Args:
        seed: The same seed is the same expression.
        unrestricted: The texts of fields that leave nothing out.
        by_night: Prefer the hours in which clocks change.
    """
    rng = Random(seed)
    night = by_night and rng.random() < 0.7
    return CronCase(
        _field(rng, 0, 59, 59, unrestricted),
        rng.choice(NIGHT_HOURS) if night else _field(rng, 0, 23, 23, unrestricted),
        _field(rng, 1, 31, 31, unrestricted),
        _field(rng, 1, 12, 12, unrestricted),
        _weekdays(rng, unrestricted),
    )


def cron_cases(
    unrestricted: Sequence[str] = UNRESTRICTED, *, by_night: bool = False
) -> SearchStrategy[CronCase]:
    """Any expressions, as `cron_case` makes them."""
    seeds = st.integers(0, 2**64)
    return seeds.map(lambda seed: cron_case(seed, unrestricted, by_night=by_night))


def _field(rng: Random, low: int, high: int, end: int, unrestricted: Sequence[str]) -> FieldText:
    if rng.random() < 0.5:
        text = rng.choice(unrestricted)
        return FieldText(text, frozenset(range(low, end + 1)), restricted=False)
    items = [_item(rng, low, high, end) for _ in range(rng.choice((1, 1, 2, 3)))]
    return FieldText(
        ",".join(item.text for item in items),
        frozenset().union(*(item.values for item in items)),
        plain=all(item.plain for item in items),
    )


def _item(rng: Random, low: int, high: int, end: int) -> FieldText:
    """One comma-separated item; `a/n` and `*/n` stop at `end`, ranges at `high`."""
    start, step = rng.randint(low, end), rng.randint(1, high + 3)
    match rng.choice(("number", "number", "range", "range/step", "*/step", "start/step")):
        case "*/step":
            step = max(step, 2)
            return FieldText(f"*/{step}", frozenset(range(low, end + 1, step)))
        case "start/step":
            return FieldText(f"{start}/{step}", frozenset(range(start, end + 1, step)))
        # Never `6-6`, which croniter takes for the whole field.
        case "range" if start < high:
            stop = rng.randint(start + 1, high)
            return FieldText(f"{start}-{stop}", frozenset(range(start, stop + 1)))
        case "range/step" if start < high:
            stop = rng.randint(start + 1, high)
            return FieldText(f"{start}-{stop}/{step}", frozenset(range(start, stop + 1, step)))
        case _:
            value = rng.randint(low, high)
            return FieldText(str(value), frozenset({value}), plain=True)


def _weekdays(rng: Random, unrestricted: Sequence[str]) -> FieldText:
    """7 is Sunday too, and a name may stand for a single day."""
    if rng.random() < 0.2:
        day = rng.randrange(7)
        return FieldText(WEEKDAYS[day], frozenset({day}))
    found = _field(rng, 0, 7, 6, unrestricted)
    values = frozenset(value % 7 for value in found.values)
    return FieldText(found.text, values, found.restricted, found.plain)
