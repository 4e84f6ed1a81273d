"""How a run ended: what its reply means, whether somebody is told, what the routine books.

Owns the sentinels, the setting `notify` and the mapping from a run's status to an outcome. Does not
own the booking (`domain.routine.record_outcome`) nor the wording of notices (`domain.notices`).
Source: triggers-and-actions.md §9.

Invariant: a sentinel is compared as a whole and is never sent.
"""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from domain.fields import FieldReader
from domain.ownership import validate_route
from domain.runs import RunStatus
from domain.scopes import Route

EMPTY_REPLY = "empty_reply"


class Sentinel(StrEnum):
    """A reply by which the model says that there is nothing to say."""

    ROUTINE_OK = "ROUTINE_OK"
    NO_REPLY = "NO_REPLY"


class ReplyClass(BaseModel):
    """What a reply means.

    `text` is what may be sent, null where nothing is; `error` is set with status `failed` only.
    """

    model_config = ConfigDict(frozen=True)

    status: RunStatus
    silent: bool = False
    text: str | None = None
    sentinel: Sentinel | None = None
    error: str | None = None


class Notify(BaseModel):
    """A routine's setting `notify`: after which ends somebody is told, and where.

    Without `route` it is the routine's effective route.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    on_attention: bool = True
    on_failure: bool = True
    on_success: bool = False
    route: Route | None = None


class OutcomeKind(StrEnum):
    """What the routine books of a run."""

    OK = "ok"
    ERROR = "error"
    INTERRUPTED = "interrupted"
    STOPPED = "stopped"


class Outcome(BaseModel):
    """How a run ended, as the routine needs to know it; `message` with `error` only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: OutcomeKind
    message: str | None = None


def classify_reply(text: str | None) -> ReplyClass:
    """Tell what the final reply of a run means.

    Args:
        text: The reply; blank or null counts as empty.
    """
    reply = (text or "").strip()
    if not reply:
        return ReplyClass(status=RunStatus.FAILED, error=EMPTY_REPLY)
    if reply in {sentinel.value for sentinel in Sentinel}:
        return ReplyClass(status=RunStatus.OK, silent=True, sentinel=Sentinel(reply))
    return ReplyClass(status=RunStatus.ATTENTION, text=reply)


def should_notify(
    status: RunStatus, notify: Notify | None = None, sentinel: Sentinel | None = None
) -> bool:
    """Whether the end of a run is told.

    Args:
        status: How the run ended.
        notify: The routine's setting; the defaults where it has none.
        sentinel: The sentinel the model replied with, if it did.
    """
    setting = notify or Notify()
    match status:
        case RunStatus.ATTENTION:
            return setting.on_attention
        case RunStatus.FAILED | RunStatus.TIMED_OUT:
            return setting.on_failure
        case RunStatus.OK:
            return setting.on_success and sentinel != Sentinel.NO_REPLY
        case _:
            return False


def to_record_outcome(status: RunStatus, error: str | None = None) -> Outcome | None:
    """What the routine books for a run's status; null where it books nothing.

    Args:
        status: How the run ended.
        error: What went wrong; the status itself stands in where nothing is known.
    """
    match status:
        case RunStatus.OK | RunStatus.ATTENTION:
            return Outcome(kind=OutcomeKind.OK)
        case RunStatus.FAILED | RunStatus.TIMED_OUT:
            message = error if error and error.strip() else status.value
            return Outcome(kind=OutcomeKind.ERROR, message=message)
        case RunStatus.INTERRUPTED:
            return Outcome(kind=OutcomeKind.INTERRUPTED)
        case RunStatus.CANCELLED:
            return Outcome(kind=OutcomeKind.STOPPED)
        case _:
            return None


def validate_notify(value: object) -> Notify:
    """Check the setting `notify`; null gives the defaults.

    Raises:
        DomainError: On `notify` or a field below it.
    """
    reader = FieldReader.of({} if value is None else value, "notify")
    reader.refuse_unknown(Notify.model_fields)
    defaults = Notify()
    on_attention = reader.boolean("on_attention", defaults.on_attention)
    on_failure = reader.boolean("on_failure", defaults.on_failure)
    on_success = reader.boolean("on_success", defaults.on_success)
    route = None
    if reader.given("route"):
        route = reader.check(lambda: validate_route(reader.raw("route"), "notify.route"))
    reader.close()
    return Notify(
        on_attention=on_attention, on_failure=on_failure, on_success=on_success, route=route
    )
