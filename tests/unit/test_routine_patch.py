"""Merge patches on routines (automation.md §5, §6, §10, §14)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.routine import Routine, apply_patch, next_anchor
from tests.support.routines import NEXT, NOW, ONE_SHOT, WEBHOOK, assert_refused, refusal, routine

ANCHOR = NOW - timedelta(minutes=20)
JOB = {"type": "full_job", "title": "t", "description": "d"}
EVENT = {"type": "event", "pattern": "help"}
CRON = {"type": "cron", "schedule": "0 9 * * *"}
TOMORROW_AT_9 = datetime(2026, 2, 2, 9, tzinfo=UTC)
IN_30_MIN = NOW + timedelta(minutes=30)


def patched(
    changes: Any, current: Routine | None = None, actor: str = "ou_a", **more: Any
) -> Routine:
    return apply_patch(current or routine(), changes, actor, NOW, **more)


def paused(**changes: object) -> Routine:
    state = {"status": "paused", "paused_reason": "user", "next_run_at": None}
    return routine(**{**state, **changes})


def deleted(**changes: object) -> Routine:
    state = {"status": "deleted", "deleted_at": NOW, "next_run_at": None}
    return routine(**{**state, **changes})


class TestPlainFields:
    @pytest.mark.parametrize(
        ("changes", "field", "value"),
        [
            ({"title": " Brief "}, "title", "Brief"),
            ({"title": None}, "title", ""),
            ({"fresh": True}, "fresh", True),
            ({"max_runs": 4}, "max_runs", 4),
            ({"max_runs": None}, "max_runs", 0),
            ({"manage_mode": " SCOPE_ALL "}, "manage_mode", "scope_all"),
        ],
    )
    def test_a_value_is_set(self, changes: dict[str, object], field: str, value: object) -> None:
        before = routine(title="Old", max_runs=9)
        after = patched(changes, before)
        assert getattr(after, field) == value
        assert (after.revision, after.updated_at) == (5, NOW)
        assert after.next_run_at == NEXT

    def test_null_takes_a_setting_back_to_its_default(self) -> None:
        before = routine(
            fresh=True,
            manage_mode="scope_all",
            notify={"on_success": True},
            guardrails={"max_concurrent": 3},
        )
        after = patched(dict.fromkeys(["fresh", "manage_mode", "notify", "guardrails"]), before)
        assert (after.fresh, after.manage_mode) == (False, "creator_only")
        assert after.notify == routine().notify
        assert after.guardrails == routine().guardrails

    def test_notify_and_guardrails_are_replaced_as_a_whole(self) -> None:
        before = routine(
            notify={"on_success": True, "on_failure": False}, guardrails={"max_concurrent": 3}
        )
        changes = {"notify": {"on_attention": False}, "guardrails": {"cooldown_seconds": 9}}
        after = patched(changes, before)
        assert (after.notify.on_success, after.notify.on_failure) == (False, True)
        assert after.notify.on_attention is False
        assert (after.guardrails.max_concurrent, after.guardrails.cooldown_seconds) == (1, 9)

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"if_revision": 4},
            {"prompt": " hello "},
            {"status": "active"},
            {"schedule": {"every_seconds": 1800}},
            {"id": "routine_01", "run_count": 3, "running": False, "deleted_at": None},
            {"route": {"receive_id": "ou_a"}, "creator": {}},
            {"created_at": "2026-01-31T13:00:00+01:00"},
        ],
    )
    def test_what_changes_nothing_makes_no_revision(self, changes: dict[str, object]) -> None:
        before = routine()
        assert patched(changes, before) is before


class TestAction:
    def test_a_prompt_keeps_the_settings_of_its_action(self) -> None:
        before = routine(
            prompt=..., action={"prompt": "old", "type": "lightweight", "max_tokens": 9}
        )
        after = patched({"prompt": "new"}, before)
        assert (after.prompt, after.action.model_dump()["max_tokens"]) == ("new", 9)

    def test_a_prompt_takes_the_place_of_a_job(self) -> None:
        after = patched({"prompt": "new"}, routine(prompt=..., action=JOB))
        assert (after.action.type, after.prompt) == ("lightweight", "new")

    def test_an_action_is_replaced_as_a_whole(self) -> None:
        after = patched({"action": JOB, "prompt": None})
        assert (after.action.type, after.prompt) == ("full_job", None)

    def test_without_its_action_a_prompt_has_the_defaults(self) -> None:
        before = routine(prompt=..., action={"prompt": "p", "type": "lightweight", "max_tokens": 9})
        assert patched({"action": None}, before).action.model_dump()["max_tokens"] == 4096
        after = patched({"action": None, "prompt": "q"}, before)
        assert (after.prompt, after.action.model_dump()["max_tokens"]) == ("q", 4096)

    def test_a_job_has_no_prompt_to_take_away(self) -> None:
        before = routine(prompt=..., action=JOB)
        assert patched({"prompt": None}, before) is before

    @pytest.mark.parametrize(
        ("changes", "kind", "field", "contains"),
        [
            ({"prompt": None}, "missing_field", "prompt", "prompt"),
            ({"prompt": " "}, "missing_field", "prompt", "prompt"),
            ({"prompt": "x" * 65_537}, "invalid_field", "prompt", "65536"),
            ({"prompt": "x", "action": JOB}, "invalid_field", "action", "exactly one of"),
            ({"action": {"type": "x"}}, "invalid_field", "action.type", "full_job"),
        ],
    )
    def test_refused(
        self, changes: dict[str, object], kind: str, field: str, contains: str
    ) -> None:
        assert_refused(refusal(lambda: patched(changes)), kind, field, contains)

    def test_a_job_cannot_be_taken_away_alone(self) -> None:
        error = refusal(lambda: patched({"action": None}, routine(prompt=..., action=JOB)))
        assert_refused(error, "missing_field", "prompt", "action")


class TestSchedule:
    @pytest.mark.parametrize(
        ("changes", "upcoming"),
        [
            ({"schedule": {"every_seconds": 3600}}, NOW + timedelta(hours=1)),
            ({"every_seconds": 3600}, NOW + timedelta(hours=1)),
            ({"schedule": {"cron_expr": "0 9 * * *"}}, TOMORROW_AT_9),
            ({"schedule": {"cron_expr": "0 9 * * *", "every_seconds": None}}, TOMORROW_AT_9),
            (
                {"schedule": {"cron_expr": "0 9 * * *"}, "timezone": "Europe/Berlin"},
                TOMORROW_AT_9 - timedelta(hours=1),
            ),
            (
                {"cron_expr": "CRON_TZ=Europe/Berlin 0 9 * * *"},
                TOMORROW_AT_9 - timedelta(hours=1),
            ),
            ({"run_at": "2026-02-03T00:00:00Z"}, datetime(2026, 2, 3, tzinfo=UTC)),
            ({"cron_expr": "every 2h"}, NOW + timedelta(hours=2)),
            ({"trigger": CRON}, TOMORROW_AT_9),
            ({"trigger": CRON, "schedule": None}, TOMORROW_AT_9),
            ({"trigger": None, "cron_expr": "0 9 * * *"}, TOMORROW_AT_9),
            ({"trigger": EVENT}, None),
        ],
    )
    def test_other_times_are_counted_from_now(
        self, changes: dict[str, object], upcoming: datetime | None
    ) -> None:
        before = routine(next_run_explicit=True)
        after = patched(changes, before)
        assert (after.next_run_at, after.next_run_explicit) == (upcoming, False)
        assert next_anchor(before, after, ANCHOR, NOW) == NOW

    def test_setting_one_alternative_drops_the_other_and_keeps_the_rest(self) -> None:
        before = routine(
            schedule={"every_seconds": 1800, "timezone": "Asia/Tokyo", "catchup": "skip"}
        )
        schedule = patched({"schedule": {"cron_expr": "0 9 * * *"}}, before).schedule
        assert schedule is not None
        assert (schedule.every_seconds, schedule.cron_expr) == (None, "0 9 * * *")
        assert (schedule.timezone, schedule.catchup) == ("Asia/Tokyo", "skip")

    @pytest.mark.parametrize("changes", [{"timezone": "Asia/Tokyo"}, {"catchup": "all"}])
    def test_zone_and_catchup_do_not_move_an_interval(self, changes: dict[str, object]) -> None:
        before = routine()
        after = patched(changes, before)
        assert (after.next_run_at, after.revision) == (NEXT, 5)
        assert next_anchor(before, after, ANCHOR, NOW) == ANCHOR

    def test_the_zone_moves_cron_times(self) -> None:
        before = routine(schedule={"cron_expr": "0 9 * * *"}, next_run_at=TOMORROW_AT_9)
        after = patched({"timezone": "Europe/Berlin"}, before)
        assert after.next_run_at == TOMORROW_AT_9 - timedelta(hours=1)
        assert patched({"catchup": "skip"}, before).next_run_at == TOMORROW_AT_9

    def test_words_stay_words_when_something_beside_them_changes(self) -> None:
        before = routine(schedule=..., trigger={"type": "cron", "schedule": "every 2h"})
        after = patched({"schedule": {"catchup": "skip"}}, before)
        assert after.trigger.model_dump()["schedule"] == "every 2h"
        assert after.trigger.model_dump()["catchup"] == "skip"

    def test_a_one_shot_takes_a_new_zone(self) -> None:
        later = {"run_at": NEXT.isoformat()}
        after = patched({"timezone": "Asia/Tokyo"}, routine(schedule=later))
        assert (after.timezone, after.next_run_at) == ("Asia/Tokyo", NEXT)

    def test_the_window_goes_with_catchup_all(self) -> None:
        all_ = routine(
            schedule={"every_seconds": 1800, "catchup": "all", "catchup_window_seconds": 90}
        )
        kept = patched({"schedule": {"catchup": "all", "timezone": "Asia/Tokyo"}}, all_).schedule
        gone = patched({"schedule": {"catchup": None}}, all_).schedule
        assert kept is not None
        assert gone is not None
        assert kept.catchup_window_seconds == 90
        assert (gone.catchup, gone.catchup_window_seconds) == ("once", None)

    def test_a_new_zone_defaults_to_that_of_the_deployment(self) -> None:
        pushed = routine(schedule=..., trigger=WEBHOOK, next_run_at=None)
        after = patched({"cron_expr": "0 9 * * *"}, pushed, default_timezone="Asia/Tokyo")
        assert (after.timezone, after.next_run_at) == (
            "Asia/Tokyo",
            TOMORROW_AT_9 - timedelta(hours=9),
        )

    @pytest.mark.parametrize(
        ("changes", "kind", "field", "contains"),
        [
            ({"schedule": None}, "missing_field", "schedule", "every_seconds"),
            ({"trigger": None}, "missing_field", "schedule", "cron_expr"),
            ({"schedule": {"every_seconds": None}}, "missing_field", "schedule", "run_at"),
            (
                {"schedule": {"every_seconds": 60, "cron_expr": "* * * * *"}},
                "invalid_field",
                "schedule",
                "exactly one of",
            ),
            ({"schedule": {"every_seconds": 59}}, "invalid_field", "schedule.every_seconds", "60"),
            ({"schedule": "@daily"}, "invalid_field", "schedule", "object"),
            ({"timezone": "Mars/Base"}, "invalid_field", "schedule.timezone", "IANA"),
            ({"run_at": "2026-01-01T00:00:00Z"}, "invalid_field", "schedule.run_at", "future"),
            ({"run_at": "tomorrow"}, "invalid_field", "schedule.run_at", "RFC 3339"),
            ({"trigger": CRON, "every_seconds": 60}, "invalid_field", "trigger", "exactly one of"),
            ({"trigger": {"type": "x"}}, "invalid_field", "trigger.type", "webhook"),
            ({"trigger": "daily"}, "invalid_field", "trigger", "object"),
            (
                {"schedule": {"every_seconds": 60}, "every_seconds": 60},
                "invalid_field",
                "schedule",
                "not both",
            ),
        ],
    )
    def test_refused(
        self, changes: dict[str, object], kind: str, field: str, contains: str
    ) -> None:
        assert_refused(refusal(lambda: patched(changes)), kind, field, contains)

    def test_a_pushed_routine_has_no_schedule_to_change(self) -> None:
        pushed = routine(schedule=..., trigger=WEBHOOK, next_run_at=None)
        error = refusal(lambda: patched({"timezone": "UTC"}, pushed))
        assert_refused(error, "missing_field", "schedule", "cron_expr")


class TestTrigger:
    def test_defaults_of_guardrails_follow_the_type_and_the_rest_stays(self) -> None:
        after = patched({"trigger": EVENT}, routine(guardrails={"max_concurrent": 2}))
        assert (after.guardrails.cooldown_seconds, after.guardrails.overlap) == (300, "skip")
        assert after.guardrails.max_concurrent == 2
        assert (after.schedule, after.next_run_at) == (None, None)

    def test_a_guardrail_that_was_set_stays(self) -> None:
        after = patched({"trigger": EVENT}, routine(guardrails={"cooldown_seconds": 7}))
        assert after.guardrails.cooldown_seconds == 7

    def test_guardrails_of_the_same_patch_meet_the_new_type(self) -> None:
        after = patched({"trigger": EVENT, "guardrails": {"max_concurrent": 3}})
        assert (after.guardrails.max_concurrent, after.guardrails.cooldown_seconds) == (3, 300)

    def test_a_hidden_secret_keeps_the_stored_one(self) -> None:
        secret = {"sealed": "x"}
        before = routine(
            schedule=..., trigger={"type": "webhook", "secret": secret}, next_run_at=None
        )
        changes = {"trigger": {"type": "webhook", "path": "new", "secret": {"set": True}}}
        after = patched(changes, before).trigger.model_dump()
        assert (after["path"], after["secret"]) == ("new", secret)

    def test_a_hidden_secret_needs_a_stored_one(self) -> None:
        changes = {"trigger": {"type": "webhook", "secret": {"set": True}}}
        assert_refused(refusal(lambda: patched(changes)), "invalid_field", "trigger.secret")


class TestNextRunAt:
    @pytest.mark.parametrize("given", ["2026-02-01T15:00:00.5Z", "2026-01-01T00:00:00+01:00"])
    def test_it_is_remembered_as_set_by_hand(self, given: str) -> None:
        expected = datetime.fromisoformat(given).replace(microsecond=0)
        before = routine()
        after = patched({"next_run_at": given}, before)
        assert (after.next_run_at, after.next_run_explicit) == (expected, True)
        assert next_anchor(before, after, ANCHOR, NOW) == expected

    def test_it_wins_over_a_schedule_change_and_over_resume(self) -> None:
        at = "2026-02-01T15:00:00Z"
        expected = datetime.fromisoformat(at)
        after = patched({"every_seconds": 3600, "next_run_at": at})
        assert (after.next_run_at, after.next_run_explicit) == (expected, True)
        after = patched({"status": "active", "next_run_at": at}, paused())
        assert (after.next_run_at, after.next_run_explicit) == (expected, True)

    def test_other_patches_leave_it(self) -> None:
        before = routine(next_run_explicit=True)
        after = patched({"title": "x"}, before)
        assert (after.next_run_at, after.next_run_explicit) == (NEXT, True)
        assert next_anchor(before, after, ANCHOR, NOW) == ANCHOR

    def test_null_gives_it_back_to_the_schedule(self) -> None:
        before = routine(next_run_explicit=True)
        after = patched({"next_run_at": None}, before)
        assert (after.next_run_at, after.next_run_explicit) == (IN_30_MIN, False)
        assert next_anchor(before, after, ANCHOR, NOW) == NOW

    def test_null_changes_nothing_where_it_was_not_set_by_hand(self) -> None:
        before = routine()
        assert patched({"next_run_at": None}, before) is before

    def test_a_missing_next_time_is_filled_in_from_the_anchor(self) -> None:
        before = routine(next_run_at=None)
        assert patched({"title": "x"}, before).next_run_at == IN_30_MIN
        assert patched({"title": "x"}, before, anchor=ANCHOR).next_run_at == NEXT

    @pytest.mark.parametrize(
        ("current", "contains"),
        [
            (paused(), "paused"),
            (routine(schedule=..., trigger=WEBHOOK, next_run_at=None), "webhook"),
            (routine(max_runs=3, running=True, next_run_at=None), "max_runs"),
        ],
    )
    def test_it_needs_a_timed_active_routine_with_runs_left(
        self, current: Routine, contains: str
    ) -> None:
        changes = {"next_run_at": "2026-02-01T15:00:00Z"}
        error = refusal(lambda: patched(changes, current))
        assert_refused(error, "invalid_field", "next_run_at", contains)

    @pytest.mark.parametrize("given", ["2026-02-01T15:00:00", "soon", 5])
    def test_14_19_no_time(self, given: object) -> None:
        error = refusal(lambda: patched({"next_run_at": given}))
        assert_refused(error, "invalid_field", "next_run_at", "RFC 3339")


class TestPauseAndResume:
    def test_pause(self) -> None:
        after = patched({"status": " Paused "}, routine(next_run_explicit=True))
        assert (after.status, after.paused_reason) == ("paused", "user")
        assert (after.next_run_at, after.next_run_explicit, after.revision) == (None, False, 5)

    def test_pause_drops_a_run_that_waits(self) -> None:
        waiting = routine(run_state="waiting_for_session", due_since=NOW)
        after = patched({"status": "paused"}, waiting)
        assert (after.run_state, after.due_since) == ("idle", None)

    def test_pause_lets_a_run_go_on(self) -> None:
        after = patched({"status": "paused"}, routine(running=True, due_since=NOW))
        assert (after.running, after.run_state, after.due_since) == (True, "running", NOW)

    def test_a_second_pause_keeps_the_reason(self) -> None:
        before = paused(paused_reason="failures")
        assert patched({"status": "paused"}, before) is before

    def test_resume_counts_from_now_and_forgets_failures(self) -> None:
        before = paused(paused_reason="failures", consecutive_failures=3, next_run_at=NEXT)
        after = patched({"status": "active"}, before)
        assert (after.status, after.paused_reason) == ("active", None)
        assert (after.consecutive_failures, after.next_run_at) == (0, IN_30_MIN)
        assert next_anchor(before, after, ANCHOR, NOW) == NOW

    def test_resume_of_a_pushed_routine(self) -> None:
        before = paused(schedule=..., trigger=WEBHOOK)
        assert patched({"status": "active"}, before).next_run_at is None

    def test_14_22_resume_at_the_maximum(self) -> None:
        current = paused(max_runs=3)
        error = refusal(lambda: patched({"status": "active"}, current))
        assert_refused(error, "conflict", "status", "max_runs", "raise")
        after = patched({"status": "active", "max_runs": 4}, current)
        assert (after.status, after.next_run_at) == ("active", IN_30_MIN)

    def test_an_ended_one_shot_resumes_with_a_new_time_only(self) -> None:
        ended = paused(schedule=ONE_SHOT, paused_reason="schedule_ended")
        error = refusal(lambda: patched({"status": "active"}, ended))
        assert_refused(error, "conflict", "status", "schedule_ended", "run_at")
        later = {"status": "active", "schedule": {"run_at": NEXT.isoformat()}}
        assert patched(later, ended).next_run_at == NEXT
        by_hand = {"status": "active", "next_run_at": NEXT.isoformat()}
        assert patched(by_hand, ended).next_run_at == NEXT

    def test_a_schedule_changed_while_paused_waits_for_resume(self) -> None:
        assert patched({"every_seconds": 3600}, paused()).next_run_at is None

    @pytest.mark.parametrize("status", ["done", 5, None, ""])
    def test_14_24_no_status(self, status: object) -> None:
        error = refusal(lambda: patched({"status": status}, paused()))
        assert_refused(error, "invalid_field", "status", "active", "paused", "deleted")


class TestMaxRuns:
    def test_during_the_last_run_nothing_follows(self) -> None:
        last = routine(running=True)
        after = patched({"max_runs": 3}, last)
        assert (after.status, after.next_run_at) == ("active", None)

    def test_raised_during_the_last_run_the_next_time_comes_back(self) -> None:
        last = routine(running=True, max_runs=3, next_run_at=None)
        assert patched({"max_runs": 4}, last, anchor=ANCHOR).next_run_at == NEXT

    def test_a_paused_routine_may_be_at_its_maximum(self) -> None:
        assert patched({"max_runs": 3}, paused()).max_runs == 3

    def test_an_idle_one_at_its_maximum_can_still_be_renamed(self) -> None:
        after = patched({"title": "x"}, routine(max_runs=3))
        assert (after.title, after.next_run_at) == ("x", None)

    @pytest.mark.parametrize(
        ("max_runs", "contains"),
        [(2, "3"), (3, "3"), (-1, ">= 0"), (1.5, ">= 0"), (True, "integer")],
    )
    def test_14_20_and_21(self, max_runs: object, contains: str) -> None:
        error = refusal(lambda: patched({"max_runs": max_runs}))
        assert_refused(error, "invalid_field", "max_runs", contains)


class TestDeleteAndRestore:
    def test_delete(self) -> None:
        before = routine(run_state="running", due_since=NOW, next_run_explicit=True)
        after = patched({"status": "deleted"}, before)
        assert (after.status, after.deleted_at, after.next_run_at) == ("deleted", NOW, None)
        assert (after.running, after.run_state, after.due_since) == (False, "idle", None)
        assert (after.next_run_explicit, after.revision) == (False, 5)

    def test_a_paused_one_loses_its_reason(self) -> None:
        assert patched({"status": "deleted"}, paused()).paused_reason is None

    def test_twice_is_once(self) -> None:
        before = deleted()
        assert patched({"status": "deleted"}, before) is before

    def test_restore_active(self) -> None:
        after = patched({"status": "active", "if_revision": 4}, deleted(consecutive_failures=2))
        assert (after.status, after.deleted_at) == ("active", None)
        assert (after.next_run_at, after.consecutive_failures) == (IN_30_MIN, 0)

    def test_restore_paused(self) -> None:
        after = patched({"status": "paused"}, deleted())
        assert (after.status, after.paused_reason, after.deleted_at) == ("paused", "user", None)
        assert after.next_run_at is None

    def test_restore_at_the_maximum(self) -> None:
        error = refusal(lambda: patched({"status": "active"}, deleted(max_runs=3)))
        assert_refused(error, "conflict", "status", "max_runs")

    @pytest.mark.parametrize(
        "changes",
        [{"prompt": "x"}, {"status": "active", "prompt": "x"}, {}, {"status": None}, {"cron": "x"}],
    )
    def test_14_39_nothing_else(self, changes: dict[str, object]) -> None:
        error = refusal(lambda: patched(changes, deleted()))
        assert_refused(error, "conflict", "status", "deleted", "restore")


class TestPermission:
    @pytest.mark.parametrize("actor", ["", "  "])
    def test_14_34_no_actor(self, actor: str) -> None:
        error = refusal(lambda: patched({"title": "x"}, actor=actor))
        assert_refused(error, "missing_field", "actor", "actor_user_id", "actor_open_id")

    @pytest.mark.parametrize("changes", [{"title": "x"}, {"status": "paused"}, {"cron": 1}, {}])
    def test_14_37_creator_only(self, changes: dict[str, object]) -> None:
        error = refusal(lambda: patched(changes, actor="ou_b"))
        assert_refused(error, "permission_denied", "manage_mode", "creator_only")

    def test_everybody_in_scope_may_change_a_shared_routine(self) -> None:
        shared = routine(manage_mode="scope_all")
        assert patched({"title": "x", "manage_mode": "scope_all"}, shared, "ou_b").title == "x"

    def test_14_38_but_not_its_manage_mode(self) -> None:
        shared = routine(manage_mode="scope_all")
        error = refusal(lambda: patched({"manage_mode": "creator_only"}, shared, "ou_b"))
        assert_refused(error, "permission_denied", "manage_mode", "creator")
        assert patched({"manage_mode": "creator_only"}, shared).manage_mode == "creator_only"


class TestConditions:
    def test_14_40_another_revision(self) -> None:
        error = refusal(lambda: patched({"title": "x", "if_revision": 3}, routine(revision=5)))
        assert_refused(error, "conflict", "revision", "5")

    @pytest.mark.parametrize("revision", [-1, "4", True])
    def test_no_revision(self, revision: object) -> None:
        error = refusal(lambda: patched({"if_revision": revision}))
        assert_refused(error, "invalid_field", "if_revision", "integer")

    @pytest.mark.parametrize("patch", [[], "x", None, 5])
    def test_14_30_no_object(self, patch: object) -> None:
        assert_refused(refusal(lambda: patched(patch)), "invalid_field", "body", "JSON object")


FIXED: list[tuple[str, object]] = [
    ("id", "other"),
    ("scope", {"kind": "chat"}),
    ("scope", "user:ou_a"),
    ("route", {"receive_id": "ou_b"}),
    ("creator", {"user_id": None}),
    ("session_key", "s"),
    ("resume_thread_id", "t"),
    ("source_message_id", "om"),
    ("paused_reason", "user"),
    ("run_count", 0),
    ("run_count", "3"),
    ("created_at", "2026-01-01T00:00:00Z"),
    ("updated_at", None),
    ("last_run_at", "2026-01-01T00:00:00Z"),
    ("deleted_at", "2026-01-01T00:00:00Z"),
    ("running", True),
    ("run_state", "running"),
    ("due_since", "2026-01-01T00:00:00Z"),
    ("last_result", "ok: now"),
    ("consecutive_failures", 1),
    ("revision", 5),
    ("next_run_explicit", True),
    ("collapsed", 1),
]


@pytest.mark.parametrize(("field", "value"), FIXED)
def test_14_28_a_field_that_cannot_be_changed(field: str, value: object) -> None:
    error = refusal(lambda: patched({field: value}))
    assert_refused(error, "invalid_field", field, "editable fields", "title", "next_run_at")


@pytest.mark.parametrize(
    ("key", "contains"),
    [("cron", "schedule.cron_expr"), ("promt", "prompt"), ("enabled", "use status")],
)
def test_14_27_an_unknown_key(key: str, contains: str) -> None:
    error = refusal(lambda: patched({key: "x"}))
    assert_refused(error, "unknown_field", key, contains)


@pytest.mark.parametrize(
    ("changes", "field", "contains"),
    [
        ({"manage_mode": "everyone"}, "manage_mode", "scope_all"),
        ({"title": "x" * 201}, "title", "200"),
        ({"fresh": "yes"}, "fresh", "true"),
        ({"guardrails": {"max_concurrent": 0}}, "guardrails.max_concurrent", "10"),
        ({"notify": {"on_failure": 1}}, "notify.on_failure", "true"),
    ],
)
def test_a_bad_value(changes: dict[str, object], field: str, contains: str) -> None:
    assert_refused(refusal(lambda: patched(changes)), "invalid_field", field, contains)


def test_all_problems_are_told_in_validation_order() -> None:
    wrong = {
        "next_run_at": "x",
        "notify": 5,
        "guardrails": 5,
        "fresh": 5,
        "max_runs": 2,
        "status": "x",
        "every_seconds": 1,
        "prompt": "",
        "title": 5,
        "manage_mode": "x",
        "run_count": 1,
        "colour": "red",
    }
    error = refusal(lambda: patched(wrong))
    assert [problem.field for problem in error.errors] == [
        "colour",
        "run_count",
        "manage_mode",
        "title",
        "prompt",
        "schedule.every_seconds",
        "status",
        "max_runs",
        "fresh",
        "notify",
        "guardrails",
        "next_run_at",
    ]
