"""A job as somebody asks for it by hand, and the filters of lists."""

from typing import Any

import pytest

from domain.admission import JobLimits
from domain.approvals import ApprovalStatus
from domain.job_create import new_job
from domain.job_messages import StartJob
from domain.job_pages import preview, read_status
from domain.scopes import Route, Scope, ScopeKind
from tests.support.routines import assert_refused, refusal
from tests.unit.test_job_book import NOW

BODY: dict[str, Any] = {"title": " T ", "description": "Do it."}


def made(**changes: Any) -> StartJob:
    return new_job(
        {**BODY, **changes},
        id="job_1",
        scope=Scope(kind=ScopeKind.USER, id="me"),
        route=Route(receive_id_type="console"),
        user_id="me",
        now=NOW,
        limits=JobLimits(step_timeout_seconds=7, step_heartbeat_seconds=6),
    )


def test_defaults_are_the_deployment_s() -> None:
    job = made()
    assert (job.record.title, job.record.max_iterations, job.timeout_seconds) == ("T", 25, 3600)
    assert (job.step_timeout_seconds, job.step_heartbeat_seconds) == (7, 6)
    assert job.approval_timeout_seconds == 604_800
    assert (job.record.session_key, job.record.scope) == ("job:job_1", "user:me")
    assert (job.allowed_tools, job.max_cost_micros) == (None, None)


def test_limits_are_those_of_guardrails() -> None:
    limits = {
        "run_timeout_seconds": 60,
        "max_tokens_total": 9,
        "max_tool_calls": 0,
        "allowed_tools": ["a"],
        "max_cost_usd": "0.5",
    }
    job = made(guardrails=limits, max_iterations=1)
    assert (job.timeout_seconds, job.max_tokens_total, job.max_tool_calls) == (60, 9, 0)
    assert (job.allowed_tools, job.max_cost_micros) == (["a"], 500_000)
    assert job.record.max_iterations == 1


@pytest.mark.parametrize(
    ("changes", "kind", "field", "says"),
    [
        ({"title": " "}, "missing_field", "title", "title"),
        ({"title": "x" * 201}, "invalid_field", "title", "200"),
        ({"description": None}, "missing_field", "description", "description"),
        ({"description": "é" * 32_769}, "invalid_field", "description", "65536"),
        ({"max_iterations": 0}, "invalid_field", "max_iterations", "500"),
        ({"max_iterations": True}, "invalid_field", "max_iterations", "integer"),
        ({"promt": 1}, "unknown_field", "promt", "description"),
        (
            {"guardrails": {"cooldown_seconds": 1}},
            "unknown_field",
            "guardrails.cooldown_seconds",
            "",
        ),
        ({"guardrails": {"max_tool_calls": -1}}, "invalid_field", "guardrails.max_tool_calls", "0"),
        ({"guardrails": 5}, "invalid_field", "guardrails", "object"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], kind: str, field: str, says: str) -> None:
    assert_refused(refusal(lambda: made(**changes)), kind, field, says)


def test_a_list_cuts_long_texts() -> None:
    record = made(description="x" * 500).record.model_copy(update={"result": "y" * 500})
    shown = preview(record)
    assert (len(shown.description), len(shown.result or "")) == (200, 200)
    assert preview(made().record).result is None


def test_the_filter_of_a_list() -> None:
    assert read_status(" ", ApprovalStatus) is None
    assert read_status(" Pending", ApprovalStatus) == "pending"
    error = refusal(lambda: read_status("x", ApprovalStatus))
    assert_refused(error, "invalid_field", "status", "pending", "stale")
