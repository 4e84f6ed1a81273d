"""The context of a model call: keeping a prompt inside the window by shortening what is old.

Owns limiting the turns, trimming and clearing tool results, and truncating to a share of a prompt.
It is also the front door to sizes (`domain.message_text`) and settings (`domain.pruning_config`).
Dropping messages on overflow is `domain.compaction`'s.

Invariants:
    1. No prompt gets larger, and pruning a pruned prompt changes nothing.
    2. Trimming and clearing remove no message, so calls keep their results; limiting turns removes
       results that lost their call.
    3. What is unchanged is shared with the input; what is changed is a copy.

Source: chat-policies.md §4, after the public package beeper/ai-bridge `pkg/runtime`.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Final, NamedTuple

from domain.message_text import (
    CHARS_PER_TOKEN_ESTIMATE,
    IMAGE_CHAR_ESTIMATE,
    estimate_message_chars,
    estimate_message_tokens,
    extract_message_content,
    function_calls,
    has_only_text,
    message_role,
    prompt_text_payloads,
    result_call_id,
)
from domain.messages import Message
from domain.prompt_blocks import orphan_positions, preamble_length
from domain.pruning_config import (
    OverflowFlushConfig,
    PruningConfig,
    apply_pruning_defaults,
    default_pruning_config,
    soft_trim_size,
)
from domain.tool_patterns import ToolPatterns, normal_tool_name

__all__ = [
    "CHARS_PER_TOKEN_ESTIMATE",
    "IMAGE_CHAR_ESTIMATE",
    "OverflowFlushConfig",
    "PruningConfig",
    "apply_pruning_defaults",
    "build_tool_prunable_predicate",
    "default_pruning_config",
    "estimate_message_chars",
    "extract_message_content",
    "limit_history_turns",
    "prompt_text_payloads",
    "prune_context",
    "smart_truncate_prompt",
    "soft_trim_tool_result",
]

# A result that is hardly longer than its two ends is left alone: the note would cost as much.
_SOFT_TRIM_SLACK_CHARS: Final = 100
_SOFT_TRIM_GAP: Final = "\n...\n"
_MIN_TRUNCATION_TARGET_TOKENS: Final = 1000


def build_tool_prunable_predicate(config: PruningConfig | None) -> Callable[[str | None], bool]:
    """Compile which tools' results may be pruned (chat-policies.md §4.4).

    Args:
        config: The settings with the patterns; `None` allows all.

    Returns:
        A function of the tool's name. Denying beats allowing; no allow pattern allows all.
    """
    patterns = config or PruningConfig()
    allowed = ToolPatterns.parse(patterns.tools_allow or ())
    denied = ToolPatterns.parse(patterns.tools_deny or ())

    def is_prunable(name: str | None) -> bool:
        normal = normal_tool_name(name)
        return not denied.match(normal) and (not allowed or allowed.match(normal))

    return is_prunable


def limit_history_turns(prompt: Sequence[Message], limit: int) -> list[Message]:
    """Keep the last turns of a conversation (chat-policies.md §4.5).

    Args:
        prompt: The messages.
        limit: How many user messages to keep; 0 or less is no limit.

    Returns:
        The preamble and everything from the `limit`-th last user message on, without tool results
        whose call is not in it; all messages when there are no more turns than that.
    """
    messages = list(prompt)
    if limit <= 0:
        return messages
    start = preamble_length(messages)
    turns = [index for index, msg in enumerate(messages) if message_role(msg) == "user"]
    if len(turns) <= limit:
        return messages
    kept = messages[turns[-limit] :]
    orphans = orphan_positions(kept)
    return messages[:start] + [msg for index, msg in enumerate(kept) if index not in orphans]


def soft_trim_tool_result(content: str | None, config: PruningConfig | None) -> str:
    """Cut the middle out of a long tool result (chat-policies.md §4.6).

    Args:
        content: The result's text.
        config: The settings with the sizes of head and tail.

    Returns:
        Head, tail and a note about what was cut; the text itself when that would not be shorter.
    """
    text = content or ""
    cut = _SoftTrim.of(len(text), config or PruningConfig())
    return cut.apply(text) if cut else text


class _SoftTrim(NamedTuple):
    """A cut that makes a text shorter: the ends that stay, the note, and the length it leaves.

    The length is known before anything is written.
    """

    head: int
    tail: int
    note: str
    length: int

    @classmethod
    def of(cls, length: int, config: PruningConfig) -> "_SoftTrim | None":
        """The cut for a text of some length; `None` when it would not make it shorter."""
        head = soft_trim_size(config.soft_trim_head_chars)
        tail = soft_trim_size(config.soft_trim_tail_chars)
        if length <= head + tail + _SOFT_TRIM_SLACK_CHARS:
            return None
        note = (
            f"\n\n[Tool result trimmed: first {head} and last {tail} of {length} characters kept.]"
        )
        left = head + len(_SOFT_TRIM_GAP) + tail + len(note)
        return cls(head, tail, note, left) if left < length else None

    def apply(self, text: str) -> str:
        return f"{text[: self.head]}{_SOFT_TRIM_GAP}{text[-self.tail :]}{self.note}"


def prune_context(
    prompt: Sequence[Message], config: PruningConfig | None, context_window_tokens: int
) -> list[Message]:
    """Shorten old tool results when a prompt fills too much of the window (chat-policies.md §4.7).

    Args:
        prompt: The messages.
        config: The settings; without them, or when they are not enabled, nothing is done.
        context_window_tokens: Size of the window; 0 or less does nothing.

    Returns:
        The messages, the changed ones as copies.
    """
    messages = list(prompt)
    if config is None or not config.enabled or not messages or context_window_tokens <= 0:
        return messages
    filled = apply_pruning_defaults(config)
    if filled.mode.strip().lower() == "off":
        return messages
    messages = limit_history_turns(messages, filled.max_history_turns or 0)
    window = context_window_tokens * CHARS_PER_TOKEN_ESTIMATE
    total = sum(map(estimate_message_chars, messages))
    if total / window < (filled.soft_trim_ratio or 0):
        return messages
    positions = _prunable_positions(messages, filled)
    texts = [extract_message_content(messages[index])[0] for index in positions]
    cuts = [
        _SoftTrim.of(len(text), filled) if len(text) > (filled.soft_trim_max_chars or 0) else None
        for text in texts
    ]
    lengths = [cut.length if cut else len(text) for cut, text in zip(cuts, texts, strict=True)]
    total -= sum(map(len, texts)) - sum(lengths)
    cleared = _cleared_count(lengths, total, window, filled)
    for number, (index, text, cut) in enumerate(zip(positions, texts, cuts, strict=True)):
        if number < cleared and lengths[number] > len(filled.hard_clear_placeholder):
            messages[index] = _with_content(messages[index], filled.hard_clear_placeholder)
        elif cut:
            messages[index] = _with_content(messages[index], cut.apply(text))
    return messages


def _cleared_count(lengths: Sequence[int], total: int, window: int, filled: PruningConfig) -> int:
    """How many of the prunable results, the oldest first, are up for clearing (steps 10 and 11).

    Lengths are enough to know: a trimmed text that is cleared right after is never written.
    """
    if not filled.hard_clear_enabled or sum(lengths) < (filled.min_prunable_chars or 0):
        return 0
    clear_ratio = filled.hard_clear_ratio or 0
    placeholder = len(filled.hard_clear_placeholder)
    for number, length in enumerate(lengths):
        if total / window < clear_ratio:
            return number
        total -= max(0, length - placeholder)
    return len(lengths)


def _prunable_positions(messages: Sequence[Message], filled: PruningConfig) -> list[int]:
    """Positions of the tool results that may be shortened (chat-policies.md §4.7, 4 to 8)."""
    roles = [message_role(msg) for msg in messages]
    cutoff = _cutoff(roles, filled.keep_last_assistants or 0)
    if "user" not in roles[:cutoff]:
        return []
    start = roles.index("user")
    # Results are many, tools few.
    is_prunable = cache(build_tool_prunable_predicate(filled))
    tool_names: dict[str, str] = {}
    positions: list[int] = []
    for index, role in enumerate(roles[:cutoff]):
        msg = messages[index]
        if role == "assistant":
            tool_names.update((call.call_id, call.name) for call in function_calls(msg))
        elif role == "tool" and index > start and has_only_text(msg):
            call_id = result_call_id(msg)
            if is_prunable(tool_names.get(call_id, "") if call_id else ""):
                positions.append(index)
    return positions


def _cutoff(roles: Sequence[str], keep_last_assistants: int) -> int:
    """Where the part begins that must stay whole: at the K-th last assistant message."""
    if keep_last_assistants == 0:
        return len(roles)
    assistants = [index for index, role in enumerate(roles) if role == "assistant"]
    if len(assistants) < keep_last_assistants:
        return 0
    return assistants[-keep_last_assistants]


def _with_content(msg: Message, content: str) -> Message:
    copy = msg.copy()
    copy["content"] = content
    return copy


def smart_truncate_prompt(
    prompt: Sequence[Message], target_reduction: float
) -> list[Message] | None:
    """Shorten tool results to take a share off a prompt (chat-policies.md §4.8).

    Args:
        prompt: The messages.
        target_reduction: The share to take off, 0 to 1; what lies outside is clamped.

    Returns:
        The messages, the changed ones as copies; `None` for a prompt of at most two.
    """
    if len(prompt) <= 2:
        return None
    estimate = sum(map(estimate_message_tokens, prompt))
    # In this order a NaN becomes 0.
    reduction = min(1.0, max(0.0, target_reduction))
    target = max(_MIN_TRUNCATION_TARGET_TOKENS, int(estimate * (1 - reduction)))
    assistants = sum(message_role(msg) == "assistant" for msg in prompt)
    config = PruningConfig(
        enabled=True,
        soft_trim_ratio=0.0,
        hard_clear_ratio=1.0,
        min_prunable_chars=0,
        soft_trim_max_chars=2000,
        soft_trim_head_chars=1000,
        soft_trim_tail_chars=500,
        keep_last_assistants=max(0, min(2, assistants - 1)),
    )
    return prune_context(prompt, config, target)
