"""What is the same for every address: bodies, methods, hosts, tokens, rates, the description."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support.gateway import API, GatewayUnderTest, assert_problem, gateway_under_test
from tests.support.harness import Harness, until

ROUTINES = f"{API}/routines"
MEBIBYTE = 1_048_576


@pytest.fixture(scope="module")
async def gateway(harness: Harness) -> AsyncIterator[GatewayUnderTest]:
    async with gateway_under_test(harness, "gateway-protocol") as running:
        yield running


@pytest.fixture
async def http(gateway: GatewayUnderTest) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway.client() as client:
        yield client


async def raw(gateway: GatewayUnderTest, request: bytes) -> bytes:
    """What the server answers to these bytes."""
    reader, writer = await asyncio.open_connection(gateway.gateway.host, gateway.gateway.port)
    writer.write(request)
    async with asyncio.timeout(20):
        answer = await reader.read(65_536)
    writer.close()
    return answer


# ---- bodies


@pytest.mark.parametrize(
    ("body", "contains"),
    [
        (b"{", "no JSON"),
        (b"\xff\xfe", "UTF-8"),
        (b"[]", "JSON object"),
        (b"null", "null"),
        (b'"text"', "string"),
        (b"17", "17"),
        (b"true", "true"),
        (b'{"prompt": "a", "prompt": "b"}', "twice"),
        (b'{"a": {"b": 1, "b": 2}}', "twice"),
        (b'{"max_runs": NaN}', "NaN"),
        (b'{"max_runs": -Infinity}', "Infinity"),
        (b'{"max_runs": 1e999}', "too large"),
        (b'{"max_runs": ' + b"9" * 5_000 + b"}", "digits"),
        (b'{"prompt": "\\ud800"}', "surrogate"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "64"),
        (b"[" * 100_000, "64"),
        (b"[" * 100_000 + b"]" * 100_000, "64"),
    ],
)
async def test_a_body_is_one_json_object(
    http: httpx.AsyncClient, body: bytes, contains: str
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await http.post(ROUTINES, content=body, headers=headers)
    assert_problem(answer, 400, "invalid_field", "body", "JSON object", contains)


async def test_numbers_that_are_read_are_told_by_their_field(http: httpx.AsyncClient) -> None:
    body = '{"prompt": "x", "trigger": {"type": "manual"}, "max_runs": -' + "9" * 299 + "}"
    answer = await http.post(ROUTINES, content=body, headers={"Content-Type": "application/json"})
    assert_problem(answer, 400, "invalid_field", "max_runs")


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_of_more_than_a_mebibyte_is_refused(
    http: httpx.AsyncClient, chunked: bool
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 65_536

    content = pieces() if chunked else b" " * (MEBIBYTE + 1)
    headers = {"Content-Type": "application/json"}
    answer = await http.post(ROUTINES, content=content, headers=headers)
    assert_problem(answer, 413, "payload_too_large", "body", str(MEBIBYTE))


async def test_a_body_of_a_mebibyte_is_read(http: httpx.AsyncClient) -> None:
    body = b'{"promt": ""}'.ljust(MEBIBYTE)
    answer = await http.post(ROUTINES, content=body, headers={"Content-Type": "application/json"})
    assert_problem(answer, 400, "unknown_field", "promt", "prompt")


async def test_a_length_that_lies(
    gateway: GatewayUnderTest, http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    head = (
        f"POST {ROUTINES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {gateway.secrets['run']}\r\nContent-Length: "
    ).encode()
    huge = await raw(gateway, head + b"99999999999\r\n\r\n{}")
    assert huge.startswith(b"HTTP/1.1 413 "), huge
    short = await raw(gateway, head + b"2\r\n\r\n{}{}")
    assert short.startswith(b"HTTP/1.1 400 "), short
    assert b'"kind":"missing_field"' in short
    # One that promises more than it sends is given up by its sender; others are served on.
    reader, writer = await asyncio.open_connection(gateway.gateway.host, gateway.gateway.port)
    writer.write(head + b"50\r\n\r\n{}")
    await writer.drain()
    writer.close()

    async def noticed() -> bool:
        return "the client left" in caplog.text

    await until(noticed, "that it has gone")
    assert "fault of ours" not in caplog.text
    assert (await http.get("/healthz")).status_code == 200
    del reader


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nnot{a: name\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: much\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
    ids=["a name of a header", "a length", "another protocol"],
)
async def test_what_is_no_http_is_told_like_everything_else(
    gateway: GatewayUnderTest, request_bytes: bytes
) -> None:
    head, _, body = (await raw(gateway, request_bytes)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head.lower()
    assert b"connection: close" in head.lower()
    assert json.loads(body)["field"] == "request"


async def test_a_body_that_breaks_off_its_own_form_ends_the_connection(
    gateway: GatewayUnderTest, http: httpx.AsyncClient
) -> None:
    head = (
        f"POST {ROUTINES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {gateway.secrets['run']}\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()
    answer = await raw(gateway, head + b"2\r\n{}\r\nno chunk\r\n")
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert b"application/problem+json" in answer
    assert (await http.get("/healthz")).status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip"])
async def test_compressed_bodies_are_refused(http: httpx.AsyncClient, encoding: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    answer = await http.post(ROUTINES, content=b"\x1f\x8b", headers=headers)
    assert_problem(answer, 415, "unsupported_media_type", "content_encoding", "identity")


async def test_a_form_is_no_json(http: httpx.AsyncClient) -> None:
    answer = await http.post(ROUTINES, data={"prompt": "x"})
    assert_problem(answer, 415, "unsupported_media_type", "content_type", "application/json")


# ---- what is told of it elsewhere


async def test_every_change_is_logged_with_who_asked(
    http: httpx.AsyncClient, harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    name = harness.name()
    body = {"id": name, "prompt": "x", "trigger": {"type": "manual"}}
    await http.post(ROUTINES, json=body, headers={"X-Tickless-Actor-User-Id": "ann"})
    await http.patch(f"{ROUTINES}/{name}", json={"title": "y"})
    await http.get(f"{ROUTINES}/{name}")
    lines = [line for line in caplog.text.splitlines() if "change" in line]
    assert len(lines) == 2, lines
    for text in ("createRoutine", "actor=ann", "scope=user:ann", "status=201", "token="):
        assert text in lines[0]
    for text in ("patchRoutine", f"id={name}", "actor=me", "status=404"):
        assert text in lines[1]


async def test_a_fault_of_ours_says_nothing_of_itself(
    gateway: GatewayUnderTest,
    http: httpx.AsyncClient,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # There is none that a test could provoke otherwise.
    monkeypatch.setattr("client.system.System.status", None)
    answer = await http.get(f"{API}/system")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["kind"] == "internal"
    assert "NoneType" not in answer.text
    reference = answer.json()["detail"].rpartition(" ")[2]
    assert reference in caplog.text
    assert "NoneType" in caplog.text


# ---- addresses, methods, hosts


@pytest.mark.parametrize("path", ["/", "/api/v1", f"{ROUTINES}/", "/docs", "/api/v2/routines"])
async def test_an_unknown_address(http: httpx.AsyncClient, path: str) -> None:
    assert_problem(await http.get(path), 404, "not_found", "path", path)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", ROUTINES, "GET, POST"),
        ("POST", f"{ROUTINES}/x", "DELETE, GET, PATCH"),
        ("GET", f"{ROUTINES}/x/trigger", "POST"),
        ("DELETE", f"{API}/runs/x%2Fy", "GET"),
        ("GET", f"{API}/runs/x%2Fy/cancel", "POST"),
        ("BREW", f"{API}/system", "GET"),
        ("HEAD", "/healthz", "GET"),
    ],
)
async def test_another_method(
    http: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    answer = await http.request(method, path)
    assert answer.headers["allow"] == allowed
    if method != "HEAD":
        assert_problem(answer, 405, "invalid_field", "method", allowed)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8234", "127.0.0.1.evil.example"])
@pytest.mark.parametrize("path", [ROUTINES, "/healthz", "/metrics"])
async def test_a_name_that_is_not_ours(http: httpx.AsyncClient, host: str, path: str) -> None:
    answer = await http.get(path, headers={"Host": host})
    assert_problem(answer, 400, "invalid_field", "host", "allowed_hosts")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:99", "[::1]:8234"])
async def test_the_names_of_loopback(http: httpx.AsyncClient, host: str) -> None:
    assert (await http.get("/healthz", headers={"Host": host})).status_code == 200


async def test_a_name_of_the_settings(harness: Harness) -> None:
    names = ["Agents.example"]
    async with (
        gateway_under_test(harness, "gateway-hosts", allowed_hosts=names) as running,
        running.client() as http,
    ):
        for host, code in (("agents.example", 200), ("x.agents.example", 400)):
            answer = await http.get("/healthz", headers={"Host": host})
            assert answer.status_code == code


async def test_no_web_page_may_read_answers(http: httpx.AsyncClient) -> None:
    answer = await http.get(ROUTINES, headers={"Origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert "server" not in answer.headers


# ---- the description


async def test_the_description_needs_a_token_and_names_everything(
    gateway: GatewayUnderTest, http: httpx.AsyncClient
) -> None:
    async with gateway.client("") as nobody:
        answer = await nobody.get(f"{API}/openapi.json")
        assert_problem(answer, 401, "unauthenticated", "authorization")
    described = (await http.get(f"{API}/openapi.json")).json()
    assert described["openapi"].startswith("3.1")
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert operation["description"].strip(), where
            assert "422" not in operation["responses"], where
            for code, answer in operation["responses"].items():
                media_types = set(answer.get("content", {}))
                if code >= "400":
                    assert media_types == {"application/problem+json"}, f"{where} {code}"
            bodies = operation.get("requestBody", {}).get("content", {})
            for body in bodies.values() if path.startswith(API) else ():
                name = body["schema"]["$ref"].rpartition("/")[2]
                assert described["components"]["schemas"][name]["examples"], where
            if path.startswith(API):
                assert operation["security"], where
    assert "HTTPValidationError" not in json.dumps(described)
