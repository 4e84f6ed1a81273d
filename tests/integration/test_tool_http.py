"""Requests that a model asks for: where they may go, by which address, and what comes back."""

import asyncio
import gzip
import ipaddress
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from activities.tools.builtin.web import web_tools
from activities.tools.outbound_http import (
    MAX_BODY_BYTES,
    OutboundHttp,
    OutboundRefused,
    OutboundRequest,
    OutboundUnanswered,
)
from activities.tools.tool import ToolFailed, ToolUnknown
from domain.outbound_addresses import AllowedHost
from tests.support.http_connection import Connection, Request
from tests.support.tools import Toolbox

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Site:
    """A server on loopback: what it was asked, and what it answers by path."""

    port: int = 0
    asked: list[Request] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await Connection(reader, writer).read_request()
        if request is not None:
            self.asked.append(request)
            if request.path in self.silent:
                await reader.read()
            else:
                status, headers, body = self.answers.get(request.path, (200, {}, b"hello"))
                lines = [f"HTTP/1.1 {status} X", "connection: close"]
                lines += [f"{name}: {value}" for name, value in headers.items()]
                writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
                await writer.drain()
        writer.close()

    def url(self, path: str = "/", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


@asynccontextmanager
async def listening(tls: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    site = Site()
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0, ssl=tls)
    site.port = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        server.close()
        await server.wait_closed()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with listening() as found:
        yield found


def names(**known: str) -> Callable[[str, int], Any]:
    """A resolver that knows a few names."""

    async def resolve(host: str, _port: int) -> Sequence[str]:
        return known[host.replace(".", "_").replace("-", "_")].split() if host else ()

    return resolve


def open_http(site: Site, *hosts: str, **more: Any) -> OutboundHttp:
    """Requests to these hosts on the site's port are allowed."""
    allowed = [AllowedHost(host, site.port) for host in hosts or ("127.0.0.1",)]
    return OutboundHttp(allowed_hosts=allowed, **more)


async def get(http: OutboundHttp, url: str, **more: Any) -> Any:
    return await http.send(OutboundRequest("GET", url, **more))


async def refusal(http: OutboundHttp, url: str) -> str:
    with pytest.raises(OutboundRefused) as refused:
        await get(http, url)
    return str(refused.value)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::]", "2130706433", "0x7f000001",
        "0177.0.0.1", "127.1", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "169.254.169.254",
        "10.0.0.1", "[64:ff9b::7f00:1]", "[fd00:ec2::254]", "１２７.0.0.1", "localhost.",
    ],
)  # fmt: skip
async def test_no_spelling_of_an_inner_address_passes(host: str) -> None:
    said = await refusal(OutboundHttp(), f"http://{host}:8080/")
    assert "public internet" in said or "no address" in said or "no valid URL" in said


async def test_a_name_with_one_inner_address_is_refused_and_not_mapped() -> None:
    http = OutboundHttp(resolver=names(mixed_example="93.184.216.34 10.1.2.3"))
    said = await refusal(http, "http://mixed.example/")
    assert "not on the public internet" in said
    assert "10.1.2.3" not in said


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.org/", "must begin with https"),
        ("file:///etc/passwd", "must begin with https"),
        ("example.org", "must begin with https"),
        ("http:///x", "names no host"),
        ("http://user:word@example.org/", "user name or password"),
        ("http://example.org:22/", "port 22 is not allowed; allowed ports: 80, 443, 8080, 8443"),
        ("http://example.org:0x50/", "no valid URL"),
        ("http://" + "a" * 5000, "longer than"),
        ("http://gone.example/", "has no address"),
    ],
)
async def test_other_urls_are_refused(url: str, reason: str) -> None:
    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return ()

    assert reason in await refusal(OutboundHttp(resolver=resolve), url)


async def test_the_connection_goes_to_the_address_that_was_checked(site: Site) -> None:
    """The name's answers change from one question to the next; there is only one question."""
    asked: list[str] = []

    async def resolve(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.255.255.1"]

    http = open_http(site, "pinned.example", resolver=resolve)
    answer = await get(http, site.url("/a?b=c", "pinned.example"))
    assert answer.body == b"hello"
    assert asked == ["pinned.example"]
    (request,) = site.asked
    assert request.path == "/a?b=c"
    assert request.headers["host"] == f"pinned.example:{site.port}"


async def test_the_next_address_is_tried_when_one_is_dead(site: Site) -> None:
    http = open_http(site, "two.example", resolver=names(two_example="127.0.0.2 127.0.0.1"))
    assert (await get(http, site.url("/", "two.example"))).status == 200


def certified(folder: Path, host: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context for a host, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    path = folder / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + pem
    )
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(path)
    trusting = ssl.create_default_context(cadata=pem.decode())
    return serving, trusting


async def test_tls_is_checked_for_the_name_not_the_address(tmp_path: Path) -> None:
    serving, trusting = certified(tmp_path, "secure.example")
    seen: list[str | None] = []
    serving.sni_callback = lambda _socket, name, _context: seen.append(name)
    async with listening(serving) as site:
        resolver = names(secure_example="127.0.0.1", other_example="127.0.0.1")
        http = open_http(site, "secure.example", "other.example", resolver=resolver, tls=trusting)
        answer = await get(http, site.url("/", "secure.example", "https"))
        assert answer.status == 200
        assert seen == ["secure.example"]
        said = await refusal(http, site.url("/", "other.example", "https"))
        assert "cannot be reached" in said


@pytest.mark.parametrize(
    "location", ["http://10.0.0.1/", "http://169.254.169.254/latest", "//[::1]/", "http://x:1/"]
)
async def test_a_redirect_into_our_network_is_refused(site: Site, location: str) -> None:
    site.answers["/"] = (302, {"location": location}, b"")
    said = await refusal(open_http(site), site.url())
    assert "public internet" in said or "not allowed" in said
    assert len(site.asked) == 1


async def test_redirects_are_followed_to_an_end(site: Site) -> None:
    for step in range(5):
        site.answers[f"/{step}"] = (302, {"location": f"/{step + 1}"}, b"")
    answer = await get(open_http(site), site.url("/0"))
    assert answer.url == site.url("/5")
    site.answers["/5"] = (302, {"location": "/0"}, b"")
    assert "more than 5 redirects" in await refusal(open_http(site), site.url("/0"))


async def test_headers_stay_with_their_origin(site: Site) -> None:
    async with listening() as other:
        site.answers["/"] = (302, {"location": other.url()}, b"")
        site.answers["/here"] = (302, {"location": "/there"}, b"")
        http = OutboundHttp(
            allowed_hosts=[AllowedHost("127.0.0.1", port) for port in (site.port, other.port)]
        )
        headers = {"Authorization": "Bearer secret", "Accept": "text/html"}
        await get(http, site.url(), headers=headers)
        assert "authorization" not in other.asked[0].headers
        assert other.asked[0].headers["accept"] == "text/html"
        await get(http, site.url("/here"), headers=headers)
        assert site.asked[-1].headers["authorization"] == "Bearer secret"


async def test_a_change_is_not_redirected_to_another_origin(site: Site) -> None:
    async with listening() as other:
        http = OutboundHttp(
            allowed_hosts=[AllowedHost("127.0.0.1", port) for port in (site.port, other.port)]
        )
        site.answers["/out"] = (307, {"location": other.url()}, b"")
        site.answers["/see"] = (303, {"location": "/seen"}, b"")
        site.answers["/same"] = (308, {"location": "/moved"}, b"")
        posted = OutboundRequest("POST", site.url("/out"), {"content-type": "text/plain"}, b"x")
        assert (await http.send(posted)).status == 307
        assert other.asked == []
        await http.send(OutboundRequest("POST", site.url("/see"), posted.headers, b"x"))
        seen = site.asked[-1]
        assert (seen.method, seen.path, seen.body) == ("GET", "/seen", b"")
        assert "content-type" not in seen.headers
        await http.send(OutboundRequest("POST", site.url("/same"), posted.headers, b"x"))
        assert (site.asked[-1].method, site.asked[-1].body) == ("POST", b"x")


async def test_a_body_is_cut_before_it_is_unpacked(site: Site) -> None:
    bomb = zlib.compressobj(wbits=31)
    packed = b"".join(bomb.compress(bytes(1024 * 1024)) for _ in range(200)) + bomb.flush()
    site.answers["/bomb"] = (200, {"content-encoding": "gzip"}, packed)
    site.answers["/long"] = (200, {}, bytes(3 * MAX_BODY_BYTES))
    site.answers["/exact"] = (200, {}, bytes(MAX_BODY_BYTES))
    site.answers["/packed"] = (200, {"content-encoding": "gzip"}, gzip.compress(b"hello"))
    http = open_http(site)
    for path in ("/bomb", "/long"):
        answer = await get(http, site.url(path))
        assert (len(answer.body), answer.truncated) == (MAX_BODY_BYTES, True)
    exact = await get(http, site.url("/exact"))
    assert (len(exact.body), exact.truncated) == (MAX_BODY_BYTES, False)
    assert (await get(http, site.url("/packed"))).body == b"hello"


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "gzip"])
async def test_what_cannot_be_unpacked_is_refused(site: Site, encoding: str) -> None:
    site.answers["/"] = (200, {"content-encoding": encoding}, b"no gzip at all")
    said = await refusal(open_http(site), site.url())
    assert "gzip" in said


async def test_a_silent_server_is_told_from_one_that_is_not_there(site: Site) -> None:
    site.silent.add("/")
    with pytest.raises(OutboundUnanswered, match=r"no answer within 0\.2 s; .* may have arrived"):
        await get(open_http(site), site.url(), timeout_seconds=0.2)
    closed = Site(port=1)
    with pytest.raises(OutboundRefused, match="cannot be reached") as refused:
        await get(open_http(closed), closed.url())
    assert not isinstance(refused.value, OutboundUnanswered)


async def test_nothing_of_the_process_goes_along(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    site.answers["/"] = (200, {"set-cookie": "a=b; Path=/"}, b"")
    http = open_http(site)
    for _ in range(2):
        await get(http, site.url())
    assert all("cookie" not in request.headers for request in site.asked)


@pytest.fixture
def tools(site: Site) -> Toolbox:
    return Toolbox(web_tools(open_http(site)))


async def test_a_page_is_shown_with_what_matters(site: Site, tools: Toolbox) -> None:
    page = "<p>grüß</p>".encode("latin-1")
    site.answers["/"] = (
        200,
        {"content-type": "text/html; charset=latin-1", "x-secret": "1", "etag": "e"},
        page,
    )
    assert await tools.call("http_get", url=site.url(), accept="text/html") == (
        f"HTTP 200\nurl: {site.url()}\ncontent-type: text/html; charset=latin-1\netag: e\n\n"
        "<p>grüß</p>"
    )
    site.answers["/"] = (404, {"content-type": "image/png"}, b"\x89PNG")
    assert "[4 bytes of image/png are not shown]" in await tools.call("http_get", url=site.url())
    site.answers["/"] = (200, {"content-type": "application/ld+json; charset=nope"}, b'{"a": 1}')
    assert (await tools.call("http_get", url=site.url())).endswith('{"a": 1}')


async def test_a_request_that_changes_carries_one_key_for_all_attempts(
    site: Site, tools: Toolbox
) -> None:
    for _ in range(2):
        await tools.call(
            "http_request", "k", method="POST", url=site.url("/x"), body="é", headers={"X-A": "1"}
        )
    first, second = site.asked
    assert (first.method, first.body) == ("POST", "é".encode())
    assert first.headers["x-a"] == "1"
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert len(first.headers["idempotency-key"]) == 64


@pytest.mark.parametrize(
    "headers",
    [{"Host": "x"}, {"Content-Length": "1"}, {"proxy-authorization": "x"}, {"a b": "x"},
     {"a": "x\r\nhost: y"}, {"a": "ä"}, {"Transfer-Encoding": "chunked"}],
)  # fmt: skip
async def test_headers_that_change_the_way_are_refused(
    tools: Toolbox, site: Site, headers: dict[str, str]
) -> None:
    with pytest.raises(ToolFailed, match="the header"):
        await tools.call("http_request", method="GET", url=site.url(), headers=headers)
    assert site.asked == []


@pytest.mark.parametrize(
    ("method", "raised"), [("POST", ToolUnknown), ("GET", ToolFailed), ("HEAD", ToolFailed)]
)
async def test_a_request_without_answer_may_have_had_its_effect(
    site: Site, tools: Toolbox, method: str, raised: type[Exception]
) -> None:
    site.answers["/"] = (200, {"transfer-encoding": "nonsense"}, b"")
    with pytest.raises(raised, match="the request may have arrived"):
        await tools.call("http_request", method=method, url=site.url())
    assert len(site.asked) == 1


async def test_a_refusal_is_told_the_model() -> None:
    tools = Toolbox(web_tools(OutboundHttp()))
    with pytest.raises(ToolFailed, match="tool_http_allowed_hosts"):
        await tools.call("http_get", url=f"http://{ipaddress.ip_address('127.0.0.1')}/")
