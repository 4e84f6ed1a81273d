"""What every channel promises to who uses it.

Owns the protocol and the two ways in which sending can fail. Source: triggers-and-actions.md §9.

Invariant: a channel that cannot rule out that a text arrived says `Ambiguous`, never `Refused`.
"""

from dataclasses import dataclass
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


class MessageGone(Refused):
    """Nothing was delivered, because the message to reply to does not exist any more."""


class Ambiguous(Exception):
    """Nobody knows whether the text was delivered: the answer is missing, not the sending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A text as a channel is given it.

    Attributes:
        key: Identifies this text for ever.
        route: Whose `receive_id` names the target, if there is one.
        text: What to deliver.
        run_id: The run that says it, null for what no run says.
        part: Which text of the run it is.
        repeated: The key may have been sent before; otherwise nobody ever tried.
        reply_to: The message to send it under, where the channel can.
        audio_as_voice: To be spoken, where the channel can.
    """

    key: str
    route: Route
    text: str
    run_id: str | None
    part: str
    repeated: bool = False
    reply_to: str | None = None
    audio_as_voice: bool = False


class Channel(Protocol):
    """A way to send texts."""

    @property
    def deduplicates(self) -> bool:
        """Whether a key that arrived before is ignored, so that sending again is safe."""
        ...

    @property
    def threads(self) -> bool:
        """Whether a later text can be sent as a reply to the id that `send` returned."""
        ...

    @property
    def speaks(self) -> bool:
        """Whether a text can be marked as one to be spoken."""
        ...

    @property
    def retry_seconds(self) -> float:
        """How long to wait after the first refusal."""
        ...

    async def send(self, message: Outgoing) -> str:
        """Deliver a text.

        Returns:
            The channel's own id of what it sent.

        Raises:
            Refused: It was not delivered; `MessageGone` when that is why.
            Ambiguous: It may have been.
        """
        ...
