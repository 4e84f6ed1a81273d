"""What a routine's Schedule should be, and when it is put again (automation.md §5)."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.actor import Actor
from domain.guardrail_models import Overlap as AtMaximum
from domain.routine_book import RENEWAL_DELAY, RoutineBook
from domain.routine_requests import ChangeRoutine, CreateRoutine, DeleteRoutine
from domain.schedule_policy import LONG_WINDOW, SHORT_WINDOW, CompiledPolicy, Overlap
from domain.scopes import Route, Scope, ScopeKind
from domain.wanted_schedule import WantedSchedule
from tests.support.bookings import ANCHOR, state
from tests.support.routines import NEXT, NOW, ONE_SHOT, WEBHOOK

SPRING = datetime(2026, 3, 29, 1, tzinfo=UTC)
AUTUMN = datetime(2026, 10, 25, 1, tzinfo=UTC)
MORNING = {"cron_expr": "0 9 * * *", "timezone": "Europe/Berlin"}
IN_THE_GAP = {"cron_expr": "30 2 * * *", "timezone": "Europe/Berlin"}
HOURLY = {"cron_expr": "0 * * * *", "timezone": "Europe/Berlin"}


def book(**changes: object) -> RoutineBook:
    return RoutineBook(state(**changes))


class TestStaleness:
    def test_a_put_of_an_older_revision_is_not_enough(self) -> None:
        made = book()
        made.renew_schedule()
        made.schedule_put(0)
        assert made.schedule_is_stale()
        made.schedule_put(1)
        assert not made.schedule_is_stale()
        made.schedule_put(0)
        assert not made.schedule_is_stale(), "an older put that comes late changes nothing"


class TestRenewal:
    def test_after_the_next_change_of_the_zone(self) -> None:
        assert book(schedule=MORNING).renew_at(NOW) == SPRING + RENEWAL_DELAY
        assert book(schedule=MORNING).renew_at(SPRING) == AUTUMN + RENEWAL_DELAY

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"schedule": ONE_SHOT},
            {"schedule": HOURLY},
            {"schedule": {**MORNING, "timezone": "UTC"}},
            {"schedule": {**MORNING, "timezone": "Asia/Kolkata"}},
            {"schedule": MORNING, "status": "paused"},
            {"schedule": ..., "trigger": WEBHOOK, "next_run_at": None},
        ],
        ids=["interval", "one-shot", "in UTC", "UTC", "no changes", "paused", "pushed"],
    )
    def test_never_where_offsets_do_not_matter(self, changes: dict[str, object]) -> None:
        assert book(**changes).renew_at(NOW) is None


class TestWanted:
    def test_an_interval(self) -> None:
        wanted = book(title="Brief").wanted_schedule(NOW)
        assert wanted.spec is not None
        (interval,) = wanted.spec.intervals
        assert interval.every_seconds == 1800
        assert interval.offset_seconds == int(ANCHOR.timestamp()) % 1800
        assert wanted.spec.start_at == ANCHOR + timedelta(seconds=1)
        assert (wanted.routine_id, wanted.title) == ("routine_01", "Brief")
        assert (wanted.scope, wanted.owner) == ("user:ou_a", "ou_a")
        assert (wanted.paused, wanted.comment) == (False, "every 1800s")
        assert wanted.single_instants == []
        assert wanted.policy == CompiledPolicy(
            overlap=Overlap.BUFFER_ONE, catchup_window=LONG_WINDOW
        )

    def test_cron_in_a_zone_with_its_single_instants(self) -> None:
        wanted = book(schedule=IN_THE_GAP).wanted_schedule(NOW)
        assert wanted.spec is not None
        assert wanted.spec.timezone_name == "Europe/Berlin"
        assert wanted.comment == "30 2 * * * Europe/Berlin"
        spring, autumn, next_spring = (
            datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
            datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
            datetime(2027, 3, 28, 1, 30, tzinfo=UTC),
        )
        assert wanted.single_instants == [spring, autumn, next_spring]

    def test_a_change_that_has_just_passed_is_still_open(self) -> None:
        wanted = book(schedule=IN_THE_GAP).wanted_schedule(SPRING + timedelta(minutes=10))
        assert wanted.single_instants[0] == SPRING + timedelta(minutes=30)

    def test_calendars_in_utc_need_none(self) -> None:
        wanted = book(schedule=HOURLY).wanted_schedule(NOW)
        assert wanted.spec is not None
        assert wanted.spec.timezone_name == "UTC"
        assert wanted.single_instants == []

    @pytest.mark.parametrize("schedule", [{"every_seconds": 1800}, MORNING])
    def test_a_time_set_by_hand_is_one_more(self, schedule: dict[str, object]) -> None:
        made = book(schedule=schedule)
        at = NEXT + timedelta(minutes=7)
        made.change(ChangeRoutine(), {"next_run_at": at.isoformat()}, NOW)
        assert at in made.wanted_schedule(NOW).single_instants

    @pytest.mark.parametrize("year", ["0005", "1969", "1970", "1998"])
    def test_a_time_of_long_ago_is_left_out(self, year: str) -> None:
        """The server takes no instant before the epoch, and one soon after it for an interval."""
        made = book(schedule={"every_seconds": 1800})
        made.change(ChangeRoutine(), {"next_run_at": f"{year}-01-02T00:00:00Z"}, NOW)
        wanted = made.wanted_schedule(NOW)
        assert wanted.single_instants == []
        assert wanted.spec is not None
        assert made.missed_before_put(NOW) == made.routine.next_run_at

    def test_a_one_shot(self) -> None:
        wanted = book(schedule=ONE_SHOT).wanted_schedule(NOW)
        assert wanted.comment == "once at 2026-02-01T12:00:00Z"
        assert wanted.spec is not None
        assert [item.every_seconds for item in wanted.spec.intervals] == [int(NOW.timestamp())]

    def test_a_paused_routine_has_a_paused_schedule(self) -> None:
        wanted = book(status="paused", next_run_at=None).wanted_schedule(NOW)
        assert wanted.paused
        assert wanted.spec is not None

    def test_a_deleted_routine_has_none(self) -> None:
        made = book()
        made.delete(DeleteRoutine(), NOW)
        assert made.wanted_schedule(NOW).spec is None

    def test_nor_has_one_that_does_not_fire_by_time(self) -> None:
        wanted = book(schedule=..., trigger=WEBHOOK, next_run_at=None).wanted_schedule(NOW)
        assert (wanted.spec, wanted.comment, wanted.single_instants) == (None, "", [])
        assert wanted.policy == CompiledPolicy(
            overlap=Overlap.ALLOW_ALL, catchup_window=SHORT_WINDOW
        )

    @pytest.mark.parametrize("schedule", [IN_THE_GAP, {"every_seconds": 1800}, ONE_SHOT])
    def test_it_survives_the_way_to_the_activity(self, schedule: dict[str, object]) -> None:
        wanted = book(schedule=schedule).wanted_schedule(NOW)
        assert WantedSchedule.model_validate_json(wanted.model_dump_json()) == wanted


class TestMissed:
    """Times that passed before the Schedule existed."""

    @pytest.mark.parametrize(
        ("changes", "missed"),
        [
            ({"schedule": ONE_SHOT, "next_run_at": NOW}, NOW),
            ({"schedule": ONE_SHOT, "next_run_at": NEXT}, None),
            ({"next_run_at": NOW, "next_run_explicit": True}, NOW),
            ({"next_run_at": NOW, "next_run_explicit": False}, None),
            ({"next_run_at": NEXT, "next_run_explicit": True}, None),
            ({"schedule": ONE_SHOT, "next_run_at": None}, None),
            ({"schedule": ONE_SHOT, "next_run_at": NOW, "status": "paused"}, None),
            ({"schedule": ..., "trigger": WEBHOOK, "next_run_at": None}, None),
        ],
    )
    def test_only_what_fires_once(
        self, changes: dict[str, object], missed: datetime | None
    ) -> None:
        assert book(**changes).missed_before_put(NOW) == missed


class TestPauseEvent:
    """What is told with the Schedule that a pause puts (triggers-and-actions.md §2)."""

    def change(self, made: RoutineBook, **changes: object) -> None:
        made.change(ChangeRoutine(), changes, NOW)

    def told(self, made: RoutineBook) -> tuple[str, object] | None:
        event = made.wanted_schedule(NOW).event
        return (event.id, event.payload["reason"]) if event else None

    def test_a_person_pauses(self) -> None:
        made = book()
        assert self.told(made) is None
        self.change(made, status="paused")
        assert self.told(made) == ("routine.paused routine_01#5", "user")
        made.schedule_put(made.state.schedule_revision)
        assert self.told(made) is None, "told once"
        self.change(made, title="Another")
        assert self.told(made) is None, "not paused by this"

    def test_a_pause_that_is_taken_back_is_not_told(self) -> None:
        made = book()
        self.change(made, status="paused")
        first = made.state.schedule_revision
        self.change(made, status="active")
        assert self.told(made) is None
        self.change(made, status="paused")
        made.schedule_put(first)
        assert self.told(made) == ("routine.paused routine_01#7", "user"), "of the later one"

    def test_a_deleted_one_restored_as_paused_was_not_paused(self) -> None:
        made = book()
        made.delete(DeleteRoutine(), NOW)
        self.change(made, status="paused")
        assert self.told(made) is None


class TestGivenGuardrails:
    """Defaults follow the type of trigger, what somebody has set does not (§4)."""

    def created(self, **body: object) -> RoutineBook:
        route = Route(receive_id_type="console")
        request = CreateRoutine(
            id="routine_01",
            key="k",
            digest="d",
            body={"prompt": "hello", "trigger": {"type": "manual"}, **body},
            scope=Scope(kind=ScopeKind.USER, id="ou_a"),
            route=route,
            creator=Actor(user_id="ou_a"),
        )
        return RoutineBook.create(request, NOW)

    def cooldown(self, made: RoutineBook) -> int:
        made.change(ChangeRoutine(), {"trigger": {"type": "event", "pattern": "x"}}, NOW)
        return made.routine.guardrails.cooldown_seconds

    def test_a_cooldown_that_nobody_gave_becomes_the_default(self) -> None:
        assert self.cooldown(self.created()) == 300
        assert self.cooldown(self.created(guardrails={"cooldown_seconds": None})) == 300
        assert self.cooldown(self.created(guardrails={"max_concurrent": 2})) == 300

    def test_none_that_somebody_wants_stays_none(self) -> None:
        made = self.created(guardrails={"cooldown_seconds": 0})
        assert self.cooldown(made) == 0
        assert made.routine.guardrails.overlap == AtMaximum.SKIP

    def test_guardrails_are_replaced_as_a_whole(self) -> None:
        made = self.created(guardrails={"cooldown_seconds": 0})
        made.change(ChangeRoutine(), {"guardrails": {"max_concurrent": 2}}, NOW)
        assert made.state.given_guardrails == ["max_concurrent"]
        assert self.cooldown(made) == 300
        made.change(ChangeRoutine(), {"guardrails": None}, NOW)
        assert made.state.given_guardrails == []
        back = self.created()
        back.change(ChangeRoutine(), {"guardrails": {"cooldown_seconds": 0}}, NOW)
        assert self.cooldown(back) == 0
