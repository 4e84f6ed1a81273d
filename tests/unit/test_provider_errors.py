"""The wording of a connection's timeout, which no server can be made to cause at will."""

import httpx2
from openai import APITimeoutError

from activities.provider_errors import classify
from domain.fallback import FailureClass
from domain.model_chain import ModelSpec


def test_a_connection_that_is_not_made_in_time_says_so() -> None:
    error = APITimeoutError(httpx2.Request("POST", "http://127.0.0.1/v1"))
    error.__cause__ = httpx2.ConnectTimeout("slow")
    found = classify(error, ModelSpec(name="m1", connect_timeout_seconds=3))
    assert found.message == "no connection within 3 s"
    assert found.decision.failure_class is FailureClass.TIMEOUT
