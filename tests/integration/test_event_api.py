"""Events and messages over HTTP and on the command line, through the real gateway."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from activities.candidates import MAX_AGE
from tests.support.command import command
from tests.support.gateway import API, GatewayUnderTest, assert_problem, gateway_under_test
from tests.support.harness import Harness
from tests.support.model_steps import Reply

EVENTS, MESSAGES = f"{API}/events", f"{API}/messages"
FREE = {"cooldown_seconds": 0}


@pytest.fixture(scope="module")
async def gateway(harness: Harness) -> AsyncIterator[GatewayUnderTest]:
    async with gateway_under_test(harness, "gateway-events") as running:
        yield running


@pytest.fixture
async def http(gateway: GatewayUnderTest) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway.client() as connected:
        yield connected


async def _listening(harness: Harness, *steps: Any, **trigger: Any) -> str:
    return await harness.routine(*steps, trigger=trigger, guardrails=FREE)


async def _heard() -> None:
    """Wait for as long as a change may take to hold: the promise itself, no condition shows it."""
    await asyncio.sleep(MAX_AGE.total_seconds())


async def test_an_event_is_accepted_with_its_runs(
    http: httpx.AsyncClient, harness: Harness
) -> None:
    source = harness.name()
    name = await _listening(
        harness, Reply("Seen."), type="system_event", source=source, event_type="a.*"
    )
    body = {"source": source, "event_type": "a.b", "payload": {"n": 1}, "id": "e1"}

    await _heard()
    answer = await http.post(EVENTS, json=body, params={"wait": "30s"})
    again = await http.post(EVENTS, json=body)

    assert answer.status_code == again.status_code == 202, answer.text
    found = answer.json()
    assert (found["event_id"], found["matched"]) == ("e1", 1)
    (run,) = found["runs"]
    assert run["run_id"].startswith(f"{name}/e-")
    assert run["workflow_id"] == "routine-run/" + run["run_id"]
    assert (run["duplicate"], run["run"]["text"]) == (False, "Seen.")
    (repeated,) = again.json()["runs"]
    assert (repeated["run_id"], repeated["duplicate"]) == (run["run_id"], True)
    record = (await http.get(run["status_url"])).json()["record"]
    assert record["trigger_detail"] == f"{source}:a.b"


async def test_nobody_listens(http: httpx.AsyncClient) -> None:
    answer = await http.post(EVENTS, json={"source": "nobody", "event_type": "x"})
    assert answer.status_code == 202
    assert (answer.json()["matched"], answer.json()["runs"]) == (0, [])
    assert len(answer.json()["event_id"]) == 26, "a new ULID"


async def test_many_routines_at_once(http: httpx.AsyncClient, harness: Harness) -> None:
    """More than are started at a time; a second time in parallel starts none of them again."""
    source = harness.name()
    trigger = {"type": "system_event", "source": source, "event_type": "x"}
    names = await asyncio.gather(*(_listening(harness, **trigger) for _ in range(40)))
    body = {"source": source, "event_type": "x", "id": "once"}

    await _heard()
    answers = await asyncio.gather(*(http.post(EVENTS, json=body) for _ in range(3)))

    runs = [run for answer in answers for run in answer.json()["runs"]]
    assert sorted({run["run_id"].split("/")[0] for run in runs}) == sorted(names)
    assert (len(runs), sum(not run["duplicate"] for run in runs)) == (120, 40)


async def test_a_message_reaches_chat_and_author(
    gateway: GatewayUnderTest, harness: Harness
) -> None:
    word = harness.name()
    chat = {
        "X_Tickless_Chat_Type": "group",
        "X_Tickless_Receive_Id_Type": "file",
        "X_Tickless_Receive_Id": word,
    }
    body = {
        "prompt": "x",
        "trigger": {"type": "event", "pattern": word},
        "notify": {"route": {"receive_id_type": "file", "receive_id": ""}},
    }
    message = {"channel": "slack", "id": "1", "text": f"say {word}"}
    async with gateway.client(**chat) as in_chat, gateway.client() as alone:
        of_chat = (await in_chat.post(f"{API}/routines", json=body)).json()["id"]
        of_author = (await alone.post(f"{API}/routines", json=body)).json()["id"]
        await _heard()
        in_private = (await alone.post(MESSAGES, json={**message, "id": "2"})).json()
        in_public = (await in_chat.post(MESSAGES, json=message, params={"wait": "30s"})).json()
    assert [run["run_id"].split("/")[0] for run in in_private["runs"]] == [of_author]
    assert {run["run_id"].split("/")[0] for run in in_public["runs"]} == {of_chat, of_author}
    assert in_public["message_id"] == "1"
    ended = {run["run_id"].split("/")[0]: run["run"] for run in in_public["runs"]}
    assert ended[of_chat]["record"]["trigger_type"] == "event"
    assert ended[of_author] is None, "only its owner may read it"


@pytest.mark.parametrize(
    ("changes", "status", "kind", "field", "says"),
    [
        ({"source": None}, 400, "missing_field", "source", "source"),
        ({"event_type": "a.*"}, 400, "invalid_field", "event_type", "letters"),
        ({"payload": [1]}, 400, "invalid_field", "payload", "object"),
        ({"payload": {"a": "x" * 65_536}}, 413, "payload_too_large", "payload", "65536"),
        ({"scope": "user:you"}, 400, "invalid_field", "scope", "all"),
        ({"what": 1}, 400, "unknown_field", "what", "payload"),
    ],
)
async def test_bad_events(
    http: httpx.AsyncClient,
    changes: dict[str, Any],
    status: int,
    kind: str,
    field: str,
    says: str,
) -> None:
    body = {"source": "s", "event_type": "x", **changes}
    assert_problem(await http.post(EVENTS, json=body), status, kind, field, says)


async def test_bad_messages(http: httpx.AsyncClient) -> None:
    assert_problem(await http.post(MESSAGES, json={}), 400, "missing_field", "channel")
    body = {"channel": "c", "id": "1", "text": 7}
    assert_problem(await http.post(MESSAGES, json=body), 400, "invalid_field", "text", "string")


async def test_scopes_of_tokens(gateway: GatewayUnderTest) -> None:
    body = {"source": "s", "event_type": "x"}
    async with gateway.client(gateway.secrets["read"]) as reader:
        assert_problem(await reader.post(EVENTS, json=body), 403, "permission_denied", "scope")
        answer = await reader.post(MESSAGES, json={"channel": "c", "id": "1"})
        assert_problem(answer, 403, "permission_denied", "scope")
    async with gateway.client(gateway.secrets["run"]) as runner:
        assert (await runner.post(EVENTS, json=body)).status_code == 202
        everywhere = {**body, "scope": "all"}
        answer = await runner.post(EVENTS, json=everywhere)
        assert_problem(answer, 403, "permission_denied", "scope", "admin")
        answer = await runner.post(EVENTS, json=body, params={"wait": "1s"})
        assert_problem(answer, 403, "permission_denied", "scope", "read")
    async with gateway.client() as admin:
        assert (await admin.post(EVENTS, json=everywhere)).status_code == 202
    async with gateway.client("") as nobody:
        assert_problem(
            await nobody.post(EVENTS, json=body), 401, "unauthenticated", "authorization"
        )


# ---- the command line


async def test_the_command(harness: Harness) -> None:
    source = harness.name()
    name = await _listening(harness, type="system_event", source=source, event_type="x")
    emit = ("event", "emit", source, "x", "--id", "1", "--payload", '{"a": 1}')

    await _heard()
    told = (await command(harness, *emit)).json
    again = await command(harness, *emit, terminal=True)

    assert (told["event_id"], told["matched"]) == ("1", 1)
    assert told["runs"][0]["run_id"] in again.out
    assert "before" in again.out
    assert told["runs"][0]["run_id"].startswith(name)
    silent = await command(harness, "event", "emit", source, "y", terminal=True)
    assert (silent.code, silent.out) == (0, "")
    assert "No routine" in silent.err


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("s", "a.*"), "event_type"),
        (("s", "x", "--payload", "{"), "payload"),
        (("s", "x", "--payload", "[1]"), "payload"),
    ],
)
async def test_bad_commands(harness: Harness, arguments: tuple[str, ...], field: str) -> None:
    answer = await command(harness, "event", "emit", *arguments)
    assert (answer.code, answer.problem["field"]) == (2, field)
