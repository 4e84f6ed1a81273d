"""Made-up requests for every operation that the description names: no answer is a fault.

`TICKLESS_FUZZ_CASES` is the number of requests, shared by all operations, `TICKLESS_FUZZ_FLOWS`
that of walks along the links; a fuzz run sets them higher. The report says how many were made.
"""

import asyncio
import math
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
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

from activities.store import open_store
from domain.scopes import Route
from tests.support.gateway import API, GatewayUnderTest, gateway_under_test
from tests.support.harness import Harness, until
from tests.support.jobs import calls
from tests.support.ledger_rows import delivery, run_record
from tests.support.model_steps import Hang

CASES = int(os.environ.get("TICKLESS_FUZZ_CASES", "800"))
FLOWS = int(os.environ.get("TICKLESS_FUZZ_FLOWS", "20"))
STEPS = 6
# Told until the reader closes, unless it asks for less.
ENDLESS = {"watchSession"}
ENDED = {"for": "0s"}
OWNER = "X-Tickless-Actor-User-Id"
GOAL = f"{API}/goal"
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
    "derandomize": "TICKLESS_FUZZ_CASES" not in os.environ,
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


@dataclass
class Fuzzed:
    """What came of the requests for one operation."""

    asked: int = 0
    broken: list[Exception] = field(default_factory=list)


def headers_of(gateway: GatewayUnderTest, owner: str) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {gateway.secrets['admin']}",
        OWNER: owner,
    }


@pytest.mark.timeout(300 + CASES)
async def test_every_operation_withstands_made_up_requests(
    schema: Any,
    gateway: GatewayUnderTest,
    harness: Harness,
    record_property: Callable[[str, object], None],
) -> None:
    headers = headers_of(gateway, harness.name())
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) >= 18
    # Those with nothing to make up are through with one request; others make up for them.
    operations.sort(key=_has_input)
    asked, broken = 0, list[Exception]()
    async with gateway.client(**headers) as http:
        known = await something_known(http, harness)
        for place, operation in enumerate(operations):
            known = await something_known(http, harness, known)
            if operation.path.startswith(GOAL):
                await a_goal(http, harness)
            share = math.ceil((CASES - asked) / (len(operations) - place))
            found = await asyncio.to_thread(_fuzz, operation, known, headers, share)
            asked += found.asked
            broken += found.broken
            await everything_goes_on(gateway)
        await http.delete(GOAL)
    record_property("made-up requests", asked)
    record_property("operations", len(operations))
    if broken:
        raise ExceptionGroup(f"{asked} made-up requests", broken)
    assert asked >= CASES


def _has_input(operation: Any) -> bool:
    return bool(list(operation.body)) or any(
        found
        for place in (operation.path_parameters, operation.query, operation.headers)
        for found in place
        if found.name != OWNER
    )


def _fuzz(operation: Any, known: dict[str, str], headers: dict[str, str], share: int) -> Fuzzed:
    """Make that many requests up for an operation, fewer when one of them breaks it."""
    # Made once: what a strategy has found out about itself is kept with it.
    right, wrong = (
        operation.as_strategy(generation_mode=mode)
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
    )
    result = Fuzzed()

    @settings(max_examples=share, **QUIET)
    @given(data=st.data())
    def fuzz(data: st.DataObject) -> None:
        case = data.draw(wrong if data.draw(st.booleans()) else right)
        if case.headers:
            # Whoever else asks has no routines; what is broken shows all the same.
            case.headers.pop(OWNER, None)
        if case.query:
            case.query.pop("wait", None)
        if operation.definition.raw["operationId"] in ENDLESS:
            case.query = {**(case.query or {}), **ENDED}
        if case.path_parameters and data.draw(st.booleans()):
            # Most made-up ids are those of nothing.
            case.path_parameters.update(
                {name: known[name] for name in case.path_parameters if name in known}
            )
        # Longer than the gateway itself waits for anything.
        answer = case.call(headers=headers, timeout=60)
        case.validate_response(answer, checks=CHECKS, headers=headers)
        result.asked += 1

    try:
        fuzz()
    except Exception as error:
        result.broken.append(error)
    return result


async def test_every_operation_does_what_its_example_asks(
    gateway: GatewayUnderTest, harness: Harness
) -> None:
    async with gateway.client(**headers_of(gateway, harness.name())) as http:
        described = (await http.get(f"{API}/openapi.json")).json()
        models = described["components"]["schemas"]
        ours = {path: found for path, found in described["paths"].items() if not _signed(path)}
        known = await something_known(http, harness)
        for path, operations in ours.items():
            for method, operation in operations.items():
                await everything_goes_on(gateway)
                known = await something_known(http, harness, known)
                body: Any = None
                for content in operation.get("requestBody", {}).get("content", {}).values():
                    body = models[content["schema"]["$ref"].rpartition("/")[2]]["examples"][0]
                if operation["operationId"] == "createRoutine":
                    body = {**body, "id": harness.name()}
                if operation["operationId"] == "createGoal":
                    await http.delete(GOAL)
                elif path.startswith(GOAL):
                    await a_goal(http, harness)
                quoted = {name: quote(value, safe="") for name, value in known.items()}
                query = ENDED if operation["operationId"] in ENDLESS else {}
                answer = await http.request(method, path.format(**quoted), json=body, params=query)
                assert answer.is_success, f"{method} {path}: {answer.text}"
                assert str(answer.status_code) in operation["responses"], f"{method} {path}"
        await http.delete(GOAL)
    await everything_goes_on(gateway)


async def test_walks_along_the_links_meet_no_fault(
    schema: Any,
    gateway: GatewayUnderTest,
    harness: Harness,
    record_property: Callable[[str, object], None],
) -> None:
    headers = headers_of(gateway, harness.name())
    asked = 0
    machine: Any = schema.as_state_machine()

    class Walk(machine):  # type: ignore[misc]
        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"headers": headers, "timeout": 60}

        def before_call(self, case: Any) -> None:
            if case.query and "wait" in case.query:
                case.query.pop("wait")

        def validate_response(self, response: Any, case: Any, **_: Any) -> None:
            nonlocal asked
            asked += 1
            case.validate_response(response, checks=CHECKS[:5], headers=headers)

    profile = settings(max_examples=FLOWS, stateful_step_count=STEPS, **QUIET)
    await asyncio.to_thread(Walk.run, settings=profile)
    record_property("steps along the links", asked)
    assert asked >= FLOWS
    await everything_goes_on(gateway)


def _signed(path: str) -> bool:
    """Whether an address takes signed bodies of others in place of tokens and JSON of ours."""
    return path.startswith("/api/webhooks/")


async def something_known(
    http: httpx.AsyncClient, harness: Harness, before: dict[str, str] | None = None
) -> dict[str, str]:
    """Things that exist; routine and run those of before, unless the routine is gone or paused."""
    owner = http.headers["X-Tickless-Actor-User-Id"]
    fresh = {
        "delivery_id": await something_unknown(harness, f"user:{owner}"),
        **await something_asked(http, harness, before),
    }
    if before:
        answer = await http.get(f"{API}/routines/{before['routine_id']}")
        if answer.is_success and answer.json()["routine"]["status"] == "active":
            return {**before, **fresh}
    name = harness.name()
    body = {"id": name, "prompt": "Do it.", "schedule": {"cron_expr": "0 9 * * *"}}
    assert (await http.post(f"{API}/routines", json=body)).status_code == 201
    started = await http.post(f"{API}/routines/{name}/trigger", params={"wait": "30s"})
    message = {"text": "Hello.", "message_id": name}
    sent = await http.post(f"{API}/sessions/{name}/messages", json=message)
    assert sent.status_code == 202, sent.text
    run_id = started.json()["run_id"]
    return {"routine_id": name, "run_id": run_id, "key": name, "message_id": name, **fresh}


async def something_asked(
    http: httpx.AsyncClient, harness: Harness, before: dict[str, str] | None
) -> dict[str, str]:
    """A job that waits for a person, and what it waits for; those of before while they wait."""
    if before:
        job = await http.get(f"{API}/jobs/{before['job_id']}")
        approval = await http.get(f"{API}/approvals/{before['approval_id']}")
        open_ones = {"pending", "running", "paused", "waiting_approval"}
        if job.json()["status"] in open_ones and approval.json()["status"] == "pending":
            return {name: before[name] for name in ("job_id", "approval_id")}
    mark = harness.name()
    harness.scripts.on(mark, calls(("file_write", '{"path": "a.txt", "content": "x"}')))
    body = {"title": "Asks", "description": f"Do {mark}."}
    job_id = (await http.post(f"{API}/jobs", json=body)).json()["job_id"]
    found: list[str] = []

    async def asked() -> bool:
        listed = (await http.get(f"{API}/approvals", params={"status": "pending"})).json()
        found[:] = [item["id"] for item in listed["approvals"] if item["job_id"] == job_id]
        return bool(found)

    await until(asked, "it asks for an approval")
    return {"job_id": job_id, "approval_id": found[0]}


async def a_goal(http: httpx.AsyncClient, harness: Harness) -> None:
    """A new goal whose first round is at work."""
    await http.delete(GOAL)
    mark = harness.name()
    harness.scripts.on(mark, Hang())
    created = await http.post(GOAL, json={"objective": mark})
    assert created.status_code == 201, created.text

    async def works() -> bool:
        return (await http.get(GOAL)).json()["goal"]["job_id"] is not None

    await until(works, "its first round is at work")


async def something_unknown(harness: Harness, scope: str) -> str:
    """A delivery of which nobody knows."""
    run = run_record(f"{harness.name()}/m-1")
    row = delivery(run_id=run.id, route=Route(receive_id_type="file"), scope=scope)
    async with await open_store(harness.environ["TICKLESS_STORE__URL"]) as store:
        await store.runs.put(run)
        await store.outbox.enqueue(row)
        await store.outbox.begin_attempt(row.occurrence_id, seen_attempts=0)
    return row.occurrence_id


async def everything_goes_on(gateway: GatewayUnderTest) -> None:
    """Undo a pause that was among the made-up requests, for the tests that follow."""
    async with gateway.client() as http:
        answer: httpx.Response = await http.post(f"{API}/system/resume")
        assert answer.status_code == 200, answer.text
