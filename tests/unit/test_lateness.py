"""Whom the watchdog suspects, judged by what is listed (DESIGN §3 rule 15)."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.lateness import ListedRun, suspects
from tests.support.routines import NOW

GRACE = timedelta(minutes=2)
FAR = 7


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def told(routine: str, started_at: datetime, next_due: datetime) -> ListedRun:
    return ListedRun(routine_id=routine, started_at=started_at, next_due=next_due)


def suspected(due: dict[str, datetime], *runs: ListedRun) -> list[str]:
    return suspects(due, runs, NOW - GRACE)


class TestSuspects:
    def test_nobody(self) -> None:
        assert suspected({}) == []
        assert suspected({}, told("brief", ago(5), ago(-5))) == []

    def test_a_time_that_passed_and_no_run(self) -> None:
        assert suspected({"brief": ago(5), "review": ago(3)}) == ["brief", "review"]

    def test_a_run_since_then_that_tells_of_a_time_to_come(self) -> None:
        assert suspected({"brief": ago(5)}, told("brief", ago(4), ago(-5))) == []

    def test_one_that_began_at_the_very_time(self) -> None:
        assert suspected({"brief": ago(5)}, told("brief", ago(5), ago(-5))) == []

    def test_what_it_told_may_be_a_moment_ago(self) -> None:
        due = {"brief": ago(5)}
        assert suspected(due, told("brief", ago(4), NOW - GRACE)) == []
        late = NOW - GRACE - timedelta.resolution
        assert suspected(due, told("brief", ago(4), late)) == ["brief"]

    def test_another_routines_run_says_nothing(self) -> None:
        due = {"brief": ago(5), "review": ago(5)}
        assert suspected(due, told("review", ago(4), ago(-5))) == ["brief"]
        assert suspected(due, told("other", ago(4), ago(-5))) == ["brief", "review"]

    def test_one_run_that_tells_is_enough(self) -> None:
        runs = [told("brief", ago(8), ago(5)), told("brief", ago(5), ago(-2))]
        assert suspected({"brief": ago(8)}, *runs) == []

    def test_a_patch_that_moves_it_before_what_its_last_run_told(self) -> None:
        """The run is older than the new time, so what it told no longer holds."""
        last = told("brief", ago(30), ago(-60))
        assert suspected({"brief": ago(30)}, last) == []
        assert suspected({"brief": ago(5)}, last) == ["brief"]


@dataclass
class Life:
    """A routine and what is listed of it; times are minutes.

    It writes its next time when its Schedule is put, which every change of its time does at once
    and with a time that is still to come; a run that ends writes the time that is next then, and
    the routine does so too where that is far off.
    """

    now: int = 0
    next_due: int = 5
    written: int = 5
    open_runs: list[int] = field(default_factory=list)
    runs: list[ListedRun] = field(default_factory=list)

    def patch(self, ahead: int) -> None:
        self.next_due = self.written = self.now + ahead

    def fire(self, ahead: int) -> None:
        """A scheduled run, if one is due: the next time is one that is still to come."""
        if self.next_due <= self.now:
            self.open_runs.append(self.now)
            self.next_due = self.now + ahead

    def trigger(self, _ahead: int) -> None:
        """A run by hand moves no time."""
        self.open_runs.append(self.now)

    def end(self, _ahead: int) -> None:
        if self.open_runs:
            started = self.open_runs.pop(0)
            self.runs.append(told("brief", _minute(started), _minute(self.next_due)))
            if self.next_due - self.now > FAR:
                self.written = self.next_due

    def wait(self, minutes: int) -> None:
        self.now += minutes

    def suspected(self) -> bool:
        """What the watchdog sees: the routine if its own time has passed, and runs that tell."""
        overdue_from = _minute(self.now) - GRACE
        due = {"brief": _minute(self.written)} if _minute(self.written) < overdue_from else {}
        return suspects(due, self.runs, overdue_from) == ["brief"]

    @property
    def late(self) -> bool:
        return _minute(self.next_due) < _minute(self.now) - GRACE


def _minute(number: int) -> datetime:
    return NOW + timedelta(minutes=number)


STEPS = {"patch": Life.patch, "fire": Life.fire, "trigger": Life.trigger, "end": Life.end}


@given(st.lists(st.tuples(st.sampled_from(["wait", *STEPS]), st.integers(1, 10)), max_size=30))
def test_a_routine_that_is_late_is_always_a_suspect(steps: list[tuple[str, int]]) -> None:
    """The invariant, whatever happened before."""
    life = Life()
    for name, minutes in steps:
        {"wait": Life.wait, **STEPS}[name](life, minutes)
        for later in range(15):
            seen = replace(life, now=life.now + later)
            assert seen.suspected() or not seen.late, seen


@pytest.mark.parametrize("step", ["fire", "trigger"])
def test_one_that_is_in_time_is_not_suspected_for_ever(step: str) -> None:
    """Otherwise "all are suspects" would do."""
    life = Life()
    life.wait(8)
    assert life.late
    assert life.suspected()
    life.fire(60)
    STEPS[step](life, 60)
    life.end(0)
    life.wait(30)
    assert (life.late, life.suspected()) == (False, False)
