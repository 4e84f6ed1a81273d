"""Sessions over HTTP: say something, wait, look, change, stop, follow."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.support.gateway import API, GatewayUnderTest, assert_problem, gateway_under_test
from tests.support.harness import Harness, until
from tests.support.model_steps import Behaviour, Hang, Reply
from tests.support.server_events import events_of

SESSIONS = f"{API}/sessions"
LATER = {"mode": "followup", "debounce_ms": 60_000}


@pytest.fixture(scope="module")
async def gateway(harness: Harness) -> AsyncIterator[GatewayUnderTest]:
    async with gateway_under_test(harness, "gateway-sessions") as running:
        yield running


@pytest.fixture
async def http(gateway: GatewayUnderTest) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway.client() as client:
        yield client


def address(key: str, *parts: str) -> str:
    return "/".join((SESSIONS, *(quote(part, safe="") for part in (key, *parts))))


def chat(harness: Harness, *steps: Behaviour) -> str:
    """A key with everything that an address has to quote, and of an address's own words."""
    mark = harness.name()
    harness.scripts.on(mark, *steps)
    return f"slack:T1/{mark}/queue|thread:7"


async def busy(http: httpx.AsyncClient, harness: Harness, *then: Behaviour) -> str:
    """A conversation whose first answer does not end by itself."""
    key = chat(harness, Hang("I think", 1), *then)
    body = {"text": f"first {key}", "message_id": "first"}
    assert (await http.post(address(key, "messages"), json=body)).json()["decision"] == "run_now"

    async def asked() -> bool:
        return any(key in " ".join(call.texts) for call in harness.models.calls)

    await until(asked, "the model is asked")
    return key


async def test_a_message_and_its_answer(http: httpx.AsyncClient, harness: Harness) -> None:
    key = chat(harness, Reply("Good morning."))
    body = {"text": f"Hello {key}", "message_id": "1732.5", "sender_label": "Ann"}
    sent = await http.post(address(f"{key}|message:3", "messages"), json=body)
    assert sent.status_code == 202, sent.text
    answer = sent.json()
    assert answer["status_url"] == address(key, "messages", "1732.5") == sent.headers["location"]
    assert (answer["message_id"], answer["session_key"]) == ("1732.5", key)
    assert answer["workflow_id"] == f"session/{key}"
    assert (answer["decision"], answer["duplicate"], answer["runs"]) == ("run_now", False, [])
    assert answer["turn_id"].startswith(f"{key}/t-")

    told = await http.get(answer["status_url"], params={"wait": "30s"})
    assert told.status_code == 200
    assert (told.json()["fate"], told.json()["text"]) == ("answered", "Good morning.")
    again = (await http.post(address(key, "messages"), json=body)).json()
    assert (again["duplicate"], again["turn_id"]) == (True, answer["turn_id"])
    other = await http.post(address(key, "messages"), json={**body, "text": "else"})
    assert_problem(other, 409, "conflict", "message_id", "1732.5")
    view = (await http.get(address(key))).json()
    assert (view["key"], view["answered"], view["last"]["text"]) == (key, 1, "Good morning.")
    assert "ui_url" in view


async def test_a_message_can_wait_for_its_answer(
    gateway: GatewayUnderTest, http: httpx.AsyncClient, harness: Harness
) -> None:
    key = chat(harness, Reply("Done."), Hang("never", 1))
    where, body = address(key, "messages"), {"text": f"Do {key}"}
    headers = {"Idempotency-Key": "once"}
    answer = (await http.post(where, json=body, params={"wait": "30s"}, headers=headers)).json()
    assert (answer["message_id"], answer["answer"]["text"]) == ("once", "Done.")
    again = (await http.post(where, json=body, params={"wait": "30s"}, headers=headers)).json()
    assert (again["duplicate"], again["answer"]["text"]) == (True, "Done.")
    other = await http.post(where, json={"text": "else"}, headers=headers)
    assert_problem(other, 409, "conflict", "message_id")
    named = {**body, "message_id": "mine"}
    named_answer = (await http.post(where, json=named, headers=headers)).json()
    assert named_answer["message_id"] == "mine"
    late = await http.post(
        where, json={"text": f"More {key}", "options": LATER}, params={"wait": "1"}
    )
    assert (late.status_code, late.json()["answer"]) == (202, None)
    assert late.json()["position"] == 1
    waits = await http.get(late.json()["status_url"])
    assert (waits.json()["fate"], waits.json()["settled"]) == ("waiting", False)
    async with gateway.client(gateway.secrets["run"]) as runner:
        refused = await runner.post(where, json=body, params={"wait": "1s"})
        assert_problem(refused, 403, "permission_denied", "scope", "read")
    await http.post(address(key, "stop"))


async def test_the_queue(http: httpx.AsyncClient, harness: Harness) -> None:
    key = await busy(http, harness)
    for one in ("a", "b", "c"):
        body = {"text": f"{one} {key}", "message_id": one, "options": LATER}
        assert (await http.post(address(key, "messages"), json=body)).json()[
            "decision"
        ] == "enqueue"
    queue = (await http.get(address(key, "queue"))).json()
    assert [item["message_id"] for item in queue["messages"]] == ["a", "b", "c"]
    assert queue["turn"]["message_ids"] == ["first"]
    change = {"order": ["c"], "merge": ["a", "b"], "revision": queue["revision"]}
    changed = await http.patch(address(key, "queue"), json=change)
    assert changed.status_code == 200, changed.text
    assert [item["message_id"] for item in changed.json()["messages"]] == ["c", "a"]
    again = await http.patch(address(key, "queue"), json=change)
    assert_problem(again, 409, "conflict", "revision", str(changed.json()["revision"]))
    gone = await http.patch(address(key, "queue"), json={"drop": ["z"]})
    assert_problem(gone, 400, "invalid_field", "drop", "z")
    assert (await http.get(address(key, "queue"))).json() == changed.json()
    stopped = await http.post(address(key, "stop"), json={"reason": "enough"})
    assert (stopped.status_code, stopped.json()["stopped"]) == (200, "turn")
    cleared = await http.patch(address(key, "queue"), json={"clear": True})
    assert cleared.json()["messages"] == []
    ended = (await http.get(address(key, "messages", "first"), params={"wait": "30s"})).json()
    assert (ended["status"], ended["settled"]) == ("cancelled", True)
    nothing = (await http.post(address(key, "stop"))).json()
    assert nothing == {"stopped": None, "owner": None}


async def test_a_full_queue_asks_to_come_back(http: httpx.AsyncClient, harness: Harness) -> None:
    key = chat(harness, Reply("Hi."), Hang("I think", 1))
    where = address(key, "messages")
    await http.post(where, json={"text": f"Hi {key}"}, params={"wait": "30s"})
    options = {"mode": "followup", "cap": 1, "drop": "new", "debounce_ms": 60_000}
    for text in ("second", "third"):
        answer = await http.post(where, json={"text": f"{text} {key}", "options": options})
        assert answer.status_code == 202, answer.text
    answer = await http.post(where, json={"text": f"fourth {key}", "options": options})
    assert_problem(answer, 429, "rate_limited", "queue", "full")
    assert int(answer.headers["retry-after"]) > 0
    queue = (await http.get(address(key, "queue"))).json()
    assert len(queue["messages"]) == 1
    await http.post(address(key, "stop"))


async def test_lists_and_strangers(gateway: GatewayUnderTest, harness: Harness) -> None:
    me = {"X_Tickless_Actor_User_Id": harness.name()}
    keys = [chat(harness) for _ in range(3)]
    async with gateway.client(**me) as http:
        for key in keys:
            await http.post(address(key, "messages"), json={"text": "Hello"})

        async def listed() -> bool:
            return bool((await http.get(SESSIONS)).json()["count"] == 3)

        await until(listed, "all are listed")
        first = (await http.get(SESSIONS, params={"limit": 2})).json()
        second = (await http.get(SESSIONS, params={"cursor": first["next_cursor"]})).json()
        found = [one["key"] for one in (*first["sessions"], *second["sessions"])]
        assert (found, second["next_cursor"]) == (keys[::-1], None)
        bad = await http.get(SESSIONS, params={"cursor": "?"})
        assert_problem(bad, 400, "invalid_field", "cursor")
    async with gateway.client() as stranger:
        where = address(keys[0])
        for answer in (
            await stranger.get(where),
            await stranger.get(f"{where}/queue"),
            await stranger.patch(f"{where}/queue", json={"clear": True}),
            await stranger.post(f"{where}/stop"),
            await stranger.get(f"{where}/events"),
            await stranger.get(f"{where}/messages/m"),
            await stranger.post(f"{where}/messages", json={"text": "Hello"}),
        ):
            assert assert_problem(answer, 404, "not_found", "id")["detail"] == keys[0]
        nothing = await stranger.get(address("nobody's"))
        assert assert_problem(nothing, 404, "not_found", "id")["detail"] == "nobody's"


async def test_scopes_of_tokens(gateway: GatewayUnderTest, harness: Harness) -> None:
    key = chat(harness)
    async with gateway.client(gateway.secrets["run"]) as runner:
        sent = await runner.post(address(key, "messages"), json={"text": "Hello"})
        assert sent.status_code == 202
        for where in (SESSIONS, address(key), address(key, "queue"), address(key, "events")):
            assert_problem(await runner.get(where), 403, "permission_denied", "scope", "read")
    async with gateway.client(gateway.secrets["read"]) as reader:
        assert (await reader.get(address(key))).status_code == 200
        for refused in (
            await reader.post(address(key, "messages"), json={"text": "Hello"}),
            await reader.patch(address(key, "queue"), json={"clear": True}),
            await reader.post(address(key, "stop")),
        ):
            assert_problem(refused, 403, "permission_denied", "scope", "run")
    async with gateway.client("") as nobody:
        refused = await nobody.get(address(key))
        assert_problem(refused, 401, "unauthenticated", "authorization")


async def test_keys_in_addresses(http: httpx.AsyncClient) -> None:
    assert_problem(await http.get(f"{SESSIONS}/%20"), 400, "missing_field", "key", "key")
    assert_problem(await http.get(f"{SESSIONS}/%7Cthread:7"), 400, "missing_field", "key", "base")
    assert_problem(await http.get(f"{SESSIONS}/%FF"), 400, "invalid_field", "key", "printable")
    sent = await http.post(f"{SESSIONS}/a%FF/messages", json={"text": "Hello"})
    assert_problem(sent, 400, "invalid_field", "key", "printable")
    assert_problem(await http.get(f"{SESSIONS}/a%0Ab"), 400, "invalid_field", "key", "printable")
    assert_problem(await http.get(f"{SESSIONS}/{'x' * 513}"), 400, "invalid_field", "key", "512")
    assert_problem(await http.get(f"{SESSIONS}/a/b"), 404, "not_found", "path")
    other = await http.put(f"{SESSIONS}/a%2Fb/queue", json={})
    assert_problem(other, 405, "invalid_field", "method", "GET, PATCH")
    assert other.headers["allow"] == "GET, PATCH"


# ---- live text


async def test_it_is_followed(http: httpx.AsyncClient, harness: Harness) -> None:
    text = "Zeile eins: äöü 🌱\nZeile zwei."
    key = await busy(http, harness, Reply(text, chunks=4))
    seen: list[Any] = []
    async with http.stream("GET", address(key, "events")) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for event in events_of(answer):
            seen.append(event)
            if event.name == "text" and event.data["text"] == "I think":
                body = {"text": f"And {key}", "options": {"mode": "interrupt"}}
                await http.post(address(key, "messages"), json=body)
            if event.name == "end" and event.data["text"] == text:
                break
    assert (seen[0].name, seen[0].data["session"]["key"]) == ("stage", key)
    ends = [event.data for event in seen if event.name == "end"]
    assert [end["status"] for end in ends] == ["cancelled", "answered"]
    turn = ends[1]["turn_id"]
    of_turn = [event for event in seen if event.name == "text" and event.data["turn_id"] == turn]
    assert "".join(event.data["text"] for event in of_turn) == text
    had = 0
    for event in of_turn:
        assert event.data["offset"] == had
        had += len(event.data["text"])
        assert event.id == f"{turn.rpartition('/')[2]}:{had}"

    headers = {"Last-Event-ID": f"{turn.rpartition('/')[2]}:6"}
    where = address(key, "events")
    async with http.stream("GET", where, headers=headers, params={"for": "1s"}) as answer:
        late = [event async for event in events_of(answer)]
    assert [event.name for event in late] == ["text", "end", "stage"]
    assert late[0].data == {"turn_id": turn, "offset": 6, "text": text[6:]}
    headers = {"Last-Event-ID": late[-1].id}
    async with http.stream("GET", where, headers=headers, params={"for": "1s"}) as answer:
        assert [event.name async for event in events_of(answer)] == ["stage"]


@pytest.mark.parametrize("last", ["5", "t-1:", "x:5", f"t-1:{'9' * 40}", "a/t-1:5"])
async def test_a_bad_position(http: httpx.AsyncClient, harness: Harness, last: str) -> None:
    key = chat(harness)
    await http.post(address(key, "messages"), json={"text": "Hello"})
    answer = await http.get(address(key, "events"), headers={"Last-Event-ID": last})
    assert_problem(answer, 400, "invalid_field", "last_event_id")
    bad = await http.get(address(key, "events"), params={"for": "soon"})
    assert_problem(bad, 400, "invalid_field", "for", "30s")


async def test_a_reader_who_leaves_is_gone(http: httpx.AsyncClient, harness: Harness) -> None:
    key = await busy(http, harness)

    async def streams(count: int) -> bool:
        return f"tickless_live_streams {count}.0" in (await http.get("/metrics")).text

    async with http.stream("GET", address(key, "events")) as answer:
        events = events_of(answer)
        await anext(events)
        await until(lambda: streams(1), "it reads")
    await until(lambda: streams(0), "it has left")
    await http.post(address(key, "stop"))


async def test_bodies_have_limits(http: httpx.AsyncClient, harness: Harness) -> None:
    where = address(chat(harness), "messages")
    large = await http.post(where, json={"text": "ä" * 32_769})
    assert_problem(large, 413, "payload_too_large", "text", "65536")
    huge = await http.post(where, content=json.dumps({"text": "x" * 1_048_577}))
    assert_problem(huge, 413, "payload_too_large", "body", "1048576")
    answers = await asyncio.gather(
        http.post(where, content=b"[1]"), http.post(where, content=b"{", headers={})
    )
    for answer in answers:
        assert_problem(answer, 400, "invalid_field", "body", "JSON object")
    assert (await http.get(where.removesuffix("/messages"))).status_code == 404
