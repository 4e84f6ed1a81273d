"""Routines over HTTP: every address, its answer and code, and what bad input is told."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.gateway import API, GatewayUnderTest, assert_problem, gateway_under_test
from tests.support.harness import Harness

ROUTINES = f"{API}/routines"
MANUAL = {"prompt": "Do it.", "trigger": {"type": "manual"}}


@pytest.fixture(scope="module")
async def gateway(harness: Harness) -> AsyncIterator[GatewayUnderTest]:
    async with gateway_under_test(harness, "gateway-routines") as running:
        yield running


@pytest.fixture
async def http(gateway: GatewayUnderTest) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway.client() as client:
        yield client


async def _created(http: httpx.AsyncClient, harness: Harness, **body: Any) -> str:
    name = harness.name()
    answer = await http.post(ROUTINES, json={**MANUAL, "id": name, **body})
    assert answer.status_code == 201, answer.text
    return name


async def test_the_life_of_a_routine(http: httpx.AsyncClient, harness: Harness) -> None:
    name = harness.name()
    body = {"id": name, "prompt": "Say hello.", "schedule": {"cron_expr": "0 9 * * 1-5"}}
    created = await http.post(ROUTINES, json=body)
    assert created.status_code == 201
    assert created.headers["location"] == f"{ROUTINES}/{name}"
    assert created.headers["etag"] == '"0"'
    routine = created.json()["routine"]
    assert routine["id"] == name
    assert routine["next_run_at"].endswith("Z")
    assert routine["scope"] == {"kind": "user", "id": "me"}

    got = await http.get(f"{ROUTINES}/{name}")
    assert got.status_code == 200
    assert got.json()["routine"] == routine
    listed = (await http.get(ROUTINES, params={"limit": 200})).json()
    assert listed["count"] == len(listed["routines"])
    assert name in [item["id"] for item in listed["routines"]]

    paused = await http.post(f"{ROUTINES}/{name}/pause")
    assert (paused.status_code, paused.json()["routine"]["status"]) == (200, "paused")
    resumed = await http.post(f"{ROUTINES}/{name}/resume", json={})
    assert (resumed.status_code, resumed.json()["routine"]["status"]) == (200, "active")
    deleted = await http.delete(f"{ROUTINES}/{name}")
    assert (deleted.status_code, deleted.json()["routine"]["status"]) == (200, "deleted")
    restored = await http.patch(f"{ROUTINES}/{name}", json={"status": "active"})
    assert (restored.status_code, restored.json()["routine"]["status"]) == (200, "active")
    purged = await http.delete(f"{ROUTINES}/{name}?purge=true")
    assert purged.status_code == 200
    assert_problem(await http.get(f"{ROUTINES}/{name}"), 404, "not_found", "id")


async def test_a_routine_without_a_name_gets_one(http: httpx.AsyncClient) -> None:
    answer = await http.post(ROUTINES, json=MANUAL)
    assert answer.status_code == 201
    assert answer.json()["id"].startswith("routine_")


async def test_a_repeated_creation_is_the_same_routine(http: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "k1"}
    first = await http.post(ROUTINES, json=MANUAL, headers=key)
    again = await http.post(ROUTINES, json=MANUAL, headers=key)
    assert first.json()["id"] == again.json()["id"]
    other = await http.post(ROUTINES, json={**MANUAL, "title": "x"}, headers=key)
    assert_problem(other, 409, "conflict", "idempotency_key", "idempotency_key")
    for bad in ("", "x" * 256):
        answer = await http.post(ROUTINES, json=MANUAL, headers={"Idempotency-Key": bad})
        assert_problem(answer, 400, "invalid_field", "idempotency_key", "255")


async def test_a_name_that_is_taken(http: httpx.AsyncClient, harness: Harness) -> None:
    name = await _created(http, harness)
    answer = await http.post(ROUTINES, json={**MANUAL, "id": name})
    assert_problem(answer, 409, "conflict", "id", name)


@pytest.mark.parametrize("media_type", ["application/json", "application/merge-patch+json"])
async def test_a_patch_is_a_merge_patch(
    http: httpx.AsyncClient, harness: Harness, media_type: str
) -> None:
    name = await _created(http, harness, title="old", max_runs=3)
    answer = await http.patch(
        f"{ROUTINES}/{name}",
        content=json.dumps({"title": None, "max_runs": 5}),
        headers={"Content-Type": media_type},
    )
    assert answer.status_code == 200, answer.text
    assert (answer.json()["routine"]["title"], answer.json()["routine"]["max_runs"]) == ("", 5)
    assert answer.headers["etag"] == '"1"'


async def test_a_patch_of_another_kind_is_refused(
    http: httpx.AsyncClient, harness: Harness
) -> None:
    name = await _created(http, harness)
    for media_type in ("text/plain", "application/json-patch+json", "application/json;charset=x"):
        answer = await http.patch(
            f"{ROUTINES}/{name}", content="{}", headers={"Content-Type": media_type}
        )
        assert_problem(
            answer,
            415,
            "unsupported_media_type",
            "content_type",
            "application/merge-patch+json",
            "application/json",
        )


async def test_a_change_may_name_the_revision_it_expects(
    http: httpx.AsyncClient, harness: Harness
) -> None:
    name = await _created(http, harness)
    address = f"{ROUTINES}/{name}"
    assert (await http.patch(address, json={"title": "a"}, headers={"If-Match": '"0"'})).is_success
    late = await http.patch(address, json={"title": "b"}, headers={"If-Match": "0"})
    assert_problem(late, 409, "conflict", "revision", "1")
    late = await http.patch(address, json={"title": "b", "if_revision": 0})
    assert_problem(late, 409, "conflict", "revision", "1")
    late = await http.post(f"{address}/pause", headers={"If-Match": '"0"'})
    assert_problem(late, 409, "conflict", "revision", "1")
    paused = await http.post(f"{address}/pause", headers={"If-Match": '"1"'})
    assert paused.json()["routine"]["status"] == "paused"
    resumed = await http.post(f"{address}/resume", headers={"If-Match": 'W/"2"'})
    assert resumed.json()["routine"]["status"] == "active"
    bad = await http.patch(address, json={}, headers={"If-Match": "yesterday"})
    assert_problem(bad, 400, "invalid_field", "if_match", "revision")
    twice = await http.patch(address, json={"if_revision": 2}, headers={"If-Match": "3"})
    assert_problem(twice, 400, "invalid_field", "if_revision", "2", "3")
    bad = await http.delete(address, headers={"If-Match": "3"})
    assert_problem(bad, 400, "invalid_field", "if_match", "patch")


async def test_pages_of_a_list(gateway: GatewayUnderTest, harness: Harness) -> None:
    owner = harness.name()
    async with gateway.client(X_Tickless_Actor_User_Id=owner) as http:
        names = [await _created(http, harness) for _ in range(5)]
        await http.post(f"{ROUTINES}/{names[0]}/pause")
        found: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = (await http.get(ROUTINES, params={"limit": 2, **cursor})).json()
            found += [item["id"] for item in page["routines"]]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert found == names[::-1]

        async def paused_are_listed() -> list[str]:
            page = (await http.get(ROUTINES, params={"status": "paused"})).json()
            return [item["id"] for item in page["routines"]]

        async with asyncio.timeout(10):
            while await paused_are_listed() != names[:1]:  # noqa: ASYNC110 - visibility follows
                await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("query", "kind", "field", "contains"),
    [
        ("status=x", "invalid_field", "status", ["active", "paused", "deleted", "all"]),
        ("status=completed", "invalid_field", "status", ["active", "paused", "deleted", "all"]),
        ("limit=0", "invalid_field", "limit", ["1", "200"]),
        ("limit=201", "invalid_field", "limit", ["1", "200"]),
        ("limit=-1", "invalid_field", "limit", ["1", "200"]),
        ("limit=ten", "invalid_field", "limit", ["1", "200"]),
        ("cursor=nonsense", "invalid_field", "cursor", ["next_cursor"]),
        ("limit=1&limit=2", "invalid_field", "limit", ["more than once"]),
        ("satus=active", "unknown_field", "satus", ["status", "limit", "cursor"]),
    ],
)
async def test_bad_queries(
    http: httpx.AsyncClient, query: str, kind: str, field: str, contains: list[str]
) -> None:
    assert_problem(await http.get(f"{ROUTINES}?{query}"), 400, kind, field, *contains)


@pytest.mark.parametrize(
    ("body", "kind", "field", "contains"),
    [
        ({"trigger": {"type": "manual"}}, "missing_field", "prompt", ["prompt"]),
        ({"prompt": "x"}, "missing_field", "schedule", ["every_seconds", "cron_expr", "run_at"]),
        (
            {"prompt": "x", "schedule": {"every_seconds": 59}},
            "invalid_field",
            "schedule.every_seconds",
            ["60", "31536000"],
        ),
        (
            {"prompt": "x", "schedule": {"every_seconds": True}},
            "invalid_field",
            "schedule.every_seconds",
            ["integer"],
        ),
        ({"prompt": "x", "cron": "* * * * *"}, "unknown_field", "cron", ["schedule.cron_expr"]),
        ({**MANUAL, "max_runs": -1}, "invalid_field", "max_runs", [">= 0"]),
        ({**MANUAL, "title": "x" * 201}, "invalid_field", "title", ["200"]),
        ({**MANUAL, "id": "Not A Name"}, "invalid_field", "id", ["a-z"]),
        ({**MANUAL, "id": 5}, "invalid_field", "id", ["5"]),
    ],
)
async def test_bad_routines(
    http: httpx.AsyncClient, body: dict[str, Any], kind: str, field: str, contains: list[str]
) -> None:
    assert_problem(await http.post(ROUTINES, json=body), 400, kind, field, *contains)


async def test_all_that_is_wrong_is_told_at_once(http: httpx.AsyncClient) -> None:
    answer = await http.post(ROUTINES, json={**MANUAL, "max_runs": -1, "title": "x" * 201})
    problem = assert_problem(answer, 400, "invalid_field", "title")
    assert [item["field"] for item in problem["errors"]] == ["title", "max_runs"]


async def test_bad_changes(http: httpx.AsyncClient, harness: Harness) -> None:
    name = await _created(http, harness)
    address = f"{ROUTINES}/{name}"
    answer = await http.patch(address, json={"run_count": 7})
    assert_problem(answer, 400, "invalid_field", "run_count", "prompt")
    answer = await http.patch(address, json={"status": "done"})
    assert_problem(answer, 400, "invalid_field", "status", "active", "paused", "deleted")
    for verb in ("pause", "resume", "trigger"):
        answer = await http.post(f"{address}/{verb}", json={"because": 1})
        assert_problem(answer, 400, "unknown_field", "because")
    answer = await http.post(f"{address}/trigger", json={"force": "yes"})
    assert_problem(answer, 400, "invalid_field", "force")
    answer = await http.delete(f"{address}?purge=perhaps")
    assert_problem(answer, 400, "invalid_field", "purge", "true or false")
    await http.delete(address)
    answer = await http.patch(address, json={"prompt": "x"})
    assert_problem(answer, 409, "conflict", "status", "deleted", "restore")


async def test_routines_of_another_scope_are_unknown(
    gateway: GatewayUnderTest, http: httpx.AsyncClient, harness: Harness
) -> None:
    name = await _created(http, harness)
    async with gateway.client(X_Tickless_Actor_User_Id="somebody") as stranger:
        for answer in (
            await stranger.get(f"{ROUTINES}/{name}"),
            await stranger.patch(f"{ROUTINES}/{name}", json={"title": "x"}),
            await stranger.delete(f"{ROUTINES}/{name}"),
            await stranger.post(f"{ROUTINES}/{name}/pause"),
            await stranger.post(f"{ROUTINES}/{name}/resume"),
            await stranger.post(f"{ROUTINES}/{name}/trigger"),
            await stranger.get(f"{ROUTINES}/{name}/runs"),
        ):
            assert assert_problem(answer, 404, "not_found", "id")["detail"] == name


@pytest.mark.parametrize("name", ["nobody", "UPPER", "%00", "a%20b", "x" * 3000, "%ff", "ä", "a:b"])
async def test_what_can_be_no_id_is_unknown_too(http: httpx.AsyncClient, name: str) -> None:
    assert_problem(await http.get(f"{ROUTINES}/{name}"), 404, "not_found", "id")
