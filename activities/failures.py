"""How activities tell workflows what went wrong: error types and what comes with them.

Owns the types of the `ApplicationError`s that activities raise on purpose, the reaction each calls
for, and `ModelFailure`, the detail of every failed model call. Does not decide which failure is
which (`domain.fallback`), nor react (workflows).
Source: chat-policies.md §7, triggers-and-actions.md §5.

Invariants:
    1. Raiser and catcher use these constants; a type that is not in `REACTIONS` is a fault of ours.
    2. What a failed call used is never lost: it travels in the detail, unknown as null.
"""

from enum import StrEnum
from types import MappingProxyType
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.exceptions import TimeoutError as ActivityTimeout

from domain.fallback import FailureClass
from domain.runs import RunStatus

MODEL_FAILOVER: Final = "model_failover"
MODEL_RETRY: Final = "model_retry"
MODEL_REFUSED: Final = "model_refused"
CONTEXT_OVERFLOW: Final = "context_overflow"
EMPTY_REPLY: Final = "empty_reply"
RUN_TIMED_OUT: Final = "run_timed_out"
PROMPT_REFUSED: Final = "prompt_refused"
SYSTEM_PAUSED: Final = "system_paused"
DELIVERY_REFUSED: Final = "delivery_refused"
DELIVERY_UNKNOWN: Final = "delivery_unknown"
STORE_FAILED: Final = "store_failed"
ENTITY_SILENT: Final = "entity_silent"


class Reaction(StrEnum):
    """What a workflow does about an error that reached it."""

    CALL_NEXT_MODEL = "call_next_model"
    COMPACT = "compact"
    FAIL = "fail"
    TIME_OUT = "time_out"
    PARK = "park"
    RECORD = "record"
    ASK_AGAIN = "ask_again"


REACTIONS: Final = MappingProxyType(
    {
        # Another model can answer: call again at once, this one cools down.
        MODEL_FAILOVER: Reaction.CALL_NEXT_MODEL,
        # Shorten the conversation, then call again.
        CONTEXT_OVERFLOW: Reaction.COMPACT,
        # Everything that could be repeated was repeated by the time a workflow sees these.
        MODEL_RETRY: Reaction.FAIL,
        EMPTY_REPLY: Reaction.FAIL,
        # The request or the account is at fault: repeating it changes nothing.
        MODEL_REFUSED: Reaction.FAIL,
        PROMPT_REFUSED: Reaction.FAIL,
        RUN_TIMED_OUT: Reaction.TIME_OUT,
        # A person lets it go on.
        SYSTEM_PAUSED: Reaction.PARK,
        # The outbox knows; the run goes on.
        DELIVERY_REFUSED: Reaction.RECORD,
        DELIVERY_UNKNOWN: Reaction.RECORD,
        # Raised as `activities.store.StoreError`.
        STORE_FAILED: Reaction.FAIL,
        # The entity has no worker or is busy: the same question again, as a normal activity.
        ENTITY_SILENT: Reaction.ASK_AGAIN,
    }
)


class ModelFailure(BaseModel):
    """A model call that failed: the only detail of its `ApplicationError`.

    Attributes:
        model: The model's name.
        provider: The provider's name; `provider/model` is the key that cools down.
        failure_class: Why it failed.
        message: What the provider said, without secrets.
        status_text: The same for a person.
        cooldown_seconds: How long this model is not to be called, on a change of model.
        last: Whether no other model of the chain could have been called.
        tokens_in: Prompt tokens of all attempts of the activity; null when none of them is known.
        tokens_out: Answer tokens likewise.
        cost_micros: Cost likewise, in micros of USD.
        elapsed_seconds: Time spent in all attempts, without the waits between them.
        attempts: Number of the attempt that failed.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    provider: str
    failure_class: FailureClass = FailureClass.UNKNOWN
    message: str = ""
    status_text: str = ""
    cooldown_seconds: float = 0
    last: bool = False
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_micros: int | None = None
    elapsed_seconds: float = 0
    attempts: int = 1

    @property
    def key(self) -> str:
        """`provider/model`, as `CallModel.cooling` lists it."""
        return f"{self.provider}/{self.model}"


def application_error_of(error: BaseException) -> ApplicationError | None:
    """The `ApplicationError` that an activity raised, seen from the workflow that called it.

    Args:
        error: What the call raised: an `ActivityError` around it, or the error itself.
    """
    cause = error.cause if isinstance(error, ActivityError) else error
    return cause if isinstance(cause, ApplicationError) else None


def model_failure_of(error: BaseException) -> ModelFailure | None:
    """What a failed model call left behind; null for every other error."""
    found = application_error_of(error)
    for detail in found.details if found else ():
        try:
            return ModelFailure.model_validate(detail)
        except ValidationError:
            continue
    return None


def run_failure(error: ActivityError, timeout_text: str) -> tuple[RunStatus, str]:
    """How a run ends whose model call failed, in the words of whoever knows best.

    Args:
        error: The failed call.
        timeout_text: What is said when the run's time was up.
    """
    failure, cause = model_failure_of(error), error.cause
    if isinstance(cause, ActivityTimeout):
        return RunStatus.TIMED_OUT, timeout_text
    if not isinstance(cause, ApplicationError):
        return RunStatus.FAILED, str(cause or error)
    if cause.type == RUN_TIMED_OUT:
        return RunStatus.TIMED_OUT, timeout_text
    if failure is not None and failure.status_text:
        return RunStatus.FAILED, f"{failure.status_text} ({cause.message})"
    return RunStatus.FAILED, cause.message
