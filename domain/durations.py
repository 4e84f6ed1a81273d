"""Lengths of time as people write them: `2h30m`, `1.5h`, `90s`, `2d`.

Owns the grammar. Which lengths are accepted is the rule of the field that is read.
Source: automation.md §9.

Invariant: exact; nothing is rounded here.
"""

import re
from fractions import Fraction
from typing import Final

_SECONDS: Final = {
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86_400),
}
# Twelve digits are beyond every bound; Python would refuse to read thousands of them.
_PART = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?|\.[0-9]{1,12})(ms|[smhd])", re.ASCII)


def parse_duration(text: str) -> Fraction | None:
    """Read a length of time.

    Args:
        text: Numbers with units `ms`, `s`, `m`, `h`, `d`, one after the other, or `0` alone.

    Returns:
        Seconds; null when the text is no length of time.
    """
    text = text.strip()
    if text == "0":
        return Fraction(0)
    seconds, position = Fraction(0), 0
    while part := _PART.match(text, position):
        seconds += Fraction(part[1]) * _SECONDS[part[2]]
        position = part.end()
    return seconds if text and position == len(text) else None
