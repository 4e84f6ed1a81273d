"""Fires of events at admission: the trigger that was matched must still be the routine's."""

from datetime import timedelta
from typing import Any

import pytest

from domain.guardrails import Reason
from domain.listeners import trigger_digest
from domain.runs import FireKind, RunStatus
from domain.trigger_models import EventTrigger, SystemEventTrigger
from tests.support.bookings import RUN, Bookings, decision, refused
from tests.support.routines import NOW

TRIGGER = SystemEventTrigger(source="github", event_type="issue.*", filters={"a": "1"})
DIGEST = trigger_digest(TRIGGER)
OTHER = trigger_digest(EventTrigger(pattern="x"))


def _bookings(**changes: Any) -> Bookings:
    given = {"trigger": TRIGGER.model_dump(), "schedule": ..., "next_run_at": None, **changes}
    return Bookings(**given)


def _fire(booked: Bookings, name: str = "e-1", **fields: Any) -> Any:
    given = {"trigger_digest": DIGEST, **fields}
    return decision(booked.begin(name, FireKind.SYSTEM_EVENT, **given))


def test_a_match_that_holds_runs() -> None:
    booked = _bookings()
    verdict = booked.begin("e-1", FireKind.SYSTEM_EVENT, trigger_digest=DIGEST)
    assert decision(verdict) == RUN
    assert (verdict.scope, verdict.title) == ("user:ou_a", "routine_01")


def test_who_says_no_trigger_is_not_compared() -> None:
    assert _fire(_bookings(), trigger_digest=None) == RUN


def test_a_match_of_another_trigger_is_superseded() -> None:
    booked = _bookings()
    assert _fire(booked, trigger_digest=OTHER) == refused(Reason.SUPERSEDED)
    assert booked.state.skipped == {"superseded": 1}
    assert booked.kept.status == RunStatus.SKIPPED


def test_a_routine_that_listens_no_more_supersedes() -> None:
    assert _fire(Bookings()) == refused(Reason.SUPERSEDED)


@pytest.mark.parametrize(("hop", "wanted"), [(8, RUN), (9, refused(Reason.HOP_LIMIT))])
def test_the_hop_limit(hop: int, wanted: object) -> None:
    booked = _bookings()
    assert _fire(booked, hop=hop) == wanted
    assert booked.state.skipped == ({"hop_limit": 1} if hop > 8 else {})


def test_what_comes_before() -> None:
    """A state of the routine is told before the fire is looked at; the rest after it."""
    paused = _bookings(status="paused")
    assert _fire(paused, trigger_digest=OTHER, hop=9) == refused(Reason.PAUSED)
    booked = _bookings(guardrails={"overlap": "skip"})
    booked.begin("e-0", FireKind.SYSTEM_EVENT)
    assert _fire(booked, trigger_digest=OTHER, hop=9) == refused(Reason.SUPERSEDED)
    assert _fire(booked, "e-2", hop=9) == refused(Reason.HOP_LIMIT)
    assert _fire(booked, "e-3") == refused(Reason.MAX_CONCURRENT)


def test_an_old_fire_is_expired_first() -> None:
    booked = _bookings(guardrails={"max_age_seconds": 60})
    old = NOW - timedelta(seconds=61)
    assert _fire(booked, occurred_at=old, trigger_digest=OTHER) == refused(Reason.EXPIRED)


def test_the_end_that_pauses_says_so() -> None:
    booked = _bookings(consecutive_failures=2)
    booked.begin("e-1", FireKind.SYSTEM_EVENT)
    ended = booked.end("e-1", RunStatus.FAILED, error="boom")
    assert (ended.paused_reason, ended.scope) == ("failures", "user:ou_a")


def test_an_end_that_does_not_pause() -> None:
    booked = _bookings(guardrails={"max_concurrent": 2})
    booked.begin("e-1", FireKind.SYSTEM_EVENT)
    booked.begin("e-2", FireKind.SYSTEM_EVENT)
    assert booked.end("e-1").paused_reason is None
    paused = {"status": "paused", "paused_reason": "manual"}
    booked.state.routine = booked.state.routine.model_copy(update=paused)
    assert booked.end("e-2").paused_reason is None, "it was paused before"
