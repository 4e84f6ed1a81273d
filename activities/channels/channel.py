"""What every channel promises to who uses it.

Owns the protocol and the two ways in which sending can fail. Source: triggers-and-actions.md §9.

Invariant: a channel that cannot rule out that a text arrived says `Ambiguous`, never `Refused`.
"""

from typing import Final, Protocol

from domain.scopes import Route

RETRY_SECONDS: Final = 10.0


class Refused(Exception):
    """Nothing was delivered.

    Attributes:
        retryable: The same text may be taken later.
    """

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


class Ambiguous(Exception):
    """Nobody knows whether the text was delivered: the answer is missing, not the sending."""


class Channel(Protocol):
    """A way to send texts."""

    @property
    def deduplicates(self) -> bool:
        """Whether a key that arrived before is ignored, so that sending again is safe."""
        ...

    @property
    def retry_seconds(self) -> float:
        """How long to wait after the first refusal."""
        ...

    async def send(
        self, key: str, route: Route, text: str, run_id: str, part: str, *, repeated: bool
    ) -> str:
        """Deliver a text.

        Args:
            key: Identifies this text for ever.
            route: Whose `receive_id` names the target, if there is one.
            text: What to deliver.
            run_id: The run that says it.
            part: Which text of the run it is.
            repeated: The key may have been sent before; otherwise nobody ever tried.

        Returns:
            The channel's own id of what it sent.

        Raises:
            Refused: It was not delivered.
            Ambiguous: It may have been.
        """
        ...
