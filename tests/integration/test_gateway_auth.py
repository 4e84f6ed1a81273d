"""Tokens and scopes at a running gateway, and whom a caller may speak for."""

import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from client.gateway import running_gateway
from client.tokens import PREFIX
from domain.errors import DomainError, ErrorKind
from domain.goal_bodies import GoalVerb
from tests.support.gateway import (
    API,
    SCOPES,
    GatewayUnderTest,
    assert_problem,
    gateway_under_test,
)
from tests.support.harness import Harness, until
from tests.support.worker_process import tickless

ROUTINES = f"{API}/routines"
MANUAL = {"prompt": "Do it.", "trigger": {"type": "manual"}}
# Which scope each operation needs.
NEEDED = """
    read    GET     /approvals
    read    GET     /approvals/{approval_id}
    approve POST    /approvals/{approval_id}/decision
    approve POST    /approvals/{approval_id}/extend
    read    GET     /cost
    read    GET     /deliveries
    read    GET     /deliveries/{delivery_id}
    run     POST    /deliveries/{delivery_id}/resend
    run     POST    /deliveries/{delivery_id}/resolve
    run     POST    /events
    read    GET     /goal
    run     POST    /goal
    run     DELETE  /goal
    admin   GET     /goals
    read    GET     /jobs
    run     POST    /jobs
    read    GET     /jobs/{job_id}
    read    GET     /jobs/{job_id}/actions
    run     POST    /jobs/{job_id}/cancel
    run     POST    /jobs/{job_id}/messages
    run     POST    /jobs/{job_id}/pause
    run     POST    /jobs/{job_id}/resume
    run     POST    /messages
    read    GET     /openapi.json
    read    GET     /routines
    run     POST    /routines
    read    GET     /routines/{routine_id}
    run     PATCH   /routines/{routine_id}
    run     DELETE  /routines/{routine_id}
    run     POST    /routines/{routine_id}/backfill
    run     POST    /routines/{routine_id}/pause
    run     POST    /routines/{routine_id}/resume
    read    GET     /routines/{routine_id}/runs
    run     POST    /routines/{routine_id}/trigger
    read    GET     /runs/{run_id}
    read    GET     /runs/{run_id}/actions
    run     POST    /runs/{run_id}/cancel
    read    GET     /runs/{run_id}/events
    read    POST    /schedules/preview
    read    GET     /sessions
    read    GET     /sessions/{key}
    read    GET     /sessions/{key}/events
    run     POST    /sessions/{key}/messages
    read    GET     /sessions/{key}/messages/{message_id}
    read    GET     /sessions/{key}/queue
    run     PATCH   /sessions/{key}/queue
    run     POST    /sessions/{key}/stop
    read    GET     /system
    admin   POST    /system/pause
    admin   POST    /system/resume
    read    GET     /tools
    admin   GET     /watchdog
"""
OPERATIONS = [
    *(
        (method, f"{API}{path}", scope)
        for scope, method, path in map(str.split, NEEDED.strip().splitlines())
    ),
    *(("POST", f"{API}/goal/{verb}", "run") for verb in GoalVerb),
]


@pytest.fixture(scope="module")
async def gateway(harness: Harness) -> AsyncIterator[GatewayUnderTest]:
    async with gateway_under_test(harness, "gateway-auth") as running:
        yield running


async def test_this_table_has_every_operation(gateway: GatewayUnderTest) -> None:
    async with gateway.client() as http:
        described = (await http.get(f"{API}/openapi.json")).json()
    found = {
        (method.upper(), path)
        for path, operations in described["paths"].items()
        for method in operations
        if path.startswith(API)
    }
    assert {(method, path) for method, path, _ in OPERATIONS} == found


@pytest.mark.parametrize(("method", "path", "needed"), OPERATIONS)
async def test_every_address_needs_its_scope(
    gateway: GatewayUnderTest, method: str, path: str, needed: str
) -> None:
    # Nothing is done: no body is one that would be accepted.
    path = re.sub(r"\{[a-z_]+\}", "x", path.replace("{run_id}", "x%2Fm-1"))
    async with gateway.client("") as http:
        answer = await http.request(method, path)
        assert_problem(answer, 401, "unauthenticated", "authorization", "Bearer")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        for scope in SCOPES:
            if scope in {needed, "admin"}:
                continue
            headers = {"Authorization": f"Bearer {gateway.secrets[scope]}"}
            answer = await http.request(method, path, headers=headers)
            assert_problem(answer, 403, "permission_denied", "scope", needed)


@pytest.mark.parametrize(
    "authorization",
    ["Bearer", "Bearer nonsense", f"Bearer {PREFIX}", f"Bearer {PREFIX}00_x", "Basic YTpi", "x"],
)
async def test_a_wrong_token_is_nobody(gateway: GatewayUnderTest, authorization: str) -> None:
    async with gateway.client("") as http:
        answer = await http.get(ROUTINES, headers={"Authorization": authorization})
        assert_problem(answer, 401, "unauthenticated", "authorization")


async def test_a_token_with_another_secret_is_nobody(gateway: GatewayUnderTest) -> None:
    right = gateway.secrets["read"]
    wrong = right[:-1] + ("A" if right[-1] != "A" else "B")
    async with gateway.client(wrong) as http:
        assert_problem(await http.get(ROUTINES), 401, "unauthenticated", "authorization")


async def test_a_token_does_not_belong_into_an_address(gateway: GatewayUnderTest) -> None:
    secret = gateway.secrets["admin"]
    for client in (gateway.client(""), gateway.client()):
        async with client as http:
            for query in (f"access_token={secret}", "token=x", f"cursor={secret}"):
                answer = await http.get(f"{ROUTINES}?{query}")
                assert_problem(answer, 401, "unauthenticated", "authorization", "address")
                assert secret not in answer.text


async def test_changes_of_the_file_count_within_a_second(
    gateway: GatewayUnderTest, harness: Harness
) -> None:
    environ = {"TICKLESS_GATEWAY__TOKENS_FILE": str(gateway.tokens.path)}
    code, out, err = await tickless(
        harness, "token", "create", "late", "--scope", "read", "-o", "table", environ=environ
    )
    assert code == 0, err
    secret = next(word for word in out.split() if word.startswith(PREFIX))
    async with gateway.client(secret) as http:
        assert (await http.get(ROUTINES)).status_code == 200
        code, _, err = await tickless(harness, "token", "revoke", "late", environ=environ)
        assert code == 0, err
        assert (await http.get(ROUTINES)).status_code == 401


async def test_a_token_expires(gateway: GatewayUnderTest) -> None:
    made = gateway.tokens.create(
        "short", ["read"], now=datetime.now(UTC), lifetime=timedelta(seconds=1)
    )
    async with gateway.client(made.token) as http:
        assert (await http.get(ROUTINES)).status_code == 200

        async def refused() -> bool:
            return (await http.get(ROUTINES)).status_code == 401

        await until(refused, "the token has expired", 10)


async def test_a_damaged_file_admits_nobody(harness: Harness) -> None:
    async with (
        gateway_under_test(harness, "gateway-damaged") as running,
        running.client() as http,
    ):
        running.tokens.path.write_text("{")
        answer = await http.get(ROUTINES)
        assert_problem(answer, 503, "unavailable", "gateway.tokens_file", "damaged")
        running.tokens.path.unlink()
        assert_problem(await http.get(ROUTINES), 401, "unauthenticated", "authorization")


async def test_others_can_reach_it_only_when_somebody_has_a_token(harness: Harness) -> None:
    section = harness.settings.gateway.model_copy(
        update={"port": 0, "host": "0.0.0.0", "tokens_file": harness.folder / "none.json"}
    )
    settings = harness.settings.model_copy(update={"gateway": section})
    with pytest.raises(DomainError) as caught:
        async with running_gateway(harness.client, settings, {}):
            pass
    assert caught.value.kind == ErrorKind.MISSING_FIELD
    assert caught.value.field == "gateway.tokens_file"
    assert "tickless token create" in caught.value.message


async def test_a_port_that_is_taken(gateway: GatewayUnderTest, harness: Harness) -> None:
    section = gateway.settings.gateway.model_copy(update={"port": gateway.gateway.port})
    with pytest.raises(DomainError) as caught:
        async with running_gateway(
            harness.client, harness.settings.model_copy(update={"gateway": section}), {}
        ):
            pass
    assert (caught.value.kind, caught.value.field) == (ErrorKind.CONFLICT, "gateway.port")


# ---- whom a caller speaks for


async def test_headers_say_who_asks(gateway: GatewayUnderTest, harness: Harness) -> None:
    owner = harness.name()
    headers = {
        "X_Tickless_Actor_Open_Id": owner,
        "X_Tickless_Receive_Id_Type": "ops",
        "X_Tickless_Receive_Id": "alerts",
    }
    async with gateway.client(**headers) as http:
        routine = (await http.post(ROUTINES, json=MANUAL)).json()["routine"]
    assert routine["creator"]["open_id"] == owner
    assert routine["scope"] == {"kind": "user", "id": owner}
    assert routine["route"] == {"receive_id_type": "ops", "receive_id": "alerts"}


@pytest.mark.parametrize(
    ("headers", "kind", "field"),
    [
        ({"X_Tickless_Actor": "x"}, "unknown_field", "x-tickless-actor"),
        ({"X_Tickless_Receive_Id": "x" * 600}, "invalid_field", "x-tickless-receive-id"),
        ({"X_Tickless_Receive_Id_Type": "ops"}, "missing_field", "receive_id"),
    ],
)
async def test_bad_headers(
    gateway: GatewayUnderTest, headers: dict[str, str], kind: str, field: str
) -> None:
    async with gateway.client(**headers) as http:
        assert_problem(await http.post(ROUTINES, json=MANUAL), 400, kind, field)


async def test_header_values_are_utf_8_and_given_once(gateway: GatewayUnderTest) -> None:
    name = b"x-tickless-actor-user-id"
    token = [(b"authorization", b"Bearer " + gateway.secrets["admin"].encode())]
    async with httpx.AsyncClient(base_url=gateway.gateway.url) as http:
        answer = await http.get(ROUTINES, headers=[*token, (name, b"\xff")])
        assert_problem(answer, 400, "invalid_field", name.decode(), "UTF-8")
        answer = await http.get(ROUTINES, headers=[*token, (name, b"a"), (name, b"b")])
        assert_problem(answer, 400, "invalid_field", name.decode(), "twice")
        answer = await http.get(ROUTINES, headers=[*token, (name, "jürgen".encode())])
        assert answer.status_code == 200


async def test_without_an_actor_nothing_is_done(harness: Harness) -> None:
    nobody = harness.settings.context.model_copy(update={"actor_user_id": ""})
    harness_settings = harness.settings.model_copy(update={"context": nobody})
    changed = Harness(**{**harness.__dict__, "settings": harness_settings})
    async with (
        gateway_under_test(changed, "gateway-nobody") as running,
        running.client() as http,
    ):
        answer = await http.get(ROUTINES)
        assert_problem(answer, 400, "missing_field", "actor", "actor_user_id", "actor_open_id")


async def test_automation_can_be_switched_off(harness: Harness) -> None:
    settings = harness.settings.model_copy(update={"allow_automation": False})
    changed = Harness(**{**harness.__dict__, "settings": settings})
    async with (
        gateway_under_test(changed, "gateway-off") as running,
        running.client() as http,
    ):
        answer = await http.get(ROUTINES)
        assert_problem(answer, 403, "automation_disabled", "allow_automation")


async def test_a_bound_token_speaks_for_one_actor(
    gateway: GatewayUnderTest, harness: Harness
) -> None:
    alice = harness.name()
    secret = gateway.token("read", "run", actor_open_id=alice)
    async with gateway.client(secret) as http:
        routine = (await http.post(ROUTINES, json=MANUAL)).json()["routine"]
        assert routine["scope"] == {"kind": "user", "id": alice}
        assert routine["creator"]["user_id"] == ""
        same = await http.get(ROUTINES, headers={"X-Tickless-Actor-Open-Id": alice})
        assert same.status_code == 200
        for header in ("X-Tickless-Actor-Open-Id", "X-Tickless-Actor-User-Id"):
            answer = await http.get(ROUTINES, headers={header: "me"})
            field = header.removeprefix("X-Tickless-").replace("-", "_").lower()
            assert_problem(answer, 403, "permission_denied", field, "token")


# ---- rates


async def test_a_client_may_ask_so_often_a_minute(harness: Harness) -> None:
    async with gateway_under_test(harness, "gateway-rates", requests_per_minute=5) as running:
        begun = time.monotonic()
        async with running.client(running.secrets["read"]) as http:
            for _ in range(5):
                assert (await http.get(f"{API}/system")).status_code == 200
            answer = await http.get(f"{API}/system")
            assert_problem(answer, 429, "rate_limited", "client", "5")
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert (await http.get("/healthz")).status_code == 200
        # Another token is another client; tries without one count by address.
        async with running.client(running.secrets["admin"]) as http:
            assert (await http.get(f"{API}/system")).status_code == 200
        async with running.client("") as http:
            codes = [(await http.get(f"{API}/system")).status_code for _ in range(6)]
        assert codes == [401] * 5 + [429]
        assert time.monotonic() - begun < 60
