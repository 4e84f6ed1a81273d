"""Made-up requests for every operation that the description names: no answer is a fault.

`TICKLESS_FUZZ_EXAMPLES` is the number of requests for each operation, `TICKLESS_FUZZ_FLOWS` that of
walks along the links; a fuzz run sets them higher.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.support.gateway import API, GatewayUnderTest, gateway_under_test
from tests.support.harness import Harness, until

EXAMPLES = int(os.environ.get("TICKLESS_FUZZ_EXAMPLES", "15"))
FLOWS = int(os.environ.get("TICKLESS_FUZZ_FLOWS", "5"))
STEPS = 6
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
    ignored_auth,
]
QUIET: Any = {
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
    "phases": [Phase.explicit, Phase.generate],
    "print_blob": True,
    # The same requests each time; a fuzz run asks for others.
    "derandomize": "TICKLESS_FUZZ_EXAMPLES" not in os.environ,
}


@pytest.fixture(scope="module")
async def gateway(harness: Harness) -> AsyncIterator[GatewayUnderTest]:
    async with gateway_under_test(harness, "gateway-openapi") as running:
        async with running.client() as http:

            async def ready() -> bool:
                return (await http.get("/readyz")).status_code == 200

            # 503 is no fault there, but made-up requests should not have to know.
            await until(ready, "the workers poll")
        yield running


@pytest.fixture(scope="module")
async def schema(gateway: GatewayUnderTest) -> Any:
    async with gateway.client() as http:
        described = (await http.get(f"{API}/openapi.json")).json()
    config = SchemathesisConfig.from_dict({})
    found = schemathesis.openapi.from_dict(described, config=config)
    found.config.update(base_url=gateway.gateway.url)
    return found


def headers_of(gateway: GatewayUnderTest, owner: str) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {gateway.secrets['admin']}",
        "X-Tickless-Actor-User-Id": owner,
    }


async def test_every_operation_withstands_made_up_requests(
    schema: Any, gateway: GatewayUnderTest, harness: Harness
) -> None:
    headers = headers_of(gateway, harness.name())
    asked = 0

    def ask(operation: Any, known: dict[str, str]) -> Callable[[], None]:
        @settings(max_examples=EXAMPLES, **QUIET)
        @given(data=st.data())
        def fuzz(data: st.DataObject) -> None:
            nonlocal asked
            negative = data.draw(st.booleans())
            mode = (
                schemathesis.GenerationMode.NEGATIVE
                if negative
                else schemathesis.GenerationMode.POSITIVE
            )
            case = data.draw(operation.as_strategy(generation_mode=mode))
            if case.headers:
                # Whoever else asks has no routines; what is broken shows all the same.
                case.headers.pop("X-Tickless-Actor-User-Id", None)
            if case.query and "wait" in case.query:
                case.query.pop("wait")
            if case.path_parameters and data.draw(st.booleans()):
                # Most made-up ids are those of nothing.
                case.path_parameters.update(
                    {name: known[name] for name in case.path_parameters if name in known}
                )
            answer = case.call(headers=headers)
            case.validate_response(answer, checks=CHECKS, headers=headers)
            asked += 1

        return fuzz

    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) >= 18
    async with gateway.client(**headers) as http:
        for operation in operations:
            await everything_goes_on(gateway)
            known = await something_known(http, harness)
            await asyncio.to_thread(ask(operation, known))
    assert asked >= len(operations) * min(EXAMPLES, 5)
    await everything_goes_on(gateway)


async def test_every_operation_does_what_its_example_asks(
    gateway: GatewayUnderTest, harness: Harness
) -> None:
    async with gateway.client(**headers_of(gateway, harness.name())) as http:
        described = (await http.get(f"{API}/openapi.json")).json()
        models = described["components"]["schemas"]
        ours = {path: found for path, found in described["paths"].items() if not _signed(path)}
        for path, operations in ours.items():
            for method, operation in operations.items():
                await everything_goes_on(gateway)
                known = await something_known(http, harness)
                body: Any = None
                for content in operation.get("requestBody", {}).get("content", {}).values():
                    body = models[content["schema"]["$ref"].rpartition("/")[2]]["examples"][0]
                if operation["operationId"] == "createRoutine":
                    body = {**body, "id": harness.name()}
                quoted = {name: quote(value, safe="") for name, value in known.items()}
                answer = await http.request(method, path.format(**quoted), json=body)
                assert answer.is_success, f"{method} {path}: {answer.text}"
                assert str(answer.status_code) in operation["responses"], f"{method} {path}"
    await everything_goes_on(gateway)


async def test_walks_along_the_links_meet_no_fault(
    schema: Any, gateway: GatewayUnderTest, harness: Harness
) -> None:
    headers = headers_of(gateway, harness.name())
    machine: Any = schema.as_state_machine()

    class Walk(machine):  # type: ignore[misc]
        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"headers": headers}

        def before_call(self, case: Any) -> None:
            if case.query and "wait" in case.query:
                case.query.pop("wait")

        def validate_response(self, response: Any, case: Any, **_: Any) -> None:
            case.validate_response(response, checks=CHECKS[:5], headers=headers)

    profile = settings(max_examples=FLOWS, stateful_step_count=STEPS, **QUIET)
    await asyncio.to_thread(Walk.run, settings=profile)
    await everything_goes_on(gateway)


def _signed(path: str) -> bool:
    """Whether an address takes signed bodies of others in place of tokens and JSON of ours."""
    return path.startswith("/api/webhooks/")


async def something_known(http: httpx.AsyncClient, harness: Harness) -> dict[str, str]:
    """A routine and a run that exist."""
    name = harness.name()
    body = {"id": name, "prompt": "Do it.", "schedule": {"cron_expr": "0 9 * * *"}}
    assert (await http.post(f"{API}/routines", json=body)).status_code == 201
    started = await http.post(f"{API}/routines/{name}/trigger", params={"wait": "30s"})
    return {"routine_id": name, "run_id": started.json()["run_id"]}


async def everything_goes_on(gateway: GatewayUnderTest) -> None:
    """Undo a pause that was among the made-up requests, for the tests that follow."""
    async with gateway.client() as http:
        answer: httpx.Response = await http.post(f"{API}/system/resume")
        assert answer.status_code == 200, answer.text
