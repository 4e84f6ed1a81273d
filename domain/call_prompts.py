"""The whole prompt of one model call: instructions, conversation, question.

Owns putting them together within the window, and making the prompt smaller after a provider
refused it as too long. The parts are `domain.prompts`' and `domain.history`'s, the passes
`domain.context`'s and `domain.compaction`'s. Source: chat-policies.md §4, §6.4 and §6.5, DESIGN
§4.

Invariants:
    1. The newest message of a user and what follows it are always in the prompt.
    2. A prompt that was made smaller says which messages of the thread it does without; the rest of
       the thread is told word for word the next time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, NamedTuple

from domain.compaction import compact_prompt_on_overflow
from domain.context import prune_context, soft_trim_tool_result
from domain.history import HISTORY_SHARE, MAX_TURNS, Said, newest_turns
from domain.message_text import (
    CHARS_PER_TOKEN_ESTIMATE,
    estimate_message_tokens,
    estimate_prompt_tokens,
    message_text_length,
)
from domain.messages import Message
from domain.overflow_limits import OverflowCompactionInput
from domain.pruning_config import PruningConfig, apply_pruning_defaults
from domain.threads import ThreadKind

# A window that is not known (chat-policies.md §4.9).
DEFAULT_WINDOW_TOKENS: Final = 128_000
PROTECTED_TAIL: Final = 3
# Who goes on with calls after somebody else has spoken has nothing to answer otherwise: a model may
# refuse to go on after its own words.
GO_ON: Final = "[The results of your calls are there. Go on with your task.]"


class Window(NamedTuple):
    """The room of a call in tokens: the model's window, and the longest answer."""

    tokens: int
    answer_tokens: int


@dataclass(frozen=True)
class CallPrompt:
    """A prompt.

    Attributes:
        system: The instructions.
        summary: What stands for the beginning of the conversation; may be empty.
        said: The rest of the conversation.
        question: What a user says now; null when the conversation itself is to be answered.
        refresh: Said after a compaction.
    """

    system: Sequence[Message]
    summary: str
    said: Sequence[Said]
    question: Message | None
    refresh: str = ""

    @property
    def messages(self) -> list[Message]:
        """The messages, in the order they are sent."""
        texts = [text for text in (self.summary, self.refresh) if text]
        head: list[Message] = [{"role": "system", "content": text} for text in texts]
        return [*self.system, *head, *self._body()]

    @cached_property
    def tokens(self) -> int:
        """The estimated size; every text is looked at once for it."""
        return estimate_prompt_tokens(list(map(estimate_message_tokens, self.messages)))

    @property
    def lasting_tokens(self) -> int:
        """The estimated size, without what is said only once: by this, prompts are compared."""
        return replace(self, refresh="").tokens if self.refresh else self.tokens

    def pruned(self, config: PruningConfig, window: Window) -> "CallPrompt":
        """With old results of tools shortened, as far as the window calls for it."""
        turns = replace(config, max_history_turns=0)  # turns are chosen by `call_prompt`
        start = len(self.system)
        messages = prune_context([*self.system, *self._body()], turns, window.tokens)
        return replace(self, said=_with_messages(self.said, messages[start:]))

    def _body(self) -> list[Message]:
        said = [item.message for item in self.said]
        return [*said, self.question] if self.question else said


class Shortened(NamedTuple):
    """A prompt after a compaction.

    Attributes:
        prompt: The smaller prompt, without a summary of what was dropped now.
        dropped: What was dropped.
        sequence: Up to here the thread can be left out the next time; null when nothing can.
    """

    prompt: CallPrompt
    dropped: list[Message]
    sequence: int | None


def call_prompt(
    system: Sequence[Message],
    summary: str,
    said: Sequence[Said],
    question: Message | None,
    *,
    kind: ThreadKind,
    config: PruningConfig,
    window: Window,
) -> CallPrompt:
    """Put a prompt together, with as much of the conversation as belongs into it.

    Args:
        system: The instructions.
        summary: What stands for the beginning of the conversation.
        said: The conversation after that.
        question: The new prompt, if there is one; else the conversation is answered, or gone on
            with where somebody else has had the last word.
        kind: Routines take their newest turns as far as half of the window goes; other threads are
            told whole, until a provider refuses that.
        config: How prompts are pruned.
        window: The room there is.
    """
    whole = CallPrompt(system, summary, said, question)
    history = [item.message for item in said]
    limit = config.max_history_turns or (MAX_TURNS if kind is ThreadKind.ROUTINE else None)
    if limit is not None and question is not None and config.max_history_turns:
        limit -= 1
    room = None
    if kind is ThreadKind.ROUTINE:
        fixed = replace(whole, said=()).tokens
        room = max(0, window.tokens - window.answer_tokens - fixed) * HISTORY_SHARE
    begin = newest_turns(history, limit=limit, room_tokens=room)
    if question is None:
        begin = min(begin, _last_user(history))
        if history and history[-1]["role"] == "assistant":
            question = {"role": "user", "content": GO_ON}
    return replace(whole, said=said[begin:], question=question).pruned(config, window)


def shortened(
    prompt: CallPrompt, config: PruningConfig, window_tokens: int, requested_tokens: int = 0
) -> Shortened | None:
    """Make a prompt smaller that a provider refused as too long.

    Args:
        prompt: The prompt.
        config: How prompts are compacted.
        window_tokens: The window, as far as it is known.
        requested_tokens: How large the prompt is, as the provider counts; 0 is unknown.

    Returns:
        A smaller prompt; null when it cannot be made smaller.
    """
    filled = apply_pruning_defaults(config)
    whole = replace(prompt, summary="", refresh="")
    result = compact_prompt_on_overflow(
        OverflowCompactionInput(
            prompt=whole.messages,
            context_window_tokens=window_tokens,
            requested_tokens=requested_tokens,
            reserve_tokens=reserve_tokens(filled),
            keep_recent_tokens=filled.keep_recent_tokens or 0,
            compaction_mode=filled.compaction_mode,
            max_history_share=filled.max_history_share or 0,
            protected_tail=PROTECTED_TAIL,
        )
    )
    if not result.success:
        return _with_cut_results(prompt, filled, window_tokens)
    start, gone = len(prompt.system), frozenset(result.dropped)
    kept = [item for place, item in enumerate(prompt.said, start) if place not in gone]
    dropped = [whole.messages[place] for place in result.dropped]
    smaller = replace(
        prompt,
        said=_with_messages(kept, result.prompt[start:]),
        refresh=filled.post_compaction_refresh_prompt if dropped else "",
    )
    return Shortened(smaller, dropped, _compacted_up_to(prompt, kept) if dropped else None)


def needs_flush(prompt: CallPrompt, config: PruningConfig, window_tokens: int) -> bool:
    """Whether the conversation nearly fills the window, so that a compaction is close (§4.9)."""
    filled = apply_pruning_defaults(config)
    flush = filled.overflow_flush
    if flush is None or not flush.enabled:
        return False
    window = window_tokens if window_tokens > 0 else DEFAULT_WINDOW_TOKENS
    limit = window - reserve_tokens(filled) - (flush.soft_threshold_tokens or 0)
    return limit > 0 and prompt.tokens >= limit


def flush_messages(prompt: CallPrompt, config: PruningConfig, window_tokens: int) -> list[Message]:
    """The hidden turn before a compaction: as much of the conversation as fits, and what to save.

    Args:
        prompt: The prompt whose conversation is about to be compacted.
        config: With the texts of the flush.
        window_tokens: The room for all of it.
    """
    filled = apply_pruning_defaults(config)
    flush = filled.overflow_flush
    assert flush is not None  # what filling is for
    ask: Message = {"role": "user", "content": flush.prompt}
    rule: Message = {"role": "system", "content": flush.system_prompt}
    hidden = replace(prompt, system=[*prompt.system, rule], question=ask, refresh="")
    room = max(0, window_tokens - reserve_tokens(filled)) or window_tokens * HISTORY_SHARE
    history = [item.message for item in prompt.said]
    begin = newest_turns(history, room_tokens=room - replace(hidden, said=()).tokens)
    return replace(hidden, said=prompt.said[begin:]).messages


def reserve_tokens(filled: PruningConfig) -> int:
    """What is kept free of a window, by a configuration with its defaults filled in."""
    return max(filled.reserve_tokens or 0, filled.reserve_tokens_floor or 0)


def _compacted_up_to(prompt: CallPrompt, kept: Sequence[Said]) -> int | None:
    """The last sequence before which nothing is told any more, but the newest word of a user."""
    newest = max(
        (item.sequence for item in prompt.said if item.message["role"] == "user"), default=0
    )
    told = [item.sequence for item in kept if prompt.question or item.sequence != newest]
    last = min(told) - 1 if told else max(item.sequence for item in prompt.said)
    return last if last > 0 else None


def _with_cut_results(
    prompt: CallPrompt, filled: PruningConfig, window_tokens: int
) -> Shortened | None:
    """The last resort: every result that alone fills a quarter of the window is cut (§6.5)."""
    quarter = window_tokens * CHARS_PER_TOKEN_ESTIMATE // 4
    longest = max(2 * (filled.soft_trim_max_chars or 0), quarter)
    cut = [_cut_result(item, filled, longest) for item in prompt.said]
    smaller = replace(prompt, said=cut)
    return Shortened(smaller, [], None) if smaller.tokens < prompt.tokens else None


def _cut_result(item: Said, filled: PruningConfig, longest: int) -> Said:
    message = item.message
    if message["role"] != "tool" or message_text_length(message) <= longest:
        return item
    copy = message.copy()
    copy["content"] = soft_trim_tool_result(str(message["content"]), filled)
    return Said(copy, item.sequence)


def _with_messages(said: Sequence[Said], messages: Sequence[Message]) -> list[Said]:
    """The same places in the thread with other messages; there may be more of these."""
    return [Said(message, item.sequence) for item, message in zip(said, messages, strict=False)]


def _last_user(history: Sequence[Message]) -> int:
    places = [place for place, item in enumerate(history) if item["role"] == "user"]
    return places[-1] if places else 0
