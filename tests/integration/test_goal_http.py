"""`/api/v1/goal` and `/api/v1/goals`: create, read, change, delete; and what is refused."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from client import goals as client_goals
from domain.goal_bodies import GoalVerb
from tests.support.gateway import API, GatewayUnderTest, assert_problem, gateway_under_test
from tests.support.goal_setters import goal_setter
from tests.support.goals import rests
from tests.support.harness import Harness, running_harness, running_server, until
from tests.support.jobs import said

GOAL, GOALS = f"{API}/goal", f"{API}/goals"
# Bodies that are wrong, and the problem that tells so.
WRONG: list[tuple[str, dict[str, Any], str, str, str]] = [
    ("", {}, "missing_field", "objective", "objective"),
    ("", {"objective": "x", "deadline_in": "2161h"}, "invalid_field", "deadline_in", "2160h"),
    ("", {"objective": "x", "status": "active"}, "unknown_field", "status", "deadline_in"),
    ("/pause", {"now": "yes"}, "invalid_field", "now", "true"),
    ("/resume", {"now": True}, "unknown_field", "now", "now"),
    ("/complete", {"summary": 5}, "invalid_field", "summary", "string"),
    ("/delay", {"duration": "59s", "reason": "x"}, "invalid_field", "duration", "12h"),
    ("/delay", {"duration": "5m"}, "missing_field", "reason", "reason"),
    ("/wait", {"event": "x", "duration": "5m", "reason": "x"}, "invalid_field", "event", "source:"),
    ("/extend", {}, "missing_field", "deadline_in", "48h"),
    ("/cancel", {"reason": "x" * 201}, "invalid_field", "reason", "200"),
]


@pytest.fixture(scope="module")
async def gateway(harness: Harness) -> AsyncIterator[GatewayUnderTest]:
    async with gateway_under_test(harness, "gateway-goals") as running:
        yield running


@pytest.fixture
async def http(gateway: GatewayUnderTest, harness: Harness) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an actor of its own, whose goals wait for a conversation."""
    name = harness.name()
    headers = {"X_Tickless_Actor_User_Id": name, "X_Tickless_Session_Key": f"file:{name}"}
    async with gateway.client(**headers) as client:
        yield client


async def test_a_goal_from_its_creation_to_its_end(
    gateway: GatewayUnderTest, harness: Harness
) -> None:
    mine = goal_setter(harness)
    mine.works(rests("1h", "the build"), said("Waiting."))
    async with gateway.client(X_Tickless_Actor_User_Id=mine.name) as http:
        body = {"objective": mine.objective, "deadline_in": "7d"}
        created = await http.post(GOAL, json=body)
        assert created.status_code == 201, created.text
        assert created.headers["location"] == GOAL
        goal = created.json()["goal"]
        assert (goal["status"], goal["scope"]["id"]) == ("active", mine.name)
        await mine.rests()
        found = (await http.get(GOAL)).json()["goal"]
        assert (found["id"], found["delay_reason"]) == (goal["id"], "the build")

        async def asked(verb: str, **body: Any) -> dict[str, Any]:
            answer = await http.post(f"{GOAL}/{verb}", json=body)
            assert answer.status_code == 200, answer.text
            told: dict[str, Any] = answer.json()["goal"]
            return told

        assert (await asked("delay", duration="30m", reason="not yet"))["delay_reason"] == "not yet"
        waiting = await asked("wait", event="ci:build.*", duration="2h", reason="a build")
        assert (waiting["waiting_for"], waiting["wait_event"]) == ("event", "ci:build.*")
        nothing_runs = await http.post(f"{GOAL}/cancel")
        assert_problem(nothing_runs, 409, "conflict", "status", "no iteration")
        assert (await asked("pause", now=True))["paused_reason"] == "user"
        assert (await asked("extend", deadline_in="90d"))["deadline_at"] > goal["deadline_at"]
        done = await asked("complete", summary="All done.")
        assert (done["status"], done["summary"]) == ("complete", "All done.")
        late = await http.post(f"{GOAL}/resume")
        assert_problem(late, 409, "conflict", "status", "complete")
        assert (await http.get(GOAL)).json()["goal"]["summary"] == "All done."
        assert (await http.delete(GOAL)).json() == {"deleted": True}
        assert_problem(await http.get(GOAL), 404, "not_found", "goal", "goal")


async def test_a_repeated_creation(http: httpx.AsyncClient, harness: Harness) -> None:
    body, key = {"objective": "Ours."}, {"Idempotency-Key": harness.name()}
    first = (await http.post(GOAL, json=body, headers=key)).json()["goal"]
    again = await http.post(GOAL, json=body, headers=key)
    assert (again.status_code, again.json()["goal"]["id"]) == (201, first["id"])
    other = await http.post(GOAL, json={"objective": "Other."}, headers=key)
    assert_problem(other, 409, "conflict", "idempotency_key", "idempotency_key")
    second = await http.post(GOAL, json=body)
    assert_problem(second, 409, "conflict", "goal", first["id"])


@pytest.mark.parametrize(("path", "body", "kind", "field", "says"), WRONG)
async def test_a_wrong_body_is_refused(
    http: httpx.AsyncClient, path: str, body: dict[str, Any], kind: str, field: str, says: str
) -> None:
    answer = await http.post(f"{GOAL}{path}", json=body)
    assert_problem(answer, 400, kind, field, says)


async def test_without_a_goal_there_is_nothing_to_change(http: httpx.AsyncClient) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "delay": {"duration": "5m", "reason": "x"},
        "wait": {"event": "a:b", "duration": "5m", "reason": "x"},
        "extend": {"deadline_in": "1h"},
    }
    for verb in GoalVerb:
        answer = await http.post(f"{GOAL}/{verb}", json=bodies.get(verb, {}))
        assert_problem(answer, 404, "not_found", "goal", "goal")
    assert_problem(await http.delete(GOAL), 404, "not_found", "goal")


async def test_an_operator_lists_the_goals_of_all(
    http: httpx.AsyncClient, gateway: GatewayUnderTest
) -> None:
    goal = (await http.post(GOAL, json={"objective": "Ours."})).json()["goal"]

    async def listed() -> bool:
        params = {"status": "waiting_for_session", "limit": "200"}
        found = (await http.get(GOALS, params=params)).json()
        assert found["count"] == len(found["goals"])
        return goal["id"] in [item["id"] for item in found["goals"]]

    await until(listed, "it is listed")
    wrong = await http.get(GOALS, params={"status": "x"})
    for status in ("active", "paused", "complete", "timeout", "waiting_for_session"):
        assert_problem(wrong, 400, "invalid_field", "status", status)
    for scope in ("read", "run", "approve"):
        async with gateway.client(gateway.secrets[scope]) as other:
            answer = await other.get(GOALS)
            assert_problem(answer, 403, "permission_denied", "scope", "admin")


async def test_without_a_worker_a_creation_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_goals, "PATIENCE", timedelta(seconds=1))
    async with (
        running_server(tmp_path) as server,
        running_harness(tmp_path, server, queues=()) as idle,
        gateway_under_test(idle) as running,
        running.client(X_Tickless_Actor_User_Id=idle.name()) as http,
    ):
        accepted = await http.post(GOAL, json={"objective": "Ours."})
        assert (accepted.status_code, accepted.headers["location"]) == (202, GOAL)
        assert accepted.json()["accepted"] is True
        assert_problem(await http.post(f"{GOAL}/pause"), 503, "unavailable", "temporal")
