"""The index finds what testing every listener would find; memos hold what it is made of."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.listener_index import ListenerIndex
from domain.listeners import (
    MAX_MEMO_BYTES,
    Listener,
    ListeningTrigger,
    LongTrigger,
    listens,
    read_memo,
    still_listens,
    trigger_digest,
    trigger_memo,
)
from domain.trigger_matching import (
    EventMismatch,
    IncomingMessage,
    SystemEvent,
    match_event,
    match_system_event,
)
from domain.trigger_models import EventTrigger, ManualTrigger, SystemEventTrigger

SCOPES = ("user:a", "user:b")
CHANNELS = st.sampled_from([None, "slack", "mail"])
TYPES = st.sampled_from(["x", "x.y", "x.y.z", "y"])
VALUES = st.sampled_from(["1", "2", "true", "a"])

events = st.builds(
    EventTrigger, channel=CHANNELS, pattern=st.sampled_from(["a", "b", "^a", "(a)(c)?", ".*"])
)
system_events = st.builds(
    SystemEventTrigger,
    source=st.sampled_from(["s", "t"]),
    event_type=st.one_of(TYPES, TYPES.map(lambda name: name + ".*")),
    filters=st.dictionaries(st.sampled_from(["k", "l"]), VALUES, max_size=2),
)


def listener(name: object, trigger: ListeningTrigger, scope: str = "user:a") -> Listener:
    return Listener(f"r{name}", scope, "a", trigger, trigger_digest(trigger))


listeners = st.builds(
    listener, st.integers(0, 5), st.one_of(events, system_events), st.sampled_from(SCOPES)
)
wanted_scopes = st.lists(st.sampled_from(SCOPES), max_size=3)


@given(
    st.lists(listeners),
    st.builds(
        IncomingMessage,
        channel=st.sampled_from([None, "Slack ", "mail", "sms"]),
        text=st.text("abc", max_size=4),
        author_id=st.sampled_from([None, "bot"]),
    ),
    wanted_scopes,
)
def test_messages(puts: list[Listener], message: IncomingMessage, scopes: list[str]) -> None:
    index, last = ListenerIndex(puts), {item.routine_id: item for item in puts}
    found = index.of_message(message, scopes, ["bot"])
    expected = {
        item.routine_id
        for item in last.values()
        if isinstance(item.trigger, EventTrigger)
        and item.scope in scopes
        and match_event(item.trigger, message, ["bot"]).matched
    }
    assert sorted(item.routine_id for item, _ in found) == sorted(expected)
    assert all(match.matched for _, match in found)


payloads = st.dictionaries(
    st.sampled_from(["k", "l"]), st.sampled_from([1, 2, True, "a", None, [1]]), max_size=2
)


@given(
    st.lists(listeners),
    st.builds(
        SystemEvent,
        source=st.sampled_from(["s", "t"]),
        event_type=TYPES,
        payload=st.one_of(st.none(), payloads),
        hop=st.sampled_from([0, 8, 9]),
    ),
    st.one_of(st.none(), wanted_scopes),
)
def test_events(puts: list[Listener], event: SystemEvent, scopes: list[str] | None) -> None:
    index, last = ListenerIndex(puts), {item.routine_id: item for item in puts}
    found = index.of_event(event, scopes)
    expected: dict[str, Any] = {}
    for item in last.values():
        if isinstance(item.trigger, SystemEventTrigger) and (
            scopes is None or item.scope in scopes
        ):
            match = match_system_event(item.trigger, event)
            if match.matched or match.reason == EventMismatch.HOP_LIMIT:
                expected[item.routine_id] = match
    assert len(found) == len(expected)
    assert {item.routine_id: match for item, match in found} == expected


@given(st.lists(listeners), st.lists(st.integers(0, 6)))
def test_what_is_dropped_is_gone(puts: list[Listener], drops: list[int]) -> None:
    index, last = ListenerIndex(puts), {item.routine_id: item for item in puts}
    for number in drops:
        index.drop(f"r{number}")
        last.pop(f"r{number}", None)
        assert index.get(f"r{number}") is None
    assert {item.routine_id: item for item in index} == last
    assert len(index) == len(last)
    everything = index.of_event(SystemEvent(source="s", event_type="x"), None)
    assert {item.routine_id for item, _ in everything} <= set(last)
    texts = index.of_message(IncomingMessage(channel="mail", text="abc"), SCOPES)
    assert {item.routine_id for item, _ in texts} <= set(last)


def test_a_long_text_is_searched_to_its_limit() -> None:
    trigger = EventTrigger(pattern="end")
    index = ListenerIndex([listener(1, trigger)])
    assert index.of_message(IncomingMessage(text="ä" * 32_766 + "end!"), ["user:a"]) != []
    assert index.of_message(IncomingMessage(text="ä" * 32_767 + "end"), ["user:a"]) == []


def test_a_type_with_a_star_is_looked_up_once() -> None:
    index = ListenerIndex([listener(1, SystemEventTrigger(source="s", event_type="a.*"))])
    assert len(index.of_event(SystemEvent(source="s", event_type="a.*"), None)) == 1


def test_the_last_word_is_the_single_test() -> None:
    first = {"k": "1"}
    events = [
        SystemEventTrigger(source="s", event_type="x", filters=first),
        SystemEventTrigger(source="s", event_type="x", filters={**first, "l": "1"}),
    ]
    index = ListenerIndex([listener(number, trigger) for number, trigger in enumerate(events)])
    event = SystemEvent(source="s", event_type="x", payload={"k": 1})
    assert [item.routine_id for item, _ in index.of_event(event, None)] == ["r0"]
    index = ListenerIndex([listener(1, EventTrigger(pattern="a"))])
    message = IncomingMessage(text="a", is_self=True)
    assert index.of_message(message, ["user:a"]) == []


# ---- memos


@given(st.one_of(events, system_events))
def test_a_memo_is_the_trigger(trigger: ListeningTrigger) -> None:
    assert read_memo(trigger_memo(trigger)) == trigger


@pytest.mark.parametrize("size", [200, 400, 1000])
def test_a_long_trigger_is_its_digest(size: int) -> None:
    trigger = EventTrigger(pattern="x" * size)
    memo = trigger_memo(trigger)
    assert memo is not None
    assert len(str(memo)) <= MAX_MEMO_BYTES
    read = read_memo(memo)
    assert read == trigger if size == 200 else isinstance(read, LongTrigger)
    if isinstance(read, LongTrigger):
        assert read.digest == trigger_digest(trigger)


@pytest.mark.parametrize("memo", [None, "x", {}, {"type": "manual"}, {"digest": 1}, []])
def test_a_memo_that_is_none(memo: object) -> None:
    assert read_memo(memo) is None


def test_other_triggers_do_not_listen() -> None:
    assert trigger_memo(ManualTrigger()) is None
    assert not listens(ManualTrigger())
    assert not still_listens(ManualTrigger(), "x")


def test_a_digest_tells_triggers_apart() -> None:
    one, other = EventTrigger(pattern="a"), EventTrigger(pattern="b")
    assert still_listens(one, trigger_digest(EventTrigger(pattern="a")))
    assert not still_listens(other, trigger_digest(one))
