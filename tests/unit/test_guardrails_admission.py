"""Admission: the table of triggers-and-actions.md §4, row by row."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from domain.guardrails import (
    AdmissionDecision,
    AdmissionRoutine,
    AdmissionState,
    Fire,
    Guardrails,
    Reason,
    RecentHash,
    decide_admission,
    recheck_admission,
)
from domain.runs import FireKind
from domain.schedule import Catchup, Schedule

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
PUSHED = [FireKind.EVENT, FireKind.SYSTEM_EVENT, FireKind.WEBHOOK]
ADMITTED = AdmissionDecision(decision="run")


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def routine(guardrails: Mapping[str, Any] | None = None, **fields: Any) -> AdmissionRoutine:
    limits = Guardrails.model_validate(guardrails or {})
    return AdmissionRoutine.model_validate({"status": "active", **fields, "guardrails": limits})


def fire(kind: FireKind = FireKind.EVENT, **fields: Any) -> Fire:
    return Fire.model_validate({"kind": kind, "occurred_at": NOW, **fields})


def decide(
    subject: AdmissionRoutine | None = None,
    asked: Fire | None = None,
    now: datetime = NOW,
    **state: Any,
) -> AdmissionDecision:
    booked = AdmissionState.model_validate(state)
    return decide_admission(subject or routine(), asked or fire(), booked, now)


def refusal(
    reason: Reason, retry_at: datetime | None = None, duplicate_of: str | None = None
) -> AdmissionDecision:
    return AdmissionDecision(
        decision="skip",
        reason=reason,
        retry_at=retry_at,
        skipped={reason.value: 1},
        duplicate_of=duplicate_of,
    )


class TestStatus:
    def test_an_active_routine_runs(self) -> None:
        assert decide() == ADMITTED

    @pytest.mark.parametrize("kind", list(FireKind))
    @pytest.mark.parametrize("force", [False, True])
    def test_row_1_a_deleted_routine_never_runs(self, kind: FireKind, force: bool) -> None:
        verdict = decide(routine(status="deleted"), fire(kind, force=force))
        assert verdict == refusal(Reason.DELETED)

    @pytest.mark.parametrize("kind", list(FireKind))
    def test_row_2_pause_means_pause(self, kind: FireKind) -> None:
        assert decide(routine(status="paused"), fire(kind)) == refusal(Reason.PAUSED)

    def test_row_2_only_a_forced_manual_fire_passes_a_pause(self) -> None:
        paused = routine(status="paused")
        assert decide(paused, fire(FireKind.MANUAL, force=True)) == ADMITTED
        assert decide(paused, fire(FireKind.WEBHOOK, force=True)) == refusal(Reason.PAUSED)

    @pytest.mark.parametrize("force", [False, True])
    def test_row_3_the_system_pause_stops_all(self, force: bool) -> None:
        for kind in FireKind:
            verdict = decide(None, fire(kind, force=force), system_paused=True)
            assert verdict == refusal(Reason.SYSTEM_PAUSED)


class TestMaxRuns:
    @pytest.mark.parametrize(("count", "runs"), [(0, True), (2, True), (3, False), (4, False)])
    def test_row_4_runs_are_counted(self, count: int, runs: bool) -> None:
        verdict = decide(routine(max_runs=3, run_count=count))
        assert verdict == (ADMITTED if runs else refusal(Reason.MAX_RUNS))

    def test_row_4_0_is_unlimited(self) -> None:
        assert decide(routine(max_runs=0, run_count=99)) == ADMITTED

    def test_row_4_holds_for_forced_manual_fires_too(self) -> None:
        verdict = decide(routine(max_runs=1, run_count=1), fire(FireKind.MANUAL, force=True))
        assert verdict == refusal(Reason.MAX_RUNS)


class TestAge:
    SUBJECT = routine({"max_age_seconds": 60})

    @pytest.mark.parametrize(("age", "runs"), [(0, True), (60, True), (60.001, False), (61, False)])
    def test_row_5_exactly_the_age_passes(self, age: float, runs: bool) -> None:
        verdict = decide(self.SUBJECT, fire(occurred_at=ago(age)))
        assert verdict == (ADMITTED if runs else refusal(Reason.EXPIRED))

    def test_row_5_manual_fires_pass(self) -> None:
        assert decide(self.SUBJECT, fire(FireKind.MANUAL, occurred_at=ago(999))) == ADMITTED

    def test_row_5_without_a_limit_any_age_passes(self) -> None:
        assert decide(routine(), fire(occurred_at=ago(10**7))) == ADMITTED

    def test_row_5_a_scheduled_fire_is_as_old_as_its_nominal_time(self) -> None:
        late = fire(FireKind.SCHEDULE, occurred_at=None, scheduled_at=ago(61))
        assert decide(self.SUBJECT, late) == refusal(Reason.EXPIRED)

    def test_row_5_a_backfill_is_as_old_as_its_request(self) -> None:
        asked = fire(FireKind.BACKFILL, occurred_at=ago(5), scheduled_at=ago(10**6))
        assert decide(self.SUBJECT, asked) == ADMITTED
        asked = fire(FireKind.BACKFILL, occurred_at=None, scheduled_at=ago(10**6))
        assert decide(self.SUBJECT, asked) == ADMITTED


class TestSuperseded:
    @pytest.mark.parametrize(("after", "runs"), [(-1, False), (0, False), (1, True)])
    def test_row_6_a_time_not_after_the_last_run_is_covered(self, after: int, runs: bool) -> None:
        last = ago(3600)
        asked = fire(FireKind.SCHEDULE, scheduled_at=last + timedelta(seconds=after))
        verdict = decide(routine(last_run_at=last), asked)
        assert verdict == (ADMITTED if runs else refusal(Reason.SUPERSEDED))

    def test_row_6_the_first_run_has_nothing_before_it(self) -> None:
        assert decide(routine(), fire(FireKind.SCHEDULE, scheduled_at=ago(9))) == ADMITTED

    @pytest.mark.parametrize("kind", [kind for kind in FireKind if kind is not FireKind.SCHEDULE])
    def test_row_6_is_for_schedules_only(self, kind: FireKind) -> None:
        asked = fire(kind, scheduled_at=ago(3600))
        assert decide(routine(last_run_at=ago(60)), asked) == ADMITTED

    def test_row_6_a_fire_without_nominal_time_has_nothing_to_compare(self) -> None:
        assert decide(routine(last_run_at=NOW), fire(FireKind.SCHEDULE)) == ADMITTED

    @pytest.mark.parametrize("catchup", list(Catchup))
    def test_row_6_catchup_all_wants_every_time(self, catchup: Catchup) -> None:
        schedule = Schedule(every_seconds=3600, catchup=catchup)
        subject = routine(last_run_at=ago(60), schedule=schedule.model_dump())
        verdict = decide(subject, fire(FireKind.SCHEDULE, scheduled_at=ago(3600)))
        wants_all = catchup is Catchup.ALL
        assert verdict == (ADMITTED if wants_all else refusal(Reason.SUPERSEDED))

    @pytest.mark.parametrize(
        ("explicit", "offset", "runs"), [(True, 0.4, True), (True, 1, False), (False, 0, False)]
    )
    def test_row_6_a_time_set_by_hand_passes(
        self, explicit: bool, offset: float, runs: bool
    ) -> None:
        at = ago(7200)
        subject = routine(
            last_run_at=ago(60),
            next_run_at=at + timedelta(seconds=offset),
            next_run_explicit=explicit,
        )
        verdict = decide(subject, fire(FireKind.SCHEDULE, scheduled_at=at))
        assert verdict == (ADMITTED if runs else refusal(Reason.SUPERSEDED))


class TestDuplicates:
    WINDOW = routine({"dedup_window_seconds": 600})

    @staticmethod
    def seen(age: float, digest: str = "h", run: str | None = "r/e-1") -> RecentHash:
        return RecentHash(hash=digest, at=ago(age), run_id=run)

    @pytest.mark.parametrize(("age", "runs"), [(0, False), (599.9, False), (600, True)])
    def test_row_7_exactly_the_window_passes(self, age: float, runs: bool) -> None:
        verdict = decide(self.WINDOW, fire(content_hash="h"), recent_hashes=[self.seen(age)])
        refused = refusal(Reason.DUPLICATE, ago(age) + timedelta(seconds=600), "r/e-1")
        assert verdict == (ADMITTED if runs else refused)

    def test_row_7_other_content_is_no_duplicate(self) -> None:
        seen = [self.seen(1, "other")]
        assert decide(self.WINDOW, fire(content_hash="h"), recent_hashes=seen) == ADMITTED
        assert decide(self.WINDOW, fire(), recent_hashes=seen) == ADMITTED

    def test_row_7_without_a_window_content_may_repeat(self) -> None:
        verdict = decide(routine(), fire(content_hash="h"), recent_hashes=[self.seen(1)])
        assert verdict == ADMITTED

    def test_row_7_manual_fires_pass(self) -> None:
        asked = fire(FireKind.MANUAL, content_hash="h", delivery_digest="h")
        assert decide(self.WINDOW, asked, recent_hashes=[self.seen(1)]) == ADMITTED

    @pytest.mark.parametrize(
        ("window", "seconds"), [(None, 300), (60, 300), (300, 300), (301, 301), (600, 600)]
    )
    def test_row_7_a_delivery_without_id_is_the_same_for_300_seconds_at_least(
        self, window: int | None, seconds: int
    ) -> None:
        subject = routine({"dedup_window_seconds": window})
        asked = fire(FireKind.WEBHOOK, delivery_digest="d")
        young, old = self.seen(seconds - 1, "d"), self.seen(seconds, "d")
        verdict = decide(subject, asked, recent_hashes=[young])
        assert verdict == refusal(Reason.DUPLICATE, NOW + timedelta(seconds=1), "r/e-1")
        assert decide(subject, asked, recent_hashes=[old]) == ADMITTED

    def test_row_7_the_delivery_is_compared_before_the_content(self) -> None:
        seen = [self.seen(10, "h", "r/content"), self.seen(20, "d", "r/delivery")]
        asked = fire(FireKind.WEBHOOK, content_hash="h", delivery_digest="d")
        assert decide(self.WINDOW, asked, recent_hashes=seen).duplicate_of == "r/delivery"
        asked = fire(FireKind.WEBHOOK, content_hash="h", delivery_digest="new")
        assert decide(self.WINDOW, asked, recent_hashes=seen).duplicate_of == "r/content"

    def test_row_7_of_several_the_first_run_is_named_and_the_last_must_grow_old(self) -> None:
        seen = [self.seen(10, run="r/2"), self.seen(500, run="r/1"), self.seen(700, run="r/0")]
        verdict = decide(self.WINDOW, fire(content_hash="h"), recent_hashes=seen)
        assert verdict == refusal(Reason.DUPLICATE, ago(10) + timedelta(seconds=600), "r/1")

    def test_row_7_an_old_booking_may_name_no_run(self) -> None:
        seen = [self.seen(10, run=None)]
        verdict = decide(self.WINDOW, fire(content_hash="h"), recent_hashes=seen)
        assert (verdict.reason, verdict.duplicate_of) == (Reason.DUPLICATE, None)


class TestCooldown:
    SUBJECT = routine({"cooldown_seconds": 300})

    @pytest.mark.parametrize(
        ("age", "runs"), [(0, False), (299.9, False), (300, True), (301, True)]
    )
    def test_row_8_exactly_the_cooldown_passes(self, age: float, runs: bool) -> None:
        verdict = decide(self.SUBJECT, last_admitted_at=ago(age))
        refused = refusal(Reason.COOLDOWN, ago(age) + timedelta(seconds=300))
        assert verdict == (ADMITTED if runs else refused)

    def test_row_8_manual_fires_pass(self) -> None:
        assert decide(self.SUBJECT, fire(FireKind.MANUAL), last_admitted_at=NOW) == ADMITTED

    def test_row_8_no_cooldown_never_refuses(self) -> None:
        assert decide(routine(), last_admitted_at=NOW + timedelta(seconds=5)) == ADMITTED
        assert decide(self.SUBJECT) == ADMITTED


class TestRateLimit:
    SUBJECT = routine({"rate_limit": {"max_runs": 2, "window_seconds": 3600}})

    @pytest.mark.parametrize(
        ("ages", "blocking"),
        [
            pytest.param([], None, id="none yet"),
            pytest.param([10], None, id="one of two"),
            pytest.param([3600, 10], None, id="exactly the window has left it"),
            pytest.param([3599, 10], 3599, id="the oldest blocks"),
            pytest.param([10, 3599], 3599, id="in any order"),
            pytest.param([3000, 2000, 10], 2000, id="of three, two of which block"),
        ],
    )
    def test_row_9_starts_in_a_sliding_window(
        self, ages: list[float], blocking: float | None
    ) -> None:
        verdict = decide(self.SUBJECT, recent_starts=[ago(age) for age in ages])
        if blocking is None:
            assert verdict == ADMITTED
            return
        retry_at = ago(blocking) + timedelta(seconds=3600)
        assert verdict == refusal(Reason.RATE_LIMITED, retry_at)
        again = decide(self.SUBJECT, now=retry_at, recent_starts=[ago(age) for age in ages])
        assert again == ADMITTED

    def test_row_9_manual_fires_pass(self) -> None:
        assert decide(self.SUBJECT, fire(FireKind.MANUAL), recent_starts=[NOW, NOW]) == ADMITTED


class TestConcurrency:
    QUEUE = AdmissionDecision(decision="queue")

    @pytest.mark.parametrize(
        ("kind", "overlap", "queued", "verdict"),
        [
            (FireKind.SCHEDULE, "queue_one", 0, QUEUE),
            (FireKind.SCHEDULE, "queue_one", 1, refusal(Reason.MAX_CONCURRENT)),
            (FireKind.SCHEDULE, "queue_one", True, refusal(Reason.MAX_CONCURRENT)),
            (FireKind.EVENT, "skip", 0, refusal(Reason.MAX_CONCURRENT)),
            (FireKind.BACKFILL, "skip", 0, refusal(Reason.MAX_CONCURRENT)),
            (FireKind.MANUAL, "skip", 0, QUEUE),
            (FireKind.MANUAL, "skip", 1, refusal(Reason.MAX_CONCURRENT)),
            (FireKind.MANUAL, "queue_one", 1, refusal(Reason.MAX_CONCURRENT)),
        ],
    )
    @pytest.mark.parametrize("force", [False, True])
    def test_row_10_one_may_wait(
        self, kind: FireKind, overlap: str, queued: int, verdict: AdmissionDecision, force: bool
    ) -> None:
        subject = routine({"overlap": overlap})
        assert decide(subject, fire(kind, force=force), running=1, queued=queued) == verdict

    @pytest.mark.parametrize(("running", "verdict"), [(1, ADMITTED), (2, QUEUE), (3, QUEUE)])
    def test_row_10_several_may_run(self, running: int, verdict: AdmissionDecision) -> None:
        assert decide(routine({"max_concurrent": 2}), running=running) == verdict


class TestBudget:
    @pytest.mark.parametrize("force", [False, True])
    @pytest.mark.parametrize("kind", list(FireKind))
    def test_row_11_a_spent_budget_stops_every_fire(self, kind: FireKind, force: bool) -> None:
        verdict = decide(None, fire(kind, force=force), budget_exhausted=True)
        assert verdict == refusal(Reason.BUDGET)

    def test_row_11_refuses_what_would_only_be_queued(self) -> None:
        assert decide(running=1, budget_exhausted=True) == refusal(Reason.BUDGET)


class TestCounters:
    def test_a_refusal_is_counted_under_its_reason(self) -> None:
        booked = {"paused": 2, "hop_limit": 1}
        verdict = decide(routine(status="paused"), skipped=booked)
        assert verdict.skipped == {"paused": 3, "hop_limit": 1}
        assert booked == {"paused": 2, "hop_limit": 1}

    def test_what_is_admitted_or_queued_counts_nothing(self) -> None:
        assert decide(skipped={"paused": 2}).skipped == {"paused": 2}
        assert decide(running=1, skipped={"paused": 2}).skipped == {"paused": 2}


class TestRecheck:
    """A queued fire whose turn has come."""

    LIMITS = routine(
        {
            "cooldown_seconds": 300,
            "dedup_window_seconds": 600,
            "rate_limit": {"max_runs": 1, "window_seconds": 60},
        },
        last_run_at=NOW,
    )

    def test_what_was_booked_when_it_was_queued_does_not_stop_it(self) -> None:
        asked = fire(FireKind.SCHEDULE, scheduled_at=ago(60), content_hash="h")
        state = AdmissionState(
            running=1,
            queued=1,
            last_admitted_at=NOW,
            recent_starts=[NOW],
            recent_hashes=[RecentHash(hash="h", at=NOW)],
        )
        assert recheck_admission(self.LIMITS, asked, state, NOW) == ADMITTED

    @pytest.mark.parametrize(
        ("subject", "state", "reason"),
        [
            (routine(status="deleted"), {}, Reason.DELETED),
            (routine(status="paused"), {}, Reason.PAUSED),
            (routine(), {"system_paused": True}, Reason.SYSTEM_PAUSED),
            (routine(max_runs=1, run_count=1), {}, Reason.MAX_RUNS),
            (routine({"max_age_seconds": 1}), {}, Reason.EXPIRED),
            (routine(), {"budget_exhausted": True}, Reason.BUDGET),
        ],
    )
    def test_rows_1_to_5_and_11_are_asked_again(
        self, subject: AdmissionRoutine, state: dict[str, Any], reason: Reason
    ) -> None:
        asked = fire(occurred_at=ago(9))
        booked = AdmissionState.model_validate(state)
        assert recheck_admission(subject, asked, booked, NOW) == refusal(reason)


class TestFacts:
    def test_a_routine_may_be_json(self) -> None:
        subject = {"id": "x", "status": "paused", "guardrails": {}, "title": "more than is asked"}
        assert decide_admission(subject, fire(), AdmissionState(), NOW).reason is Reason.PAUSED

    def test_any_model_that_has_the_facts_will_do(self) -> None:
        class Stored(BaseModel):
            status: str = "active"
            max_runs: int = 1
            run_count: int = 1
            last_run_at: datetime | None = None
            next_run_at: datetime | None = None
            next_run_explicit: bool = False
            schedule: Schedule | None = None
            guardrails: Guardrails = Guardrails()

        verdict = decide_admission(Stored(), fire(), AdmissionState(), NOW)
        assert verdict.reason is Reason.MAX_RUNS

    def test_a_decision_is_plain_json(self) -> None:
        verdict = decide(routine({"cooldown_seconds": 60}), last_admitted_at=NOW)
        assert verdict.model_dump(mode="json") == {
            "decision": "skip",
            "reason": "cooldown",
            "retry_at": "2026-06-01T12:01:00Z",
            "skipped": {"cooldown": 1},
            "duplicate_of": None,
        }


def everything_wrong(rows: set[Reason]) -> tuple[AdmissionRoutine, Fire, AdmissionState]:
    """A scheduled fire that exactly the given rows refuse."""

    def when(reason: Reason, value: object, otherwise: object) -> Any:
        return value if reason in rows else otherwise

    status = when(Reason.DELETED, "deleted", when(Reason.PAUSED, "paused", "active"))
    limits = Guardrails.model_validate(
        {
            "cooldown_seconds": when(Reason.COOLDOWN, 600, 0),
            "dedup_window_seconds": when(Reason.DUPLICATE, 600, None),
            "max_age_seconds": when(Reason.EXPIRED, 60, None),
            "rate_limit": when(Reason.RATE_LIMITED, {"max_runs": 1, "window_seconds": 600}, None),
            "overlap": "skip",
        }
    )
    subject = AdmissionRoutine(
        status=status,
        max_runs=when(Reason.MAX_RUNS, 1, 0),
        run_count=1,
        last_run_at=when(Reason.SUPERSEDED, NOW, None),
        guardrails=limits,
    )
    asked = fire(FireKind.SCHEDULE, occurred_at=ago(61), scheduled_at=ago(61), content_hash="h")
    state = AdmissionState(
        system_paused=Reason.SYSTEM_PAUSED in rows,
        running=when(Reason.MAX_CONCURRENT, 1, 0),
        last_admitted_at=NOW,
        recent_starts=[NOW],
        recent_hashes=[RecentHash(hash="h", at=NOW)],
        budget_exhausted=Reason.BUDGET in rows,
    )
    return subject, asked, state


@given(st.sets(st.sampled_from([reason for reason in Reason if reason is not Reason.HOP_LIMIT])))
def test_the_first_row_that_refuses_wins(rows: set[Reason]) -> None:
    subject, asked, state = everything_wrong(rows)
    if Reason.DELETED in rows:
        # One status hides the other.
        rows = rows - {Reason.PAUSED}
    verdict = decide_admission(subject, asked, state, NOW)
    first = next((reason for reason in Reason if reason in rows), None)
    assert verdict.reason is first
    assert verdict.decision == ("skip" if first else "run")


@given(
    cooldown=st.integers(0, 100),
    window=st.integers(1, 100),
    age=st.integers(0, 120),
    kind=st.sampled_from([*PUSHED, FireKind.BACKFILL]),
)
def test_a_refused_fire_passes_at_its_retry_at(
    cooldown: int, window: int, age: int, kind: FireKind
) -> None:
    """Limits are inclusive: at `retry_at` itself the row that refused lets the fire pass."""
    subject = routine({"cooldown_seconds": cooldown, "dedup_window_seconds": window})
    asked = fire(kind, content_hash="h")
    booked: dict[str, Any] = {
        "last_admitted_at": ago(age),
        "recent_hashes": [RecentHash(hash="h", at=ago(age), run_id="r/1")],
    }
    refused = decide(subject, asked, **booked)
    assert (refused.decision == "skip") == (age < max(cooldown, window))
    now = NOW
    while refused.retry_at is not None:
        assert refused.retry_at > now
        now = refused.retry_at
        refused = decide(subject, asked, now, **booked)
    assert refused == ADMITTED
