"""What may happen to a job and to an approval (triggers-and-actions.md §6 and §8)."""

import itertools

import pytest

from domain.approvals import ApprovalEvent, ApprovalStatus, digest
from domain.approvals import transition as approval_transition
from domain.jobs import (
    JobEvent,
    JobStatus,
    job_session_key,
    job_thread,
    job_workflow_id,
    transition,
)
from domain.threads import ThreadKind
from tests.support.ledger_rows import job_record
from tests.support.routines import assert_refused, refusal

JOBS = {
    "pending": {"start": "running", "pause": "paused", "cancel": "cancelled"},
    "running": {
        "pause": "paused",
        "need_approval": "waiting_approval",
        "complete": "completed",
        "fail": "failed",
        "stall": "stuck",
        "cancel": "cancelled",
    },
    "paused": {"resume": "pending", "cancel": "cancelled"},
    "waiting_approval": {"decided": "pending", "pause": "paused", "cancel": "cancelled"},
    "stuck": {"recover": "running", "cancel": "cancelled"},
    "cancelled": {"cancel": "cancelled"},
}
APPROVALS = {
    "pending": {
        "approve": "approved",
        "deny": "denied",
        "expire": "timed_out",
        "withdraw": "stale",
        "extend": "pending",
        "remind": "pending",
    },
    "approved": {"consume": "consumed", "withdraw": "stale"},
}


@pytest.mark.parametrize(
    ("status", "event"), list(itertools.product([*JobStatus, "odd"], [*JobEvent, "odd"]))
)
def test_the_table_of_a_job_is_exact(status: str, event: str) -> None:
    following = JOBS.get(status, {}).get(event)
    if following:
        assert transition(status, event) == following
    else:
        error = refusal(lambda: transition(status, event))
        assert_refused(error, "conflict", "status", status)


@pytest.mark.parametrize(
    ("recoveries", "maximum", "following"),
    [(0, 3, "running"), (2, 3, "running"), (3, 3, "failed"), (4, 3, "failed"), (0, 0, "failed")],
)
def test_a_stuck_job_recovers_three_times(recoveries: int, maximum: int, following: str) -> None:
    assert transition("stuck", "recover", recoveries, maximum) == following


def test_a_refusal_names_what_is_accepted() -> None:
    error = refusal(lambda: transition("paused", "complete"))
    assert_refused(error, "conflict", "status", "paused", "resume", "cancel")
    error = refusal(lambda: transition("completed", "pause"))
    assert_refused(error, "conflict", "status", "completed", "nothing more")


@pytest.mark.parametrize(
    ("status", "event"), list(itertools.product([*ApprovalStatus, "odd"], [*ApprovalEvent, "odd"]))
)
def test_the_table_of_an_approval_is_exact(status: str, event: str) -> None:
    following = APPROVALS.get(status, {}).get(event)
    if following:
        assert approval_transition(status, event) == following
    else:
        error = refusal(lambda: approval_transition(status, event))
        assert_refused(error, "conflict", "status", status)


def test_a_digest_is_of_tool_version_and_arguments_in_any_order_of_keys() -> None:
    one = digest("mail", "1", {"to": "b", "n": 1})
    assert one == "80930090d22d42c927dcac88212dd0873a9a08fa327f84438872f2b81e87bae5"
    assert one == digest("mail", "1", {"n": 1, "to": "b"})
    others: list[tuple[str, str, dict[str, object]]] = [
        ("mail2", "1", {}),
        ("mail", "2", {}),
        ("mail", "1", {"n": 1.0}),
        ("mail", "1", {"é": None}),
    ]
    assert len({one, *(digest(*other) for other in others)}) == 5


def test_a_job_works_in_the_thread_it_was_given_or_in_its_own() -> None:
    own = job_thread(job_record())
    assert (own.id, own.kind, own.session_key) == ("job_1", ThreadKind.JOB, "job:job_1")
    assert job_thread(job_record(thread_id="t")) == own.model_copy(update={"id": "t"})


def test_the_names_of_a_job() -> None:
    assert job_workflow_id("job_1") == "job/job_1"
    assert job_session_key("job_1") == "job:job_1"
