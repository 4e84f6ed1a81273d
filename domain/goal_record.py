"""A goal: one objective of a scope, worked on until it is complete, and its normal form as JSON.

Owns the model, its fixed sets of values and the check of a whole record. What may happen to a goal
is `domain.goal`'s, its times are `domain.goal_timing`'s. Source: automation.md §2 and §4.

Invariant: normalising changes spelling only, and twice is the same as once.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, cast

from pydantic import AwareDatetime, BaseModel, ConfigDict

from domain.actor import Actor
from domain.fields import FieldReader
from domain.normal_form import lower_word, trimmed
from domain.ownership import validate_creator, validate_route, validate_scope
from domain.routine_fields import read_body, read_time, read_word, refuse_unknown_keys
from domain.scopes import Route, Scope

MAX_OBJECTIVE_BYTES: Final = 16_384
# Tools by which a model steers its goal begin so: to have called them is no work done.
GOAL_TOOLS: Final = "goal_"


class GoalStatus(StrEnum):
    """Where a goal stands; `complete` and `timeout` are its ends."""

    ACTIVE = "active"
    PAUSED = "paused"
    COMPLETE = "complete"
    TIMEOUT = "timeout"
    WAITING_FOR_SESSION = "waiting_for_session"


class GoalPausedReason(StrEnum):
    """Why a goal is paused."""

    USER = "user"
    STOPPED_BY_USER = "stopped_by_user"
    FAST_LOOP = "fast_loop"
    FAILURES = "failures"
    NO_PROGRESS = "no_progress"
    MAX_ITERATIONS = "max_iterations"
    JUDGE_ERROR = "judge_error"
    BUDGET = "budget"


class GoalWaiting(StrEnum):
    """What a goal that is not paused waits for, besides the time."""

    EVENT = "event"
    APPROVAL = "approval"
    SYSTEM_PAUSED = "system_paused"


class Goal(BaseModel):
    """One goal, as it is stored and shown; see automation.md §2."""

    model_config = ConfigDict(frozen=True)

    id: str
    objective: str
    status: GoalStatus = GoalStatus.ACTIVE
    paused_reason: GoalPausedReason | None = None
    deadline_at: AwareDatetime | None = None
    next_run_at: AwareDatetime | None = None
    delay_reason: str | None = None
    waiting_for: GoalWaiting | None = None
    thread_id: str | None = None
    scope: Scope
    route: Route
    creator: Actor
    session_key: str = ""
    created_at: AwareDatetime | None = None
    updated_at: AwareDatetime | None = None
    revision: int = 0
    running: bool = False
    iteration: int = 0
    last_error: str | None = None


_TIMES: Final = ("deadline_at", "next_run_at", "created_at", "updated_at")
_TEXTS: Final = ("delay_reason", "thread_id", "last_error")
_COUNTS: Final = ("revision", "iteration")


def normalize_goal(goal: Mapping[str, object]) -> dict[str, object]:
    """Bring the spelling of a record into its normal form; nothing is checked.

    Args:
        goal: The JSON object as it was given.

    Returns:
        The same keys, with texts trimmed, fixed words in lower case and the default for `status`.

    Raises:
        DomainError: `invalid_field` on `body` when it is no JSON object.
    """
    read_body(goal)
    values = {key: trimmed(value) for key, value in goal.items()}
    lower_word(values, "status", GoalStatus.ACTIVE.value)
    for key in ("paused_reason", "waiting_for"):
        lower_word(values, key)
    if isinstance(scope := values.get("scope"), dict):
        lower_word(cast("dict[str, object]", scope), "kind")
    return values


def validate_goal(goal: Mapping[str, object]) -> Goal:
    """Check a record.

    Args:
        goal: The JSON object as it was given; absent keys get their defaults.

    Returns:
        The goal in normal form.

    Raises:
        DomainError: The first problem in validation order; `errors` lists all where there are
        several.
    """
    values = normalize_goal(goal)
    reader = FieldReader(values, "")
    refuse_unknown_keys(reader, values, tuple(Goal.model_fields), {})
    found = {**_read_definition(reader), **_read_state(reader)}
    reader.close()
    return Goal.model_validate(found)


def _read_definition(reader: FieldReader) -> dict[str, object]:
    return {
        "id": reader.required_text("id"),
        "objective": reader.required_text("objective", max_bytes=MAX_OBJECTIVE_BYTES),
        "scope": reader.check(lambda: validate_scope(reader.raw("scope"))),
        "route": reader.check(lambda: validate_route(reader.raw("route"))),
        "creator": reader.check(lambda: validate_creator(reader.raw("creator"))),
        "status": read_word(reader, "status", GoalStatus, GoalStatus.ACTIVE),
    }


def _read_state(reader: FieldReader) -> dict[str, object]:
    found: dict[str, object] = {key: read_time(reader, key) for key in _TIMES}
    found |= {key: reader.text(key) for key in _TEXTS}
    found |= {key: reader.optional_integer(key, 0) or 0 for key in _COUNTS}
    found["session_key"] = reader.text("session_key") or ""
    found["running"] = reader.boolean("running", default=False)
    if reader.given("paused_reason"):
        reason = read_word(reader, "paused_reason", GoalPausedReason, GoalPausedReason.USER)
        found["paused_reason"] = reason if reader.raw("status") == GoalStatus.PAUSED else None
    if reader.given("waiting_for"):
        found["waiting_for"] = read_word(reader, "waiting_for", GoalWaiting, GoalWaiting.EVENT)
    return found
