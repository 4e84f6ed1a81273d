"""A job as somebody asks for it by hand: its fields, their limits, and the job they make.

Owns reading the request. A job of a run is made by `workflows.run_job`. Source:
triggers-and-actions.md §6.

Invariant: what is accepted here can be carried out; whether the named tools exist is the dispatch's
to say.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from domain.actions import MAX_DESCRIPTION_BYTES, MAX_ITERATIONS, MAX_TITLE_CHARS
from domain.admission import JobLimits
from domain.fields import FieldReader
from domain.guardrails import Guardrails, validate_guardrails
from domain.job_messages import StartJob
from domain.jobs import JobRecord, job_session_key
from domain.money import parse_usd
from domain.routine_fields import read_body
from domain.scopes import Route, Scope
from domain.triggers import TriggerType

_LIMITS: Final = (
    "run_timeout_seconds",
    "max_tokens_total",
    "max_tool_calls",
    "allowed_tools",
    "max_cost_usd",
)
FIELDS: Final = ("title", "description", "max_iterations", "guardrails")


def new_job(
    body: Mapping[str, object],
    *,
    id: str,
    scope: Scope,
    route: Route,
    user_id: str,
    now: datetime,
    limits: JobLimits,
) -> StartJob:
    """The job that a request asks for.

    Args:
        body: `title`, `description`, `max_iterations`, and of `guardrails` those that limit one
            run: `run_timeout_seconds`, `max_tokens_total`, `max_tool_calls`, `allowed_tools`,
            `max_cost_usd`.
        id: The job's id.
        scope: Whose job it is.
        route: Where it asks and answers.
        user_id: Who asks for it.
        now: When.
        limits: The deployment's settings.

    Raises:
        DomainError: The first problem; `errors` lists all where there are several.
    """
    reader = read_body(body)
    reader.refuse_unknown(FIELDS)
    title = reader.required_text("title", max_chars=MAX_TITLE_CHARS)
    description = reader.required_text("description", max_bytes=MAX_DESCRIPTION_BYTES)
    max_iterations = reader.integer("max_iterations", 1, MAX_ITERATIONS, 25)
    guardrails = reader.check(lambda: _read_guardrails(reader.raw("guardrails")))
    reader.close()
    allowed = guardrails or validate_guardrails(None, TriggerType.MANUAL)
    cost = allowed.max_cost_usd
    return StartJob(
        record=JobRecord(
            id=id,
            title=title,
            description=description,
            max_iterations=max_iterations,
            session_key=job_session_key(id),
            user_id=user_id,
            scope=scope.text,
            created_at=now,
        ),
        scope=scope,
        route=route,
        timeout_seconds=allowed.run_timeout_seconds or limits.timeout_seconds,
        step_timeout_seconds=limits.step_timeout_seconds,
        step_heartbeat_seconds=limits.step_heartbeat_seconds,
        approval_timeout_seconds=limits.approval_timeout_seconds,
        allowed_tools=allowed.allowed_tools,
        max_tool_calls=allowed.max_tool_calls,
        max_tokens_total=allowed.max_tokens_total,
        max_cost_micros=None if cost is None else parse_usd(cost),
    )


def _read_guardrails(value: object) -> Guardrails:
    """Those guardrails that limit one run; the others are about when routines fire."""
    reader = FieldReader.of({} if value is None else value, "guardrails")
    reader.refuse_unknown(_LIMITS)
    reader.close()
    return validate_guardrails(value, TriggerType.MANUAL)
