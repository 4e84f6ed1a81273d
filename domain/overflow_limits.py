"""What an overflow compaction aims at: the limits of its passes, from what the caller knows.

Owns the input of an overflow compaction and the numbers made of it. Dropping and trimming by these
numbers is `domain.compaction`'s.

Source: chat-policies.md §6.3 and §6.4 steps 2, 4 and 6, after the public package beeper/ai-bridge
`pkg/runtime`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self

from domain.message_text import CHARS_PER_TOKEN_ESTIMATE
from domain.messages import Message

_DEFAULT_PROTECTED_TAIL: Final = 3
_DEFAULT_SHARE: Final = 0.5
_SHARE_TO_KEEP: Final = 0.85
_SAFEGUARD: Final = "safeguard"
# Beyond every real window, and still exact as a float.
_MAX_WINDOW_TOKENS: Final = 1 << 50


@dataclass(frozen=True, slots=True)
class OverflowCompactionInput:
    """A prompt that did not fit, and how to compact it (chat-policies.md §6.3); 0 is unknown.

    Attributes:
        prompt: The messages.
        context_window_tokens: Size of the model's window.
        requested_tokens: What the provider says was asked of it.
        current_prompt_tokens: Size of the prompt as counted by the caller.
        reserve_tokens: What is to stay free for the answer.
        keep_recent_tokens: What mode `safeguard` keeps of the recent text.
        compaction_mode: `safeguard`, also when empty, or another mode.
        summarization: Whether to insert a summary of what was dropped.
        max_summary_tokens: Size of that summary.
        refresh_prompt: System message to insert.
        max_history_share: Share of the window that history may fill.
        protected_tail: How many messages at the end must stay.
    """

    prompt: Sequence[Message] = field(default_factory=list[Message])
    context_window_tokens: int = 0
    requested_tokens: int = 0
    current_prompt_tokens: int = 0
    reserve_tokens: int = 0
    keep_recent_tokens: int = 0
    compaction_mode: str = ""
    summarization: bool = False
    max_summary_tokens: int = 0
    refresh_prompt: str = ""
    max_history_share: float = 0.0
    protected_tail: int = 0


class TextLimits(NamedTuple):
    """How many characters of text may stay, and how many messages at the end must."""

    chars: int
    tail: int


@dataclass(frozen=True, slots=True)
class OverflowLimits:
    """The input's numbers, all usable (chat-policies.md §6.4, step 2).

    Attributes:
        tail: How many messages at the end must stay.
        reserve: Tokens to stay free for the answer.
        keep: Tokens of recent text that mode `safeguard` keeps.
        share: Share of the window that history may fill.
        window: Tokens of the window; 0 when it is not known.
        budget: Tokens of history; only with a known window.
        is_safeguard: Whether the mode is `safeguard`.
        requested: Tokens that were asked of the provider, or 0.
        current: Tokens of the prompt as the caller counts, or 0.
    """

    tail: int
    reserve: int
    keep: int
    share: float
    window: int
    budget: int
    is_safeguard: bool
    requested: int
    current: int

    @classmethod
    def of(cls, given: OverflowCompactionInput) -> Self:
        """Read the numbers of an input; what is missing or makes no sense gets its default."""
        window = max(0, min(given.context_window_tokens, _MAX_WINDOW_TOKENS))
        share = given.max_history_share if 0 < given.max_history_share < 1 else _DEFAULT_SHARE
        budget = max(1, int(window * share))
        keep = max(0, given.keep_recent_tokens)
        mode = (given.compaction_mode or "").strip().lower() or _SAFEGUARD
        return cls(
            tail=given.protected_tail if given.protected_tail > 0 else _DEFAULT_PROTECTED_TAIL,
            reserve=max(0, given.reserve_tokens),
            keep=min(keep, budget) if window else keep,
            share=share,
            window=window,
            budget=budget,
            is_safeguard=mode == _SAFEGUARD,
            requested=given.requested_tokens,
            current=given.current_prompt_tokens,
        )

    def text_limits(self, lengths: Sequence[int], original_chars: int) -> TextLimits:
        """The limits of the second dropping pass (step 4).

        Args:
            lengths: Characters of text of each message that is left.
            original_chars: Characters of text of the input.
        """
        limit, tail = original_chars, self.tail
        if self.window:
            limit = _lowered(limit, (self.window - self.reserve) * CHARS_PER_TOKEN_ESTIMATE)
            limit = _lowered(limit, int(self.window * CHARS_PER_TOKEN_ESTIMATE * self.share))
        chars = sum(lengths)
        if self.is_safeguard and self.keep and chars:
            keep_chars = self.keep * CHARS_PER_TOKEN_ESTIMATE
            texts = sum(1 for length in lengths if length)
            tail = max(tail, keep_chars // max(1, chars // texts))
            limit = max(limit, keep_chars)
        if self.requested > self.window > 0:
            limit = _lowered(limit, int(original_chars * (self.window / self.requested)))
        if limit >= original_chars:
            limit = int(original_chars * _SHARE_TO_KEEP)
        return TextLimits(max(1, limit), tail)

    def target_tokens(self, input_tokens: int) -> int:
        """The size above which tool results are trimmed (step 6).

        Args:
            input_tokens: Size of the input; half of it is the target where nothing else is known.
        """
        target = 0
        if self.window:
            target = min(self.window - self.reserve, self.budget)
            if self.is_safeguard:
                target = max(target, self.keep)
        if target <= 0:
            target = (self.current if self.current > 0 else input_tokens) // 2
        return max(1, target)


def _lowered(limit: int, candidate: int) -> int:
    return candidate if 0 < candidate < limit else limit
