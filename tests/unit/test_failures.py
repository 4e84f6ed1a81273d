"""What a workflow can read from an activity's error, after it has crossed the wire."""

from temporalio.api.failure.v1 import Failure
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ActivityError, ApplicationError, RetryState

from activities import failures
from activities.failures import ModelFailure, Reaction, application_error_of, model_failure_of
from domain.fallback import FailureClass

FAILURE = ModelFailure(
    model="small",
    provider="local",
    failure_class=FailureClass.RATE_LIMIT,
    message="429",
    cooldown_seconds=30,
    tokens_in=None,
    tokens_out=3,
)


def sent(error: ApplicationError) -> BaseException:
    """The error as it arrives on the other side."""
    converter = pydantic_data_converter
    failure = Failure()
    converter.failure_converter.to_failure(error, converter.payload_converter, failure)
    return converter.failure_converter.from_failure(failure, converter.payload_converter)


def in_workflow(error: BaseException) -> ActivityError:
    activity_error = ActivityError(
        "activity failed",
        scheduled_event_id=1,
        started_event_id=2,
        identity="w",
        activity_type="call_model",
        activity_id="1",
        retry_state=RetryState.NON_RETRYABLE_FAILURE,
    )
    activity_error.__cause__ = error
    return activity_error


def test_every_type_has_a_reaction() -> None:
    types = {
        value for name, value in vars(failures).items() if name.isupper() and name != "REACTIONS"
    }
    assert types == set(failures.REACTIONS)
    assert failures.REACTIONS[failures.MODEL_FAILOVER] is Reaction.CALL_NEXT_MODEL


def test_a_model_failure_survives_the_wire() -> None:
    error = ApplicationError("it failed", "first", FAILURE, type=failures.MODEL_FAILOVER)
    assert model_failure_of(error) == FAILURE
    arrived = in_workflow(sent(error))
    assert model_failure_of(arrived) == FAILURE
    found = application_error_of(arrived)
    assert found is not None
    assert found.type == failures.MODEL_FAILOVER
    assert FAILURE.key == "local/small"


def test_other_errors_are_no_model_failures() -> None:
    assert model_failure_of(in_workflow(TimeoutError("late"))) is None
    assert model_failure_of(ApplicationError("it failed", {"offset": 1}, type="other")) is None
    assert application_error_of(RuntimeError("no")) is None
