"""The texts that are sent to people about a goal.

Owns their wording, and how many may wait. When one is sent is `domain.goal_book`'s.
Source: automation.md §9, Notices.
"""

from collections.abc import Sequence
from datetime import datetime

from domain.goal_record import Goal, GoalPausedReason
from domain.goal_state import MAX_WAITING_BYTES, GoalLimits, GoalNotice
from domain.goal_timing import format_duration
from domain.notices import cost_text
from domain.zones import load_zone

_OBJECTIVE_CHARS = 500


def iteration_notice(goal: Goal) -> str:
    """An iteration begins."""
    return f"Goal, round {goal.iteration}: {_objective(goal)}"


def delay_notice(goal: Goal, seconds: int, wake_at: datetime, timezone: str, reason: str) -> str:
    """The goal rests; says for how long, until when and why."""
    local = wake_at.astimezone(load_zone(timezone)).isoformat(timespec="seconds")
    lines = [
        f"Goal delayed by {format_duration(seconds)}: {_objective(goal)}",
        f"It goes on at {local} ({timezone}).",
        f"Reason: {reason}",
    ]
    return "\n".join(lines)


def continue_notice(goal: Goal, reason: str) -> str:
    """The goal goes on at once; says what is next."""
    return f"Goal goes on: {_objective(goal)}\nReason: {reason}"


def paused_notice(goal: Goal, limits: GoalLimits, spent_micros: int | None) -> str:
    """The goal paused by itself; says which limit was hit and what to do."""
    lines = [f"Goal paused: {_objective(goal)}", _why(goal, limits)]
    if spent := cost_text(spent_micros):
        lines.append(f"Spent so far: {spent}.")
    return "\n".join([*lines, "Resume it with: tickless goal resume"])


def complete_notice(goal: Goal, now: datetime, summary: str) -> str:
    """The goal is reached."""
    lines = [f"Goal complete after {_elapsed(goal, now)}: {_objective(goal)}", summary.strip()]
    return "\n".join(line for line in lines if line)


def timeout_notice(goal: Goal, now: datetime) -> str:
    """The deadline has passed."""
    head = f"Goal timed out after {_elapsed(goal, now)}: {_objective(goal)}"
    return f"{head}\nReopen it with: tickless goal extend 24h"


def left_out_notice(goal: Goal, count: int) -> str:
    """Notices had to go before they could be told."""
    return f"Goal, {count} older notices left out, none could be recorded: {_objective(goal)}"


def newest_notices(waiting: Sequence[GoalNotice]) -> list[GoalNotice]:
    """Those of the notices that may wait: the newest ones whose texts fit, oldest first."""
    kept, room = list[GoalNotice](), MAX_WAITING_BYTES
    for notice in reversed(waiting):
        room -= len(notice.text.encode())
        if kept and room < 0:
            break
        kept.insert(0, notice)
    return kept


def _why(goal: Goal, limits: GoalLimits) -> str:
    match goal.paused_reason:
        case GoalPausedReason.FAST_LOOP:
            return (
                f"{limits.fast_loop_limit} rounds in a row took less than"
                f" {limits.fast_loop_seconds} s: it seems to spin. Look at its last answers; a more"
                " exact objective or a longer delay may help."
            )
        case GoalPausedReason.NO_PROGRESS:
            return (
                f"{limits.no_progress_limit} rounds in a row ended alike and used no tool."
                " Look at its last answer: it may need something from you."
            )
        case GoalPausedReason.MAX_ITERATIONS:
            return f"All {limits.max_iterations} rounds are used up (max_iterations)."
        case GoalPausedReason.BUDGET:
            return "Its budget of tokens or money is used up; raise it before you resume."
        case GoalPausedReason.JUDGE_ERROR:
            return (
                f"Whether it is complete could not be judged: {goal.last_error}."
                " Complete it yourself with `tickless goal complete`, or resume it."
            )
        case _:
            return f"Last error: {goal.last_error or 'unknown'}"


def _objective(goal: Goal) -> str:
    text = " ".join(goal.objective.split())
    return text if len(text) <= _OBJECTIVE_CHARS else text[: _OBJECTIVE_CHARS - 1].rstrip() + "…"


def _elapsed(goal: Goal, now: datetime) -> str:
    return format_duration((now - (goal.created_at or now)).total_seconds())
