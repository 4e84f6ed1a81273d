"""A routine as a manifest says it: what can be applied again, and nothing else.

Owns the form of a manifest, what one asks for, and the patches that turn a routine into it. Pure:
files are `client.manifest_files`', calls `client.manifests`'. Source: automation.md §6, §15.

Invariants:
    1. What a manifest leaves out is at its default, save the status and a next time set by hand:
       a pause by hand or after failures is not undone by whoever applies a file again.
    2. Equal forms are equal routines: a routine that is as its manifest says gets no patch.
    3. A patch was carried out here, on the routine as it was read, before it is proposed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from domain.actions import LightweightAction
from domain.actor import Actor
from domain.errors import DomainError
from domain.fields import FieldReader
from domain.guardrails import validate_guardrails
from domain.outcome import Notify
from domain.routine import ManageMode, Routine, RoutineStatus, apply_patch, new_routine
from domain.routine_fields import TIMED_TYPES, read_word
from domain.routine_model import evolve
from domain.schedule import Catchup
from domain.scopes import Route, Scope
from domain.timestamps import format_timestamp, parse_timestamp
from domain.trigger_models import EnvSecret, HiddenSecret
from domain.triggers import (
    AtTrigger,
    CronTrigger,
    IntervalTrigger,
    TriggerType,
    WebhookTrigger,
    public_trigger,
)
from domain.webhook_secrets import keep_secret

# Stands for a secret that is shown as `{"set": true}`, so that it can be kept and compared.
_STORED_SECRET = EnvSecret(env="STORED")


@dataclass(frozen=True)
class Owner:
    """Whose a new routine is."""

    scope: Scope
    route: Route
    creator: Actor


@dataclass(frozen=True)
class Wanted:
    """What a manifest asks for.

    Attributes:
        routine: The routine as it would be created.
        body: The body that creates it.
        status: Active or paused; null where the manifest leaves it alone.
        next_run_at: The next time set by hand; null where there is none.
    """

    routine: Routine
    body: dict[str, Any]
    status: RoutineStatus | None
    next_run_at: datetime | None


def manifest_of(routine: Routine) -> dict[str, Any]:
    """The manifest of a routine, defaults left out, secrets as `{"set": true}`."""
    by_hand = routine.next_run_explicit and routine.next_run_at is not None
    form: dict[str, Any] = {
        "id": routine.id,
        "title": routine.title,
        "status": "paused" if routine.status == RoutineStatus.PAUSED else None,
        **_action_form(routine),
        **_trigger_form(routine),
        "next_run_at": format_timestamp(cast("datetime", routine.next_run_at)) if by_hand else None,
        "max_runs": routine.max_runs,
        "fresh": routine.fresh,
        "guardrails": _guardrails_form(routine),
        "notify": _other_than(routine.notify.model_dump(mode="json"), Notify().model_dump()),
        "manage_mode": routine.manage_mode.value,
    }
    absent = {"manage_mode": ManageMode.CREATOR_ONLY.value}
    return {key: value for key, value in form.items() if value and value != absent.get(key)}


def wanted_by(
    body: Mapping[str, Any],
    present: Routine | None,
    owner: Owner,
    now: datetime,
    default_timezone: str = "UTC",
) -> Wanted:
    """Read a manifest.

    Args:
        body: The manifest; its `id` was checked.
        present: The routine of that id; null when there is none.
        owner: Whose a new one would be.
        now: A new one-shot must lie after it, but not one that is stored already.
        default_timezone: The zone of a schedule that names none.

    Raises:
        DomainError: What is wrong with the manifest, as on creation.
    """
    status = _read_status(body)
    given = {key: value for key, value in body.items() if key not in {"id", "status", "enabled"}}
    begun = given if status != RoutineStatus.PAUSED else {**given, "enabled": False}
    checked = dict(begun)
    if present is not None:
        # Whether it can be set is seen when the patch is tried.
        checked.pop("next_run_at", None)
        checked["trigger"] = _with_stored_secret(given.get("trigger"), present)
        owner = Owner(present.scope, present.route, present.creator)
    routine = new_routine(
        checked,
        id=str(body.get("id")),
        scope=owner.scope,
        route=owner.route,
        creator=owner.creator,
        now=_moment_of_reading(given, present, now),
        default_timezone=default_timezone,
    )
    at = given.get("next_run_at")
    explicit = None if at is None else parse_timestamp(at, "next_run_at").replace(microsecond=0)
    return Wanted(routine, begun, status, explicit)


def patches_for(
    present: Routine, wanted: Wanted, actor_id: str, now: datetime, default_timezone: str = "UTC"
) -> list[dict[str, Any]]:
    """The patches, one after the other, that make a routine what a manifest wants.

    A deleted routine is restored as a paused one first, because it takes no other change.

    Raises:
        DomainError: Why the routine would refuse one.
    """
    present = _with_placeholder(present)
    patches: list[dict[str, Any]] = []
    draft = present
    if present.status == RoutineStatus.DELETED:
        patches.append({"status": RoutineStatus.PAUSED.value})
        draft = apply_patch(present, patches[0], actor_id, now)
    change = _difference(draft, wanted)
    status = wanted.status or (RoutineStatus.ACTIVE if draft is not present else draft.status)
    if status != draft.status:
        change["status"] = status.value
    at = wanted.next_run_at
    # One that has passed has had its effect; set again, it would fire at once.
    if at is not None and at > now and status == RoutineStatus.ACTIVE and at != draft.next_run_at:
        change["next_run_at"] = format_timestamp(at)
    if change:
        apply_patch(draft, change, actor_id, now, default_timezone=default_timezone)
        patches.append(change)
    return patches


# The forms


def _action_form(routine: Routine) -> dict[str, Any]:
    action = routine.action
    values = action.model_dump(mode="json", exclude_defaults=True)
    if isinstance(action, LightweightAction) and set(values) == {"prompt"}:
        return values
    return {"action": {"type": action.type, **values}}


def _trigger_form(routine: Routine) -> dict[str, Any]:
    match routine.trigger:
        case CronTrigger(schedule=text):
            when: dict[str, Any] = {"cron_expr": text}
        case IntervalTrigger(every_seconds=seconds):
            when = {"every_seconds": seconds}
        case AtTrigger(run_at=at):
            when = {"run_at": format_timestamp(at)}
        case other:
            values = public_trigger(other).model_dump(mode="json", exclude_defaults=True)
            return {"trigger": {"type": other.type, **values}}
    # The zone always: what is the default differs from deployment to deployment.
    form = {**when, "timezone": routine.trigger.timezone}
    if routine.trigger.catchup != Catchup.ONCE:
        form["catchup"] = routine.trigger.catchup.value
    if routine.trigger.catchup_window_seconds is not None:
        form["catchup_window_seconds"] = routine.trigger.catchup_window_seconds
    return {"schedule": form}


def _guardrails_form(routine: Routine) -> dict[str, Any]:
    defaults = validate_guardrails(None, TriggerType(routine.trigger.type))
    return _other_than(routine.guardrails.model_dump(mode="json"), defaults.model_dump(mode="json"))


def _other_than(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value != defaults[key]}


# Reading


def _read_status(body: Mapping[str, Any]) -> RoutineStatus | None:
    """Active or paused, told by `status` or `enabled`; null when neither is given."""
    reader = FieldReader(body, "")
    enabled = reader.boolean("enabled", default=True)
    status = read_word(reader, "status", RoutineStatus, RoutineStatus.ACTIVE)
    if reader.given("status") and reader.given("enabled"):
        reader.invalid("status", "excludes enabled: give exactly one of status, enabled")
    elif status == RoutineStatus.DELETED:
        reader.invalid(
            "status", "must be active or paused; what is in no manifest is deleted by --prune"
        )
    reader.close()
    if reader.given("enabled"):
        return RoutineStatus.ACTIVE if enabled else RoutineStatus.PAUSED
    return status if reader.given("status") else None


def _moment_of_reading(
    given: Mapping[str, Any], present: Routine | None, now: datetime
) -> datetime:
    """Now; for a one-shot that is stored already, a moment at which it could have been created."""
    if present is None or not isinstance(present.trigger, AtTrigger):
        return now
    stored = present.trigger.run_at
    holders = (given, given.get("schedule"), given.get("trigger"))
    for holder in holders:
        at = (
            cast("Mapping[str, Any]", holder).get("run_at") if isinstance(holder, Mapping) else None
        )
        try:
            if at is not None and parse_timestamp(at, "run_at") == stored:
                return min(now, stored - timedelta(seconds=1))
        except DomainError:
            return now  # told by whoever reads the field
    return now


def _with_placeholder(present: Routine) -> Routine:
    """The routine with its hidden secrets in a form that can be read again."""
    trigger = present.trigger
    if not isinstance(trigger, WebhookTrigger) or trigger.secret is None:
        return present
    stored = trigger.secret
    secrets = [
        _STORED_SECRET if isinstance(secret, HiddenSecret) else secret
        for secret in (stored if isinstance(stored, list) else [stored])
    ]
    secret = secrets if isinstance(stored, list) else secrets[0]
    return evolve(present, {"trigger": trigger.model_copy(update={"secret": secret})})


def _with_stored_secret(given: object, present: Routine) -> object:
    if not isinstance(given, Mapping):
        return given
    trigger = _with_placeholder(present).trigger
    stored = trigger.secret if isinstance(trigger, WebhookTrigger) else None
    return keep_secret(cast("Mapping[str, object]", given), stored)


# The difference


def _difference(present: Routine, wanted: Wanted) -> dict[str, Any]:
    """The merge patch of what differs in the definition."""
    before, after = manifest_of(present), manifest_of(wanted.routine)
    plain = ("title", "max_runs", "fresh", "notify", "manage_mode")
    change = {key: after.get(key) for key in plain if before.get(key) != after.get(key)}
    change |= _action_change(before, after)
    change |= _trigger_change(present, wanted, after)
    moved = present.trigger.type != wanted.routine.trigger.type
    if moved or before.get("guardrails") != after.get("guardrails"):
        # Said also where only the trigger is another: what was a default would follow its type.
        kept = present.guardrails == wanted.routine.guardrails and "guardrails" not in before
        change |= {} if kept else {"guardrails": after.get("guardrails")}
    return change


def _action_change(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("prompt", "action")
    if all(before.get(key) == after.get(key) for key in keys):
        return {}
    if "prompt" in before and "prompt" in after:
        return {"prompt": after["prompt"]}
    simple = {"type": "lightweight", "prompt": after.get("prompt")}
    return {"action": after.get("action", simple)}


def _trigger_change(present: Routine, wanted: Wanted, after: Mapping[str, Any]) -> dict[str, Any]:
    trigger = wanted.routine.trigger
    if trigger == present.trigger:
        return {}
    if trigger.type in TIMED_TYPES:
        # Merged key by key, so that a default has to be said.
        return {"schedule": {"catchup": Catchup.ONCE.value, **after["schedule"]}}
    given = wanted.body.get("trigger")
    secret = cast("Mapping[str, Any]", given).get("secret") if isinstance(given, Mapping) else None
    return {"trigger": {**after["trigger"], **({"secret": secret} if secret is not None else {})}}
