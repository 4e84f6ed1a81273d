"""A routine: a stored prompt or action with a trigger, and what is known of its runs.

Owns the model and its fixed sets of values. What may be given and changed is decided by
`domain.routine`, which is where other modules import these names from. Source: automation.md §2.

Invariants:
    1. `schedule` is what `trigger` compiles to, and null exactly for pushed and manual triggers.
    2. `prompt` is the prompt of a lightweight `action`, and null for a full job.
    3. `running` says the same as `run_state`.
    4. The model is frozen: every change makes a new one with a higher `revision`.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final, cast

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    TypeAdapter,
    model_validator,
)

from domain.actions import Action, LightweightAction
from domain.actor import Actor, preferred_id
from domain.errors import DomainError
from domain.guardrails import Guardrails, validate_guardrails
from domain.outcome import Notify
from domain.schedule import Schedule
from domain.scopes import Route, Scope
from domain.timestamps import parse_timestamp
from domain.triggers import Trigger, TriggerType, compile_schedule, from_schedule

SOURCE_MESSAGE: Final = "source_message_id"


class RoutineStatus(StrEnum):
    """Whether a routine fires; deleted ones are kept for a while and can be restored."""

    ACTIVE = "active"
    PAUSED = "paused"
    DELETED = "deleted"


class PausedReason(StrEnum):
    """Why a routine is paused."""

    USER = "user"
    MAX_RUNS = "max_runs"
    FAILURES = "failures"
    SCHEDULE_ENDED = "schedule_ended"


class ManageMode(StrEnum):
    """Who may change a routine: its creator, or everybody in its scope."""

    CREATOR_ONLY = "creator_only"
    SCOPE_ALL = "scope_all"


class RunState(StrEnum):
    """What a routine's present run does."""

    IDLE = "idle"
    WAITING_FOR_SESSION = "waiting_for_session"
    RUNNING = "running"


def _read_time(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_timestamp(value, "time")
    except DomainError as error:
        raise ValueError(error.message) from error


# Reads text itself: what `_complete` returns is validated as Python values, where strict validation
# would take no text for a time.
_Time = Annotated[AwareDatetime, BeforeValidator(_read_time)]


class Routine(BaseModel):
    """One routine, as it is stored and shown.

    Absent keys get their defaults: of `trigger` and `schedule` one is enough, of `action` and
    `prompt` too, and `guardrails` follow the trigger's type. Nothing else is checked here.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    title: str = ""
    prompt: str | None = None
    fresh: bool = False
    schedule: Schedule | None = None
    trigger: Trigger
    action: Action
    guardrails: Guardrails
    notify: Notify = Notify()
    scope: Scope
    route: Route
    creator: Actor
    manage_mode: ManageMode = ManageMode.CREATOR_ONLY
    session_key: str = ""
    resume_thread_id: str | None = None
    source_message_id: str | None = None
    status: RoutineStatus = RoutineStatus.ACTIVE
    paused_reason: PausedReason | None = None
    max_runs: int = 0
    run_count: int = 0
    created_at: _Time | None = None
    updated_at: _Time | None = None
    next_run_at: _Time | None = None
    last_run_at: _Time | None = None
    deleted_at: _Time | None = None
    running: bool = False
    run_state: RunState = RunState.IDLE
    due_since: _Time | None = None
    last_result: str | None = None
    consecutive_failures: int = 0
    revision: int = 0
    next_run_explicit: bool = False
    collapsed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: object) -> object:
        if not isinstance(data, Mapping):
            return data
        values = {k: v for k, v in cast("Mapping[str, object]", data).items() if v is not None}
        try:
            _complete_timing(values)
        except DomainError as error:
            raise ValueError(error.message) from error
        _complete_action(values)
        if "run_state" not in values and values.get("running") is True:
            values["run_state"] = RunState.RUNNING
        values["running"] = values.get("run_state") == RunState.RUNNING
        return values

    @property
    def timezone(self) -> str:
        """The zone in which the routine's times are told; UTC without a schedule."""
        return self.schedule.timezone if self.schedule else "UTC"

    @property
    def at_maximum(self) -> bool:
        """Whether all runs of `max_runs` have been counted."""
        return 0 < self.max_runs <= self.run_count


_TRIGGER: Final[TypeAdapter[Trigger]] = TypeAdapter(Trigger)
_ACTION: Final[TypeAdapter[Action]] = TypeAdapter(Action)


def evolve(routine: Routine, updates: Mapping[str, object]) -> Routine:
    """The routine with some fields changed; schedule and prompt follow trigger and action."""
    values = {**dict(routine), **updates}
    if "trigger" in updates:
        del values["schedule"]
    return Routine.model_validate(values)


def effective_route(routine: Routine) -> Route:
    """Where a routine speaks: under its source message where one is known, else its route."""
    message_id = (routine.source_message_id or "").strip()
    if message_id:
        return Route(receive_id_type=SOURCE_MESSAGE, receive_id=message_id)
    return routine.route


def can_manage(routine: Routine, actor_id: str | None) -> bool:
    """Whether an actor of the routine's scope may change it; nobody without an id may.

    Args:
        routine: The routine. That the actor belongs to its scope is tested before.
        actor_id: The actor's preferred id.
    """
    actor = (actor_id or "").strip()
    return bool(actor) and (
        routine.manage_mode == ManageMode.SCOPE_ALL or is_creator(routine, actor)
    )


def is_creator(routine: Routine, actor_id: str | None) -> bool:
    """Whether an actor's preferred id is that of the routine's creator."""
    actor = (actor_id or "").strip()
    return bool(actor) and actor == preferred_id(routine.creator)


def _complete_timing(values: dict[str, object]) -> None:
    """Fill in the one of trigger and schedule that is missing, and the guardrails."""
    if "trigger" not in values and "schedule" in values:
        values["trigger"] = from_schedule(values["schedule"])
    trigger = _TRIGGER.validate_python(values.get("trigger"))
    schedule = values.get("schedule")
    values["trigger"] = trigger
    values["schedule"] = (
        compile_schedule(trigger) if schedule is None else Schedule.model_validate(schedule)
    )
    if "guardrails" not in values:
        values["guardrails"] = validate_guardrails(None, TriggerType(trigger.type))


def _complete_action(values: dict[str, object]) -> None:
    """Fill in the one of action and prompt that is missing."""
    if "action" not in values and "prompt" in values:
        values["action"] = LightweightAction.model_validate({"prompt": values["prompt"]})
    action = _ACTION.validate_python(values.get("action"))
    values["action"] = action
    values["prompt"] = action.prompt if isinstance(action, LightweightAction) else None
