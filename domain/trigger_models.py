"""What makes a routine fire: the seven triggers and the forms of a webhook's secret.

Owns the models. How input becomes one of them is `domain.triggers`', what a pushed one matches is
`domain.trigger_matching`'s. Source: triggers-and-actions.md §1 to §3.

Invariant: a model holds a validated trigger; all keys of its type are present in its JSON.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from domain.schedule import Catchup


class TriggerType(StrEnum):
    """The tag of a trigger."""

    CRON = "cron"
    INTERVAL = "interval"
    AT = "at"
    EVENT = "event"
    SYSTEM_EVENT = "system_event"
    WEBHOOK = "webhook"
    MANUAL = "manual"


PUSHED_TYPES = frozenset({TriggerType.EVENT, TriggerType.SYSTEM_EVENT, TriggerType.WEBHOOK})


class WebhookScheme(StrEnum):
    """How a delivery is signed; `auto` takes the first whose signature header is present."""

    AUTO = "auto"
    STANDARD = "standard"
    SLACK = "slack"
    GITHUB = "github"
    GENERIC = "generic"


class EnvSecret(BaseModel):
    """A secret that stands in an environment variable of the API process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    env: str


class FileSecret(BaseModel):
    """A secret that stands in a file beside the API process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str


class SealedSecret(BaseModel):
    """A literal after the API process encrypted it; the only form in which it is stored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sealed: str


class HiddenSecret(BaseModel):
    """What readers see in place of a literal, and write to keep the stored one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    set: Literal[True]


Secret = str | EnvSecret | FileSecret | SealedSecret | HiddenSecret
"""One way to name a secret; a text is the literal itself."""


class _Trigger(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CronTrigger(_Trigger):
    """At the times of a cron expression, or after every interval told in words (`every 2h`)."""

    type: Literal["cron"] = "cron"
    schedule: str
    timezone: str = "UTC"
    catchup: Catchup = Catchup.ONCE
    catchup_window_seconds: int | None = None


class IntervalTrigger(_Trigger):
    """After every so many seconds, counted from creation."""

    type: Literal["interval"] = "interval"
    every_seconds: int
    timezone: str = "UTC"
    catchup: Catchup = Catchup.ONCE
    catchup_window_seconds: int | None = None


class AtTrigger(_Trigger):
    """Once."""

    type: Literal["at"] = "at"
    run_at: AwareDatetime
    timezone: str = "UTC"
    catchup: Catchup = Catchup.ONCE
    catchup_window_seconds: int | None = None


class EventTrigger(_Trigger):
    """When an incoming message matches an RE2 pattern; a null channel is any."""

    type: Literal["event"] = "event"
    channel: str | None = None
    pattern: str


class SystemEventTrigger(_Trigger):
    """When an event of this source and type is emitted whose payload passes the filters."""

    type: Literal["system_event"] = "system_event"
    source: str
    event_type: str
    filters: dict[str, str] = {}


class WebhookTrigger(_Trigger):
    """When a signed request is posted to the path; a null path is the routine's id."""

    type: Literal["webhook"] = "webhook"
    path: str | None = None
    # Kept out of `repr`, which ends in logs and tracebacks.
    secret: Secret | list[Secret] | None = Field(default=None, repr=False)
    scheme: WebhookScheme = WebhookScheme.AUTO
    allow_unsigned: bool = False


class ManualTrigger(_Trigger):
    """Only when somebody asks."""

    type: Literal["manual"] = "manual"


Trigger = Annotated[
    CronTrigger
    | IntervalTrigger
    | AtTrigger
    | EventTrigger
    | SystemEventTrigger
    | WebhookTrigger
    | ManualTrigger,
    Field(discriminator="type"),
]
