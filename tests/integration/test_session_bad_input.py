"""Bad messages, changes of queues and stops: told by library, HTTP and command line alike.

One row for each thing that may be wrong; whoever is told, nothing was changed.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from domain.errors import HTTP_STATUS, ErrorKind
from domain.session_requests import SessionQueue, SessionView
from tests.support.bad_input import (
    INVALID,
    MISSING,
    UNKNOWN,
    Row,
    assert_raises,
    cases,
)
from tests.support.command import command
from tests.support.gateway import API, gateway_under_test
from tests.support.gateway import assert_problem as assert_answer
from tests.support.harness import Harness, until
from tests.support.model_steps import Hang

TOO_LARGE = "payload_too_large"
OPTIONS = "options"


def said(**fields: Any) -> dict[str, Any]:
    return {"text": "Hello", **fields}


def option(**fields: Any) -> dict[str, Any]:
    return said(options=fields)


MESSAGES = [
    Row("text", {}, MISSING, "text", ("text", "media_urls")),
    Row("text", {"text": " \n"}, MISSING, "text", ("media_urls",)),
    Row("text", {"text": 7}, INVALID, "text", ("string",)),
    Row("text", {"text": "x" * 65_537}, TOO_LARGE, "text", ("65536",)),
    Row("unknown", said(txt="x"), UNKNOWN, "txt", ("message_id",)),
    Row("scope", said(scope={"kind": "user", "id": "you"}), UNKNOWN, "scope", ("accepted",)),
    Row("route", said(route={"receive_id_type": "file"}), UNKNOWN, "route", ("accepted",)),
    Row("session_key", said(session_key="x"), UNKNOWN, "session_key", ("accepted",)),
    Row("message_id", said(message_id="m" * 256), INVALID, "message_id", ("255",)),
    Row("message_id", said(message_id="a\nb"), INVALID, "message_id", ("printable",)),
    Row("message_id", said(message_id=7), INVALID, "message_id", ("string",)),
    Row("sender_id", said(sender_id="s" * 513), INVALID, "sender_id", ("512",)),
    Row("sender_label", said(sender_label=["Bo"]), INVALID, "sender_label", ("string",)),
    Row("provider", said(provider="p" * 201), INVALID, "provider", ("200",)),
    Row("surface", said(surface="p" * 201), INVALID, "surface", ("200",)),
    Row("chat_type", said(chat_type="p" * 201), INVALID, "chat_type", ("200",)),
    Row("chat_id", said(chat_id="p" * 513), INVALID, "chat_id", ("512",)),
    Row("label", said(conversation_label="p" * 513), INVALID, "conversation_label", ("512",)),
    Row("full_id", said(message_id_full="p" * 513), INVALID, "message_id_full", ("512",)),
    Row("reply_to_id", said(reply_to_id="p" * 256), INVALID, "reply_to_id", ("255",)),
    Row("thread_id", said(thread_id="p" * 256), INVALID, "thread_id", ("255",)),
    Row(
        "thread_starter",
        said(thread_starter_body="p" * 65_537),
        TOO_LARGE,
        "thread_starter_body",
        ("65536",),
    ),
    Row("authorized", said(command_authorized="yes"), INVALID, "command_authorized", ("true",)),
    Row("heartbeat", said(is_heartbeat=1), INVALID, "is_heartbeat", ("true", "false")),
    Row("duplicate", said(allow_duplicate="no"), INVALID, "allow_duplicate", ("true",)),
    Row("is_self", said(is_self="no"), INVALID, "is_self", ("true",)),
    Row("self_ids", said(self_ids="bot"), INVALID, "self_ids", ("list",)),
    Row("media_urls", said(media_urls=["u" * 2_049]), INVALID, "media_urls", ("2048",)),
    Row("media_urls", said(media_urls=["u"] * 33), INVALID, "media_urls", ("32",)),
    Row("media_types", said(media_types=[7]), INVALID, "media_types", ("texts",)),
    Row("timestamp_ms", said(timestamp_ms=-1), INVALID, "timestamp_ms", ("integer", "0")),
    Row("timestamp_ms", said(timestamp_ms="now"), INVALID, "timestamp_ms", ("integer",)),
    Row("options", said(options="fast"), INVALID, OPTIONS, ("JSON object",)),
    Row("options", option(speed=1), UNKNOWN, "options.speed", ("debounce_ms",)),
    Row("mode", option(mode="later"), INVALID, "options.mode", ("collect", "steer-backlog")),
    Row("debounce_ms", option(debounce_ms=-1), INVALID, "options.debounce_ms", ("0", "600000")),
    Row("debounce_ms", option(debounce_ms="1s"), INVALID, "options.debounce_ms", ("integer",)),
    Row("cap", option(cap=0), INVALID, "options.cap", ("1", "200")),
    Row("cap", option(cap=True), INVALID, "options.cap", ("integer",)),
    Row("drop", option(drop="all"), INVALID, "options.drop", ("old", "new", "summarize")),
]
CHANGES = [
    Row("nothing", {}, MISSING, "order", ("order", "drop", "merge", "clear", "options")),
    Row("unknown", {"sort": ["a"]}, UNKNOWN, "sort", ("order", "revision")),
    Row("order", {"order": "kept"}, INVALID, "order", ("list",)),
    Row("order", {"order": ["kept", "kept"]}, INVALID, "order", ("twice",)),
    Row("order", {"order": ["gone"], "drop": ["kept"]}, INVALID, "order", ("gone",)),
    Row("drop", {"drop": [7]}, INVALID, "drop", ("255",)),
    Row("drop", {"drop": ["gone"], "order": ["kept"]}, INVALID, "drop", ("gone",)),
    Row("merge", {"merge": ["kept"]}, INVALID, "merge", ("2",)),
    Row("merge", {"merge": ["kept", "gone"]}, INVALID, "merge", ("gone",)),
    Row("merge", {"merge": ["kept", "x"], "drop": ["x"]}, INVALID, "merge", ("drop",)),
    Row("clear", {"clear": "yes"}, INVALID, "clear", ("true",)),
    Row("clear", {"clear": True, "drop": ["kept"]}, INVALID, "clear", ("without",)),
    Row("options", {"options": {"cap": 0}}, INVALID, "options.cap", ("1", "200")),
    Row("revision", {"clear": True, "revision": -1}, INVALID, "revision", ("0",)),
    Row("revision", {"clear": True, "revision": 99}, "conflict", "revision", ("99",)),
]
STOPS = [
    Row("reason", {"reason": "x" * 201}, INVALID, "reason", ("200",)),
    Row("reason", {"reason": 7}, INVALID, "reason", ("string",)),
    Row("unknown", {"why": "x"}, UNKNOWN, "why", ("reason",)),
]


@dataclass(frozen=True)
class Stage:
    """A conversation in which a turn runs and a message waits, and a gateway to it."""

    harness: Harness
    http: httpx.AsyncClient
    key: str
    before: tuple[SessionView, SessionQueue]

    @property
    def address(self) -> str:
        return f"{API}/sessions/{self.key}"

    async def assert_unchanged(self) -> None:
        """The session and its queue are as they were."""
        assert await state(self.harness, self.key) == self.before


async def state(harness: Harness, key: str) -> tuple[SessionView, SessionQueue]:
    sessions = harness.tickless.sessions
    return await sessions.get(key), await sessions.queue(key)


@pytest.fixture(scope="module")
async def stage(harness: Harness) -> AsyncIterator[Stage]:
    key = harness.name()
    harness.scripts.on(key, Hang("I think", 1))
    sessions = harness.tickless.sessions
    await sessions.send(f"Hello {key}", key=key)

    async def asked() -> bool:
        return any(key in " ".join(call.texts) for call in harness.models.calls)

    await until(asked, "the model is asked")
    options = {"mode": "followup", "debounce_ms": 600_000}
    await sessions.send({"text": f"Later {key}", "message_id": "kept", "options": options}, key=key)
    async with (
        gateway_under_test(harness, "gateway-bad-sessions") as running,
        running.client() as http,
    ):
        yield Stage(harness, http, key, await state(harness, key))
    await sessions.edit_queue(key, {"clear": True})
    await sessions.stop(key)


@pytest.mark.parametrize("row", cases(MESSAGES))
async def test_a_bad_message(stage: Stage, row: Row) -> None:
    sessions = stage.harness.tickless.sessions
    await assert_raises(sessions.send(row.body, key=stage.key), row)
    answer = await stage.http.post(f"{stage.address}/messages", json=row.body)
    assert_answer(answer, HTTP_STATUS[ErrorKind(row.kind)], row.kind, row.field, *row.says)
    await stage.assert_unchanged()


@pytest.mark.parametrize("row", cases(CHANGES))
async def test_a_bad_change(stage: Stage, row: Row) -> None:
    sessions = stage.harness.tickless.sessions
    await assert_raises(sessions.edit_queue(stage.key, row.body), row)
    answer = await stage.http.patch(f"{stage.address}/queue", json=row.body)
    assert_answer(answer, HTTP_STATUS[ErrorKind(row.kind)], row.kind, row.field, *row.says)
    await stage.assert_unchanged()


@pytest.mark.parametrize("row", cases(STOPS))
async def test_a_bad_stop(stage: Stage, row: Row) -> None:
    sessions = stage.harness.tickless.sessions
    await assert_raises(sessions.stop_body(row.body, stage.key), row)
    answer = await stage.http.post(f"{stage.address}/stop", json=row.body)
    assert_answer(answer, HTTP_STATUS[ErrorKind(row.kind)], row.kind, row.field, *row.says)
    await stage.assert_unchanged()


# What is given by flags, or as JSON, goes the same way as above.
FLAGS = [
    (("send", "KEY", "x", "--mode", "later"), INVALID, "options.mode"),
    (("send", "KEY", "x", "--debounce-ms", "soon"), INVALID, "options.debounce_ms"),
    (("send", "KEY", "x", "--cap", "1.5"), INVALID, "options.cap"),
    (("send", "KEY", "x", "--drop", "all"), INVALID, "options.drop"),
    (("send", "KEY", "x", "--message-id", "m" * 256), INVALID, "message_id"),
    (("send", "KEY"), MISSING, "text"),
    (("send", "KEY", "-"), MISSING, "text"),
    (("send", "KEY", "--json", "/nowhere.json"), INVALID, "body"),
    (("send", "KEY", "--json", "-", "--mode", "steer"), INVALID, "body"),
    (("send", "|thread:7", "x"), MISSING, "key"),
    (("send",), MISSING, "key"),
    (("queue", "KEY", "--order", "kept,kept"), INVALID, "order"),
    (("queue", "KEY", "--revision", "x"), INVALID, "revision"),
    (("queue", "KEY", "--revision", "1"), MISSING, "order"),
    (("queue", "KEY", "--clear", "--drop", "kept"), INVALID, "clear"),
    (("queue", "KEY", "--drop-policy", "all"), INVALID, "options.drop"),
    (("queue", "KEY", "--clear", "--json", "-"), INVALID, "body"),
    (("stop", "KEY", "--reason", "x" * 201), INVALID, "reason"),
    (("tail", "KEY", "--turns", "0"), INVALID, "turns"),
    (("list", "--limit", "201"), INVALID, "limit"),
    (("list", "--cursor", "?"), INVALID, "cursor"),
    (("get", " "), MISSING, "key"),
    (("get", "x" * 513), INVALID, "key"),
]


@pytest.mark.parametrize(("words", "kind", "field"), FLAGS)
async def test_bad_flags(stage: Stage, words: tuple[str, ...], kind: str, field: str) -> None:
    given = [stage.key if word == "KEY" else word for word in words]
    answer = await command(stage.harness, "session", *given)
    assert (answer.problem["kind"], answer.problem["field"], answer.code) == (kind, field, 2)
    await stage.assert_unchanged()


@pytest.mark.parametrize("value", [[1], None, {"text": {"a"}}, {"text": "\ud800"}])
async def test_what_only_a_program_can_give(stage: Stage, value: Any) -> None:
    row = Row("message", {}, INVALID, "message", ("JSON object",))
    await assert_raises(stage.harness.tickless.sessions.send(value, key=stage.key), row)
    await stage.assert_unchanged()
