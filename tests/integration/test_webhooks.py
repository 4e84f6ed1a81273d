"""Webhooks over HTTP, as senders and attackers meet them, and what is left of their secrets."""

import asyncio
import base64
import gzip
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook as StandardWebhook

from client.sealing import KEY_FILE, create_key_file
from client.settings import Settings
from client.tickless import TicklessClient
from domain.errors import DomainError
from domain.identifiers import routine_workflow_id
from domain.runs import run_workflow_id
from tests.support.gateway import API, GatewayUnderTest, assert_problem, gateway_under_test
from tests.support.harness import Harness, until
from tests.support.model_steps import Reply
from tests.support.processes import next_line, python_child
from tests.support.webhooks import HOOKS, ROTATED, SECRET, hook, signed


@pytest.fixture(scope="module")
def settings(harness: Harness) -> Settings:
    """The harness's settings with everything that webhooks need."""
    folder = harness.folder / "webhooks"
    create_key_file(folder / KEY_FILE)
    return harness.settings.model_copy(
        update={
            "webhooks_enabled": True,
            "webhook_rate_per_minute": 1_000,
            "store": harness.settings.store.model_copy(update={"folder": folder}),
            "secrets_dir": folder,
        }
    )


@pytest.fixture(scope="module")
async def gateway(harness: Harness, settings: Settings) -> AsyncIterator[GatewayUnderTest]:
    with_settings = Harness(**{**vars(harness), "settings": settings})
    async with gateway_under_test(with_settings, "gateway-webhooks") as running:
        yield running


@pytest.fixture
async def sender(gateway: GatewayUnderTest) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody without any token."""
    async with gateway.client("") as client:
        yield client


@pytest.fixture
def tickless(harness: Harness, settings: Settings) -> TicklessClient:
    return TicklessClient.of_settings(harness.client, settings, {})


# Accepted


async def test_a_signed_delivery_may_wait_for_its_run(
    sender: httpx.AsyncClient, tickless: TicklessClient, harness: Harness
) -> None:
    name = await hook(tickless, harness)
    harness.scripts.on(name, Reply(text="Seen."))
    url = f"{HOOKS}/{name}?wait=30s"

    answer = (await sender.post(url, content=b"{}", headers=signed(b"{}", "w-1"))).json()
    assert (answer["run"]["record"]["status"], answer["run"]["text"]) == ("attention", "Seen.")
    again = (await sender.post(url, content=b"{}", headers=signed(b"{}", "w-1"))).json()
    assert again == {**answer, "duplicate": True}
    plain = await sender.post(f"{HOOKS}/{name}", content=b"{}", headers=signed(b"{}", "w-1"))
    assert plain.json()["run"] is None
    bad = await sender.post(f"{HOOKS}/{name}?wait=soon", headers=signed(b"", "w-2"))
    assert_problem(bad, 400, "invalid_field", "wait", "30s")


async def test_what_a_run_answers_is_not_told_to_everybody(
    sender: httpx.AsyncClient, tickless: TicklessClient, harness: Harness
) -> None:
    name = await hook(tickless, harness, secret=None, allow_unsigned=True)
    refused = await sender.post(f"{HOOKS}/{name}?wait=30s", content=b"{}")
    assert_problem(refused, 401, "unauthenticated", "wait", "signed")
    assert (await tickless.routines.runs(name)) == []
    accepted = await sender.post(f"{HOOKS}/{name}", content=b"{}")
    assert accepted.status_code == 202


async def test_a_delivery_starts_a_run_that_reads_it(
    sender: httpx.AsyncClient,
    gateway: GatewayUnderTest,
    tickless: TicklessClient,
    harness: Harness,
) -> None:
    name = await hook(tickless, harness)
    prompts: list[str] = []

    def answer(request: dict[str, Any]) -> Reply:
        prompts.append(request["messages"][-1]["content"])
        return Reply(text="Seen.")

    harness.scripts.on(name, answer)
    body = b'{"action":"opened","issue":{"number":7}}'
    headers = {**signed(body, "g-1"), "X-GitHub-Event": "issues", "X-Private": "not for models"}
    posted = await sender.post(f"{HOOKS}/{name}", content=body, headers=headers)
    assert posted.status_code == 202, posted.text
    answered = posted.json()
    run = f"{name}/d-{hashlib.sha256(b'g-1').hexdigest()[:32]}"
    assert (answered["run_id"], answered["workflow_id"]) == (run, f"routine-run/{run}")
    assert answered["duplicate"] is False
    assert posted.headers["location"] == answered["status_url"]

    async with gateway.client() as reader:
        read = await reader.get(answered["status_url"], params={"wait": "30s"})
    assert read.json()["record"]["status"] == "attention"
    assert read.json()["record"]["trigger_type"] == "webhook"
    assert '"number": 7' in prompts[0]
    for shown in ("delivery id: g-1", "x-github-event: issues", "content-type: application/json"):
        assert shown in prompts[0]
    assert "not for models" not in prompts[0]
    assert "sha256=" not in prompts[0]

    again = await sender.post(f"{HOOKS}/{name}", content=body, headers=headers)
    assert (again.status_code, again.json()["run_id"]) == (202, run)
    assert again.json()["duplicate"] is True
    other = b'{"action":"closed"}'
    changed = await sender.post(f"{HOOKS}/{name}", content=other, headers=signed(other, "g-1"))
    assert_problem(changed, 409, "conflict", "delivery_id")
    memo = await harness.client.get_workflow_handle(run_workflow_id(run)).describe()
    assert await memo.memo_value("body_sha256") == hashlib.sha256(body).hexdigest()


async def test_without_an_id_a_resend_is_refused_by_admission(
    sender: httpx.AsyncClient, tickless: TicklessClient, harness: Harness
) -> None:
    name = await hook(tickless, harness)
    body = b"plain text"
    first = (await sender.post(f"{HOOKS}/{name}", content=body, headers=signed(body))).json()
    await tickless.runs.wait(first["run_id"])
    second = (await sender.post(f"{HOOKS}/{name}", content=body, headers=signed(body))).json()
    assert second["run_id"] != first["run_id"]
    assert second["run_id"].startswith(f"{name}/d-")
    record = (await tickless.runs.wait(second["run_id"])).record
    assert (record.status, record.reason) == ("skipped", "duplicate")
    assert record.duplicate_of == first["run_id"]


async def test_the_reference_implementation_of_standard_webhooks_signs_for_us(
    sender: httpx.AsyncClient, tickless: TicklessClient, harness: Harness
) -> None:
    key = "whsec_" + base64.b64encode(b"k" * 32).decode()
    name = await hook(tickless, harness, secret=[ROTATED, key], path=f"std.{harness.name()}")
    path = (await tickless.routines.get(name)).routine.trigger.model_dump()["path"]
    at = datetime.now(UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": StandardWebhook(key).sign("msg_1", at, '{"a": 1}'),
    }
    answer = await sender.post(f"{HOOKS}/{path}", content='{"a": 1}', headers=headers)
    assert answer.status_code == 202, answer.text
    by_id = await sender.post(f"{HOOKS}/{name}", content='{"a": 1}', headers=headers)
    assert_problem(by_id, 404, "not_found", "path")


async def test_the_secret_can_be_rotated_and_kept(
    sender: httpx.AsyncClient, tickless: TicklessClient, harness: Harness
) -> None:
    name = await hook(tickless, harness)
    trigger = {"type": "webhook", "secret": [{"set": True}, ROTATED]}
    shown = await tickless.routines.patch(name, {"trigger": trigger})
    assert shown.routine.trigger.model_dump()["secret"] == [{"set": True}, {"set": True}]

    async def taken() -> bool:
        headers = signed(b"{}", "rotated", ROTATED)
        return (await sender.post(f"{HOOKS}/{name}", content=b"{}", headers=headers)).is_success

    await until(taken, "the new secret counts", 2)
    old = await sender.post(f"{HOOKS}/{name}", content=b"{}", headers=signed(b"{}", "old"))
    assert old.status_code == 202


async def test_long_secrets_are_asked_of_the_routine(
    sender: httpx.AsyncClient, tickless: TicklessClient, harness: Harness
) -> None:
    long = "x" * 512
    name = await hook(tickless, harness, secret=[long, SECRET])
    described = await harness.client.get_workflow_handle(routine_workflow_id(name)).describe()
    assert (await described.memo_value("webhook"))["secrets"] is None
    answer = await sender.post(f"{HOOKS}/{name}", content=b"{}", headers=signed(b"{}", "l", long))
    assert answer.status_code == 202, answer.text


async def test_a_file_of_the_operator_is_read_for_each_delivery(
    sender: httpx.AsyncClient,
    gateway: GatewayUnderTest,
    settings: Settings,
    tickless: TicklessClient,
    harness: Harness,
) -> None:
    assert settings.secrets_dir is not None
    file = settings.secrets_dir / f"{harness.name()}.txt"
    name = await hook(tickless, harness, secret={"file": str(file)})
    headers = signed(b"{}", "f-1")
    missing = await sender.post(f"{HOOKS}/{name}", content=b"{}", headers=headers)
    assert_problem(missing, 503, "unavailable", "secret")
    assert missing.headers["retry-after"] == "5"
    assert str(file) not in missing.text
    file.write_text(SECRET + "\n", encoding="utf-8")
    assert (await sender.post(f"{HOOKS}/{name}", content=b"{}", headers=headers)).is_success

    async with gateway.client(gateway.secrets["run"]) as runner:
        trigger = {"type": "webhook", "secret": {"file": str(file)}}
        body = {"prompt": "x", "id": harness.name(), "trigger": trigger}
        refused = await runner.post(f"{API}/routines", json=body)
        assert_problem(refused, 403, "permission_denied", "trigger.secret", "operator")
        trigger["secret"] = {"file": "/etc/hostname"}
        async with gateway.client() as admin:
            outside = await admin.post(f"{API}/routines", json=body)
        assert_problem(outside, 400, "invalid_field", "trigger.secret", "secrets_dir")


_POSTER = """
import asyncio, json, sys, httpx
async def main():
    url, headers, body = json.loads(sys.argv[1])
    async with httpx.AsyncClient(timeout=60) as client:
        print("ready", flush=True)
        sys.stdin.readline()
        posts = [client.post(url, headers=headers, content=body) for _ in range(10)]
        answers = await asyncio.gather(*posts)
    print(json.dumps([[a.status_code, a.json()] for a in answers]), flush=True)
asyncio.run(main())
"""


async def test_fifty_posts_from_five_processes_are_one_run(
    gateway: GatewayUnderTest, tickless: TicklessClient, harness: Harness
) -> None:
    name = await hook(tickless, harness)
    target = json.dumps([f"{gateway.gateway.url}{HOOKS}/{name}", signed(b"{}", "once"), "{}"])
    async with (
        python_child(_POSTER, target) as a,
        python_child(_POSTER, target) as b,
        python_child(_POSTER, target) as c,
        python_child(_POSTER, target) as d,
        python_child(_POSTER, target) as e,
    ):
        children = (a, b, c, d, e)
        assert [await next_line(child) for child in children] == ["ready"] * 5
        for child in children:
            assert child.stdin
            child.stdin.write(b"\n")
            await child.stdin.drain()
        lines = await asyncio.gather(*(next_line(child) for child in children))
    answers = [answer for line in lines for answer in json.loads(line)]
    assert [status for status, _ in answers] == [202] * 50
    assert len({answer["run_id"] for _, answer in answers}) == 1
    assert [answer["duplicate"] for _, answer in answers].count(False) == 1
    await tickless.runs.wait(answers[0][1]["run_id"])
    kept = await tickless.routines.runs(name, limit=100)
    assert [run.id for run in kept] == [answers[0][1]["run_id"]]


# Refused


async def test_what_is_not_signed_by_who_knows_the_secret(
    sender: httpx.AsyncClient, tickless: TicklessClient, harness: Harness
) -> None:
    name, other = await hook(tickless, harness), await hook(tickless, harness, secret=ROTATED)
    good = signed(b"{}", "r-1")
    stale = str(int(datetime.now(UTC).timestamp()) - 301)
    text = f"v0:{stale}:{{}}".encode()
    slack = "v0=" + hmac.new(SECRET.encode(), text, hashlib.sha256).hexdigest()
    cases: list[tuple[str, bytes, Any, str]] = [
        (name, b"{}", {}, "missing_signature"),
        (name, b'{"a": 1}', good, "bad_signature"),
        (name, b"{}", signed(b"{}", "r-1", "wrong " * 4), "bad_signature"),
        (other, b"{}", good, "bad_signature"),
        (name, b"{}", {"X-Hub-Signature": "sha1=" + "0" * 40}, "missing_signature"),
        (name, b"{}", {"Authorization": f"Bearer {SECRET}"}, "missing_signature"),
        (
            name,
            b"{}",
            {"X-Slack-Signature": slack, "X-Slack-Request-Timestamp": stale},
            "stale_timestamp",
        ),
        (name, b"{}", {"X-Slack-Signature": slack}, "incomplete_headers"),
        # The right one twice is not the right one.
        (name, b"{}", [*good.items(), *good.items()], "bad_signature"),
    ]
    for path, body, headers, reason in cases:
        answer = await sender.post(f"{HOOKS}/{path}", content=body, headers=headers)
        problem = assert_problem(answer, 401, "unauthenticated", "signature")
        assert problem["detail"] == reason, headers
    assert await tickless.routines.runs(name) == []


async def test_paused_deleted_and_unknown_look_the_same(
    sender: httpx.AsyncClient, tickless: TicklessClient, harness: Harness
) -> None:
    paused, deleted = await hook(tickless, harness), await hook(tickless, harness)
    await tickless.routines.pause(paused)
    await tickless.routines.delete(deleted)

    async def told() -> bool:
        # Within a second, as DESIGN §3 says of what is looked up.
        answers = [
            await sender.post(f"{HOOKS}/{path}", content=b"{}", headers=signed(b"{}", "same"))
            for path in (paused, deleted, "nobody-has-this")
        ]
        return len({(item.status_code, item.text) for item in answers}) == 1

    await until(told, "all three are unknown", 3)
    unsigned = await sender.post(f"{HOOKS}/{paused}", content=b"{}")
    assert_problem(unsigned, 404, "not_found", "path")
    run = f"{paused}/d-{hashlib.sha256(b'same').hexdigest()[:32]}"
    record = (await tickless.runs.wait(run)).record
    assert (record.status, record.reason) in {("skipped", "paused"), ("ok", None)}
    late = await sender.post(
        f"{HOOKS}/{paused}", content=b"{}", headers=signed(b"{}", "while paused")
    )
    assert late.status_code == 404
    run = f"{paused}/d-{hashlib.sha256(b'while paused').hexdigest()[:32]}"
    record = (await tickless.runs.wait(run)).record
    assert (record.status, record.reason) == ("skipped", "paused")
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"):
        answer = await sender.request(method, f"{HOOKS}/{paused}")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_bodies_that_are_too_large_or_packed(
    sender: httpx.AsyncClient, tickless: TicklessClient, harness: Harness
) -> None:
    name = await hook(tickless, harness)
    large = b"x" * (1_048_576 + 1)
    for path in (name, "nobody-has-this"):
        answer = await sender.post(f"{HOOKS}/{path}", content=large, headers=signed(large))
        assert_problem(answer, 413, "payload_too_large", "body", "1048576")

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 65_536

    chunked = await sender.post(f"{HOOKS}/{name}", content=pieces(), headers=signed(large))
    assert_problem(chunked, 413, "payload_too_large", "body")

    async def whole() -> AsyncIterator[bytes]:
        for _ in range(16):
            yield b"y" * 65_536

    full = b"y" * 1_048_576
    taken = await sender.post(f"{HOOKS}/{name}", content=whole(), headers=signed(full, "full"))
    assert taken.status_code == 202, taken.text
    bomb = gzip.compress(b"\0" * 200_000_000, 1)[:900_000]
    prompts: list[str] = []

    def answer_of(request: dict[str, Any]) -> Reply:
        prompts.append(request["messages"][-1]["content"])
        return Reply(text="ROUTINE_OK")

    await tickless.runs.wait(taken.json()["run_id"])
    harness.scripts.on(name, answer_of)
    headers = {**signed(bomb, "bomb"), "Content-Encoding": "gzip"}
    taken = await sender.post(f"{HOOKS}/{name}", content=bomb, headers=headers)
    assert taken.status_code == 202, taken.text
    assert (await tickless.runs.wait(taken.json()["run_id"])).record.status == "ok"
    assert f"{len(bomb)} bytes that are no text" in prompts[0]


@pytest.mark.parametrize(
    ("head", "statuses"),
    [
        ("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", {400}),
        ("Content-Length: 2\r\nContent-Length: 40\r\n", {400}),
        ("Transfer-Encoding: chunked, identity\r\n", {400, 501}),
        ("Transfer-Encoding : chunked\r\n", {400}),
        ("Content-Length: +2\r\n", {400}),
        ("X-Hub-Signature-256: a\n b\r\nContent-Length: 2\r\n", {400, 401}),
    ],
)
async def test_requests_that_two_readers_could_read_differently(
    gateway: GatewayUnderTest,
    tickless: TicklessClient,
    harness: Harness,
    head: str,
    statuses: set[int],
) -> None:
    name = await hook(tickless, harness)
    smuggled = "0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.gateway.port)
    request = f"POST {HOOKS}/{name} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n{smuggled}"
    writer.write(request.encode())
    # What two readers could disagree on ends the connection, with what may be hidden behind it.
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    assert int(answer.split()[1]) in statuses, answer
    assert b'"status":"ok"' not in answer
    assert await tickless.routines.runs(name) == []


async def test_each_path_has_a_bucket_and_unknown_ones_share_one(
    harness: Harness, settings: Settings, tickless: TicklessClient
) -> None:
    name, other = await hook(tickless, harness), await hook(tickless, harness)
    few = settings.model_copy(update={"webhook_rate_per_minute": 3})
    limited = Harness(**{**vars(harness), "settings": few})
    async with gateway_under_test(limited, "gateway-limited") as running, running.client("") as who:
        seen = [await who.post(f"{HOOKS}/{name}", content=b"{}") for _ in range(4)]
        assert [answer.status_code for answer in seen] == [401, 401, 401, 429]
        assert_problem(seen[-1], 429, "rate_limited", "client")
        assert 1 <= int(seen[-1].headers["retry-after"]) <= 20
        assert (await who.post(f"{HOOKS}/{other}", content=b"{}")).status_code == 401
        unknown = [await who.post(f"{HOOKS}/none-{i}", content=b"{}") for i in range(4)]
        assert [answer.status_code for answer in unknown] == [404, 404, 404, 429]


async def test_off_unless_the_settings_say_otherwise(
    harness: Harness, tickless: TicklessClient
) -> None:
    name = await hook(tickless, harness)
    async with gateway_under_test(harness, "gateway-off") as running, running.client("") as who:
        answer = await who.post(f"{HOOKS}/{name}", content=b"{}", headers=signed(b"{}", "off"))
    assert_problem(answer, 404, "not_found", "path")
    assert await tickless.routines.runs(name) == []


# Paths


async def test_a_path_belongs_to_one_routine(tickless: TicklessClient, harness: Harness) -> None:
    path = harness.name()
    first = await hook(tickless, harness, path=path)
    with pytest.raises(DomainError, match=path) as refused:
        await hook(tickless, harness, path=path)
    assert (refused.value.kind, refused.value.field) == ("conflict", "trigger.path")
    by_default = {"prompt": "x", "trigger": {"type": "webhook", "secret": SECRET}}
    with pytest.raises(DomainError, match=path):
        await tickless.routines.create(by_default, name=path)
    second = await hook(tickless, harness)
    with pytest.raises(DomainError, match=path):
        await tickless.routines.patch(
            second, {"trigger": {"type": "webhook", "secret": SECRET, "path": path}}
        )
    assert (await tickless.routines.get(second)).routine.revision == 0
    await tickless.routines.patch(first, {"trigger": {"type": "manual"}})
    patched = await tickless.routines.patch(
        second, {"trigger": {"type": "webhook", "secret": {"set": True}, "path": path}}
    )
    assert patched.routine.trigger.model_dump()["path"] == path


async def test_of_claims_at_the_same_moment_one_is_kept(
    tickless: TicklessClient, harness: Harness, sender: httpx.AsyncClient
) -> None:
    path = harness.name()
    old = {name: f"before-{name}" for name in [harness.name() for _ in range(3)]}
    for name, before in old.items():
        body = {"prompt": "x", "trigger": {"type": "webhook", "secret": SECRET, "path": before}}
        await tickless.routines.create(body, name=name)
    trigger = {"type": "webhook", "secret": ROTATED, "path": path}
    patches = [
        tickless.routines.patch(name, {"trigger": trigger, "title": "changed"}) for name in old
    ]
    creations = [hook(tickless, harness, path=path, secret=ROTATED) for _ in range(4)]
    results = await asyncio.gather(*patches, *creations, return_exceptions=True)
    refused = [item for item in results if isinstance(item, DomainError)]
    assert len(refused) == 6, results
    assert {(item.kind, item.field) for item in refused} == {("conflict", "trigger.path")}
    rolled_back = 0
    for name, before in old.items():
        routine = (await tickless.routines.get(name)).routine
        if routine.trigger.model_dump()["path"] == before:
            rolled_back += 1
            assert routine.title != "changed"
            # With the secret that it had.
            answer = await sender.post(
                f"{HOOKS}/{before}", content=b"{}", headers=signed(b"{}", "back")
            )
            assert answer.status_code == 202, answer.text
    assert rolled_back >= 2
    posted = await sender.post(
        f"{HOOKS}/{path}", content=b"{}", headers=signed(b"{}", "kept", ROTATED)
    )
    assert posted.status_code == 202
