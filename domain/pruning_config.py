"""How prompts are pruned and compacted: the settings, their defaults and what counts as unset.

Owns the two configuration models and filling them. Using them is `domain.context`'s and
`domain.compaction`'s.

Invariants:
    1. Filling twice is filling once.
    2. Zero is a value wherever it makes sense: only the fields listed as such take it for unset.

Source: chat-policies.md §4.2 and §4.3, after the public package beeper/ai-bridge `pkg/runtime`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

Number = TypeVar("Number", int, float)

_DEFAULT_RESERVE_TOKENS: Final = 20_000
_MIN_HISTORY_SHARE: Final = 0.1
_MAX_HISTORY_SHARE: Final = 0.9
_COMPACTION_MODES: Final = frozenset({"default", "safeguard"})
_DEFAULT_COMPACTION_MODE: Final = "safeguard"

_REFRESH_PROMPT: Final = (
    "[Post-compaction context refresh]\n"
    "Go back to what the user most recently asked for,"
    " and keep open tasks and identifiers intact."
)
_FLUSH_PROMPT: Final = (
    "The conversation is about to be compacted. Save anything worth remembering now in"
    " memory/YYYY-MM-DD.md, creating the memory directory if it is missing. Append to an existing"
    " file; never overwrite what it already holds. Answer NO_REPLY when there is nothing to save."
)
_FLUSH_SYSTEM_PROMPT: Final = (
    "This turn runs just before automatic compaction so that lasting facts can be written to disk."
    " A visible answer is allowed, but NO_REPLY is normally right."
)


@dataclass(frozen=True, slots=True)
class OverflowFlushConfig:
    """The hidden turn before a compaction (chat-policies.md §4.2, §4.9); `None` and `""` are unset.

    Attributes:
        enabled: Whether there is such a turn.
        soft_threshold_tokens: How many tokens before the limit it comes.
        prompt: Its user message.
        system_prompt: Its system message.
    """

    enabled: bool | None = None
    soft_threshold_tokens: int | None = None
    prompt: str = ""
    system_prompt: str = ""


@dataclass(frozen=True, slots=True)
class PruningConfig:
    """How prompts are pruned and compacted (chat-policies.md §4.2); `None` and `""` are unset.

    Attributes:
        mode: `cache-ttl`, or `off` to disable pruning.
        ttl_seconds: How long the provider's prompt cache is taken to live.
        enabled: Whether prompts are pruned at all.
        soft_trim_ratio: Share of the window from which on tool results are trimmed.
        hard_clear_ratio: Share of the window from which on tool results are cleared.
        keep_last_assistants: How many assistant messages at the end, with what follows, stay whole.
        min_prunable_chars: Nothing is cleared while there is less prunable text than this.
        soft_trim_max_chars: Tool results up to this length are not trimmed.
        soft_trim_head_chars: What trimming keeps of the start.
        soft_trim_tail_chars: What trimming keeps of the end.
        hard_clear_enabled: Whether tool results may be cleared.
        hard_clear_placeholder: What stands for a cleared result.
        tools_allow: Patterns of the tools whose results may be pruned; none means all.
        tools_deny: Patterns of the tools whose results are never pruned.
        summarization_enabled: Whether compaction writes a summary.
        summarization_model: The model for it; `""` is the conversation's own.
        max_summary_tokens: Size of that summary.
        compaction_mode: `safeguard` or `default`.
        keep_recent_tokens: What compaction in mode `safeguard` keeps of the recent text.
        max_history_share: Share of the window that history may fill, 0.1 to 0.9.
        reserve_tokens: What is kept free for the answer.
        reserve_tokens_floor: The least that is kept free.
        custom_instructions: Further instructions for the summary.
        identifier_policy: How the summary treats identifiers.
        identifier_instructions: Instructions about identifiers.
        post_compaction_refresh_prompt: System message after a compaction.
        overflow_flush: The hidden turn before a compaction.
        max_history_turns: The most user messages that are kept; 0 is no limit.
    """

    mode: str = ""
    ttl_seconds: int | None = None
    enabled: bool = False
    soft_trim_ratio: float | None = None
    hard_clear_ratio: float | None = None
    keep_last_assistants: int | None = None
    min_prunable_chars: int | None = None
    soft_trim_max_chars: int | None = None
    soft_trim_head_chars: int | None = None
    soft_trim_tail_chars: int | None = None
    hard_clear_enabled: bool | None = None
    hard_clear_placeholder: str = ""
    tools_allow: Sequence[str] = ()
    tools_deny: Sequence[str] = ()
    summarization_enabled: bool | None = None
    summarization_model: str = ""
    max_summary_tokens: int | None = None
    compaction_mode: str = ""
    keep_recent_tokens: int | None = None
    max_history_share: float | None = None
    reserve_tokens: int | None = None
    reserve_tokens_floor: int | None = None
    custom_instructions: str = ""
    identifier_policy: str = ""
    identifier_instructions: str = ""
    post_compaction_refresh_prompt: str = ""
    overflow_flush: OverflowFlushConfig | None = None
    max_history_turns: int | None = None


def default_pruning_config() -> PruningConfig:
    """The configuration with every default filled in, enabled (chat-policies.md §4.3)."""
    return apply_pruning_defaults(PruningConfig(enabled=True))


def apply_pruning_defaults(config: PruningConfig) -> PruningConfig:
    """Fill what is unset (chat-policies.md §4.3).

    Args:
        config: A configuration, possibly partly filled.

    Returns:
        A filled copy.
    """
    share = _positive(config.max_history_share, 0.5)
    return replace(
        config,
        mode=_not_blank(config.mode, "cache-ttl"),
        ttl_seconds=_positive(config.ttl_seconds, 3600),
        soft_trim_ratio=_not_negative(config.soft_trim_ratio, 0.3),
        hard_clear_ratio=_not_negative(config.hard_clear_ratio, 0.5),
        keep_last_assistants=_not_negative(config.keep_last_assistants, 3),
        min_prunable_chars=_not_negative(config.min_prunable_chars, 50_000),
        soft_trim_max_chars=_positive(config.soft_trim_max_chars, 4000),
        soft_trim_head_chars=soft_trim_size(config.soft_trim_head_chars),
        soft_trim_tail_chars=soft_trim_size(config.soft_trim_tail_chars),
        hard_clear_enabled=_given(config.hard_clear_enabled),
        hard_clear_placeholder=(
            config.hard_clear_placeholder or "[Old tool result content cleared]"
        ),
        summarization_enabled=_given(config.summarization_enabled),
        summarization_model=config.summarization_model or "",
        max_summary_tokens=_positive(config.max_summary_tokens, 500),
        compaction_mode=_compaction_mode(config.compaction_mode),
        keep_recent_tokens=_not_negative(config.keep_recent_tokens, 20_000),
        max_history_share=min(_MAX_HISTORY_SHARE, max(_MIN_HISTORY_SHARE, share)),
        reserve_tokens=_not_negative(config.reserve_tokens, _DEFAULT_RESERVE_TOKENS),
        reserve_tokens_floor=_reserve_floor(config),
        custom_instructions=config.custom_instructions or "",
        identifier_policy=config.identifier_policy or "",
        identifier_instructions=config.identifier_instructions or "",
        post_compaction_refresh_prompt=_not_blank(
            config.post_compaction_refresh_prompt, _REFRESH_PROMPT
        ),
        overflow_flush=_filled_flush(config.overflow_flush or OverflowFlushConfig()),
        max_history_turns=_not_negative(config.max_history_turns, 0),
    )


def soft_trim_size(value: int | None) -> int:
    """The size of a kept head or tail: 1500 when unset or not positive (chat-policies.md §4.6)."""
    return _positive(value, 1500)


def _filled_flush(flush: OverflowFlushConfig) -> OverflowFlushConfig:
    return OverflowFlushConfig(
        enabled=_given(flush.enabled),
        soft_threshold_tokens=_positive(flush.soft_threshold_tokens, 4000),
        prompt=_not_blank(flush.prompt, _FLUSH_PROMPT),
        system_prompt=_not_blank(flush.system_prompt, _FLUSH_SYSTEM_PROMPT),
    )


def _reserve_floor(config: PruningConfig) -> int:
    """A given floor; else the default, or none when the reserve itself was chosen."""
    is_reserve_unset = config.reserve_tokens is None or config.reserve_tokens < 0
    default = _DEFAULT_RESERVE_TOKENS if is_reserve_unset else 0
    return _not_negative(config.reserve_tokens_floor, default)


def _compaction_mode(mode: str | None) -> str:
    name = (mode or "").strip().lower()
    return name if name in _COMPACTION_MODES else _DEFAULT_COMPACTION_MODE


# Both comparisons are false for a NaN, which so counts as unset.
def _not_negative(value: Number | None, default: Number) -> Number:
    return value if value is not None and value >= 0 else default


def _positive(value: Number | None, default: Number) -> Number:
    return value if value is not None and value > 0 else default


def _given(value: bool | None) -> bool:
    return value is None or value


def _not_blank(value: str | None, default: str) -> str:
    return value if value and value.strip() else default
