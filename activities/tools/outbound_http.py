"""Requests over HTTP to addresses that a model chose, and to nowhere inside of our network.

Owns the guard against server-side request forgery: what a URL may be, which addresses a request may
go to, and that it goes to the address that was checked. Which addresses are public is
`domain.outbound_addresses`'. Source: triggers-and-actions.md §7.

Invariants:
    1. A name is resolved once for each hop, every address it has is checked, and the connection
       goes to a checked address: a name that answers otherwise a moment later changes nothing.
    2. Redirects are followed here, each like a new request, at most `MAX_REDIRECTS`; what is more
       than reading follows none that leads to another origin.
    3. An answer costs at most `MAX_BODY_BYTES` of memory, compressed or not.
    4. Nothing of the process's environment and nothing of a former call goes along: no proxy, no
       cookies, no connection, no credentials.
"""

import asyncio
import socket
import ssl
import zlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Final

import httpx

from domain.outbound_addresses import DEFAULT_PORTS, AllowedHost, is_allowed, is_public

MAX_REDIRECTS: Final = 5
MAX_BODY_BYTES: Final = 1024 * 1024
MAX_URL_CHARS: Final = 4096
MAX_ADDRESSES: Final = 4
CONNECT_SECONDS: Final = 5.0
STEP_SECONDS: Final = 20.0
USER_AGENT: Final = "tickless"

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_READING: Final = frozenset({"GET", "HEAD"})
_DEFAULT_PORT: Final = {"http": 80, "https": 443}
# What says nothing about who asks; all else stays with the origin it was meant for.
_HARMLESS_HEADERS: Final = frozenset({"accept", "accept-language"})
# Raised before anything of a request was written.
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.LocalProtocolError)

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]


class OutboundRefused(Exception):
    """A request that may not or could not be made; the message says why."""


class OutboundUnanswered(OutboundRefused):
    """A request that may have arrived and has no answer."""


@dataclass(frozen=True, slots=True)
class OutboundRequest:
    """What to ask for; `headers` by name as they are sent."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes | None = None
    timeout_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class OutboundAnswer:
    """An answer; `body` is decoded, and cut when `truncated`."""

    status: int
    url: str
    headers: httpx.Headers
    body: bytes
    truncated: bool


@dataclass(frozen=True, slots=True)
class _Target:
    """Where a request goes: the URL as it was given, and the checked addresses."""

    url: httpx.URL
    host: str
    port: int
    addresses: Sequence[str]


class OutboundHttp:
    """Makes guarded requests; one per process."""

    def __init__(
        self,
        *,
        allowed_hosts: Collection[AllowedHost] = (),
        ports: Collection[int] = DEFAULT_PORTS,
        resolver: Resolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Take the operator's policy.

        Args:
            allowed_hosts: Hosts that may be inside of our network.
            ports: Where requests may go on all other hosts.
            resolver: Gives the addresses of a name; else the system does.
            tls: Which certificates are trusted; else the usual ones.
        """
        self._allowed = list(allowed_hosts)
        self._ports = frozenset(ports)
        self._resolve = resolver or _system_addresses
        self._tls = tls

    async def send(self, request: OutboundRequest) -> OutboundAnswer:
        """Make a request, and those that its redirects ask for.

        Raises:
            OutboundRefused: It may not be made, or nobody answered.
            OutboundUnanswered: It was sent, and no answer came in time.
        """
        try:
            async with asyncio.timeout(request.timeout_seconds):
                return await self._follow(request)
        except TimeoutError:
            raise OutboundUnanswered(
                f"no answer within {request.timeout_seconds:g} s; the request may have arrived"
            ) from None

    async def _follow(self, request: OutboundRequest) -> OutboundAnswer:
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._send_once(request, await self._target(request.url))
            following = _redirected(request, answer)
            if following is None:
                return answer
            request = following
        raise OutboundRefused(f"more than {MAX_REDIRECTS} redirects")

    async def _target(self, text: str) -> _Target:
        """Check a URL and resolve its host, once."""
        url = _checked_url(text)
        host = url.raw_host.decode("ascii").rstrip(".").lower()
        port = url.port or _DEFAULT_PORT[url.scheme]
        trusted = is_allowed(host, port, self._allowed, self._ports)
        if not trusted and port not in self._ports:
            known = ", ".join(str(known) for known in sorted(self._ports))
            raise OutboundRefused(f"port {port} is not allowed; allowed ports: {known}")
        try:
            found = list(dict.fromkeys(await self._resolve(host, port)))
        except (OSError, UnicodeError):
            found = []
        if not found:
            raise OutboundRefused(f"the host {host!r} has no address")
        if not trusted and not all(is_public(address) for address in found):
            # The address itself is not told: it would map our network for whoever asks.
            raise OutboundRefused(
                f"the host {host!r} is not on the public internet; the operator can allow it "
                "(tool_http_allowed_hosts)"
            )
        return _Target(url, host, port, found[:MAX_ADDRESSES])

    async def _send_once(self, request: OutboundRequest, target: _Target) -> OutboundAnswer:
        """One hop, to the first of the checked addresses that takes a connection."""
        failure = ""
        for address in target.addresses:
            try:
                return await self._send_to(address, request, target)
            except _NOT_SENT as error:
                failure = type(error).__name__
            except httpx.HTTPError as error:
                raise OutboundUnanswered(
                    f"no answer from {target.host!r} ({type(error).__name__}); the request may "
                    "have arrived"
                ) from None
        raise OutboundRefused(f"{target.host!r} cannot be reached ({failure})")

    async def _send_to(
        self, address: str, request: OutboundRequest, target: _Target
    ) -> OutboundAnswer:
        default = target.port == _DEFAULT_PORT[target.url.scheme]
        bracketed = f"[{target.host}]" if ":" in target.host else target.host
        headers = {
            **{name.lower(): value for name, value in request.headers.items()},
            "host": bracketed if default else f"{bracketed}:{target.port}",
            "accept-encoding": "gzip",
            "connection": "close",
        }
        headers.setdefault("accept", "*/*")
        headers.setdefault("user-agent", USER_AGENT)
        if self._tls is None:  # read once: it is a file of all certificates
            self._tls = await asyncio.to_thread(httpx.create_ssl_context, trust_env=False)
        transport = httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False)
        async with transport:
            sent = httpx.Request(
                request.method,
                target.url.copy_with(host=address, fragment=None),
                headers=headers,
                content=request.body,
                extensions={
                    "sni_hostname": target.host,
                    "timeout": httpx.Timeout(STEP_SECONDS, connect=CONNECT_SECONDS).as_dict(),
                },
            )
            response = await transport.handle_async_request(sent)
            response.request = sent
            try:
                body, truncated = await _body(response)
            finally:
                await response.aclose()
        return OutboundAnswer(
            response.status_code, str(target.url), response.headers, body, truncated
        )


async def _system_addresses(host: str, port: int) -> Sequence[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def _checked_url(text: str) -> httpx.URL:
    if len(text) > MAX_URL_CHARS:
        raise OutboundRefused(f"the URL is longer than {MAX_URL_CHARS} characters")
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        raise OutboundRefused("this is no valid URL") from None
    if url.scheme not in _DEFAULT_PORT:
        raise OutboundRefused("the URL must begin with https:// or http://")
    if url.userinfo:
        raise OutboundRefused("the URL must not hold a user name or password")
    if not url.host:
        raise OutboundRefused("the URL names no host")
    return url


def _redirected(request: OutboundRequest, answer: OutboundAnswer) -> OutboundRequest | None:
    """The request that an answer asks for; null when the answer is the last."""
    location = answer.headers.get("location")
    if answer.status not in _REDIRECTS or not location:
        return None
    here = httpx.URL(answer.url)
    try:
        there = here.join(location)
    except (httpx.InvalidURL, ValueError):
        raise OutboundRefused("the server redirects to something that is no URL") from None
    same = _origin(here) == _origin(there)
    if request.method not in _READING and not same:
        # Somebody agreed to this request to this origin, not to another.
        return None
    headers = {
        name: value
        for name, value in request.headers.items()
        if same or name.lower() in _HARMLESS_HEADERS
    }
    following = replace(request, url=str(there), headers=headers)
    if request.method in _READING or answer.status in {
        HTTPStatus.TEMPORARY_REDIRECT,
        HTTPStatus.PERMANENT_REDIRECT,
    }:
        return following
    plain = {name: value for name, value in headers.items() if name.lower() != "content-type"}
    return replace(following, method="GET", body=None, headers=plain)


def _origin(url: httpx.URL) -> tuple[str, bytes, int | None]:
    return url.scheme, url.raw_host, url.port or _DEFAULT_PORT.get(url.scheme)


async def _body(response: httpx.Response) -> tuple[bytes, bool]:
    """The decoded start of a body, and whether there is more of it."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"gzip", "x-gzip", "identity", ""}:
        raise OutboundRefused(f"the answer is encoded as {encoding!r:.40}; only gzip is read")
    # The library's own decoding would unpack a whole piece before anybody could count.
    unpacker = zlib.decompressobj(wbits=31) if encoding.endswith("gzip") else None
    body = bytearray()
    async for piece in response.aiter_raw():
        room = MAX_BODY_BYTES + 1 - len(body)
        if unpacker is None:
            body += piece[:room]
        else:
            try:
                body += unpacker.decompress(piece, room)
            except zlib.error:
                raise OutboundRefused("the answer is no valid gzip") from None
        if len(body) > MAX_BODY_BYTES:
            return bytes(body[:MAX_BODY_BYTES]), True
    return bytes(body), False
