"""What a session shows, and that a run in a session counts only while it holds it."""

from datetime import UTC, datetime

import pytest

from domain.admission import Decision, RunMark
from domain.lease_queue import LeaseQueue
from domain.lease_queue_state import LeaseKind, RequestLease
from domain.routine import RunState
from domain.runs import RunStatus
from domain.scopes import Scope, ScopeKind
from domain.session import gate_key
from domain.session_requests import (
    SessionState,
    session_queue,
    session_thread_id,
    session_view,
)
from tests.support.bookings import Bookings

NOW = datetime(2026, 2, 1, 12, tzinfo=UTC)


def test_a_session_shows_who_holds_it_and_who_waits() -> None:
    state = SessionState(key="chat")
    view = session_view(state)
    assert (view.key, view.active, view.holder, view.waiting) == ("chat", False, None, 0)
    leases = LeaseQueue(state.leases)
    for owner in ("a", "b", "c"):
        request = RequestLease(owner=owner, request_id=owner, lease_seconds=60, checked=True)
        leases.request(request, NOW)
    view = session_view(state)
    assert view.holder is not None
    assert (view.active, view.holder.owner, view.waiting) == (True, "a", 2)
    assert (view.holder.kind, view.holder.since) == (LeaseKind.AUTOMATION, NOW)
    assert [one.owner for one in session_queue(state).waiting] == ["b", "c"]


def test_keys_of_one_conversation_have_one_gate() -> None:
    assert gate_key("chat|message:1") == gate_key("chat") == "chat"
    assert gate_key("chat|thread:7|message:1") == "chat|thread:7"
    assert gate_key("|thread:7") == gate_key("  ") == ""


def test_a_run_in_a_session_counts_only_while_it_holds_it() -> None:
    booked = Bookings(session_key="chat")

    assert booked.begin("m-1").decision == Decision.RUN
    found = booked.state.routine
    assert (found.run_count, found.run_state, found.last_run_at) == (
        0,
        RunState.WAITING_FOR_SESSION,
        None,
    )
    assert booked.begin("m-2").decision == Decision.QUEUE, (
        "it takes the routine's place all the same"
    )

    booked.mark("m-1", RunMark.RUNNING)
    found = booked.state.routine
    assert (found.run_count, found.run_state) == (1, RunState.RUNNING)
    booked.mark("m-1", RunMark.WAITING)
    found = booked.state.routine
    assert (found.run_count, found.run_state) == (0, RunState.WAITING_FOR_SESSION)
    booked.mark("m-1", RunMark.RUNNING)
    booked.end("m-1")
    assert (booked.state.routine.run_count, booked.state.routine.running) == (1, False)


def test_a_run_that_was_not_let_in_frees_its_place() -> None:
    booked = Bookings(session_key="chat")
    booked.begin("m-1")
    booked.end("m-1", RunStatus.SKIPPED, reason="paused")
    assert booked.state.open_runs == {}
    assert booked.kept.status == RunStatus.SKIPPED
    assert (booked.state.routine.run_count, booked.state.routine.run_state) == (0, RunState.IDLE)


def test_a_scope_is_read_from_its_text() -> None:
    for scope in (Scope(kind=ScopeKind.USER, id="me"), Scope(kind=ScopeKind.CHAT, id="oc:1")):
        assert Scope.of_text(scope.text) == scope
    with pytest.raises(ValueError, match="nobody"):
        Scope.of_text("nobody")


def test_a_conversation_knows_whose_goal_may_wait_for_it() -> None:
    state = SessionState(key="oc_1|thread:2")
    assert state.goal_scope == Scope(kind=ScopeKind.CHAT, id="oc_1|thread:2")
    state.inbox.scope = Scope(kind=ScopeKind.CHAT, id="oc_1")
    assert state.goal_scope == Scope(kind=ScopeKind.CHAT, id="oc_1|thread:2")
    assert state.thread_id == session_thread_id(state.inbox.scope, "oc_1|thread:2|message:3")
    state.inbox.scope = Scope(kind=ScopeKind.USER, id="me")
    assert state.goal_scope == state.inbox.scope
