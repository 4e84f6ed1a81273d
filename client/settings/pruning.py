"""How prompts are kept inside the window of a model: the settings section `context_pruning`.

Owns names, bounds and defaults. What they mean is `domain.pruning_config`'s.
Source: chat-policies.md §4.2 and §4.3.
"""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from client.settings.sections import Count, Section
from domain.pruning_config import OverflowFlushConfig, PruningConfig, default_pruning_config

# Zero is a value here, unlike in a count.
Size: TypeAlias = Annotated[int, Field(ge=0, le=10_000_000)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]

_DEFAULTS = default_pruning_config()
_FLUSH = _DEFAULTS.overflow_flush or OverflowFlushConfig()


class OverflowFlushSettings(Section):
    """The hidden turn before a compaction, in which a model saves what is worth remembering."""

    enabled: bool = Field(default=True, description="Whether there is such a turn.")
    soft_threshold_tokens: Count = Field(
        default=_FLUSH.soft_threshold_tokens or 1,
        description="How many tokens before the limit it comes.",
    )
    prompt: str = Field(
        default="", description="Its user message; empty is the one that Tickless brings."
    )
    system_prompt: str = Field(
        default="", description="Its system message; empty is the one that Tickless brings."
    )


class ContextPruningSettings(Section):
    """What of a conversation goes into a prompt, and what happens when that is too long."""

    enabled: bool = Field(default=True, description="Whether old results of tools are shortened.")
    max_history_turns: Size = Field(
        default=0,
        description="The most turns of a conversation in a prompt; 0 is no limit, and 20 for "
        "routines.",
    )
    soft_trim_ratio: Share = Field(
        default=_DEFAULTS.soft_trim_ratio or 0,
        description="Share of the window from which on old results of tools are trimmed.",
    )
    hard_clear_ratio: Share = Field(
        default=_DEFAULTS.hard_clear_ratio or 0,
        description="Share of the window from which on they are cleared.",
    )
    keep_last_assistants: Size = Field(
        default=_DEFAULTS.keep_last_assistants or 0,
        description="How many answers at the end, with what follows, stay whole.",
    )
    min_prunable_chars: Size = Field(
        default=_DEFAULTS.min_prunable_chars or 0,
        description="Nothing is cleared while there is less to clear than this.",
    )
    soft_trim_max_chars: Count = Field(
        default=_DEFAULTS.soft_trim_max_chars or 1,
        description="Results up to this length are not trimmed.",
    )
    soft_trim_head_chars: Count = Field(
        default=_DEFAULTS.soft_trim_head_chars or 1,
        description="What trimming keeps of the start.",
    )
    soft_trim_tail_chars: Count = Field(
        default=_DEFAULTS.soft_trim_tail_chars or 1,
        description="What trimming keeps of the end.",
    )
    hard_clear_enabled: bool = Field(default=True, description="Whether results may be cleared.")
    hard_clear_placeholder: str = Field(
        default=_DEFAULTS.hard_clear_placeholder, description="What stands for a cleared result."
    )
    tools_allow: list[str] = Field(
        default=[], description="Patterns of the tools whose results may be shortened; none is all."
    )
    tools_deny: list[str] = Field(
        default=[], description="Patterns of the tools whose results are never shortened."
    )
    summarization_enabled: bool = Field(
        default=True, description="Whether a summary stands for what a compaction drops."
    )
    summarization_model: str = Field(
        default="",
        description="The model in `models` that writes it; empty quotes beginnings instead.",
    )
    max_summary_tokens: Count = Field(
        default=_DEFAULTS.max_summary_tokens or 1, description="Size of the summary."
    )
    compaction_mode: Literal["safeguard", "default"] = Field(
        default="safeguard", description="`safeguard` keeps `keep_recent_tokens` in any case."
    )
    keep_recent_tokens: Size = Field(
        default=_DEFAULTS.keep_recent_tokens or 0,
        description="What a compaction in mode `safeguard` keeps of the recent text.",
    )
    max_history_share: Annotated[float, Field(ge=0.1, le=0.9)] = Field(
        default=_DEFAULTS.max_history_share or 0.5,
        description="Share of the window that a conversation may fill after a compaction.",
    )
    reserve_tokens: Size = Field(
        default=_DEFAULTS.reserve_tokens or 0, description="What is kept free for the answer."
    )
    custom_instructions: str = Field(
        default="", description="Further instructions for the model that summarises."
    )
    identifier_policy: str = Field(default="", description="How its summary treats identifiers.")
    identifier_instructions: str = Field(
        default="", description="Instructions about identifiers for it."
    )
    post_compaction_refresh_prompt: str = Field(
        default="", description="System message after a compaction; empty is the one of Tickless."
    )
    overflow_flush: OverflowFlushSettings = Field(
        default=OverflowFlushSettings(),
        description="The hidden turn before a compaction, which writes to the workspace's memory.",
    )

    def config(self) -> PruningConfig:
        """The settings as the rules of prompts take them."""
        values = self.model_dump(exclude={"overflow_flush"})
        flush = OverflowFlushConfig(**self.overflow_flush.model_dump())
        # A reserve that was given is one: no floor may raise it again.
        return PruningConfig(**values, reserve_tokens_floor=0, overflow_flush=flush)
