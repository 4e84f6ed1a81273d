"""What is read of messages to sessions, changes of queues and stops; what is refused."""

from typing import Any

import pytest

from domain.errors import DomainError, ErrorKind
from domain.queueing import QueueDropPolicy, QueueMode
from domain.scopes import Route, Scope, ScopeKind
from domain.session_bodies import (
    GivenMessage,
    Speaker,
    read_inbound,
    read_queue_edit,
    read_session_key,
    read_stop,
)
from domain.session_messages import EditQueue, QueueOptions, StopSession

INVALID, MISSING, UNKNOWN = (
    ErrorKind.INVALID_FIELD,
    ErrorKind.MISSING_FIELD,
    ErrorKind.UNKNOWN_FIELD,
)
TOO_LARGE = ErrorKind.PAYLOAD_TOO_LARGE
ME = Speaker(
    scope=Scope(kind=ScopeKind.USER, id="me"),
    route=Route(receive_id_type="file"),
    sender_id="me",
    chat_type="dm",
    chat_id="c1",
)


def read(body: object) -> GivenMessage:
    return read_inbound(body, key="chat-1", speaker=ME, new_id="made", request_id="r1")


class TestMessages:
    def test_the_least(self) -> None:
        message = read({"text": " hi \n"}).message
        assert (message.message_id, message.id_given, message.text) == ("made", False, " hi \n")
        assert (message.session_key, message.request_id) == ("chat-1", "r1")
        assert (message.sender_id, message.chat_type, message.chat_id) == ("me", "dm", "c1")
        assert (message.scope, message.route) == (ME.scope, ME.route)
        assert message.options == QueueOptions()
        assert message.command_authorized

    def test_all_of_it(self) -> None:
        given = {
            "message_id": " m-1 ",
            "text": "hi",
            "sender_id": "bo",
            "sender_label": "Bo",
            "command_authorized": False,
            "is_heartbeat": True,
            "allow_duplicate": True,
            "provider": "slack",
            "surface": "web",
            "chat_type": "Group",
            "chat_id": "C9",
            "conversation_label": "all",
            "message_id_full": "slack:m-1",
            "reply_to_id": "m-0",
            "thread_id": "t-1",
            "thread_starter_body": "first",
            "media_urls": ["https://x/1.png"],
            "media_types": ["image/png"],
            "timestamp_ms": 1_700_000_000_000,
        }
        options = {"mode": " Steer+Backlog ", "debounce_ms": 0, "cap": 200, "drop": "OLD"}
        found = read({**given, "options": options, "is_self": False, "self_ids": ["bot"]})
        said = found.message.model_dump(include=set(given))
        assert said == {**given, "message_id": "m-1"}
        assert found.message.id_given
        assert found.message.options == QueueOptions(
            mode=QueueMode.STEER_BACKLOG, debounce_ms=0, cap=200, drop=QueueDropPolicy.OLD
        )
        assert (found.self_ids, found.is_echo) == (["bot"], False)

    @pytest.mark.parametrize("body", [{"is_self": True}, {"self_ids": ["you", "me"]}])
    def test_an_echo(self, body: dict[str, Any]) -> None:
        assert read({"text": "hi", **body}).is_echo

    def test_pictures_need_no_text(self) -> None:
        assert read({"media_urls": ["https://x/1.png"]}).message.text == ""

    def test_null_counts_as_absent(self) -> None:
        assert read({"text": "hi", "options": {"mode": None}, "sender_label": None}) == read(
            {"text": "hi"}
        )

    @pytest.mark.parametrize(
        ("change", "same"),
        [
            ({"sender_label": "Bobby"}, True),
            ({"timestamp_ms": 5}, True),
            ({"message_id": "other"}, True),
            ({"text": "ho"}, False),
            ({"options": {"mode": "interrupt"}}, False),
            ({"sender_id": "you"}, False),
            ({"media_urls": ["https://x/1.png"]}, False),
        ],
    )
    def test_what_makes_it_another_message(self, change: dict[str, Any], same: bool) -> None:
        body = {"message_id": "m", "text": "hi"}
        digests = [read(one).message.digest for one in (body, {**body, **change})]
        assert (digests[0] == digests[1]) is same
        assert len(digests[0]) == 32

    @pytest.mark.parametrize(
        ("body", "kind", "field", "says"),
        [
            ([], INVALID, "body", "JSON object"),
            ({}, MISSING, "text", "media_urls"),
            ({"text": " \n"}, MISSING, "text", "media_urls"),
            ({"text": 7}, INVALID, "text", "string"),
            ({"text": "\ud800"}, INVALID, "text", "Unicode"),
            ({"text": "x" * 65_537}, TOO_LARGE, "text", "65536"),
            ({"text": "ä" * 32_769}, TOO_LARGE, "text", "65536"),
            ({"text": "x", "txt": "y"}, UNKNOWN, "txt", "text"),
            ({"text": "x", "route": {}}, UNKNOWN, "route", "accepted"),
            ({"text": "x", "message_id": "m" * 256}, INVALID, "message_id", "255"),
            ({"text": "x", "message_id": "a\nb"}, INVALID, "message_id", "printable"),
            ({"text": "x", "message_id": 7}, INVALID, "message_id", "string"),
            ({"text": "x", "sender_id": "s" * 513}, INVALID, "sender_id", "512"),
            ({"text": "x", "sender_label": ["Bo"]}, INVALID, "sender_label", "string"),
            ({"text": "x", "provider": "p" * 201}, INVALID, "provider", "200"),
            ({"text": "x", "surface": "p" * 201}, INVALID, "surface", "200"),
            ({"text": "x", "chat_type": "p" * 201}, INVALID, "chat_type", "200"),
            ({"text": "x", "chat_id": "p" * 513}, INVALID, "chat_id", "512"),
            ({"text": "x", "conversation_label": "p" * 513}, INVALID, "conversation_label", "512"),
            ({"text": "x", "message_id_full": "p" * 513}, INVALID, "message_id_full", "512"),
            ({"text": "x", "reply_to_id": "p" * 256}, INVALID, "reply_to_id", "255"),
            ({"text": "x", "thread_id": "p" * 256}, INVALID, "thread_id", "255"),
            (
                {"text": "x", "thread_starter_body": "p" * 65_537},
                TOO_LARGE,
                "thread_starter_body",
                "65536",
            ),
            ({"text": "x", "command_authorized": "yes"}, INVALID, "command_authorized", "true"),
            ({"text": "x", "is_heartbeat": 1}, INVALID, "is_heartbeat", "true"),
            ({"text": "x", "allow_duplicate": "no"}, INVALID, "allow_duplicate", "true"),
            ({"text": "x", "is_self": "no"}, INVALID, "is_self", "true"),
            ({"text": "x", "self_ids": "bot"}, INVALID, "self_ids", "list"),
            ({"text": "x", "self_ids": [""]}, INVALID, "self_ids", "1 to 512"),
            ({"text": "x", "media_urls": "u"}, INVALID, "media_urls", "list"),
            ({"media_urls": "u"}, INVALID, "media_urls", "list"),
            ({"text": "x", "media_urls": ["u" * 2_049]}, INVALID, "media_urls", "2048"),
            ({"text": "x", "media_urls": ["\ud800"]}, INVALID, "media_urls", "texts"),
            ({"text": "x", "media_urls": ["u"] * 33}, INVALID, "media_urls", "32"),
            ({"text": "x", "media_types": [7]}, INVALID, "media_types", "200"),
            ({"text": "x", "timestamp_ms": -1}, INVALID, "timestamp_ms", "0"),
            ({"text": "x", "timestamp_ms": "now"}, INVALID, "timestamp_ms", "integer"),
            ({"text": "x", "options": "fast"}, INVALID, "options", "JSON object"),
            ({"text": "x", "options": {"speed": 1}}, UNKNOWN, "options.speed", "debounce_ms"),
            ({"text": "x", "options": {"mode": "later"}}, INVALID, "options.mode", "steer-backlog"),
            ({"text": "x", "options": {"mode": 1}}, INVALID, "options.mode", "string"),
            ({"text": "x", "options": {"debounce_ms": -1}}, INVALID, "options.debounce_ms", "0"),
            (
                {"text": "x", "options": {"debounce_ms": 600_001}},
                INVALID,
                "options.debounce_ms",
                "600000",
            ),
            (
                {"text": "x", "options": {"debounce_ms": 0.5}},
                INVALID,
                "options.debounce_ms",
                "integer",
            ),
            ({"text": "x", "options": {"cap": 0}}, INVALID, "options.cap", "1"),
            ({"text": "x", "options": {"cap": 201}}, INVALID, "options.cap", "200"),
            ({"text": "x", "options": {"drop": "all"}}, INVALID, "options.drop", "summarize"),
        ],
    )
    def test_bad(self, body: object, kind: ErrorKind, field: str, says: str) -> None:
        with pytest.raises(DomainError) as caught:
            read(body)
        error = caught.value
        assert (error.kind, error.field) == (kind, field), error.message
        assert says in error.message

    def test_every_wrong_field_is_told(self) -> None:
        with pytest.raises(DomainError) as caught:
            read({"message_id": 7, "options": {"cap": 0, "drop": "x"}, "self_ids": 1})
        fields = [problem.field for problem in caught.value.errors]
        assert fields == ["message_id", "text", "options.cap", "options.drop", "self_ids"]


class TestKeys:
    @pytest.mark.parametrize("key", ["a", " a:b|thread:7|message:9 ", "ünï/x"])
    def test_good(self, key: str) -> None:
        assert read_session_key(key) == key.strip()

    @pytest.mark.parametrize(
        ("key", "kind", "says"),
        [
            (None, MISSING, "key"),
            ("  ", MISSING, "key"),
            ("|thread:7", MISSING, "base"),
            (" |message:1", MISSING, "base"),
            (7, INVALID, "string"),
            ("a\nb", INVALID, "printable"),
            ("\udc80", INVALID, "Unicode"),
            ("x" * 513, INVALID, "512"),
        ],
    )
    def test_bad(self, key: object, kind: ErrorKind, says: str) -> None:
        with pytest.raises(DomainError) as caught:
            read_session_key(key)
        assert (caught.value.kind, caught.value.field) == (kind, "key")
        assert says in caught.value.message


class TestEdits:
    @pytest.mark.parametrize(
        ("body", "found"),
        [
            ({"clear": True}, EditQueue(clear=True)),
            ({"order": ["b", "a"], "revision": 0}, EditQueue(order=["b", "a"], revision=0)),
            ({"drop": ["a"], "merge": ["b", "c"]}, EditQueue(drop=["a"], merge=["b", "c"])),
            (
                {"options": {"mode": "steer"}},
                EditQueue(options=QueueOptions(mode=QueueMode.STEER)),
            ),
        ],
    )
    def test_good(self, body: dict[str, Any], found: EditQueue) -> None:
        assert read_queue_edit(body) == found

    @pytest.mark.parametrize(
        ("body", "kind", "field", "says"),
        [
            (None, INVALID, "body", "JSON object"),
            ({}, MISSING, "order", "clear"),
            ({"clear": False}, MISSING, "order", "merge"),
            ({"clear": "yes"}, INVALID, "clear", "true"),
            ({"clear": True, "drop": ["a"]}, INVALID, "clear", "without"),
            ({"order": "a"}, INVALID, "order", "list"),
            ({"order": ["a", "a"]}, INVALID, "order", "twice"),
            ({"order": [1]}, INVALID, "order", "255"),
            ({"drop": ["x" * 256]}, INVALID, "drop", "255"),
            ({"drop": ["a", "b", "a"]}, INVALID, "drop", "twice"),
            ({"merge": ["a"]}, INVALID, "merge", "2"),
            ({"merge": ["a", "b"], "drop": ["b"]}, INVALID, "merge", "drop"),
            ({"merge": [str(n) for n in range(1_001)]}, INVALID, "merge", "1000"),
            ({"options": {"cap": 0}}, INVALID, "options.cap", "1"),
            ({"clear": True, "revision": -1}, INVALID, "revision", "0"),
            ({"clear": True, "revision": "3"}, INVALID, "revision", "integer"),
            ({"sort": ["a"]}, UNKNOWN, "sort", "order"),
        ],
    )
    def test_bad(self, body: object, kind: ErrorKind, field: str, says: str) -> None:
        with pytest.raises(DomainError) as caught:
            read_queue_edit(body)
        error = caught.value
        assert (error.kind, error.field) == (kind, field), error.message
        assert says in error.message


class TestStops:
    def test_good(self) -> None:
        assert read_stop({}) == StopSession()
        assert read_stop({"reason": " enough "}).reason == "enough"

    @pytest.mark.parametrize(
        ("body", "field", "says"),
        [({"reason": "x" * 201}, "reason", "200"), ({"why": "x"}, "why", "reason")],
    )
    def test_bad(self, body: dict[str, Any], field: str, says: str) -> None:
        with pytest.raises(DomainError) as caught:
            read_stop(body)
        assert caught.value.field == field
        assert says in caught.value.message
