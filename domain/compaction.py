"""Compaction: making a conversation shorter when it no longer fits, and saying what was done.

Owns the compaction of plain texts and of a prompt after an overflow. The numbers it aims at are in
`domain.overflow_limits`, blocks and the dropping pass in `domain.prompt_blocks`, shortening tool
results in `domain.context`.

Invariants:
    1. The preamble, the last user message and the last block survive; calls go with their results.
    2. The decision reports what happened to the returned prompt.
    3. Every pass is linear; nothing is tried by halves.

Source: chat-policies.md §6, after the public package beeper/ai-bridge `pkg/runtime`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from domain.compaction_summary import summarize_dropped
from domain.context import smart_truncate_prompt
from domain.message_text import (
    PREAMBLE_ROLES,
    estimate_message_tokens,
    estimate_prompt_tokens,
    extract_message_content,
    message_role,
    message_text_length,
)
from domain.messages import Message
from domain.overflow_limits import OverflowCompactionInput, OverflowLimits
from domain.prompt_blocks import droppable_positions, preamble_length

__all__ = [
    "CompactionDecision",
    "CompactionResult",
    "OverflowCompactionInput",
    "OverflowCompactionResult",
    "apply_compaction",
    "compact_prompt_on_overflow",
]

_MAX_UNTOUCHED_MESSAGES: Final = 2
_MIN_REDUCTION: Final = 0.1
_MAX_REDUCTION: Final = 0.85


@dataclass(frozen=True, slots=True)
class CompactionDecision:
    """What a compaction did.

    Attributes:
        applied: Whether anything changed.
        dropped_count: How many messages were removed.
        original_chars: Characters of text before.
        final_chars: Characters of text after, without what was inserted.
        reason: A stable code that says why.
    """

    applied: bool = False
    dropped_count: int = 0
    original_chars: int = 0
    final_chars: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CompactionResult:
    """Texts after a compaction, and what it did."""

    messages: list[str]
    decision: CompactionDecision


@dataclass(frozen=True, slots=True)
class OverflowCompactionResult:
    """A prompt after a compaction.

    Attributes:
        prompt: The prompt to try next; the input's when nothing was done.
        decision: What was done.
        success: Whether the prompt is smaller and still says something.
        dropped: Positions in the input's prompt of the messages that were removed.
    """

    prompt: list[Message]
    decision: CompactionDecision
    success: bool
    # What a caller needs to keep the outcome; two equal outcomes need not agree in it.
    dropped: tuple[int, ...] = field(default=(), compare=False)


def apply_compaction(
    messages: Sequence[str | None], max_chars: int, protected_tail: int
) -> CompactionResult:
    """Drop the oldest texts until the rest fits (chat-policies.md §6.1).

    Args:
        messages: The texts, the oldest first.
        max_chars: The most characters the rest may have; 0 or less is no limit.
        protected_tail: How many texts at the end must stay.

    Returns:
        The texts that stay, and what was done.
    """
    texts = [text or "" for text in messages]
    total = left = sum(map(len, texts))
    if max_chars <= 0 or total <= max_chars:
        return CompactionResult(
            texts,
            CompactionDecision(original_chars=total, final_chars=total, reason="within_budget"),
        )
    droppable = len(texts) - max(0, protected_tail)
    first = 0
    while left > max_chars and first < droppable:
        left -= len(texts[first])
        first += 1
    if first == 0:
        reason = "protected_tail_prevented_drop"
    elif left > max_chars:
        reason = "budget_exceeded_after_drop"
    else:
        reason = "drop_oldest"
    return CompactionResult(
        texts[first:], CompactionDecision(first > 0, first, total, left, reason)
    )


def compact_prompt_on_overflow(input: OverflowCompactionInput) -> OverflowCompactionResult:
    """Make a prompt fit after the provider refused it as too long (chat-policies.md §6.4).

    Args:
        input: The prompt and what is known about the window.

    Returns:
        A shorter prompt, or the input's, with what was done.
    """
    prompt = list(input.prompt)
    sizes = _Sizes.of(prompt)
    original_chars = sum(sizes.chars)
    if len(prompt) <= _MAX_UNTOUCHED_MESSAGES or not original_chars:
        return _unchanged(prompt, original_chars, "insufficient_prompt")
    passes = _run_passes(prompt, sizes, OverflowLimits.of(input))
    if not passes.is_applied:
        return _unchanged(prompt, original_chars, passes.reason)
    decision = CompactionDecision(
        applied=True,
        dropped_count=len(passes.dropped),
        original_chars=original_chars,
        final_chars=sum(map(message_text_length, passes.work)),
        reason=passes.reason,
    )
    result = _with_insertions(passes, input)
    is_smaller = _prompt_tokens(result) < estimate_prompt_tokens(sizes.tokens)
    says_something = any(message_role(msg) not in PREAMBLE_ROLES for msg in result)
    return OverflowCompactionResult(
        result, decision, is_smaller and says_something, passes.positions
    )


def _unchanged(prompt: list[Message], chars: int, reason: str) -> OverflowCompactionResult:
    decision = CompactionDecision(original_chars=chars, final_chars=chars, reason=reason)
    return OverflowCompactionResult(prompt, decision, success=False)


def _prompt_tokens(prompt: Sequence[Message]) -> int:
    return estimate_prompt_tokens([estimate_message_tokens(msg) for msg in prompt])


class _Sizes(NamedTuple):
    """The size of each message: characters of text, and tokens of everything."""

    chars: list[int]
    tokens: list[int]

    @classmethod
    def of(cls, prompt: Sequence[Message]) -> "_Sizes":
        return cls(
            [message_text_length(msg) for msg in prompt],
            [estimate_message_tokens(msg) for msg in prompt],
        )


class _Passes(NamedTuple):
    """What the passes left of a prompt, what they dropped, and which of them did something."""

    work: list[Message]
    dropped: list[Message]
    positions: tuple[int, ...]
    is_applied: bool
    reason: str


def _run_passes(prompt: list[Message], sizes: _Sizes, limits: OverflowLimits) -> _Passes:
    """Steps 3 to 7: cut history to its share, then to the text limit, then tool results."""
    left = _positions_within_share(prompt, sizes, limits)
    is_share_pruned = len(left) < len(prompt)
    work = [prompt[position] for position in left]
    chars = [sizes.chars[position] for position in left]
    text = limits.text_limits(chars, sum(sizes.chars))
    gone = droppable_positions(work, chars, text.chars, len(work) - text.tail)
    left = [position for index, position in enumerate(left) if index not in gone]
    work = [prompt[position] for position in left]
    trimmed = _with_trimmed_results(
        work,
        estimate_prompt_tokens([sizes.tokens[position] for position in left]),
        limits.target_tokens(estimate_prompt_tokens(sizes.tokens)),
    )
    if gone:
        is_over = sum(sizes.chars[position] for position in left) > text.chars
        reason = "budget_exceeded_after_drop" if is_over else "drop_oldest"
    elif is_share_pruned:
        reason = "history_share_prune"
    elif trimmed is not None:
        reason = "tool_results_trimmed"
    else:
        was_over = sum(chars) > text.chars
        reason = "protected_tail_prevented_drop" if was_over else "within_budget"
    kept = frozenset(left)
    positions = tuple(position for position in range(len(prompt)) if position not in kept)
    dropped = [prompt[position] for position in positions]
    is_applied = bool(dropped) or trimmed is not None
    return _Passes(trimmed or work, dropped, positions, is_applied, reason)


def _positions_within_share(
    prompt: Sequence[Message], sizes: _Sizes, limits: OverflowLimits
) -> list[int]:
    """Step 3: what is left when history is cut to its share of the window."""
    gone: frozenset[int] = frozenset()
    if limits.window:
        start = preamble_length(prompt)
        gone = droppable_positions(prompt, [0] * start + sizes.tokens[start:], limits.budget)
    return [position for position in range(len(prompt)) if position not in gone]


def _with_trimmed_results(
    work: Sequence[Message], estimate: int, target: int
) -> list[Message] | None:
    """Step 6: the prompt with shorter tool results, or `None` when that is no use."""
    if estimate <= target:
        return None
    reduction = min(_MAX_REDUCTION, max(_MIN_REDUCTION, 1 - target / estimate))
    trimmed = smart_truncate_prompt(work, reduction)
    return trimmed if trimmed is not None and _prompt_tokens(trimmed) < estimate else None


def _with_insertions(passes: _Passes, given: OverflowCompactionInput) -> list[Message]:
    """Step 9: the prompt with summary and refresh text after its preamble."""
    start = preamble_length(passes.work)
    preamble, rest = passes.work[:start], passes.work[start:]
    inserted: list[Message] = []
    if given.summarization:
        summary = summarize_dropped(passes.dropped, given.max_summary_tokens)
        if summary:
            inserted.append({"role": "system", "content": summary})
    refresh = (given.refresh_prompt or "").strip()
    present = {extract_message_content(msg)[0].strip() for msg in preamble}
    if refresh and refresh not in present:
        inserted.append({"role": "system", "content": refresh})
    return [*preamble, *inserted, *rest]
