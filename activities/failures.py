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
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.exceptions import TimeoutError as ActivityTimeout

from domain.fallback import FailureClass
from domain.redaction import redact_text
from domain.runs import RunStatus

MODEL_FAILOVER: Final = "model_failover"
MODEL_RETRY: Final = "model_retry"
MODEL_REFUSED: Final = "model_refused"
CONTEXT_OVERFLOW: Final = "context_overflow"
EMPTY_REPLY: Final = "empty_reply"
RUN_TIMED_OUT: Final = "run_timed_out"
PROMPT_REFUSED: Final = "prompt_refused"
SYSTEM_PAUSED: Final = "system_paused"
BUDGET_EXCEEDED: Final = "budget_exceeded"
DELIVERY_REFUSED: Final = "delivery_refused"
DELIVERY_UNKNOWN: Final = "delivery_unknown"
STORE_FAILED: Final = "store_failed"
ENTITY_SILENT: Final = "entity_silent"
SESSION_LOST: Final = "session_lost"

Detail = TypeVar("Detail", bound=BaseModel)


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
        # A run ends, a job and a goal wait for a person; `BudgetRefusal` says which budget it was.
        BUDGET_EXCEEDED: Reaction.FAIL,
        # The outbox knows; the run goes on.
        DELIVERY_REFUSED: Reaction.RECORD,
        DELIVERY_UNKNOWN: Reaction.RECORD,
        # Raised as `activities.store.StoreError`.
        STORE_FAILED: Reaction.FAIL,
        # The entity has no worker or is busy: the same question again, as a normal activity.
        ENTITY_SILENT: Reaction.ASK_AGAIN,
        # The result of a job waits for the session once more, and is said then.
        SESSION_LOST: Reaction.ASK_AGAIN,
    }
)


class Overflow(BaseModel):
    """A prompt that a provider refused as too long; null is what it did not say.

    Attributes:
        prompt_tokens: Our estimate of it: the next prompt has to be smaller.
        window_tokens: The model's window, as the provider says.
        requested_tokens: What it counted.
    """

    model_config = ConfigDict(frozen=True)

    prompt_tokens: int
    window_tokens: int | None = None
    requested_tokens: int | None = None


class BudgetRefusal(BaseModel):
    """Why a call may not be made: a detail of `budget_exceeded`.

    Attributes:
        scope: The budget: `run`, `routine_day`, `deployment_day`, or `max_tokens_total`.
        reason: `budget`, `unknown_price`, or `tokens`.
        key: Names the budget among those of its scope.
        day: The calendar day, of a budget that has one.
        limit: In micros of USD, or tokens.
        used: What is spent and reserved.
    """

    model_config = ConfigDict(frozen=True)

    scope: str
    reason: str
    key: str
    day: str | None = None
    limit: int
    used: int


class ModelFailure(BaseModel):
    """A model call that failed: a detail of its `ApplicationError`.

    Attributes:
        model: The model's name.
        provider: The provider's name; `provider/model` is the key that cools down.
        failure_class: Why it failed.
        message: What the provider said, without secrets.
        status_text: The same for a person.
        cooldown_seconds: How long this model is not to be called, on a change of model.
        last: Whether no other model of the chain could have been called.
        overflow: The prompt that was too long, with `context_overflow`.
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
    overflow: Overflow | None = None
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
    return _detail_of(error, ModelFailure)


def budget_refusal_of(error: BaseException) -> BudgetRefusal | None:
    """Which budget refused a call; null for every other error."""
    return _detail_of(error, BudgetRefusal)


def run_failure(error: ActivityError, timeout_text: str) -> tuple[RunStatus, str]:
    """How a run ends whose model call failed, in the words of whoever knows best, masked.

    Args:
        error: The failed call.
        timeout_text: What is said when the run's time was up.
    """
    failure, cause = model_failure_of(error), error.cause
    if isinstance(cause, ActivityTimeout):
        return RunStatus.TIMED_OUT, timeout_text
    if not isinstance(cause, ApplicationError):
        return RunStatus.FAILED, redact_text(str(cause or error))
    if cause.type == RUN_TIMED_OUT:
        return RunStatus.TIMED_OUT, timeout_text
    if failure is not None and failure.status_text:
        return RunStatus.FAILED, redact_text(f"{failure.status_text} ({cause.message})")
    return RunStatus.FAILED, redact_text(cause.message)


def _detail_of(error: BaseException, kind: type[Detail]) -> Detail | None:
    found = application_error_of(error)
    for detail in found.details if found else ():
        try:
            return kind.model_validate(detail)
        except ValidationError:
            continue
    return None
