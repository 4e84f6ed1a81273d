"""What a person changes in a queue: all or nothing."""

import pytest

from domain.errors import DomainError, ErrorKind
from domain.inbound_records import MessageFate
from domain.inbox_edit import edit_queue
from domain.inbox_turns import mark_kept, rows_to_keep
from domain.queueing import QueueMode
from domain.scopes import Route
from domain.session_messages import EditQueue, QueueOptions
from tests.support.inboxes import KEY, Desk, fates


def _desk(*ids: str) -> Desk:
    desk = Desk()
    desk.send("first")
    for one in ids:
        desk.send(one)
    desk.end()
    return desk


def _edit(desk: Desk, **fields: object) -> None:
    edit_queue(desk.state, KEY, EditQueue.model_validate(fields), desk.now)


def test_messages_are_put_first_dropped_and_merged() -> None:
    desk = _desk("a", "b", "c", "d", "e")
    revision = desk.state.revision
    _edit(desk, order=["d", "b"], drop=["e"], merge=["c", "a"])
    assert desk.waiting == ["d", "b", "c"]
    assert desk.settled() == {"e": MessageFate.DROPPED}
    assert desk.state.revision == revision + 1
    desk.later()
    desk.take()
    assert "Queued #3\n\ntext of c\n\ntext of a" in desk.text()
    assert fates(desk.end()) == {
        "d": MessageFate.MERGED,
        "b": MessageFate.MERGED,
        "c": MessageFate.ANSWERED,
        "a": MessageFate.MERGED,
    }


def test_merged_messages_are_merged_on() -> None:
    desk = _desk("a", "b", "c")
    _edit(desk, merge=["a", "b"])
    _edit(desk, merge=["c", "a"])
    assert desk.waiting == ["c"]
    mark_kept(desk.state, rows_to_keep(desk.state, KEY))
    desk.later()
    desk.take()
    assert desk.text() == "text of c\n\ntext of a\n\ntext of b"
    assert len(desk.end()) == 3


def test_a_cleared_queue_forgets_its_summary_too() -> None:
    desk = Desk(settings={"cap": 1})
    for one in "abc":
        desk.send(one)
    _edit(desk, clear=True)
    assert (desk.waiting, desk.state.lines, desk.state.drain_at) == ([], [], None)
    assert desk.settled() == {"b": MessageFate.DROPPED, "c": MessageFate.DROPPED}


def test_the_options_of_a_session_are_set() -> None:
    desk = _desk("a")
    _edit(desk, options={"mode": "followup"})
    assert desk.state.options == QueueOptions(mode=QueueMode.FOLLOWUP)
    _edit(desk, drop=["a"])
    assert desk.state.options.mode == QueueMode.FOLLOWUP


@pytest.mark.parametrize(
    ("fields", "kind", "field"),
    [
        ({"revision": 99, "clear": True}, ErrorKind.CONFLICT, "revision"),
        ({"order": ["x"]}, ErrorKind.INVALID_FIELD, "order"),
        ({"drop": ["a", "a"]}, ErrorKind.INVALID_FIELD, "drop"),
        ({"merge": ["a", "x"], "drop": ["b"]}, ErrorKind.INVALID_FIELD, "merge"),
        ({"merge": ["a"]}, ErrorKind.INVALID_FIELD, "merge"),
        ({"merge": ["a", "b"], "drop": ["b"]}, ErrorKind.INVALID_FIELD, "merge"),
        ({"merge": ["a", "b"], "clear": True}, ErrorKind.INVALID_FIELD, "merge"),
        ({"merge": ["a", "elsewhere"]}, ErrorKind.CONFLICT, "merge"),
        ({"merge": ["l1", "l2", "l3", "l4"]}, ErrorKind.PAYLOAD_TOO_LARGE, "merge"),
    ],
)
def test_a_refused_change_changes_nothing(
    fields: dict[str, object], kind: ErrorKind, field: str
) -> None:
    desk = Desk()
    for one in ("first", "a", "b"):
        desk.send(one)
    desk.send("elsewhere", route=Route(receive_id_type="file"))
    for number in range(1, 5):
        desk.send(f"l{number}", "x" * 60_000)
    before = desk.state.model_copy(deep=True)
    with pytest.raises(DomainError) as caught:
        _edit(desk, **fields)
    assert (caught.value.kind, caught.value.field) == (kind, field)
    assert desk.state == before


def test_what_waits_is_named_as_accepted() -> None:
    desk = _desk("a", "b")
    with pytest.raises(DomainError) as caught:
        _edit(desk, drop=["x"])
    assert caught.value.accepted == ["a", "b"]
