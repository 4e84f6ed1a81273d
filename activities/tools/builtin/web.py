"""The tools `http_get` and `http_request`: asking the web.

Owns their arguments and how an answer is shown. Where a request may go is
`activities.tools.outbound_http`'s. Source: triggers-and-actions.md §7.

Invariant: what runs without asking cannot change anything: `http_get` sends no body and no header
by which a server could be told to do something else.
"""

import hashlib
import re
from typing import Final

from activities.tools.builtin.schemas import arguments, text
from activities.tools.function_tool import FunctionTool
from activities.tools.outbound_http import (
    MAX_BODY_BYTES,
    MAX_URL_CHARS,
    OutboundAnswer,
    OutboundHttp,
    OutboundRefused,
    OutboundRequest,
    OutboundUnanswered,
)
from activities.tools.tool import Tool, ToolFailed, ToolUnknown, ToolUse
from domain.tool_specs import Permission, ToolSpec

MAX_HEADERS: Final = 30
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_SHOWN_HEADERS: Final = ("content-type", "etag", "last-modified", "location", "retry-after", "link")
# Ours to say: where the request goes, how long it is, how it travels.
_OUR_HEADERS: Final = frozenset({
    "accept-encoding", "connection", "content-length", "expect", "host", "keep-alive", "te",
    "trailer", "transfer-encoding", "upgrade",
})  # fmt: skip
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e]{0,8000}")
_TEXT_TYPE: Final = re.compile(
    r"text/|application/(?:[\w.+-]*\+)?(?:json|xml|yaml|x-yaml|javascript|x-www-form-urlencoded)\b",
    re.IGNORECASE,
)

_URL: Final = text("https or http; no user name or password in it.", longest=MAX_URL_CHARS)
_GET: Final = ToolSpec(
    name="http_get",
    description="Read a page or an API of the public web with GET. Redirects are followed. Gives "
    f"status, type and at most {MAX_BODY_BYTES} bytes of the text.",
    parameters=arguments(
        {
            "url": _URL,
            "accept": text("The types wanted, such as application/json.", longest=200),
        },
        ["url"],
    ),
    permission=Permission.ALLOW,
    read_only=True,
    idempotent=True,
    timeout_seconds=40,
)
_REQUEST: Final = ToolSpec(
    name="http_request",
    description="Make any HTTP request to the public web. A redirect to another origin is not "
    "followed unless the method is GET or HEAD.",
    parameters=arguments(
        {
            "method": {"type": "string", "enum": list(METHODS), "description": "HTTP method."},
            "url": _URL,
            "headers": {
                "type": "object",
                "description": "Headers by name.",
                "additionalProperties": {"type": "string"},
                "maxProperties": MAX_HEADERS,
            },
            "body": text("The body as text.", longest=100_000, shortest=0),
        },
        ["method", "url"],
    ),
    permission=Permission.ASK,
    timeout_seconds=40,
)


def web_tools(http: OutboundHttp) -> list[Tool]:
    """The tools.

    Args:
        http: Makes the requests.
    """

    async def send(request: OutboundRequest) -> str:
        try:
            return _shown(await http.send(request))
        except OutboundRefused as refusal:
            raise ToolFailed(str(refusal)) from None

    async def get(use: ToolUse) -> str:
        accept = use.arguments.get("accept")
        headers = _checked({} if accept is None else {"accept": str(accept)})
        return await send(OutboundRequest("GET", str(use.arguments["url"]), headers))

    async def change(request: OutboundRequest) -> str:
        try:
            return _shown(await http.send(request))
        except OutboundUnanswered as unanswered:
            raise ToolUnknown(str(unanswered)) from None
        except OutboundRefused as refusal:
            raise ToolFailed(str(refusal)) from None

    async def request(use: ToolUse) -> str:
        method = str(use.arguments["method"])
        headers = _checked(use.arguments.get("headers", {}))
        body = use.arguments.get("body")
        reading = method in {"GET", "HEAD", "OPTIONS"}
        if not reading:
            # Servers that know the header ignore a repeated request.
            headers.setdefault("idempotency-key", hashlib.sha256(use.key.encode()).hexdigest())
        data = None if body is None else str(body).encode("utf-8", "replace")
        wanted = OutboundRequest(method, str(use.arguments["url"]), headers, data)
        return await (send(wanted) if reading else change(wanted))

    return [FunctionTool(_GET, get), FunctionTool(_REQUEST, request)]


def _checked(headers: dict[str, str]) -> dict[str, str]:
    """Headers by lower-case name."""
    found: dict[str, str] = {}
    for name, value in headers.items():
        lowered = name.lower()
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ToolFailed(f"the header {name!r:.80} is not valid: printable ASCII only")
        if lowered in _OUR_HEADERS or lowered.startswith("proxy-"):
            raise ToolFailed(f"the header {name!r} is set by the tool itself; leave it out")
        found[lowered] = value
    return found


def _shown(answer: OutboundAnswer) -> str:
    lines = [f"HTTP {answer.status}", f"url: {answer.url}"]
    lines += [
        f"{name}: {value}"
        for name in _SHOWN_HEADERS
        if (value := answer.headers.get(name)) is not None
    ]
    if answer.truncated:
        lines.append(f"[only the first {len(answer.body)} bytes are shown]")
    return "\n".join(lines) + "\n\n" + _text(answer)


def _text(answer: OutboundAnswer) -> str:
    kind = answer.headers.get("content-type", "")
    charset = re.search(r"charset=\"?([\w.:-]{1,40})", kind, re.IGNORECASE)
    if not answer.body:
        return ""
    if kind and not _TEXT_TYPE.match(kind):
        return f"[{len(answer.body)} bytes of {kind.partition(';')[0][:100]} are not shown]"
    try:
        return answer.body.decode(charset[1] if charset else "utf-8", "replace")
    except LookupError:
        return answer.body.decode("utf-8", "replace")
