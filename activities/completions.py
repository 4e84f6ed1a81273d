"""What comes of one call of a model: a `Completion`, or a `ProviderError`.

Owns the two shapes between the wire (`activities.providers`) and the activity
(`activities.models`). Imports no client, so that whoever only needs payloads does not load one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from domain.fallback import FallbackDecision
from domain.prices import Usage
from domain.tool_specs import ToolCall


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished answer; an empty text is one too. Usage is null where the provider did not say."""

    text: str
    finish_reason: str
    usage: Usage | None
    tool_calls: Sequence[ToolCall] = ()

    @property
    def truncated(self) -> bool:
        """Whether the token limit cut it."""
        return self.finish_reason == "length"

    @property
    def filtered(self) -> bool:
        """Whether the provider's content filter cut it."""
        return self.finish_reason == "content_filter"

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it: silence, or thoughts only."""
        return not self.text.strip() and not self.tool_calls


class OverflowSizes(NamedTuple):
    """The model's window and the size of a prompt in tokens, as a provider counts; null: unsaid."""

    window_tokens: int | None = None
    requested_tokens: int | None = None


class ProviderError(Exception):
    """A failed call of a model.

    Attributes:
        decision: Its class and what to do.
        message: What happened, for a person; without secrets, on one line.
        transient: Whether the same call may succeed soon, when no other model can be called.
        retry_after: What the provider asked for, if anything.
        unbilled: The request did not get as far as an answer that costs something.
        sizes: What it said of a prompt that was too long.
    """

    def __init__(
        self,
        decision: FallbackDecision,
        message: str,
        *,
        transient: bool = False,
        retry_after: timedelta | None = None,
        unbilled: bool = False,
        sizes: OverflowSizes | None = None,
    ) -> None:
        super().__init__(message)
        self.decision = decision
        self.message = message
        self.transient = transient
        self.retry_after = retry_after
        self.unbilled = unbilled
        self.sizes = sizes or OverflowSizes()
