"""Amounts of money: USD as people write it, integer micros as everything here counts it.

Owns reading and writing amounts. What they limit is `domain.budget`'s.
Source: triggers-and-actions.md §10, §11 and §14.

Invariant: no float is added, multiplied or compared; a float that was given is read as its text.
"""

import math
import re
from decimal import Decimal

from domain.errors import DomainError, ErrorKind
from domain.fields import shown

MICROS_PER_USD = 1_000_000
MAX_USD = 1_000_000
MAX_DECIMALS = 6

_DECIMAL_TEXT = re.compile(rf"\d+(\.\d{{1,{MAX_DECIMALS}}})?", re.ASCII)


def parse_usd(value: object, field: str = "max_cost_usd") -> int:
    """Read an amount of money.

    Args:
        value: A number, or a decimal text such as `0.50`.
        field: Name of the field, for the error.

    Returns:
        Micros of USD.

    Raises:
        DomainError: `invalid_field` unless it is above 0, at most 1000000 and has at most 6
            decimals.
    """
    amount = _decimal(value)
    if amount is not None and 0 < amount <= MAX_USD and amount == round(amount, MAX_DECIMALS):
        return int(amount.scaleb(MAX_DECIMALS))
    raise DomainError(
        ErrorKind.INVALID_FIELD,
        field,
        f"{field} must be an amount in USD above 0 and at most {MAX_USD}, as a number or a decimal "
        f"text with at most {MAX_DECIMALS} decimals, such as 0.5, not {shown(value)}",
    )


def format_usd(micros: int) -> str:
    """An amount as the shortest decimal text: `0.5`, `12`."""
    whole, part = divmod(micros, MICROS_PER_USD)
    return f"{whole}.{part:06}".rstrip("0").rstrip(".")


def _decimal(value: object) -> Decimal | None:
    if isinstance(value, str):
        text = value.strip()
        return Decimal(text) if _DECIMAL_TEXT.fullmatch(text) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return Decimal(value)
    # The shortest text of a float is what was written; its binary value has dozens of decimals.
    return Decimal(repr(value)) if math.isfinite(value) else None
