"""What a manifest says of a routine, and the patches that make a routine what one says."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.manifest_fields import Owner, manifest_of, patches_for, wanted_by
from domain.actor import Actor
from domain.errors import DomainError
from domain.routine import Routine, apply_patch, new_routine
from domain.scopes import Route, Scope, ScopeKind
from tests.support.routines import NEXT, NOW, assert_refused, refusal, routine

OWNER = Owner(
    Scope(kind=ScopeKind.USER, id="ou_a"),
    Route(receive_id_type="file", receive_id=""),
    Actor(user_id="ou_a"),
)
LATER = "2026-02-03T09:00:00Z"
CRON = {"cron_expr": "0 9 * * 1-5", "timezone": "Europe/Berlin"}
MANUAL = {"type": "manual"}


def made(body: dict[str, Any], name: str = "brief") -> Routine:
    """The routine that a manifest creates."""
    wanted = wanted_by({"id": name, **body}, None, OWNER, NOW)
    return new_routine(
        wanted.body, id=name, scope=OWNER.scope, route=OWNER.route, creator=OWNER.creator, now=NOW
    )


def patches(present: Routine, body: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    wanted = wanted_by({"id": present.id, **body}, present, OWNER, NOW, **more)
    return patches_for(present, wanted, "ou_a", NOW, **more)


def after(present: Routine, body: dict[str, Any]) -> Routine:
    """The routine once the patches for a manifest are applied."""
    for patch in patches(present, body):
        present = apply_patch(present, patch, "ou_a", NOW)
    return present


class TestForm:
    def test_defaults_are_left_out(self) -> None:
        assert manifest_of(made({"prompt": "x", "every_seconds": 60})) == {
            "id": "brief",
            "prompt": "x",
            "schedule": {"every_seconds": 60, "timezone": "UTC"},
        }

    def test_everything_that_can_be_applied_again(self) -> None:
        body: dict[str, Any] = {
            "title": "Brief",
            "action": {
                "type": "lightweight",
                "prompt": "x",
                "context_paths": ["a.md"],
                "max_tokens": 10,
            },
            "schedule": {**CRON, "catchup": "all", "catchup_window_seconds": 600},
            "next_run_at": LATER,
            "max_runs": 3,
            "fresh": True,
            "guardrails": {"rate_limit": {"max_runs": 1, "window_seconds": 60}, "overlap": "skip"},
            "notify": {"on_success": True},
            "manage_mode": "scope_all",
        }
        assert manifest_of(made(body)) == {"id": "brief", **body}

    def test_words_stay_words(self) -> None:
        form = manifest_of(made({"prompt": "x", "cron_expr": "every 2h"}))
        assert form["schedule"] == {"cron_expr": "every 2h", "timezone": "UTC"}

    def test_secrets_are_hidden_and_references_are_not(self) -> None:
        trigger = {"type": "webhook", "secret": ["x" * 20, {"env": "HOOK"}]}
        form = manifest_of(routine(schedule=..., trigger=trigger, next_run_at=None))
        assert form["trigger"] == {"type": "webhook", "secret": [{"set": True}, {"env": "HOOK"}]}

    def test_no_state_of_runs(self) -> None:
        form = manifest_of(routine(last_result="ok: x", consecutive_failures=2))
        assert set(form) == {"id", "prompt", "schedule"}
        paused = manifest_of(routine(status="paused", paused_reason="failures", next_run_at=None))
        assert paused["status"] == "paused"


class TestUnchanged:
    @pytest.mark.parametrize(
        "body",
        [
            {"prompt": "x", "every_seconds": 60},
            {"prompt": " x\n", "schedule": {"cron_expr": "CRON_TZ=Asia/Kolkata  0 9 * * *"}},
            {"prompt": "x", "trigger": {"type": "cron", "schedule": "Every 2 H"}},
            {"action": {"type": "lightweight", "prompt": "x"}, "trigger": MANUAL},
            {"prompt": "x", "trigger": MANUAL, "enabled": False},
            {"prompt": "x", "trigger": MANUAL, "status": " Paused "},
            {"prompt": "x", **CRON, "next_run_at": LATER},
            {"prompt": "x", **CRON, "guardrails": {}, "notify": None, "max_runs": 0, "title": ""},
            {"prompt": "x", "run_at": "2026-02-01T12:00:01Z"},
        ],
    )
    def test_what_was_created_from_it(self, body: dict[str, Any]) -> None:
        assert patches(made(body), body) == []
        assert patches(made(body), manifest_of(made(body))) == []

    @pytest.mark.parametrize("reason", ["user", "failures", "max_runs", "schedule_ended"])
    def test_a_pause_is_not_undone_without_being_asked(self, reason: str) -> None:
        paused = routine(status="paused", paused_reason=reason, next_run_at=None)
        assert patches(paused, {"prompt": "hello", "every_seconds": 1800}) == []

    def test_a_one_shot_that_has_run(self) -> None:
        once = {"prompt": "hello", "run_at": "2026-02-01T13:00:00+02:00"}
        ended = routine(
            schedule={"run_at": "2026-02-01T11:00:00Z"},
            status="paused",
            paused_reason="schedule_ended",
            next_run_at=None,
        )
        assert patches(ended, once) == []
        trigger = {"type": "at", "run_at": "2026-02-01T11:00:00Z"}
        assert patches(ended, {"prompt": "hello", "trigger": trigger}) == []

    def test_an_explicit_time_that_has_passed(self) -> None:
        body = {"prompt": "hello", "every_seconds": 1800}
        past = (NOW - timedelta(minutes=1)).isoformat()
        assert patches(routine(), {**body, "next_run_at": past}) == []
        by_hand = routine(next_run_at=NEXT, next_run_explicit=True)
        assert patches(by_hand, body) == []

    def test_a_time_zone_that_is_the_default(self) -> None:
        berlin = routine(schedule={"every_seconds": 1800, "timezone": "Europe/Berlin"})
        body = {"prompt": "hello", "every_seconds": 1800}
        assert patches(berlin, body, default_timezone="Europe/Berlin") == []
        assert patches(berlin, body) == [
            {"schedule": {"catchup": "once", "every_seconds": 1800, "timezone": "UTC"}}
        ]


class TestChanges:
    @pytest.mark.parametrize(
        ("change", "patch"),
        [
            ({"title": "New"}, {"title": "New"}),
            ({"prompt": "other"}, {"prompt": "other"}),
            ({"fresh": True}, {"fresh": True}),
            ({"max_runs": 9}, {"max_runs": 9}),
            ({"manage_mode": "scope_all"}, {"manage_mode": "scope_all"}),
            ({"status": "paused"}, {"status": "paused"}),
            ({"enabled": False}, {"status": "paused"}),
            ({"next_run_at": LATER}, {"next_run_at": LATER}),
            ({"notify": {"on_success": True}}, {"notify": {"on_success": True}}),
            (
                {"guardrails": {"cooldown_seconds": 5}},
                {"guardrails": {"cooldown_seconds": 5}},
            ),
            (
                {"prompt": None, "action": {"type": "lightweight", "prompt": "x", "max_tokens": 7}},
                {"action": {"type": "lightweight", "prompt": "x", "max_tokens": 7}},
            ),
        ],
    )
    def test_only_what_differs_is_patched(
        self, change: dict[str, Any], patch: dict[str, Any]
    ) -> None:
        body = {"prompt": "hello", "every_seconds": 1800, **change}
        assert patches(routine(), body) == [patch]

    def test_what_is_left_out_goes_back_to_its_default(self) -> None:
        before = routine(
            title="Old",
            max_runs=9,
            guardrails={"cooldown_seconds": 5},
            notify={"on_success": True},
            action={"type": "lightweight", "prompt": "hello", "max_tokens": 7},
            schedule={"every_seconds": 1800, "catchup": "all", "catchup_window_seconds": 600},
            prompt=...,
        )
        body = {"prompt": "hello", "every_seconds": 1800}
        assert manifest_of(after(before, body)) == manifest_of(routine())

    def test_status_active_resumes(self) -> None:
        paused = routine(status="paused", paused_reason="user", next_run_at=None)
        body = {"prompt": "hello", "every_seconds": 1800, "status": "active"}
        assert patches(paused, body) == [{"status": "active"}]

    def test_a_deleted_routine_is_restored_before_it_is_changed(self) -> None:
        deleted = routine(status="deleted", deleted_at=NOW, next_run_at=None)
        body = {"prompt": "hello", "every_seconds": 1800}
        assert patches(deleted, body) == [{"status": "paused"}, {"status": "active"}]
        assert patches(deleted, {**body, "status": "paused"}) == [{"status": "paused"}]
        restored = after(deleted, {**body, "title": "Back"})
        assert (restored.status, restored.title) == ("active", "Back")

    def test_a_stored_secret_is_kept(self) -> None:
        trigger = {"type": "webhook", "path": "a", "secret": {"set": True}}
        hook = routine(schedule=..., trigger=trigger, next_run_at=None)
        assert patches(hook, {"prompt": "hello", "trigger": trigger}) == []


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "kind", "field", "contains"),
        [
            ({"every_seconds": 60}, "missing_field", "prompt", "prompt"),
            ({"prompt": "x"}, "missing_field", "schedule", "every_seconds"),
            ({"prompt": "x", **CRON, "cron": "x"}, "unknown_field", "cron", "schedule.cron_expr"),
            ({"prompt": "x", **CRON, "run_count": 3}, "unknown_field", "run_count", "accepted"),
            ({"prompt": "x", **CRON, "status": "deleted"}, "invalid_field", "status", "--prune"),
            ({"prompt": "x", **CRON, "status": "done"}, "invalid_field", "status", "active"),
            ({"prompt": "x", **CRON, "enabled": "no"}, "invalid_field", "enabled", "true"),
            (
                {"prompt": "x", **CRON, "enabled": True, "status": "active"},
                "invalid_field",
                "status",
                "exactly one",
            ),
            ({"prompt": "x", **CRON, "next_run_at": "soon"}, "invalid_field", "next_run_at", "RFC"),
            (
                {"prompt": "x", "run_at": "2026-02-01T11:00:00Z"},
                "invalid_field",
                "schedule.run_at",
                "future",
            ),
            ({"prompt": "x", "run_at": "noon"}, "invalid_field", "schedule.run_at", "RFC 3339"),
        ],
    )
    def test_bad_manifests(
        self, body: dict[str, Any], kind: str, field: str, contains: str
    ) -> None:
        assert_refused(refusal(lambda: made(body)), kind, field, contains)
        assert_refused(refusal(lambda: patches(routine(), body)), kind, field, contains)

    def test_what_the_routine_would_refuse(self) -> None:
        body = {"prompt": "hello", "every_seconds": 1800}
        error = refusal(lambda: patches(routine(), {**body, "max_runs": 2}))
        assert_refused(error, "invalid_field", "max_runs", "3")
        foreign = routine(creator={"user_id": "ou_b"})
        error = refusal(lambda: patches(foreign, {**body, "title": "x"}))
        assert_refused(error, "permission_denied", "manage_mode", "creator_only")
        assert patches(foreign, body) == []

    def test_a_stored_one_shot_does_not_excuse_another(self) -> None:
        ended = routine(schedule={"run_at": "2026-02-01T11:00:00Z"}, next_run_at=None)
        for at in ("2026-02-01T11:30:00Z", "noon"):
            error = refusal(lambda at=at: patches(ended, {"prompt": "hello", "run_at": at}))  # type: ignore[misc]
            assert_refused(error, "invalid_field", "schedule.run_at")


def _optional(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=values)


TEXTS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=8)
ACTIONS = st.one_of(
    st.builds(lambda text: {"prompt": text}, TEXTS),
    st.builds(
        lambda text, more: {"action": {"type": "lightweight", "prompt": text, **more}},
        TEXTS,
        _optional(max_tokens=st.integers(1, 9999), context_paths=st.just(["a.md", "b/c.md"])),
    ),
)
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata"])
POLICIES = st.sampled_from(
    [
        {},
        {"catchup": "skip"},
        {"catchup": "all"},
        {"catchup": "all", "catchup_window_seconds": 600},
    ]
)
WHENS = st.sampled_from(
    [
        {"cron_expr": "0 9 * * 1-5"},
        {"cron_expr": "@daily"},
        {"cron_expr": "every 2h"},
        {"every_seconds": 7200},
        {"every_seconds": 60},
        {"run_at": "2099-01-01T00:00:00Z"},
    ]
)
TIMINGS = st.one_of(
    st.just({"trigger": MANUAL}),
    st.builds(
        lambda when, zone, policy: {"schedule": {**when, "timezone": zone, **policy}},
        WHENS,
        ZONES,
        POLICIES,
    ),
)
SETTINGS = _optional(
    title=TEXTS,
    fresh=st.booleans(),
    max_runs=st.integers(0, 9),
    manage_mode=st.sampled_from(["creator_only", "scope_all"]),
    status=st.sampled_from(["active", "paused"]),
    notify=_optional(
        on_success=st.booleans(),
        on_attention=st.booleans(),
        route=st.just({"receive_id_type": "file", "receive_id": ""}),
    ),
    guardrails=_optional(
        cooldown_seconds=st.integers(0, 99),
        overlap=st.sampled_from(["queue_one", "skip"]),
        max_age_seconds=st.integers(1, 99),
        max_cost_usd=st.sampled_from(["0.5", 2]),
        rate_limit=st.just({"max_runs": 2, "window_seconds": 60}),
    ),
)
BODIES = st.builds(
    lambda action, timing, settings: {**action, **timing, **settings}, ACTIONS, TIMINGS, SETTINGS
)


@given(before=BODIES, body=BODIES, deleted=st.booleans())
def test_patches_make_a_routine_what_a_manifest_says(
    before: dict[str, Any], body: dict[str, Any], deleted: bool
) -> None:
    present = made(before)
    if deleted:
        present = apply_patch(present, {"status": "deleted"}, "ou_a", NOW)

    changed = after(present, body)

    status = body.get("status") or ("active" if deleted else present.status)
    assert changed.status == status
    expected = manifest_of(made({**body, "status": status}))
    assert manifest_of(changed) == expected
    assert patches(changed, body) == []
    assert patches(changed, expected) == []


@given(body=BODIES)
def test_a_manifest_makes_the_routine_it_was_made_from(body: dict[str, Any]) -> None:
    routine = made(body)
    again = made(manifest_of(routine))

    assert manifest_of(again) == manifest_of(routine)
    fields = {"title", "action", "trigger", "guardrails", "notify", "manage_mode", "max_runs"}
    fields |= {"fresh", "schedule", "status", "prompt"}
    assert again.model_dump(include=fields) == routine.model_dump(include=fields)


def test_errors_are_told_all_at_once() -> None:
    with pytest.raises(DomainError) as caught:
        made({"title": "x" * 201, "cron_expr": "x", "max_runs": -1})
    assert [problem.field for problem in caught.value.errors] == [
        "title",
        "prompt",
        "schedule.cron_expr",
        "max_runs",
    ]
