"""An answer while it is written, as people may see it: without tags, and silence not shown.

Owns counting its characters, so that whoever comes back goes on where they were, and what is left
to show when the whole answer is known. The tags are `domain.streaming_directives`'.
Source: chat-policies.md §1.9, automation.md §7 (Live text).

Invariants:
    1. No character is shown twice. Of an answer whose beginning was missed, what was missed counts
       as the model wrote it, tags included.
    2. What was shown is the beginning of the whole answer, or all of that is still to be shown: a
       model that calls tools may have said something else before.
"""

from domain.streaming_directives import StreamingDirectiveAccumulator


class LiveReply:
    """One answer, fed with the end of its text again and again.

    Attributes:
        offset: Characters of it that were shown.
    """

    def __init__(self, had: int = 0) -> None:
        """Begin.

        Args:
            had: How many characters a reader has seen before.
        """
        self.offset = had
        self._position = 0
        self._read = 0
        # Without blanks, which may come out differently in the whole answer; null when something
        # was missed.
        self._seen: str | None = ""
        self._directives = StreamingDirectiveAccumulator()

    def grown(self, offset: int, tail: str) -> str:
        """What can be shown now that could not be before.

        Args:
            offset: Index, in the text of the model, of the first character of `tail`.
            tail: The end of that text so far.
        """
        missed = offset - self._read
        if missed > 0:
            self._position += missed
            self._read = offset
            self._seen = None
        new = tail[self._read - offset :]
        self._read += len(new)
        found = self._directives.consume(new)
        if found is None:
            return ""
        shown = found.text[max(0, self.offset - self._position) :]
        self._position += len(found.text)
        self.offset = max(self.offset, self._position)
        if self._seen is not None:
            self._seen += _without_blanks(found.text)
        return shown

    def rest(self, whole: str) -> str:
        """What is left to show of the whole answer, as it was delivered."""
        at = self.offset
        if self._seen is not None and self._position == self.offset:
            begins = _without_blanks(whole).startswith(self._seen)
            at = _after(whole, len(self._seen)) if begins else 0
        rest = whole[at:]
        self.offset = len(whole)
        return rest


def _without_blanks(text: str) -> str:
    return "".join(text.split())


def _after(text: str, marks: int) -> int:
    """The place after so many characters that are no blanks."""
    for place, char in enumerate(text):
        if marks == 0:
            return place
        marks -= not char.isspace()
    return len(text)
