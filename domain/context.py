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
from typing import Final

from domain.message_text import (
    CHARS_PER_TOKEN_ESTIMATE,
    IMAGE_CHAR_ESTIMATE,
    estimate_message_chars,
    estimate_message_tokens,
    extract_message_content,
    function_calls,
    has_only_text,
    message_role,
    message_text_length,
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
    start = preamble_length(messages)
    turns = [
        index for index in range(start, len(messages)) if message_role(messages[index]) == "user"
    ]
    if limit <= 0 or len(turns) <= limit:
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
    sizes = config or PruningConfig()
    head = soft_trim_size(sizes.soft_trim_head_chars)
    tail = soft_trim_size(sizes.soft_trim_tail_chars)
    if len(text) <= head + tail + _SOFT_TRIM_SLACK_CHARS:
        return text
    trimmed = (
        f"{text[:head]}\n...\n{text[-tail:]}\n\n"
        f"[Tool result trimmed: first {head} and last {tail} of {len(text)} characters kept.]"
    )
    return trimmed if len(trimmed) < len(text) else text


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
    total -= _soft_trim(messages, positions, filled)
    lengths = [message_text_length(messages[index]) for index in positions]
    clear_ratio = filled.hard_clear_ratio or 0
    if filled.hard_clear_enabled and sum(lengths) >= (filled.min_prunable_chars or 0):
        placeholder = filled.hard_clear_placeholder
        for index, length in zip(positions, lengths, strict=True):
            if total / window < clear_ratio:
                break
            if length > len(placeholder):
                messages[index] = _with_content(messages[index], placeholder)
                total -= length - len(placeholder)
    return messages


def _prunable_positions(messages: Sequence[Message], filled: PruningConfig) -> list[int]:
    """Positions of the tool results that may be shortened (chat-policies.md §4.7, 4 to 8)."""
    start = next((i for i, msg in enumerate(messages) if message_role(msg) == "user"), None)
    cutoff = _cutoff(messages, filled.keep_last_assistants or 0)
    if start is None or start >= cutoff:
        return []
    is_prunable = build_tool_prunable_predicate(filled)
    tool_names: dict[str, str] = {}
    positions: list[int] = []
    for index, msg in enumerate(messages[:cutoff]):
        role = message_role(msg)
        if role == "assistant":
            tool_names.update((call.call_id, call.name) for call in function_calls(msg))
        elif role == "tool" and index >= start and has_only_text(msg):
            call_id = result_call_id(msg)
            if is_prunable(tool_names.get(call_id, "") if call_id else ""):
                positions.append(index)
    return positions


def _cutoff(messages: Sequence[Message], keep_last_assistants: int) -> int:
    """Where the part begins that must stay whole: at the K-th last assistant message."""
    if keep_last_assistants == 0:
        return len(messages)
    assistants = [i for i, msg in enumerate(messages) if message_role(msg) == "assistant"]
    if len(assistants) < keep_last_assistants:
        return 0
    return assistants[-keep_last_assistants]


def _soft_trim(messages: list[Message], positions: list[int], filled: PruningConfig) -> int:
    """Trim the long results in place of the list; returns how many characters that saved."""
    saved = 0
    for index in positions:
        text, _ = extract_message_content(messages[index])
        if len(text) > (filled.soft_trim_max_chars or 0):
            trimmed = soft_trim_tool_result(text, filled)
            if len(trimmed) < len(text):
                messages[index] = _with_content(messages[index], trimmed)
                saved += len(text) - len(trimmed)
    return saved


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
