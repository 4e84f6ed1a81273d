"""A whole routine given as JSON: its normal form, and whether it is valid.

Owns the check of a record as it is exported, imported or restored; a request to create or change
one is read by `domain.routine_create` and `domain.routine_changes`. Source: automation.md §4.

Invariants:
    1. Normalising changes spelling only, never a meaning, and twice is the same as once.
    2. A record may hold both of action and prompt, and of trigger and schedule, when they agree.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, cast

from domain.actions import Action, LightweightAction, validate_action
from domain.fields import FieldReader
from domain.normal_form import lower_word, trimmed
from domain.outcome import validate_notify
from domain.ownership import validate_creator, validate_route, validate_scope
from domain.routine_fields import (
    read_action,
    read_body,
    read_guardrails,
    read_time,
    read_title,
    read_trigger,
    read_word,
    refuse_unknown_keys,
)
from domain.routine_model import ManageMode, PausedReason, Routine, RoutineStatus, RunState
from domain.schedule import validate_schedule
from domain.triggers import Trigger, compile_schedule, validate_trigger

# A stored one-shot may lie in the past: only a new one must not.
_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
_TIMES = ("created_at", "updated_at", "next_run_at", "last_run_at", "deleted_at", "due_since")
_TEXTS = ("resume_thread_id", "source_message_id", "last_result")
_COUNTS = ("consecutive_failures", "revision", "collapsed")


def normalize_routine(routine: Mapping[str, object]) -> dict[str, object]:
    """Bring the spelling of a record into its normal form; nothing is checked.

    Args:
        routine: The JSON object as it was given.

    Returns:
        The same keys, with texts trimmed (a trigger's are its own matter), fixed words in lower
        case, and defaults for `manage_mode` and `status`.

    Raises:
        DomainError: `invalid_field` on `body` when it is no JSON object.
    """
    read_body(routine)
    values = {key: value if key == "trigger" else trimmed(value) for key, value in routine.items()}
    lower_word(values, "manage_mode", ManageMode.CREATOR_ONLY.value)
    lower_word(values, "status", RoutineStatus.ACTIVE.value)
    if isinstance(scope := values.get("scope"), dict):
        lower_word(cast("dict[str, object]", scope), "kind")
    if isinstance(schedule := values.get("schedule"), dict):
        _collapse(cast("dict[str, object]", schedule), "cron_expr")
    if values["status"] != RoutineStatus.DELETED:
        values.pop("deleted_at", None)
    return values


def validate_routine(routine: Mapping[str, object]) -> Routine:
    """Check a record.

    Args:
        routine: The JSON object as it was given; absent keys get their defaults.

    Returns:
        The routine in normal form.

    Raises:
        DomainError: The first problem in validation order; `errors` lists all where there are
        several.
    """
    values = normalize_routine(routine)
    reader = FieldReader(values, "")
    refuse_unknown_keys(reader, values, tuple(Routine.model_fields))
    found = {**_read_identity(reader), **_read_definition(reader), **_read_state(reader)}
    reader.close()
    return Routine.model_validate(found)


def _read_identity(reader: FieldReader) -> dict[str, object]:
    return {
        "id": reader.required_text("id"),
        "scope": reader.check(lambda: validate_scope(reader.raw("scope"))),
        "route": reader.check(lambda: validate_route(reader.raw("route"))),
        "creator": reader.check(lambda: validate_creator(reader.raw("creator"))),
        "manage_mode": read_word(reader, "manage_mode", ManageMode, ManageMode.CREATOR_ONLY),
    }


def _read_definition(reader: FieldReader) -> dict[str, object]:
    title = read_title(reader)
    action = _read_action(reader)
    trigger = _read_trigger(reader)
    status = read_word(reader, "status", RoutineStatus, RoutineStatus.ACTIVE)
    max_runs = reader.optional_integer("max_runs", 0) or 0
    run_count = reader.optional_integer("run_count", 0) or 0
    _check_maximum(reader, status, max_runs, run_count)
    return {
        "title": title,
        "action": action,
        "trigger": trigger,
        "status": status,
        "max_runs": max_runs,
        "run_count": run_count,
        "fresh": reader.boolean("fresh", default=False),
        "guardrails": read_guardrails(reader, trigger),
        "notify": reader.check(lambda: validate_notify(reader.raw("notify"))),
    }


def _read_state(reader: FieldReader) -> dict[str, object]:
    found: dict[str, object] = {key: read_time(reader, key) for key in _TIMES}
    found |= {key: reader.text(key) for key in _TEXTS}
    found |= {key: reader.optional_integer(key, 0) for key in _COUNTS}
    found["session_key"] = reader.text("session_key") or ""
    found["run_state"] = _read_run_state(reader)
    found["next_run_explicit"] = reader.boolean("next_run_explicit", default=False)
    if reader.given("paused_reason") and reader.raw("status") == RoutineStatus.PAUSED:
        default = PausedReason.USER
        found["paused_reason"] = read_word(reader, "paused_reason", PausedReason, default)
    return found


def _read_action(reader: FieldReader) -> Action | None:
    prompt = reader.raw("prompt")
    if not (isinstance(prompt, str) and prompt and reader.given("action")):
        return read_action(reader)
    action = reader.check(lambda: validate_action(reader.raw("action")))
    if action and not (isinstance(action, LightweightAction) and action.prompt == prompt):
        reader.invalid("action", "disagrees with prompt: give exactly one of prompt, action")
    return action


def _read_trigger(reader: FieldReader) -> Trigger | None:
    given, schedule = reader.raw("trigger"), reader.raw("schedule")
    if given is None or schedule is None:
        return read_trigger(reader, given, schedule, _BEGINNING, "UTC")
    trigger = reader.check(lambda: validate_trigger(given, _BEGINNING))
    valid = reader.check(lambda: validate_schedule(schedule, _BEGINNING))
    if trigger and valid and compile_schedule(trigger) != valid:
        reader.invalid("trigger", "disagrees with schedule: give exactly one of trigger, schedule")
    return trigger


def _check_maximum(
    reader: FieldReader, status: RoutineStatus, max_runs: int, run_count: int
) -> None:
    if not max_runs or run_count < max_runs:
        return
    if run_count > max_runs:
        reader.invalid("max_runs", f"must not be below run_count, which is {run_count}")
    elif status == RoutineStatus.ACTIVE and not _is_running(reader):
        reader.invalid(
            "max_runs",
            f"must be above run_count, which is {run_count}, while the routine is active and idle",
        )


def _read_run_state(reader: FieldReader) -> RunState:
    default = RunState.RUNNING if reader.boolean("running", default=False) else RunState.IDLE
    return read_word(reader, "run_state", RunState, default)


def _is_running(reader: FieldReader) -> bool:
    if reader.given("run_state"):
        return reader.raw("run_state") == RunState.RUNNING
    return reader.raw("running") is True


def _collapse(values: dict[str, object], key: str) -> None:
    value = values.get(key)
    if isinstance(value, str):
        values[key] = " ".join(value.split())
