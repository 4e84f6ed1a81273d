"""Running a tool and making its output safe: steps 5 to 9 of the dispatch.

Owns the time limit, what becomes of a fault of the tool, and the order in which an output is
cleaned. Source: triggers-and-actions.md §7.

Invariants:
    1. Whatever a tool raises becomes an ending; only a cancellation passes.
    2. Nothing leaves here uncleaned: neither an output nor the text of a failure.
    3. However long an output is, cleaning it costs a bounded time and holds nobody up.
    4. A secret that a cut would have halved is masked before the cut; what is left is masked again.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from activities.tools.calls import ReadCall
from activities.tools.tool import Tool, ToolFailed, ToolUnknown, ToolUse, why_unavailable
from domain.redaction import redact_text
from domain.tool_actions import LOST, ActionStatus
from domain.tool_output import sanitize_output, truncate_output
from domain.tool_results import masked_texts, unanswered_text, without_texts
from domain.tool_specs import ToolCaller

TOOL_FAILED: Final = "tool_failed"
TIMED_OUT: Final = "timed_out"
# Tools bound what they read themselves; what a server sends, only this bounds.
MAX_CHARS: Final = 1024 * 1024
SHORT_CHARS: Final = 64 * 1024
LONGEST_WORD: Final = 4096

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run of a tool ended.

    Attributes:
        status: `ok`, `failed`, `timed_out` or `unknown`.
        text: The output, or what was wrong; safe to keep and to show.
        error: The kind of a failure.
        truncated: Part of the output was left out.
        original_bytes: Of the output, before anything was left out.
        duration_ms: How long it ran.
    """

    status: ActionStatus
    text: str
    error: str | None = None
    truncated: bool = False
    original_bytes: int | None = None
    duration_ms: int = 0


async def run_tool(call: ReadCall, caller: ToolCaller, timeout_seconds: float) -> Ending:
    """Run a tool within its time.

    Args:
        call: The call; it may run.
        caller: On whose behalf.
        timeout_seconds: What the caller has left; 0: the tool's own limit alone.

    Raises:
        CancelledError: The caller gave up, or the worker stops.
    """
    assert call.tool is not None  # a call that may run has a tool
    tool, own = call.tool.tool, call.tool.spec.timeout_seconds
    seconds = min(own, timeout_seconds) if timeout_seconds > 0 else own
    began = time.monotonic()
    use = ToolUse(call.arguments, caller, call.action_id)
    status, text, error = await _ended(tool, use, seconds)
    secrets = masked_texts(call.arguments, call.shown)
    limit = call.tool.spec.output_limit_bytes
    # A long text takes seconds, in which nothing else of the worker would go on.
    cleaned, truncated, original = (
        clean(text, secrets, limit)
        if len(text) <= SHORT_CHARS
        else await asyncio.to_thread(clean, text, secrets, limit)
    )
    return Ending(
        status, cleaned, error, truncated, original, int((time.monotonic() - began) * 1000)
    )


def clean(text: str, secrets: Sequence[str], limit_bytes: int) -> tuple[str, bool, int]:
    """Sanitise, cut and mask an output.

    Args:
        text: As the tool said it.
        secrets: Texts that it must not repeat.
        limit_bytes: What is more is left out.

    Returns:
        The text, whether something was left out, and how many bytes there were.
    """
    held = _held(text)
    sanitised = sanitize_output(held)
    whole = redact_text(without_texts(sanitised, secrets))
    cut = truncate_output(whole, limit_bytes)
    longer = len(held) < len(text)
    original = text if longer else sanitised
    return redact_text(cut.text), longer or cut.truncated, len(original.encode("utf-8", "replace"))


def _held(text: str) -> str:
    """As much of a text as is looked at; it ends between two words, so that no secret is halved."""
    if len(text) <= MAX_CHARS:
        return text
    held = text[:MAX_CHARS]
    return held[: max(held.rfind(" "), held.rfind("\n"), MAX_CHARS - LONGEST_WORD)]


async def _ended(tool: Tool, use: ToolUse, seconds: float) -> tuple[ActionStatus, str, str | None]:
    if (missing := why_unavailable(tool)) is not None:
        return ActionStatus.FAILED, missing, TOOL_FAILED
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return ActionStatus.OK, await tool.run(use), None
    except ToolFailed as error:
        return ActionStatus.FAILED, str(error), TOOL_FAILED
    except ToolUnknown as error:
        if tool.spec.idempotent or tool.spec.read_only:
            return ActionStatus.FAILED, str(error), TOOL_FAILED
        return ActionStatus.UNKNOWN, unanswered_text(str(error)), LOST
    except TimeoutError as error:
        if limit.expired():
            return ActionStatus.TIMED_OUT, f"it was ended after {seconds:g} s", TIMED_OUT
        return _fault(tool, use, error)
    except Exception as error:  # a fault of the tool must not fail whoever called it
        return _fault(tool, use, error)


def _fault(tool: Tool, use: ToolUse, error: Exception) -> tuple[ActionStatus, str, str | None]:
    """A tool raised what it should not have: its words may hold anything, so they stay here."""
    kind = type(error).__name__
    log.warning("tool_fault", tool=tool.spec.name, action=use.key, error=kind)
    return ActionStatus.FAILED, f"the tool broke ({kind})", TOOL_FAILED
