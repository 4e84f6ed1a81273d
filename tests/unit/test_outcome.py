"""Replies, notifications and outcomes of runs (triggers-and-actions.md §9)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.outcome import (
    Notify,
    Outcome,
    OutcomeKind,
    Sentinel,
    classify_reply,
    should_notify,
    to_record_outcome,
    validate_notify,
)
from domain.runs import RunStatus
from domain.scopes import Route
from tests.support.routines import assert_refused, refusal

NEVER_TOLD = [
    RunStatus.SKIPPED,
    RunStatus.INTERRUPTED,
    RunStatus.CANCELLED,
    RunStatus.RUNNING,
    RunStatus.QUEUED,
]


class TestClassifyReply:
    @pytest.mark.parametrize("sentinel", list(Sentinel))
    @pytest.mark.parametrize("around", ["{}", " {}\n", "\t{} "])
    def test_a_sentinel_alone_is_silent(self, sentinel: Sentinel, around: str) -> None:
        assert classify_reply(around.format(sentinel)).model_dump() == {
            "status": "ok",
            "silent": True,
            "text": None,
            "sentinel": sentinel,
            "error": None,
        }

    @pytest.mark.parametrize("blank", ["", " ", " \n\t ", None])
    def test_a_blank_reply_is_a_failure(self, blank: str | None) -> None:
        assert classify_reply(blank).model_dump() == {
            "status": "failed",
            "silent": False,
            "text": None,
            "sentinel": None,
            "error": "empty_reply",
        }

    @pytest.mark.parametrize(
        "text",
        [
            "Disk is full.",
            "routine_ok",
            "ROUTINE_OK.",
            "ROUTINE_OK\nNO_REPLY",
            "**ROUTINE_OK**",
            "`NO_REPLY`",
            "All fine: ROUTINE_OK",
            "ROUTINE OK",
        ],
    )
    def test_everything_else_is_for_the_user(self, text: str) -> None:
        assert classify_reply(f" {text}\n").model_dump() == {
            "status": "attention",
            "silent": False,
            "text": text,
            "sentinel": None,
            "error": None,
        }

    @given(st.text())
    def test_what_is_silent_has_no_text_and_the_rest_has(self, text: str) -> None:
        reply = classify_reply(text)
        assert (reply.text is not None) == (reply.status == RunStatus.ATTENTION)
        assert reply.silent == (reply.sentinel is not None)


class TestShouldNotify:
    @pytest.mark.parametrize(
        ("status", "by_default", "setting"),
        [
            (RunStatus.ATTENTION, True, "on_attention"),
            (RunStatus.FAILED, True, "on_failure"),
            (RunStatus.TIMED_OUT, True, "on_failure"),
            (RunStatus.OK, False, "on_success"),
        ],
    )
    def test_each_end_has_its_setting(
        self, status: RunStatus, by_default: bool, setting: str
    ) -> None:
        assert should_notify(status) is by_default
        for value in (True, False):
            assert should_notify(status, Notify.model_validate({setting: value})) is value

    @pytest.mark.parametrize("status", NEVER_TOLD)
    def test_other_ends_are_never_told(self, status: RunStatus) -> None:
        everything = Notify(on_attention=True, on_failure=True, on_success=True)
        assert should_notify(status, everything) is False

    def test_no_reply_is_not_even_told_as_success(self) -> None:
        notify = Notify(on_success=True)
        assert should_notify(RunStatus.OK, notify, Sentinel.NO_REPLY) is False
        assert should_notify(RunStatus.OK, notify, Sentinel.ROUTINE_OK) is True


class TestToRecordOutcome:
    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (RunStatus.OK, OutcomeKind.OK),
            (RunStatus.ATTENTION, OutcomeKind.OK),
            (RunStatus.INTERRUPTED, OutcomeKind.INTERRUPTED),
            (RunStatus.CANCELLED, OutcomeKind.STOPPED),
        ],
    )
    def test_the_kind_follows_the_status(self, status: RunStatus, kind: OutcomeKind) -> None:
        assert to_record_outcome(status, "ignored") == Outcome(kind=kind)

    @pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.TIMED_OUT])
    @pytest.mark.parametrize(
        ("error", "message"), [("boom", "boom"), (None, None), ("", None), (" ", None)]
    )
    def test_an_error_says_what_is_known(
        self, status: RunStatus, error: str | None, message: str | None
    ) -> None:
        expected = Outcome(kind=OutcomeKind.ERROR, message=message or status.value)
        assert to_record_outcome(status, error) == expected

    @pytest.mark.parametrize("status", [RunStatus.SKIPPED, RunStatus.RUNNING, RunStatus.QUEUED])
    def test_what_did_not_end_is_not_booked(self, status: RunStatus) -> None:
        assert to_record_outcome(status) is None


class TestValidateNotify:
    @pytest.mark.parametrize("value", [None, {}])
    def test_nothing_given_is_the_defaults(self, value: object) -> None:
        assert validate_notify(value).model_dump() == {
            "on_attention": True,
            "on_failure": True,
            "on_success": False,
            "route": None,
        }

    def test_all_values_are_kept(self) -> None:
        route = {"receive_id_type": " webhook ", "receive_id": " alerts "}
        given = {"on_attention": False, "on_failure": False, "on_success": True, "route": route}
        assert validate_notify(given) == Notify(
            on_attention=False,
            on_failure=False,
            on_success=True,
            route=Route(receive_id_type="webhook", receive_id="alerts"),
        )

    @pytest.mark.parametrize(
        ("value", "kind", "field"),
        [
            ("all", "invalid_field", "notify"),
            ({"on_failure": 1}, "invalid_field", "notify.on_failure"),
            ({"on_error": True}, "unknown_field", "notify.on_error"),
            ({"route": "console"}, "invalid_field", "notify.route"),
            ({"route": {}}, "missing_field", "notify.route.receive_id_type"),
            (
                {"route": {"receive_id_type": "webhook"}},
                "missing_field",
                "notify.route.receive_id",
            ),
        ],
    )
    def test_a_bad_value_is_named(self, value: object, kind: str, field: str) -> None:
        assert_refused(refusal(lambda: validate_notify(value)), kind, field)
