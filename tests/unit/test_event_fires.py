"""From what somebody hands in to the run it starts: reading, limits, ids, and texts for prompts."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.admission import BeginRun, Decision, RunEnded, Verdict
from domain.emissions import (
    MAX_MESSAGE_BYTES,
    EmittedEvent,
    ReceivedMessage,
    read_event,
    read_message,
)
from domain.errors import DomainError
from domain.event_fires import (
    MAX_UNTRUSTED_BYTES,
    event_fire,
    event_occurrence,
    message_fire,
    message_occurrence,
)
from domain.guardrails import content_hash
from domain.listeners import Listener, trigger_digest
from domain.run_events import event_of_pause, events_of_begin, events_of_end, events_of_loss
from domain.runs import FireKind, RunRecord, RunStatus, run_workflow_id
from domain.trigger_matching import match_event
from domain.trigger_models import EventTrigger, SystemEventTrigger
from tests.support.routines import assert_refused, refusal, routine

NOW = datetime(2026, 2, 1, 12, 0, tzinfo=UTC)
EVENT = {"source": "github", "event_type": "issue.opened"}
MESSAGE = {"channel": "slack", "id": "1", "text": "hello"}


def _listener(trigger: EventTrigger | SystemEventTrigger) -> Listener:
    return Listener("news", "user:a", "a", trigger, trigger_digest(trigger))


def _fired(pattern: str, **fields: Any) -> Any:
    trigger = EventTrigger(pattern=pattern)
    message = ReceivedMessage.model_validate({**MESSAGE, **fields})
    match = match_event(trigger, message.as_matched())
    assert match.matched
    return message_fire(_listener(trigger), message, match, NOW)


class TestEvents:
    def test_a_run_of_an_event(self) -> None:
        trigger = SystemEventTrigger(source="github", event_type="issue.opened")
        event = EmittedEvent(id="e1", **EVENT, payload={"number": 42, "title": "ä"}, hop=3)
        fire = event_fire(_listener(trigger), event, NOW)
        start = fire.start
        assert fire.run_id == "news/" + event_occurrence("github", "e1")
        assert (start.routine_id, start.kind, start.hop) == ("news", FireKind.SYSTEM_EVENT, 3)
        assert start.trigger_detail == "github:issue.opened"
        assert start.trigger_digest == trigger_digest(trigger)
        assert start.content_hash == content_hash({"title": "ä", "number": 42})
        assert start.occurred_at == NOW
        (text,) = start.untrusted
        assert text.source == "event github:issue.opened"
        assert text.text == '{\n  "number": 42,\n  "title": "ä"\n}'

    def test_a_payload_that_is_too_large_when_it_is_indented(self) -> None:
        payload: dict[str, object] = {"list": [1] * 20_000}
        event = EmittedEvent(id="e1", **EVENT, payload=payload)
        trigger = SystemEventTrigger(source="github", event_type="issue.opened")
        (text,) = event_fire(_listener(trigger), event, NOW).start.untrusted
        assert json.loads(text.text) == payload
        assert len(text.text) <= MAX_UNTRUSTED_BYTES

    def test_long_names_are_cut_in_the_detail(self) -> None:
        event = EmittedEvent(id="1", source="s" * 200, event_type="t" * 200)
        trigger = SystemEventTrigger(source="s" * 200, event_type="t" * 200)
        assert len(event_fire(_listener(trigger), event, NOW).start.trigger_detail) == 200

    def test_occurrences(self) -> None:
        assert event_occurrence("a", "1") == event_occurrence("a", "1")
        ids = {
            event_occurrence("a", "1"),
            event_occurrence("b", "1"),
            event_occurrence("a", "2"),
            message_occurrence("a", "1"),
        }
        assert len(ids) == 4
        assert all(len(item) == 34 and item.startswith("e-") for item in ids)
        assert message_occurrence("Slack ", "1") == message_occurrence("slack", "1")


class TestMessages:
    def test_a_run_of_a_message(self) -> None:
        fire = _fired(
            r"(?P<verb>he)(x)?", text="well\n  hello you", author_name="Ada", author_id="7"
        )
        start = fire.start
        assert (start.kind, start.hop) == (FireKind.EVENT, 0)
        assert start.trigger_detail == "well hello you"
        assert start.content_hash == content_hash("well\n  hello you")
        facts, text = start.untrusted
        assert json.loads(facts.text) == {
            "channel": "slack",
            "author": "Ada",
            "matched_text": "he",
            "groups": ["he", None],
            "named_groups": {"verb": "he"},
        }
        assert (text.source, text.text) == ("message", "well\n  hello you")

    def test_a_long_message_is_cut_and_says_so(self) -> None:
        start = _fired(r"(?s)(.*)", text="ä" * 100_000).start
        facts, text = (item.text for item in start.untrusted)
        assert len((facts + text).encode()) <= MAX_UNTRUSTED_BYTES
        assert json.loads(facts)["truncated"] is True
        assert len(json.loads(facts)["groups"][0]) == 200
        assert text.endswith("bytes left out]")
        assert len(start.trigger_detail) == 200

    def test_many_groups(self) -> None:
        facts = json.loads(_fired("(h)" + "()" * 100).start.untrusted[0].text)
        assert len(facts["groups"]) == 20

    @given(st.text(max_size=300), st.integers(0, 70_000))
    def test_the_texts_are_never_too_long(self, text: str, padding: int) -> None:
        start = _fired("(?s).*", text=text + "x" * padding).start
        assert sum(len(item.text.encode()) for item in start.untrusted) <= MAX_UNTRUSTED_BYTES
        assert len(start.trigger_detail) <= 200
        assert "\n" not in start.trigger_detail

    @pytest.mark.parametrize("text", ["/stop", "  /stop now", "/new@bot x", "/a-b\n"])
    def test_commands(self, text: str) -> None:
        assert ReceivedMessage(channel="c", id="1", text=text).is_command

    @pytest.mark.parametrize("text", ["", "stop", "/etc/hosts is gone", "/ x", "a /stop", "/1"])
    def test_no_commands(self, text: str) -> None:
        assert not ReceivedMessage(channel="c", id="1", text=text).is_command


class TestReading:
    def test_an_event(self) -> None:
        event, everywhere = read_event({**EVENT, "payload": {"a": 1}, "id": " x "}, "new")
        assert event == EmittedEvent(id="x", **EVENT, payload={"a": 1})
        assert not everywhere
        event, everywhere = read_event({**EVENT, "payload": None, "scope": "all"}, "new")
        assert (event.id, event.payload, event.hop, everywhere) == ("new", {}, 0, True)
        assert event.as_matched().source == "github"

    @pytest.mark.parametrize(
        ("changes", "kind", "field", "says"),
        [
            ({"source": None}, "missing_field", "source", "source"),
            ({"source": "a b"}, "invalid_field", "source", "letters"),
            ({"event_type": "issue.*"}, "invalid_field", "event_type", "letters"),
            ({"event_type": "x" * 201}, "invalid_field", "event_type", "200"),
            ({"payload": [1]}, "invalid_field", "payload", "object"),
            ({"payload": "x"}, "invalid_field", "payload", "object"),
            ({"payload": {"a": {1, 2}}}, "invalid_field", "payload", "object"),
            ({"payload": {"a": "x" * 65_536}}, "payload_too_large", "payload", "65536"),
            ({"id": "x" * 256}, "invalid_field", "id", "255"),
            ({"id": 7}, "invalid_field", "id", "string"),
            ({"scope": "user:b"}, "invalid_field", "scope", "all"),
            ({"hop": 1}, "unknown_field", "hop", "payload"),
        ],
    )
    def test_bad_events(self, changes: dict[str, Any], kind: str, field: str, says: str) -> None:
        error = refusal(lambda: read_event({**EVENT, **changes}, "new"))
        assert_refused(error, kind, field, says)

    @pytest.mark.parametrize("read", [lambda: read_event([], ""), lambda: read_message("x")])
    def test_what_is_no_object(self, read: Any) -> None:
        assert_refused(refusal(read), "invalid_field", "body", "object")

    def test_the_largest_payload(self) -> None:
        payload = {"a": "x" * (65_536 - len('{"a":""}'))}
        assert read_event({**EVENT, "payload": payload}, "new")[0].payload == payload

    def test_a_message(self) -> None:
        body = {**MESSAGE, "text": "  kept ", "author_id": "7", "is_self": True, "self_ids": ["b"]}
        message = read_message(body)
        assert message == ReceivedMessage.model_validate(body)
        assert message.as_matched().is_self
        assert read_message({"channel": "c", "id": "1"}).text == ""

    @pytest.mark.parametrize(
        ("changes", "kind", "field"),
        [
            ({"channel": " "}, "missing_field", "channel"),
            ({"id": None}, "missing_field", "id"),
            ({"id": "x" * 256}, "invalid_field", "id"),
            ({"text": 7}, "invalid_field", "text"),
            ({"text": "\ud83d"}, "invalid_field", "text"),
            ({"text": "x" * (MAX_MESSAGE_BYTES + 1)}, "payload_too_large", "text"),
            ({"author_name": "x" * 513}, "invalid_field", "author_name"),
            ({"is_self": "yes"}, "invalid_field", "is_self"),
            ({"self_ids": "bot"}, "invalid_field", "self_ids"),
            ({"self_ids": [7]}, "invalid_field", "self_ids"),
            ({"self_ids": ["x"] * 33}, "invalid_field", "self_ids"),
            ({"user": "x"}, "unknown_field", "user"),
        ],
    )
    def test_bad_messages(self, changes: dict[str, Any], kind: str, field: str) -> None:
        assert_refused(refusal(lambda: read_message({**MESSAGE, **changes})), kind, field)


def _begin(**fields: Any) -> BeginRun:
    given = {"run_id": "news/m-1", "kind": FireKind.MANUAL, "occurred_at": NOW, **fields}
    return BeginRun.model_validate(given)


def _record(status: RunStatus, **fields: Any) -> RunRecord:
    return RunRecord(
        id="news/m-1",
        routine_id="news",
        workflow_id=run_workflow_id("news/m-1"),
        trigger_type=FireKind.MANUAL,
        occurred_at=NOW,
        status=status,
        **fields,
    )


class TestRoutineEvents:
    def test_a_lost_run(self) -> None:
        events = events_of_loss(_record(RunStatus.FAILED, error="lost"), routine(id="news"), None)
        assert [event.event_type for event in events] == ["run.failed"]
        events = events_of_loss(_record(RunStatus.FAILED), routine(id="news"), "failures")
        assert [event.event_type for event in events] == ["run.failed", "routine.paused"]

    def test_a_pause_by_a_person(self) -> None:
        event = event_of_pause(routine(status="paused", paused_reason="user", next_run_at=None))
        assert (event.id, event.hop, event.about) == ("routine.paused routine_01#4", 0, None)
        assert event.payload == {
            "routine_id": "routine_01",
            "run_id": None,
            "workflow_id": "routine/routine_01",
            "title": "routine_01",
            "status": "paused",
            "reason": "user",
        }


class TestRunEvents:
    def test_a_start(self) -> None:
        verdict = Verdict(decision=Decision.RUN, scope="user:a", title="News")
        (event,) = events_of_begin(_begin(hop=2), verdict)
        assert (event.source, event.event_type, event.hop) == ("tickless", "run.started", 3)
        assert event.about == "news"
        assert event.payload == {
            "routine_id": "news",
            "run_id": "news/m-1",
            "workflow_id": "routine-run/news/m-1",
            "title": "News",
            "status": "running",
            "reason": None,
        }
        assert events_of_begin(_begin(hop=2), verdict) == [event], "the same event, the same id"

    def test_a_refusal(self) -> None:
        verdict = Verdict(decision=Decision.SKIP, reason="cooldown")
        (event,) = events_of_begin(_begin(), verdict)
        assert event.event_type == "run.skipped"
        assert (event.payload["status"], event.payload["reason"]) == ("skipped", "cooldown")

    def test_what_is_not_told(self) -> None:
        skipped = Verdict(decision=Decision.SKIP, reason="cooldown")
        answered = _begin(trigger_detail="tickless:run.skipped", hop=1)
        assert events_of_begin(_begin(), Verdict(decision=Decision.QUEUE)) == []
        assert events_of_begin(_begin(hop=9), skipped) == []
        assert events_of_begin(answered, skipped) == []
        assert len(events_of_begin(answered, Verdict(decision=Decision.RUN))) == 1

    @pytest.mark.parametrize(
        ("status", "event_type"),
        [
            (RunStatus.OK, "run.completed"),
            (RunStatus.ATTENTION, "run.completed"),
            (RunStatus.FAILED, "run.failed"),
            (RunStatus.TIMED_OUT, "run.failed"),
        ],
    )
    def test_an_end(self, status: RunStatus, event_type: str) -> None:
        (event,) = events_of_end(_record(status, error="why"), RunEnded(accepted=True, title="N"))
        assert event.event_type == event_type
        assert (event.payload["status"], event.payload["reason"]) == (status, "why")

    def test_an_end_that_pauses(self) -> None:
        ended = RunEnded(accepted=True, paused_reason="failures")
        failed, paused = events_of_end(_record(RunStatus.FAILED), ended)
        assert (failed.about, paused.about) == ("news", None)
        assert paused.event_type == "routine.paused"
        assert (paused.payload["status"], paused.payload["reason"]) == ("paused", "failures")
        assert paused.payload["title"] == "news"

    def test_ends_that_are_not_told(self) -> None:
        ok = _record(RunStatus.OK)
        assert events_of_end(ok, RunEnded(accepted=False)) == []
        assert events_of_end(_record(RunStatus.CANCELLED), RunEnded(accepted=True)) == []
        beyond = _record(RunStatus.OK, hop=9)
        assert events_of_end(beyond, RunEnded(accepted=True)) == []


def test_bad_input_is_a_domain_error() -> None:
    with pytest.raises(DomainError):
        read_event({}, "new")
