"""The changes that a merge patch asks for, read on top of a routine.

Owns which fields can be changed and how each one merges: schedules key by key, triggers, actions,
guardrails and `notify` as a whole, `prompt` into the action it belongs to. What follows from a
change is `domain.routine_patch`'s. Source: automation.md §6, §14 rows 21-28.

Invariants:
    1. Null takes a value away; a field that must have one is then missing or at its default.
    2. A field that cannot be changed may be named with its present value.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from domain.actions import Action, LightweightAction
from domain.errors import DomainError
from domain.fields import FieldReader, shown
from domain.guardrails import Guardrails, canonical_json, validate_guardrails
from domain.outcome import validate_notify
from domain.routine_fields import (
    SHORTHANDS,
    read_action,
    read_guardrails,
    read_prompt,
    read_schedule,
    read_time,
    read_title,
    read_trigger,
    read_word,
    refuse_unknown_keys,
)
from domain.routine_model import ManageMode, Routine, RoutineStatus, evolve
from domain.routine_timing import merge_schedule
from domain.timestamps import parse_timestamp
from domain.triggers import Trigger, TriggerType, WebhookTrigger
from domain.webhook_secrets import keep_secret

EDITABLE = (
    "title",
    "prompt",
    "fresh",
    "schedule",
    "timezone",
    "trigger",
    "action",
    "guardrails",
    "notify",
    "manage_mode",
    "status",
    "max_runs",
    "next_run_at",
)
IF_REVISION = "if_revision"
_ACCEPTED = (*EDITABLE, *(key for key in SHORTHANDS if key not in EDITABLE), IF_REVISION)
_STATUSES = tuple(status.value for status in RoutineStatus)


@dataclass(frozen=True, slots=True)
class ExplicitTime:
    """A patch's `next_run_at`: whether it is named, and the time; null takes it away."""

    given: bool
    at: datetime | None


def read_changes(
    reader: FieldReader,
    patch: Mapping[str, object],
    current: Routine,
    now: datetime,
    default_timezone: str,
    given_guardrails: Collection[str] = (),
) -> tuple[Routine, ExplicitTime]:
    """Read a patch.

    Args:
        reader: Reads the patch.
        patch: The patch itself.
        current: The routine as it is.
        now: A new one-shot must lie after it.
        default_timezone: The zone of a schedule that names none.
        given_guardrails: Guardrails that somebody has set, also to what is the default.

    Returns:
        The routine with the new values and nothing else changed, and the explicit next time.

    Raises:
        DomainError: What is wrong with the fields, in validation order.
    """
    _refuse_fixed(reader, patch, current)
    found = _read_plain_head(reader, patch)
    found["action"] = _read_action(reader, patch, current)
    trigger = _read_trigger(reader, patch, current, now, default_timezone)
    found["trigger"] = trigger
    found |= _read_plain_tail(reader, patch, current)
    if "guardrails" in patch:
        found["guardrails"] = read_guardrails(reader, trigger or current.trigger)
    elif trigger is not None:
        found["guardrails"] = _guardrails_for(trigger, current, given_guardrails)
    explicit = ExplicitTime("next_run_at" in patch, read_time(reader, "next_run_at"))
    reader.close()
    changes = {key: value for key, value in found.items() if value is not None}
    return evolve(current, changes), explicit


def _read_plain_head(reader: FieldReader, patch: Mapping[str, object]) -> dict[str, object]:
    found: dict[str, object] = {}
    if "manage_mode" in patch:
        default = ManageMode.CREATOR_ONLY
        found["manage_mode"] = read_word(reader, "manage_mode", ManageMode, default)
    if "title" in patch:
        found["title"] = read_title(reader)
    return found


def _read_plain_tail(
    reader: FieldReader, patch: Mapping[str, object], current: Routine
) -> dict[str, object]:
    found: dict[str, object] = {}
    if "status" in patch:
        found["status"] = _read_status(reader, current)
    if "max_runs" in patch:
        found["max_runs"] = _read_max_runs(reader, current)
    if "fresh" in patch:
        found["fresh"] = reader.boolean("fresh", default=False)
    if "notify" in patch:
        found["notify"] = reader.check(lambda: validate_notify(reader.raw("notify")))
    return found


def _read_status(reader: FieldReader, current: Routine) -> RoutineStatus:
    # There is no default here: an empty value must not resume a paused routine.
    if reader.raw("status") in (None, ""):
        reader.invalid("status", f"must be one of {', '.join(_STATUSES)}", _STATUSES)
    return read_word(reader, "status", RoutineStatus, current.status)


def _read_max_runs(reader: FieldReader, current: Routine) -> int:
    max_runs = reader.optional_integer("max_runs", 0) or 0
    if 0 < max_runs < current.run_count:
        reader.invalid(
            "max_runs",
            f"must not be below run_count, which is {current.run_count}; 0 is no limit",
        )
    return max_runs


def _read_action(
    reader: FieldReader, patch: Mapping[str, object], current: Routine
) -> Action | None:
    """The new action; null when the patch does not touch it."""
    present = current.action if isinstance(current.action, LightweightAction) else None
    if reader.given("action"):
        return read_action(reader)
    if "prompt" in patch:
        if present is None and patch["prompt"] is None and "action" not in patch:
            return None
        prompt = read_prompt(reader)
        if present is not None and "action" not in patch:
            return present.model_copy(update={"prompt": prompt})
        return LightweightAction(prompt=prompt)
    if "action" not in patch:
        return None
    if present is None:
        reader.missing("prompt", "a routine needs a prompt or an action")
        return None
    return LightweightAction(prompt=present.prompt)


def _read_trigger(
    reader: FieldReader,
    patch: Mapping[str, object],
    current: Routine,
    now: datetime,
    default_timezone: str,
) -> Trigger | None:
    """The new trigger; null when the patch does not touch it."""
    shorthands = {key: patch[key] for key in SHORTHANDS if key in patch}
    if not shorthands and "trigger" not in patch and "schedule" not in patch:
        return None
    trigger, schedule = patch.get("trigger"), read_schedule(reader, shorthands)
    if isinstance(trigger, Mapping):
        present = current.trigger
        stored = present.secret if isinstance(present, WebhookTrigger) else None
        trigger = keep_secret(cast("Mapping[str, object]", trigger), stored)
    elif isinstance(schedule, Mapping):
        schedule = merge_schedule(current, cast("Mapping[str, object]", schedule))
    return read_trigger(reader, trigger, schedule, now, default_timezone)


def given_guardrails(body: Mapping[str, object], before: Sequence[str] = ()) -> list[str]:
    """Which guardrails somebody has set, after a body that was accepted.

    Args:
        body: What makes or changes a routine; guardrails in it replace all of them.
        before: Those that were set before.
    """
    if "guardrails" not in body:
        return list(before)
    guardrails = body["guardrails"]
    if not isinstance(guardrails, Mapping):
        return []
    found = cast("Mapping[str, object]", guardrails)
    return sorted(key for key, value in found.items() if value is not None)


def _guardrails_for(trigger: Trigger, current: Routine, given: Collection[str]) -> Guardrails:
    """The present guardrails; what was a default becomes the default of the new type of trigger.

    What somebody has set stays as it is, also where it is what the former default was.
    """
    before, after = TriggerType(current.trigger.type), TriggerType(trigger.type)
    defaults = validate_guardrails(None, before).model_dump()
    own = {
        key: value
        for key, value in current.guardrails.model_dump().items()
        if value != defaults[key] or key in given
    }
    return validate_guardrails(own, after)


def _refuse_fixed(reader: FieldReader, patch: Mapping[str, object], current: Routine) -> None:
    """Record unknown keys, and known ones that cannot be changed but differ."""
    present = current.model_dump(mode="json")
    refuse_unknown_keys(reader, (key for key in patch if key not in present), _ACCEPTED)
    for key in patch:
        if key in present and key not in _ACCEPTED and not _is_same(patch[key], present[key]):
            reader.invalid(
                key,
                f"cannot be changed to {shown(patch[key])}; editable fields: {', '.join(EDITABLE)}",
                EDITABLE,
            )


def _is_same(value: object, present: object) -> bool:
    """Whether merging a value into the present one changes nothing; times are compared as times."""
    if canonical_json(_merge(present, value)) == canonical_json(present):
        return True
    try:
        return parse_timestamp(value, "") == parse_timestamp(present, "")
    except DomainError:
        return False


def _merge(present: object, value: object) -> object:
    if not isinstance(value, Mapping) or not isinstance(present, Mapping):
        return value  # pyright: ignore[reportUnknownVariableType] - narrowing leaves a bare Mapping
    merged = dict(cast("Mapping[str, object]", present))
    for key, part in cast("Mapping[str, object]", value).items():
        if part is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), part)
    return merged
