"""Cron expressions: the text of a rule, and everything that can be wrong with it.

Owns the five fields, nicknames and the zone prefix. Does not own what a rule means
(`domain.cron_rule`) nor words (`domain.words`). Source: automation.md §5 "Cron", §14 rows 7-17.

Invariants:
    1. A normal form is trimmed, has single blanks and no prefix; the rest is as it was written.
    2. An error names the field of the expression and what that field accepts.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from pydantic import BaseModel, ConfigDict

from domain.cron_rule import CronField, CronRule, Span
from domain.errors import DomainError, ErrorKind, FieldProblem
from domain.fields import problems_of, raise_first, shown
from domain.words import parse_words
from domain.zones import optional_zone, require_zone

NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_PREFIX = re.compile(r"(?:CRON_TZ|TZ)=(\S*)(?: (.*))?")
_NUMBER = re.compile(r"[0-9]{1,9}")
_YEAR = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {name: number for number, name in enumerate(_YEAR, 1)}
_WEEK = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAYS = {name: number for number, name in enumerate(_WEEK)}
_FORMS = "numbers {numbers}, and *, ?, a-b, a,b, */n, a-b/n, a/n"


class CronText(BaseModel):
    """An expression in its normal form, and the zone whose clock it follows."""

    model_config = ConfigDict(frozen=True)

    cron_expr: str
    timezone: str


@dataclass(frozen=True, slots=True)
class Grammar:
    """What one of the five fields may hold.

    Attributes:
        name: As errors and calendars call it.
        low: Smallest number.
        high: Largest number accepted.
        end: Where `*` and `a/n` end: below `high` only for the day of the week, whose 7 is 0 again.
        names: Names in lower case, with their numbers.
    """

    name: str
    low: int
    high: int
    end: int
    names: Mapping[str, int]

    @property
    def numbers(self) -> str:
        """`1-12 or JAN-DEC`."""
        names = [name.upper() for name in self.names]
        return f"{self.low}-{self.high}" + (f" or {names[0]}-{names[-1]}" if names else "")


FIELDS = (
    Grammar("minute", 0, 59, 59, {}),
    Grammar("hour", 0, 23, 23, {}),
    Grammar("day_of_month", 1, 31, 31, {}),
    Grammar("month", 1, 12, 12, _MONTHS),
    Grammar("day_of_week", 0, 7, 6, _DAYS),
)


def validate_cron(
    expr: object,
    timezone: object = None,
    *,
    field: str = "schedule.cron_expr",
    timezone_field: str = "schedule.timezone",
    default_timezone: str = "UTC",
) -> CronText:
    """Check a cron expression; words are not cron.

    Args:
        expr: The expression, perhaps with a prefix `CRON_TZ=Zone` or `TZ=Zone`.
        timezone: Name of the zone; null or blank where the prefix or the default says it.
        field: Dotted path for errors in the expression.
        timezone_field: Dotted path for errors in the zone.
        default_timezone: The zone where neither says any.

    Returns:
        The normal form.

    Raises:
        DomainError: `missing_field` on `field` when blank, else `invalid_field` on either field;
            both are in `errors` when both are wrong.
    """
    return read_cron(
        expr,
        timezone,
        field=field,
        timezone_field=timezone_field,
        default_timezone=default_timezone,
        must_fire=True,
    )[0]


def read_cron(
    expr: object,
    timezone: object = None,
    *,
    field: str = "schedule.cron_expr",
    timezone_field: str = "schedule.timezone",
    default_timezone: str = "UTC",
    must_fire: bool = False,
) -> tuple[CronText, CronRule]:
    """Read an expression and its zone, as `validate_cron`.

    A stored expression may never fire; `must_fire` refuses one.
    """
    prefix, body = _split_prefix(expr)
    zone, zone_problems = default_timezone, list[FieldProblem]()
    try:
        zone = _zone_of(prefix, timezone, timezone_field, default_timezone)
    except DomainError as error:
        zone_problems = problems_of(error)
    try:
        rule = _rule_of(expr, body, field)
        if must_fire and not rule.can_fire:
            raise _refused(field, f"{shown(body)} never fires: there is no such date")
    except DomainError as error:
        every = [*problems_of(error), *zone_problems] if zone_problems else ()
        raise DomainError(error.kind, field, error.message, error.accepted, every) from None
    raise_first(zone_problems)
    return CronText(cron_expr=body, timezone=zone), rule


def hour_is_fixed(expr: object) -> bool:
    """Whether a wall time that occurs twice fires only the first time.

    Args:
        expr: A cron expression, a nickname or words, perhaps with a zone prefix.

    Returns:
        True when every comma-separated item of the hour field is a plain number; false for words,
        which follow no clock.

    Raises:
        DomainError: On `schedule.cron_expr` when it is neither cron nor words.
    """
    field = "schedule.cron_expr"
    if parse_words(expr, field) is not None:
        return False
    return _rule_of(expr, _split_prefix(expr)[1], field).hour_is_fixed


@lru_cache(maxsize=4096)
def parse_rule(expr: str, field: str = "schedule.cron_expr") -> CronRule:
    """Read an expression in normal form.

    Args:
        expr: Five fields or a nickname, without prefix.
        field: Dotted path for errors.

    Raises:
        DomainError: `invalid_field` on `field`, naming which of the five fields is wrong and why.
    """
    if expr.startswith("@"):
        expr = _expand(expr, field)
    parts = expr.split()
    if len(parts) != len(FIELDS):
        names = " ".join(grammar.name for grammar in FIELDS)
        raise _refused(field, f"needs 5 fields ({names}), not {len(parts)}")
    return CronRule(*(_parse_field(g, part, field) for g, part in zip(FIELDS, parts, strict=True)))


def _split_prefix(expr: object) -> tuple[str | None, str]:
    """The zone of the prefix, if there is one, and the rest in normal form; no text is blank."""
    text = " ".join(expr.split()) if isinstance(expr, str) else ""
    if prefix := _PREFIX.fullmatch(text):
        return prefix[1], prefix[2] or ""
    return None, text


def _rule_of(expr: object, body: str, field: str) -> CronRule:
    if expr is None or (isinstance(expr, str) and not expr.strip()):
        message = f"{field} is required: a cron_expr has 5 fields, such as '0 9 * * 1-5'"
        raise DomainError(ErrorKind.MISSING_FIELD, field, message)
    if not isinstance(expr, str):
        raise _refused(field, f"must be text with 5 fields, not {shown(expr)}")
    return parse_rule(body, field)


def _zone_of(prefix: str | None, timezone: object, field: str, default: str) -> str:
    given = optional_zone(timezone, field)
    if prefix is None:
        return given or default
    zone = require_zone(prefix, field)
    if given not in {None, zone}:
        message = f"{field} is {given!r}, but the prefix of the expression says {zone!r}; give one"
        raise DomainError(ErrorKind.INVALID_FIELD, field, message, [zone, str(given)])
    return zone


def _expand(expr: str, field: str) -> str:
    name = expr.lower()
    if name.startswith("@every"):
        raise _refused(field, "does not take @every; use every_seconds, or words as 'every 2h'")
    if name not in NICKNAMES:
        accepted = ", ".join(NICKNAMES)
        raise _refused(field, f"{shown(expr)} is no nickname; accepted are {accepted}", NICKNAMES)
    return NICKNAMES[name]


def _parse_field(grammar: Grammar, text: str, field: str) -> CronField:
    spans = tuple(_parse_item(grammar, item, field) for item in text.split(","))
    # Only the day of the week reaches 7 without 7 being a number of its own.
    fold = grammar.high if grammar.end < grammar.high else None
    values = (value for span in spans for value in span.values)
    return CronField(text, spans, frozenset(0 if value == fold else value for value in values))


def _parse_item(grammar: Grammar, item: str, field: str) -> Span:
    body, slash, step_text = item.partition("/")
    if slash and (not _NUMBER.fullmatch(step_text) or int(step_text) == 0 or body == "?"):
        raise _bad_item(grammar, item, field, "has a bad step: a whole number from 1 after * or a")
    step = int(step_text) if slash else 1
    if body in {"*", "?"}:
        return Span(grammar.low, grammar.end, step)
    first, dash, last = body.partition("-")
    start = _parse_value(grammar, first, item, field)
    if dash:
        end = _parse_value(grammar, last, item, field)
        if start > end:
            raise _bad_item(grammar, item, field, "is a reverse range")
        return Span(start, end, step)
    if slash:
        return Span(0 if start > grammar.end else start, grammar.end, step)
    return Span(start, start, 1)


def _parse_value(grammar: Grammar, text: str, item: str, field: str) -> int:
    value = grammar.names.get(text.lower())
    if value is None and _NUMBER.fullmatch(text):
        value = int(text)
    if value is None:
        why = "is not a number" if not set("LW#") & set(item.upper()) else "uses L, W or #"
        raise _bad_item(grammar, item, field, why)
    if not grammar.low <= value <= grammar.high:
        raise _bad_item(grammar, item, field, "is out of range")
    return value


def _bad_item(grammar: Grammar, item: str, field: str, why: str) -> DomainError:
    forms = _FORMS.format(numbers=grammar.numbers)
    return _refused(field, f"{grammar.name} {shown(item)} {why}; accepted are {forms}")


def _refused(field: str, why: str, accepted: Mapping[str, str] | None = None) -> DomainError:
    return DomainError(ErrorKind.INVALID_FIELD, field, f"{field}: {why}", list(accepted or ()))
