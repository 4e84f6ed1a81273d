"""The inbound message queue of a conversation: what happens to a message while a run is active.

Owns the modes, the decision on arrival, the overflow rule and the short forms of queued texts.
Does not hold the queue; the session does (chat-policies.md §3.6).

Source: chat-policies.md §3, after the public package beeper/ai-bridge `pkg/runtime`.
"""

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from domain.text_lines import one_line


class QueueMode(StrEnum):
    """What a message does that arrives during a run (chat-policies.md §3)."""

    INTERRUPT = "interrupt"
    BACKLOG = "backlog"
    STEER = "steer"
    FOLLOWUP = "followup"
    COLLECT = "collect"
    STEER_BACKLOG = "steer-backlog"


class QueueDropPolicy(StrEnum):
    """What gives way when the queue is full (chat-policies.md §3)."""

    OLD = "old"
    NEW = "new"
    SUMMARIZE = "summarize"


class QueueAction(StrEnum):
    """What to do with an arriving message; `DROP` is for callers, after an overflow."""

    RUN_NOW = "run_now"
    ENQUEUE = "enqueue"
    DROP = "drop"
    INTERRUPT_AND_RUN = "interrupt_and_run"


DEFAULT_QUEUE_DEBOUNCE_MS: Final = 1000
DEFAULT_QUEUE_CAP: Final = 20
DEFAULT_QUEUE_DROP: Final = QueueDropPolicy.SUMMARIZE
DEFAULT_QUEUE_MODE: Final = QueueMode.COLLECT

_MODES: Final = MappingProxyType(
    {mode.value: mode for mode in QueueMode}
    | {
        "follow-up": QueueMode.FOLLOWUP,
        "steer+backlog": QueueMode.STEER_BACKLOG,
        "steer_backlog": QueueMode.STEER_BACKLOG,
    }
)
_DROP_POLICIES: Final = MappingProxyType({policy.value: policy for policy in QueueDropPolicy})
_ELISION_BLANKS: Final = " \t\r\n"


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """The settings of one queue, all resolved.

    Attributes:
        mode: What arriving messages do.
        debounce_ms: How long the queue must be quiet before it is drained.
        cap: How many messages it holds; 0 or less is no limit.
        drop_policy: What gives way when it is full.
    """

    mode: QueueMode = DEFAULT_QUEUE_MODE
    debounce_ms: int = DEFAULT_QUEUE_DEBOUNCE_MS
    cap: int = DEFAULT_QUEUE_CAP
    drop_policy: QueueDropPolicy = DEFAULT_QUEUE_DROP


@dataclass(frozen=True, slots=True)
class QueueInlineOptions:
    """Settings that one message brings along; `None` is not given."""

    debounce_ms: int | None = None
    cap: int | None = None
    drop_policy: QueueDropPolicy | None = None


@dataclass(frozen=True, slots=True)
class QueueBehavior:
    """What a mode means for a message during a run (chat-policies.md §3.2).

    Attributes:
        steer: It is handed to the running stream.
        followup: It gets a run of its own afterwards.
        collect: Waiting messages are joined into one.
        backlog_after: After steering it is queued as well.
    """

    steer: bool = False
    followup: bool = False
    collect: bool = False
    backlog_after: bool = False


@dataclass(frozen=True, slots=True)
class QueueDecision:
    """What to do with an arriving message, and a stable code that says why."""

    action: QueueAction
    reason: str


@dataclass(frozen=True, slots=True)
class QueueOverflow:
    """What gives way for a new message (chat-policies.md §3.4).

    Attributes:
        keep_new: The new message is queued.
        items_to_drop: How many of the oldest messages go.
        should_summarize: The dropped ones are to be kept as summary lines.
    """

    keep_new: bool
    items_to_drop: int = 0
    should_summarize: bool = False


_BEHAVIORS: Final = MappingProxyType(
    {
        QueueMode.STEER: QueueBehavior(steer=True),
        QueueMode.FOLLOWUP: QueueBehavior(followup=True),
        QueueMode.COLLECT: QueueBehavior(followup=True, collect=True),
        QueueMode.STEER_BACKLOG: QueueBehavior(steer=True, followup=True, backlog_after=True),
    }
)
_ENQUEUE_REASONS: Final = MappingProxyType(
    {
        QueueMode.STEER: "steer_mode",
        QueueMode.FOLLOWUP: "followup_mode",
        QueueMode.COLLECT: "collect_mode",
        QueueMode.STEER_BACKLOG: "steer_backlog_mode",
        QueueMode.BACKLOG: "backlog_mode",
    }
)


def normalize_queue_mode(raw: str | None) -> QueueMode | None:
    """Read a mode in any accepted spelling (chat-policies.md §3.1).

    Args:
        raw: What was written, in any case.

    Returns:
        The mode, or `None` when it is none.
    """
    return _MODES.get((raw or "").strip().lower())


def normalize_queue_drop_policy(raw: str | None) -> QueueDropPolicy | None:
    """Read a drop policy (chat-policies.md §3.1).

    Args:
        raw: What was written, in any case.

    Returns:
        The policy, or `None` when it is none.
    """
    return _DROP_POLICIES.get((raw or "").strip().lower())


def resolve_queue_behavior(mode: QueueMode | None) -> QueueBehavior:
    """What a mode means for a message during a run; nothing for modes not listed."""
    return QueueBehavior() if mode is None else _BEHAVIORS.get(mode, QueueBehavior())


def decide_queue_action(
    mode: QueueMode | None, has_active_run: bool, is_heartbeat: bool
) -> QueueDecision:
    """Decide what to do with an arriving message (chat-policies.md §3.3).

    Args:
        mode: The mode of the queue.
        has_active_run: Whether a run of the conversation is going on.
        is_heartbeat: Whether the message is the system's own reminder; it never interrupts.

    Returns:
        The action and its reason.
    """
    if not has_active_run:
        return QueueDecision(QueueAction.RUN_NOW, "no_active_run")
    if is_heartbeat:
        return QueueDecision(QueueAction.ENQUEUE, "heartbeat_backlog")
    if mode == QueueMode.INTERRUPT:
        return QueueDecision(QueueAction.INTERRUPT_AND_RUN, "interrupt_mode")
    reason = "default_backlog" if mode is None else _ENQUEUE_REASONS.get(mode, "default_backlog")
    return QueueDecision(QueueAction.ENQUEUE, reason)


def resolve_queue_overflow(
    capacity: int, current_len: int, policy: QueueDropPolicy
) -> QueueOverflow:
    """Decide what gives way for a new message (chat-policies.md §3.4).

    Args:
        capacity: How many messages the queue may hold; 0 or less is no limit.
        current_len: How many it holds now.
        policy: What gives way.

    Returns:
        Whether the new message stays and how many old ones go.
    """
    if capacity <= 0 or current_len < capacity:
        return QueueOverflow(keep_new=True)
    if policy == QueueDropPolicy.NEW:
        return QueueOverflow(keep_new=False)
    return QueueOverflow(
        keep_new=True,
        items_to_drop=current_len - capacity + 1,
        should_summarize=policy == QueueDropPolicy.SUMMARIZE,
    )


def elide_queue_text(text: str | None, limit: int) -> str:
    """Shorten a text to a number of characters (chat-policies.md §3.5).

    Args:
        text: The text.
        limit: The most characters of the result; 0 or less is no limit.

    Returns:
        The text, or its beginning and an ellipsis; never longer than the limit.
    """
    text = text or ""
    if limit <= 0 or len(text) <= limit:
        return text
    if limit == 1:
        return text[0]
    return text[: limit - 1].rstrip(_ELISION_BLANKS) + "…"


def build_queue_summary_line(text: str | None, limit: int) -> str:
    """Write a text on one line, shortened as by `elide_queue_text` (chat-policies.md §3.5)."""
    text = text or ""
    return elide_queue_text(one_line(text, limit if limit > 0 else len(text)), limit)
