"""The life of a routine: creation, changes, its end (automation.md §6 and §10)."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from domain.actor import Actor
from domain.admission import Decision, RunMark
from domain.routine import PausedReason, RoutineStatus, RunState
from domain.routine_book import RoutineBook
from domain.routine_requests import (
    Asker,
    ChangeRoutine,
    CreateRoutine,
    DeleteRoutine,
    RoutineAnswer,
    TriggerRoutine,
)
from domain.routine_state import PendingStart, RoutineState
from domain.run_start import StartRun
from domain.runs import FireKind, RunStatus, run_workflow_id
from domain.scopes import Route, Scope, ScopeKind
from tests.support.bookings import ANCHOR, HALF_HOUR, begin, ending, mark, run, state
from tests.support.routines import NEXT, NOW, RECORD, assert_refused, refusal

MINE = Scope(kind=ScopeKind.USER, id="ou_a")
OTHERS = Scope(kind=ScopeKind.USER, id="ou_b")
OPERATOR = ChangeRoutine()
CREATOR = ChangeRoutine(actor_id="ou_a", scope=MINE)
MONTH = timedelta(days=30)
INSTANT = timedelta.resolution


def creation(body: dict[str, Any] | None = None, /, **fields: Any) -> CreateRoutine:
    return CreateRoutine.model_validate(
        {
            "id": "morning-brief",
            "body": {"prompt": "hello", "schedule": {"every_seconds": 1800}, **(body or {})},
            "scope": RECORD["scope"],
            "route": RECORD["route"],
            "creator": RECORD["creator"],
            "key": "key-1",
            "digest": "digest-1",
            **fields,
        }
    )


def book(**changes: object) -> RoutineBook:
    return RoutineBook(state(**changes))


def book_with_runs(**changes: object) -> RoutineBook:
    """One run that is counted, one that waits for a place."""
    made = book(**changes)
    for name in ("m-1", "m-2"):
        made.bookings.begin_run(begin(name, checked=True, force=True), NOW)
    assert [item.verdict.decision for item in made.state.open_runs.values()] == [
        Decision.RUN,
        Decision.QUEUE,
    ]
    return made


class TestCreate:
    def test_a_routine_is_made_of_its_body_and_its_context(self) -> None:
        request = creation(
            {"title": "Brief", "prompt": "{{today}} and {{date}}"},
            session_key="oc_x",
            resume_thread_id="thread-1",
            source_message_id="om_1",
            default_timezone="Europe/Berlin",
        )

        made = RoutineBook.create(request, NOW)

        routine = made.routine
        assert (routine.id, routine.title, routine.status) == (
            "morning-brief",
            "Brief",
            RoutineStatus.ACTIVE,
        )
        assert (routine.scope, routine.creator) == (MINE, Actor(user_id="ou_a"))
        assert routine.route == Route(receive_id_type="user_id", receive_id="ou_a")
        assert (routine.session_key, routine.resume_thread_id) == ("oc_x", "thread-1")
        assert (routine.source_message_id, routine.timezone) == ("om_1", "Europe/Berlin")
        assert routine.next_run_at == NOW + HALF_HOUR
        assert made.state.anchor == NOW
        assert made.state.default_timezone == "Europe/Berlin"
        assert (made.state.create_key, made.state.create_digest) == ("key-1", "digest-1")
        assert made.owner() == "ou_a"

    def test_unknown_variables_are_told(self) -> None:
        made = RoutineBook.create(creation({"prompt": "{{today}} {{ date }}"}), NOW)
        assert made.answer().warnings == ["{{today}} is no known variable and stays as it is"]

    def test_a_first_time_set_by_hand_is_what_the_interval_counts_from(self) -> None:
        made = RoutineBook.create(creation({"next_run_at": "2026-02-01T12:05:00Z"}), NOW)
        assert made.state.anchor == NOW + timedelta(minutes=5)

    def test_a_body_that_is_not_accepted(self) -> None:
        error = refusal(lambda: RoutineBook.create(creation({"promt": "x"}), NOW))
        assert_refused(error, "unknown_field", "promt", "prompt")

    def test_its_schedule_is_to_be_put(self) -> None:
        made = RoutineBook.create(creation(), NOW)
        assert made.schedule_is_stale()
        assert made.has_work()

    def test_a_repetition_is_answered(self) -> None:
        made = RoutineBook.create(creation(), NOW)
        made.check_creation(creation())

    @pytest.mark.parametrize(
        ("fields", "field", "contains"),
        [
            ({"key": "key-2"}, "id", "morning-brief"),
            ({"key": "key-2", "digest": "digest-2"}, "id", "active"),
            ({"digest": "digest-2"}, "idempotency_key", "idempotency_key"),
        ],
    )
    def test_a_second_creation_is_refused(
        self, fields: dict[str, str], field: str, contains: str
    ) -> None:
        made = RoutineBook.create(creation(), NOW)
        error = refusal(lambda: made.check_creation(creation(**fields)))
        assert_refused(error, "conflict", field, contains)


class TestChange:
    def test_a_patch_is_applied(self) -> None:
        made = book()
        made.change(CREATOR, {"title": "New"}, NOW)
        assert (made.routine.title, made.routine.revision) == ("New", 5)
        assert made.state.anchor == ANCHOR

    def test_another_scopes_routine_does_not_exist(self) -> None:
        made = book()
        before = made.state.model_copy(deep=True)
        asker = ChangeRoutine(actor_id="ou_b", scope=OTHERS)
        error = refusal(lambda: made.change(asker, {"title": "New"}, NOW))
        assert (error.kind, error.field, error.message) == ("not_found", "id", "routine_01")
        assert made.state == before

    @pytest.mark.parametrize(
        ("asker", "patch", "kind", "field"),
        [
            (ChangeRoutine(actor_id="ou_b", scope=MINE), {}, "permission_denied", "manage_mode"),
            (ChangeRoutine(actor_id="", scope=MINE), {}, "missing_field", "actor"),
            (ChangeRoutine(if_revision=3), {}, "conflict", "revision"),
            (OPERATOR, {"if_revision": 3}, "conflict", "revision"),
            (OPERATOR, {"run_count": 0}, "invalid_field", "run_count"),
            (
                OPERATOR,
                {"action": {"type": "full_job", "title": "t"}},
                "missing_field",
                "action.description",
            ),
            (
                OPERATOR,
                {"schedule": {"every_seconds": 5}},
                "invalid_field",
                "schedule.every_seconds",
            ),
        ],
    )
    def test_a_refused_patch_changes_nothing(
        self, asker: ChangeRoutine, patch: dict[str, object], kind: str, field: str
    ) -> None:
        made = book(run_count=3)
        before = made.state.model_copy(deep=True)
        error = refusal(lambda: made.change(asker, {"title": "New", **patch}, NOW))
        assert (error.kind, error.field) == (kind, field)
        assert made.state == before

    def test_the_operator_acts_as_the_creator(self) -> None:
        made = book()
        made.change(OPERATOR, {"manage_mode": "scope_all", "if_revision": 4}, NOW)
        assert made.routine.manage_mode == "scope_all"
        made.change(ChangeRoutine(actor_id="ou_b", if_revision=5), {"title": "Ours"}, NOW)
        assert made.routine.title == "Ours"

    @pytest.mark.parametrize(
        ("patch", "stale"),
        [
            ({"schedule": {"every_seconds": 3600}}, True),
            ({"title": "New"}, True),
            ({"guardrails": {"max_concurrent": 2}}, True),
            ({"status": "paused"}, True),
            ({"next_run_at": "2026-02-01T12:05:00Z"}, True),
            ({"prompt": "other"}, False),
            ({"max_runs": 100}, False),
            ({}, False),
        ],
    )
    def test_what_changes_the_schedule_makes_it_stale(
        self, patch: dict[str, object], stale: bool
    ) -> None:
        made = book()
        made.schedule_put(0)
        made.change(OPERATOR, patch, NOW)
        assert made.schedule_is_stale() is stale

    def test_a_new_interval_is_counted_from_now(self) -> None:
        made = book()
        made.change(OPERATOR, {"schedule": {"every_seconds": 3600}}, NOW)
        assert made.state.anchor == NOW
        assert made.routine.next_run_at == NOW + timedelta(hours=1)

    def test_warnings_follow_the_prompt(self) -> None:
        made = book()
        made.change(OPERATOR, {"prompt": "{{colour}}"}, NOW)
        assert len(made.answer().warnings) == 1
        made.change(OPERATOR, {"prompt": "plain"}, NOW)
        assert made.answer().warnings == []

    def test_more_room_is_given_to_the_run_that_waits(self) -> None:
        made = book_with_runs()
        made.change(OPERATOR, {"guardrails": {"max_concurrent": 2}}, NOW)
        assert made.take_grants() == [run("m-2")]


class TestPause:
    def test_a_run_in_flight_finishes_and_one_that_waits_is_dropped(self) -> None:
        made = book_with_runs()
        made.change(OPERATOR, {"status": "paused"}, NOW)
        assert made.routine.paused_reason == PausedReason.USER
        assert made.routine.run_state == RunState.RUNNING
        assert made.take_cancellations() == [run("m-2")]
        assert made.take_cancellations() == []

    def test_so_is_one_that_waits_for_its_session(self) -> None:
        made = book_with_runs()
        made.bookings.mark_run(mark("m-1", RunMark.WAITING), NOW)
        made.change(OPERATOR, {"status": "paused"}, NOW)
        assert made.take_cancellations() == [run("m-1"), run("m-2")]

    def test_a_change_of_a_paused_routine_drops_nothing(self) -> None:
        made = book_with_runs(status="paused", paused_reason="user", next_run_at=None)
        made.change(OPERATOR, {"title": "New"}, NOW)
        made.change(OPERATOR, {"status": "paused"}, NOW)
        assert made.take_cancellations() == []

    def test_resume_counts_from_now_and_forgets_failures(self) -> None:
        made = book(status="paused", next_run_at=None, consecutive_failures=3)
        made.change(OPERATOR, {"status": "active"}, NOW)
        assert (made.routine.consecutive_failures, made.routine.paused_reason) == (0, None)
        assert made.routine.next_run_at == NOW + HALF_HOUR
        assert made.state.anchor == NOW
        assert made.take_cancellations() == []


class TestDelete:
    def test_all_runs_are_cancelled(self) -> None:
        made = book_with_runs()
        made.change(OPERATOR, {"status": "paused"}, NOW)
        made.delete(DeleteRoutine(), NOW)
        assert (made.routine.status, made.routine.deleted_at) == (RoutineStatus.DELETED, NOW)
        assert made.routine.next_run_at is None
        assert made.take_cancellations() == [run("m-2"), run("m-1")], "each of them once"

    def test_it_is_kept_for_thirty_days_and_gone_after(self) -> None:
        made = book()
        made.delete(DeleteRoutine(), NOW)
        made.schedule_put(made.state.schedule_revision)
        assert not made.purged(NOW)
        assert not made.purged(NOW + MONTH), "kept at exactly 30 days"
        assert made.purged(NOW + MONTH + INSTANT)

    @pytest.mark.parametrize(
        ("request_", "kept"),
        [
            (DeleteRoutine(retention_days=60), timedelta(days=60) + INSTANT),
            (DeleteRoutine(purge=True), timedelta()),
        ],
    )
    def test_or_as_long_as_was_asked_for(self, request_: DeleteRoutine, kept: timedelta) -> None:
        made = book()
        made.delete(request_, NOW)
        assert made.state.purge_at == NOW + kept

    def test_purging_waits_until_everything_is_done(self) -> None:
        made = book()
        made.delete(DeleteRoutine(purge=True), NOW)
        assert made.schedule_is_stale()
        assert not made.purged(NOW)
        made.schedule_put(made.state.schedule_revision)
        assert made.purged(NOW)

    def test_a_second_time_changes_nothing_but_may_purge(self) -> None:
        made = book()
        made.delete(DeleteRoutine(), NOW)
        before = made.state.model_copy(deep=True)
        made.delete(DeleteRoutine(), NOW + timedelta(days=1))
        assert made.state == before
        made.delete(DeleteRoutine(purge=True), NOW + timedelta(days=2))
        assert made.state.purge_at == NOW + timedelta(days=2)
        assert made.routine == before.routine

    def test_a_patch_deletes_as_well(self) -> None:
        made = book()
        made.change(OPERATOR, {"status": "deleted"}, NOW)
        assert made.state.purge_at == NOW + MONTH + INSTANT

    @pytest.mark.parametrize("status", ["active", "paused"])
    def test_a_restored_routine_is_not_purged(self, status: str) -> None:
        made = book()
        made.delete(DeleteRoutine(), NOW)
        made.schedule_put(made.state.schedule_revision)
        made.change(OPERATOR, {"status": status}, NOW)
        assert (made.routine.status, made.state.purge_at) == (status, None)
        assert made.schedule_is_stale()
        assert not made.purged(NOW + 2 * MONTH)

    @pytest.mark.parametrize(
        ("asker", "kind"),
        [
            (DeleteRoutine(if_revision=3), "conflict"),
            (DeleteRoutine(actor_id="ou_b", scope=MINE), "permission_denied"),
            (DeleteRoutine(actor_id="ou_b", scope=OTHERS), "not_found"),
        ],
    )
    def test_a_refused_deletion_changes_nothing(self, asker: DeleteRoutine, kind: str) -> None:
        made = book()
        before = made.state.model_copy(deep=True)
        assert refusal(lambda: made.delete(asker, NOW)).kind == kind
        assert made.state == before

    def test_nor_does_a_retention_beyond_all_time(self) -> None:
        made = book()
        before = made.state.model_copy(deep=True)
        with pytest.raises(OverflowError):
            made.delete(DeleteRoutine(retention_days=10**9), NOW)
        assert made.state == before


class TestTrigger:
    @pytest.mark.parametrize(
        "asker",
        [
            TriggerRoutine(),
            TriggerRoutine(actor_id="ou_a", scope=MINE),
            TriggerRoutine(actor_id="ou_a"),
        ],
    )
    def test_the_creator_and_the_operator_may(self, asker: TriggerRoutine) -> None:
        book().check_trigger(asker)

    def test_others_of_the_scope_may_where_it_says_so(self) -> None:
        asker = TriggerRoutine(actor_id="ou_b", scope=MINE)
        error = refusal(lambda: book().check_trigger(asker))
        assert_refused(error, "permission_denied", "manage_mode", "creator_only")
        book(manage_mode="scope_all").check_trigger(asker)

    def test_another_scopes_routine_does_not_exist(self) -> None:
        asker = TriggerRoutine(actor_id="ou_a", scope=OTHERS)
        assert refusal(lambda: book().check_trigger(asker)).kind == "not_found"


class TestWork:
    def _idle(self) -> RoutineBook:
        made = book()
        made.schedule_put(0)
        assert not made.has_work()
        return made

    def _start(self, made: RoutineBook) -> None:
        made.request_start(run("m-1"), StartRun(routine_id="routine_01", kind=FireKind.MANUAL))

    @pytest.mark.parametrize(
        "what",
        [
            lambda made: made.request_start("r", StartRun(routine_id="r", kind=FireKind.MANUAL)),
            lambda made: made.state.grants.append("r"),
            lambda made: made.state.cancellations.append("r"),
            lambda made: made.renew_schedule(),
        ],
        ids=["start", "grant", "cancellation", "schedule"],
    )
    def test_what_the_workflow_has_to_do(self, what: Callable[[RoutineBook], None]) -> None:
        made = self._idle()
        what(made)
        assert made.has_work()

    def test_each_start_is_taken_once(self) -> None:
        made = self._idle()
        self._start(made)
        start = StartRun(routine_id="routine_01", kind=FireKind.MANUAL)
        assert made.take_starts() == [
            PendingStart(workflow_id=run_workflow_id(run("m-1")), start=start)
        ]
        assert made.take_starts() == []

    def test_each_grant_is_taken_once(self) -> None:
        made = book_with_runs()
        made.bookings.end_run(ending("m-1"), NOW)
        assert made.take_grants() == [run("m-2")]
        assert made.take_grants() == []

    def test_everything_survives_a_new_execution(self) -> None:
        made = book_with_runs()
        self._start(made)
        made.bookings.begin_run(begin("m-3", checked=True), NOW)
        made.bookings.end_run(ending("m-1", RunStatus.FAILED), NOW)
        made.delete(DeleteRoutine(), NOW)
        loaded = RoutineState.model_validate_json(made.state.model_dump_json())
        assert loaded == made.state
        assert loaded.starts
        assert loaded.grants
        assert loaded.cancellations


class TestAnswers:
    def test_secrets_are_not_shown(self) -> None:
        trigger = {"type": "webhook", "secret": {"sealed": "v1.abc"}}
        answer = book(trigger=trigger, schedule=..., next_run_at=None).answer()
        text = answer.model_dump_json()
        assert "v1.abc" not in text
        assert '"secret":{"set":true}' in text
        assert RoutineAnswer.model_validate_json(text) == answer

    def test_runs_are_listed_newest_first(self) -> None:
        made = book(guardrails={"max_concurrent": 3})
        for name in ("m-1", "m-2", "m-3", "m-4"):
            made.bookings.begin_run(begin(name, checked=True), NOW)
        made.bookings.end_run(ending("m-2"), NOW)
        made.bookings.end_run(ending("m-1"), NOW)
        assert [item.id for item in made.runs(20)] == [
            run(name) for name in ("m-4", "m-3", "m-1", "m-2")
        ]
        assert [item.id for item in made.runs(1)] == [run("m-4")]
        assert made.runs(0) == []

    def test_whoever_asks_without_a_scope_is_the_operator(self) -> None:
        assert Asker() == Asker(actor_id=None, scope=None)

    def test_a_routine_that_is_open_shows_it_in_its_answer(self) -> None:
        made = book_with_runs()
        assert made.answer().routine.running
        assert made.answer().routine.next_run_at == NEXT
