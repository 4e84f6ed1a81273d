"""Triggers: how input becomes one, and what others may see of it.

Owns the choice by type and the public form. Reading is done by `domain.timed_triggers` and
`domain.pushed_triggers`, the tests of messages and events by `domain.trigger_matching`; what the
specification names is offered here. Source: triggers-and-actions.md §1 to §3 and §14.

Invariant: a validated trigger has every key of its type.
"""

from datetime import datetime

from domain.fields import FieldReader
from domain.pushed_triggers import read_event, read_system_event, read_webhook
from domain.timed_triggers import (
    compile_schedule,
    from_schedule,
    read_at,
    read_cron,
    read_interval,
)
from domain.timestamps import parse_timestamp
from domain.trigger_matching import (
    EventMatch,
    IncomingMessage,
    SystemEvent,
    SystemEventMatch,
    match_event,
    match_system_event,
)
from domain.trigger_models import (
    PUSHED_TYPES,
    AtTrigger,
    CronTrigger,
    EventTrigger,
    IntervalTrigger,
    ManualTrigger,
    SystemEventTrigger,
    Trigger,
    TriggerType,
    WebhookScheme,
    WebhookTrigger,
)
from domain.webhook_secrets import public_secret

__all__ = [
    "PUSHED_TYPES",
    "AtTrigger",
    "CronTrigger",
    "EventMatch",
    "EventTrigger",
    "IncomingMessage",
    "IntervalTrigger",
    "ManualTrigger",
    "SystemEvent",
    "SystemEventMatch",
    "SystemEventTrigger",
    "Trigger",
    "TriggerType",
    "WebhookScheme",
    "WebhookTrigger",
    "compile_schedule",
    "from_schedule",
    "match_event",
    "match_system_event",
    "public_trigger",
    "validate_trigger",
]

_KEYS = {
    TriggerType.CRON: tuple(CronTrigger.model_fields),
    TriggerType.INTERVAL: tuple(IntervalTrigger.model_fields),
    TriggerType.AT: tuple(AtTrigger.model_fields),
    TriggerType.EVENT: tuple(EventTrigger.model_fields),
    TriggerType.SYSTEM_EVENT: tuple(SystemEventTrigger.model_fields),
    TriggerType.WEBHOOK: tuple(WebhookTrigger.model_fields),
    TriggerType.MANUAL: tuple(ManualTrigger.model_fields),
}


def validate_trigger(trigger: object, now: datetime, default_timezone: str = "UTC") -> Trigger:
    """Check a trigger and fill in its defaults.

    Args:
        trigger: The JSON object as it was given.
        now: A one-shot must lie after it.
        default_timezone: The zone of a timed trigger that names none.

    Returns:
        The trigger in normal form, every key of its type present. A literal secret stays as it
        is: the API process seals it.

    Raises:
        DomainError: The first problem on `trigger.…` in the order type, unknown keys, fields.
    """
    moment = parse_timestamp(now, "now")
    reader = FieldReader.of(trigger, "trigger")
    kind = TriggerType(reader.tag(tuple(TriggerType)))
    reader.refuse_unknown(_KEYS[kind])
    match kind:
        case TriggerType.CRON:
            return read_cron(reader, default_timezone)
        case TriggerType.INTERVAL:
            return read_interval(reader, default_timezone)
        case TriggerType.AT:
            return read_at(reader, default_timezone, moment)
        case TriggerType.EVENT:
            return read_event(reader)
        case TriggerType.SYSTEM_EVENT:
            return read_system_event(reader)
        case TriggerType.WEBHOOK:
            return read_webhook(reader)
        case _:
            reader.close()
            return ManualTrigger()


def public_trigger(trigger: Trigger) -> Trigger:
    """The trigger as lists, records, logs and histories show it: literal secrets hidden."""
    if not isinstance(trigger, WebhookTrigger):
        return trigger
    return trigger.model_copy(update={"secret": public_secret(trigger.secret)})
