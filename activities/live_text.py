"""The text of an answer while it grows, as heartbeats carry it.

Owns the heartbeat details of `call_model` and the keeping of the text's end. Readers find them by
`describe`, so following an answer costs no history and no second channel. Source: DESIGN §4.

Invariants:
    1. `tail` is at most `TAIL_BYTES` of UTF-8 and begins with a whole character, at index `offset`
       of the text.
    2. `spent_seconds` survives attempts: what former ones spent is in the first beat of the next.
"""

from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

TAIL_BYTES: Final = 8 * 1024


class LiveText(BaseModel):
    """The end of the text so far.

    Attributes:
        offset: Index in the text, in characters, of the first one of `tail`.
        tail: The end of the text.
        spent_seconds: Time spent in this and all former attempts of the activity.
    """

    model_config = ConfigDict(frozen=True)

    offset: int = 0
    tail: str = ""
    spent_seconds: float = 0


class LiveTail:
    """The end of a growing text; memory and time do not grow with it."""

    def __init__(self) -> None:
        self._offset = 0
        self._tail = ""

    def add(self, piece: str) -> None:
        """Append to the text."""
        self._tail += piece
        # A character has at most four bytes and at least one: cutting only now and then is cheap.
        if len(self._tail) > 2 * TAIL_BYTES:
            self._cut()

    def live_text(self, spent_seconds: float) -> LiveText:
        """What a heartbeat carries now."""
        self._cut()
        return LiveText(offset=self._offset, tail=self._tail, spent_seconds=spent_seconds)

    def _cut(self) -> None:
        data = self._tail.encode("utf-8", "replace")
        if len(data) > TAIL_BYTES:
            # What is left of a character that was cut in two is dropped with it.
            kept = data[-TAIL_BYTES:].decode("utf-8", "ignore")
            self._offset += len(self._tail) - len(kept)
            self._tail = kept


def spent_before(details: Sequence[Any]) -> float:
    """Seconds that former attempts of the activity spent, from the last heartbeat's details."""
    for detail in details:
        try:
            return LiveText.model_validate(detail).spent_seconds
        except ValidationError:
            continue
    return 0.0
