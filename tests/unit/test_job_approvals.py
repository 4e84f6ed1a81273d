"""The approvals of one job, and what is told of jobs (triggers-and-actions.md §2 and §8)."""

from datetime import timedelta
from typing import Any

import pytest

from domain.approvals import Approval, arguments_text
from domain.job_approvals import ApprovalNews, JobApprovals, WantedApproval
from domain.job_events import (
    JOB_STARTED,
    approval_parts,
    end_part,
    event_of_end,
    events_of_decisions,
    events_of_news,
    job_event,
    stuck_part,
)
from domain.job_messages import DecideApproval, ExtendApproval
from domain.job_pages import preview_approval
from domain.jobs import JobRecord, JobStatus
from tests.support.routines import assert_refused, refusal
from tests.unit.test_job_book import NOW, state

WEEK = timedelta(days=7)


def asked(**start: Any) -> JobApprovals:
    approvals = JobApprovals(state(**start))
    approvals.ask(wanted(), NOW)
    return approvals


def wanted(number: int = 1) -> WantedApproval:
    return WantedApproval(
        approval_id=f"approval_{number}",
        call_id=f"c{number}",
        tool="mail",
        version="1",
        digest="d1",
        arguments={"to": "[REDACTED]"},
    )


def decide(approvals: JobApprovals, decision: str = "approve", **more: Any) -> Approval:
    request = DecideApproval(approval_id="approval_1", decision=decision, **more)
    return approvals.decide(request, NOW)


class TestDeciding:
    def test_it_is_asked_for_with_everything_a_person_needs(self) -> None:
        approval = asked().pending[0]
        assert (approval.tool, approval.digest, approval.scope) == ("mail", "d1", "user:me")
        assert approval.expires_at == NOW + WEEK

    def test_the_same_decision_again_changes_nothing(self) -> None:
        approvals = asked()
        first = decide(approvals, decided_by="ann", reason="fine", digest="d1")
        assert (first.status, first.decided_by, first.reason) == ("approved", "ann", "fine")
        assert decide(approvals, decided_by="bob") is first
        assert_refused(refusal(lambda: decide(approvals, "deny")), "conflict", "status", "approved")
        approvals.consume("c1")
        assert decide(approvals).status == "consumed"
        approvals.consume("c1")
        assert approvals.withdraw() == []

    @pytest.mark.parametrize(
        ("change", "kind", "field", "says"),
        [
            ({"decision": "maybe"}, "invalid_field", "decision", ("approve", "deny")),
            ({"digest": "d2"}, "conflict", "digest", ("digest",)),
            ({"approval_id": "approval_9"}, "not_found", "id", ("approval_9",)),
            ({"always": True}, "invalid_field", "always", ("routine",)),
        ],
    )
    def test_what_cannot_be_decided(
        self, change: dict[str, Any], kind: str, field: str, says: tuple[str, ...]
    ) -> None:
        given = {"approval_id": "approval_1", "decision": "approve", **change}
        request = DecideApproval.model_validate(given)
        error = refusal(lambda: asked().decide(request, NOW))
        assert_refused(error, kind, field, *says)

    def test_a_denied_one_stays_denied(self) -> None:
        approvals = asked()
        decide(approvals, "deny", reason="no")
        assert decide(approvals, "deny").reason == "no"
        assert approvals.pending == []
        assert approvals.next_time() is None
        denied = approvals.of_call("c1")
        assert denied is not None
        assert denied.status == "denied"
        assert approvals.of_call("c9") is None

    def test_a_reason_is_kept_without_secrets(self) -> None:
        assert decide(asked(), "deny", reason="password=abc").reason == "password=[REDACTED]"

    def test_a_new_one_for_the_same_call_replaces_the_old(self) -> None:
        approvals = asked()
        approvals.ask(wanted(2), NOW)
        approvals.ask(wanted().model_copy(update={"approval_id": "approval_3"}), NOW)
        assert [one.id for one in approvals.pending] == ["approval_2", "approval_3"]
        (withdrawn,) = approvals.withdraw("c2")
        assert (withdrawn.id, withdrawn.status) == ("approval_2", "stale")
        assert [one.id for one in approvals.pending] == ["approval_3"]
        approvals.ask(wanted(2), NOW)
        assert [one.status for one in approvals.withdraw()] == ["stale", "stale"]


class TestTime:
    def test_two_reminders_and_a_denial(self) -> None:
        approvals = asked()
        told: list[tuple[float, str]] = []
        while (at := approvals.next_time()) is not None:
            told += [((at - NOW) / WEEK, what) for _, what in approvals.due(at)]
        assert told == [(0.5, "reminder"), (0.9, "reminder"), (1.0, "expired")]
        expired = approvals.of_call("c1")
        assert expired is not None
        assert (expired.status, expired.reason) == ("timed_out", "nobody answered in time")

    def test_nothing_is_due_before_its_time_and_one_that_slept_tells_once(self) -> None:
        approvals = asked()
        assert approvals.due(NOW) == []
        assert len(approvals.due(NOW + WEEK * 0.95)) == 1
        assert approvals.next_time() == NOW + WEEK

    def test_who_comes_after_its_time_is_refused_though_no_timer_fired(self) -> None:
        approvals = asked()
        late = NOW + WEEK + timedelta(days=2)
        request = DecideApproval(approval_id="approval_1", decision="approve")
        more = ExtendApproval(approval_id="approval_1", seconds=60)
        for ask in (
            lambda: approvals.decide(request, late),
            lambda: approvals.extend(more, late),
        ):
            assert_refused(refusal(ask), "conflict", "status", "timed_out")
        assert [what for _, what in approvals.due(late)] == ["expired"]
        assert_refused(
            refusal(lambda: approvals.decide(request, late)), "conflict", "status", "timed_out"
        )

    def test_more_time_is_given_up_to_thirty_days(self) -> None:
        approvals = asked()
        day = 86_400
        longer = approvals.extend(ExtendApproval(approval_id="approval_1", seconds=23 * day), NOW)
        assert longer.expires_at == NOW + timedelta(days=30)
        for seconds in (1, 0, -5):
            request = ExtendApproval(approval_id="approval_1", seconds=seconds)
            error = refusal(lambda request=request: approvals.extend(request, NOW))  # type: ignore[misc]
            assert_refused(error, "invalid_field", "seconds", "30 days")
        decide(approvals)
        request = ExtendApproval(approval_id="approval_1", seconds=1)
        assert_refused(
            refusal(lambda: approvals.extend(request, NOW)), "conflict", "status", "approved"
        )


class TestTelling:
    def record(self, **changes: Any) -> JobRecord:
        return state().start.record.model_copy(update={"routine_id": "r", **changes})

    def test_steps_are_events(self) -> None:
        (event,) = job_event(JOB_STARTED, self.record(status=JobStatus.RUNNING), 2)
        assert (event.id, event.hop, event.about) == ("job.started job_1", 3, "r")
        assert event.payload["workflow_id"] == "job/job_1"
        assert event.payload["status"] == "running"
        (done,) = event_of_end(self.record(status=JobStatus.COMPLETED), 0)
        assert done.event_type == "job.completed"
        (failed,) = event_of_end(self.record(status=JobStatus.FAILED, error="e"), 0)
        assert (failed.event_type, failed.payload["reason"]) == ("job.failed", "e")
        assert event_of_end(self.record(status=JobStatus.CANCELLED), 0) == []
        assert job_event(JOB_STARTED, self.record(), 9) == []

    def test_approvals_are_events_with_ids_of_their_own(self) -> None:
        approvals = asked()
        approval = approvals.pending[0]
        news = [(approval, what) for what in ApprovalNews]
        found = events_of_news(news, self.record(), 0)
        assert [event.id for event in found] == [
            "approval.requested approval_1",
            "approval.expired approval_1",
        ]
        assert found[0].payload["approval_id"] == "approval_1"
        (event,) = events_of_decisions([decide(approvals)], self.record(), 0)
        assert (event.event_type, event.payload["status"]) == ("approval.decided", "approved")

    def test_notices_say_how_to_decide(self) -> None:
        start, approval = state().start, asked().pending[0]
        news = [(approval, what) for what in ApprovalNews]
        first, again, over = approval_parts(news, start, {"approval_1": 2}, {})
        assert "[cut" not in first.text
        assert first.part == "approval_1/requested"
        assert "wants to call mail" in first.text
        assert "tickless approval approve approval_1" in first.text
        assert "2026-03-08T09:00:00Z" in first.text
        assert again.part == "approval_1/reminder-2"
        assert "still waits" in again.text
        assert "denied" in over.text
        assert "job_1" in stuck_part(start.record, start).text

    def test_a_list_cuts_long_arguments_and_says_so(self) -> None:
        approval = asked().pending[0]
        assert preview_approval(approval) is approval
        long = approval.model_copy(update={"arguments": {"text": "z" * 5000}})
        (said,) = preview_approval(long).arguments.values()
        assert said.startswith("5015 characters: {")
        assert len(said) < 2048

    @pytest.mark.parametrize(("length", "size"), [(10, 70_000), (5000, 0)])
    def test_a_notice_says_that_arguments_are_cut(self, length: int, size: int) -> None:
        start = state().start
        approval = asked().pending[0].model_copy(update={"arguments": {"text": "z" * length}})
        news = [(approval, ApprovalNews.REQUESTED)]
        (part,) = approval_parts(news, start, {}, {"approval_1": size})
        whole = max(size, len(arguments_text(approval.arguments)))
        assert f"[cut: the arguments have {whole} characters" in part.text
        assert "tickless approval get approval_1" in part.text
        assert len(part.text) < 2500

    @pytest.mark.parametrize(
        ("changes", "part", "says"),
        [
            ({"status": "completed", "result": "Done."}, "final", "Done."),
            ({"status": "completed", "result": "x", "limit_reached": True}, "final", "so far"),
            ({"status": "completed", "result": "NO_REPLY"}, None, ""),
            ({"status": "failed", "error": "token=abcdef"}, "failure", "[REDACTED]"),
            ({"status": "failed"}, "failure", "unknown"),
            ({"status": "cancelled"}, None, ""),
        ],
    )
    def test_the_end_is_told_where_nobody_waits(
        self, changes: dict[str, Any], part: str | None, says: str
    ) -> None:
        record = JobRecord.model_validate({**self.record().model_dump(), **changes})
        told = end_part(record, state().start)
        assert (told and told.part) == part
        assert told is None or says in told.text
