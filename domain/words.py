"""Intervals in words: `every 2h`, `every 90 minutes`.

Owns the grammar of the words and their bounds. Does not own intervals as such
(`domain.recurrence`) nor cron (`domain.cron`): a text that does not begin with the word `every` is
cron.
Source: automation.md §5 "Words", triggers-and-actions.md §1.
"""

import re

from pydantic import BaseModel, ConfigDict

from domain.errors import DomainError, ErrorKind
from domain.fields import shown

MIN_EVERY_SECONDS = 60
MAX_EVERY_SECONDS = 31_536_000

_UNITS = {
    "s sec secs second seconds": 1,
    "m min mins minute minutes": 60,
    "h hr hrs hour hours": 3600,
    "d day days": 86_400,
}
_SECONDS = {name: seconds for names, seconds in _UNITS.items() for name in names.split()}
_FORM = re.compile(r"every (\d*) ?([a-z]+)", re.ASCII)
_ADVICE = (
    "write `every <n> <unit>` with one whole number and one unit (s, m, h or d), "
    f"{MIN_EVERY_SECONDS} to {MAX_EVERY_SECONDS} seconds in all; "
    "for weekdays and times of day use cron, such as '0 9 * * 1-5'"
)


class WordsInterval(BaseModel):
    """What words stand for."""

    model_config = ConfigDict(frozen=True)

    every_seconds: int


def normalize_words(text: str) -> str:
    """Words in lower case with single blanks: the form a trigger keeps."""
    return " ".join(text.lower().split())


def is_words(text: object) -> bool:
    """Whether a text is read as words: it begins with the word `every`."""
    return isinstance(text, str) and normalize_words(text).partition(" ")[0] == "every"


def parse_words(text: object, field: str = "schedule.cron_expr") -> WordsInterval | None:
    """Read an interval in words.

    Args:
        text: What was given.
        field: Dotted path for the error.

    Returns:
        The interval, or None when the text does not begin with the word `every`.

    Raises:
        DomainError: `invalid_field` when it does, but has another form or is out of bounds.
    """
    if not isinstance(text, str) or not is_words(text):
        return None
    words = normalize_words(text)
    form = _FORM.fullmatch(words)
    unit = _SECONDS.get(form[2]) if form else None
    if form is None or unit is None:
        raise _refused(field, words, "is not an interval")
    # Twelve digits are beyond every bound already; int() refuses to read thousands of them.
    seconds = int((form[1].lstrip("0") or "0")[:12]) * unit if form[1] else unit
    if not MIN_EVERY_SECONDS <= seconds <= MAX_EVERY_SECONDS:
        raise _refused(field, words, "is out of bounds")
    return WordsInterval(every_seconds=seconds)


def _refused(field: str, words: str, why: str) -> DomainError:
    message = f"{field}: {shown(words)} {why}; {_ADVICE}"
    return DomainError(ErrorKind.INVALID_FIELD, field, message, ["every 2h", "0 9 * * 1-5"])
