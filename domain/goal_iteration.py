"""An iteration of a goal as a job: what the job is started with, and what its end means.

Owns the translation between the two nouns. The loop is `workflows.goal`'s, what an end leads to
`domain.goal_book`'s. Source: automation.md §9, triggers-and-actions.md §6.
"""

import hashlib
from datetime import datetime

from domain.goal_events import goal_title
from domain.goal_state import ClaimAnswer, GoalState, IterationEnd, IterationEnded
from domain.job_messages import JobEnded, StartJob
from domain.jobs import JobRecord, JobStatus, job_session_key
from domain.usage import Spent

_CLAIMS = {
    ClaimAnswer.ACCEPTED: "The goal is complete. End this round with a short answer in words.",
    ClaimAnswer.JUDGE: (
        "A judge looks at your evidence when this round has ended. End it with an answer in words."
    ),
    ClaimAnswer.CHECK: (
        "Not yet: nothing proves it. In a later round check every part of the goal, then claim it "
        "again. End this round with goal_delay."
    ),
    ClaimAnswer.REFUSED: (
        "Refused: evidence must name calls of tools of this goal that went well and whose results "
        "prove it; goal_get lists them. Check again and name them, or go on working."
    ),
}


# How a job ends that has used all the tokens it was given.
_NO_TOKENS = "max_tokens_total"


def claim_message(answer: ClaimAnswer) -> str:
    """What a model is told of its claim that the goal is reached."""
    return _CLAIMS[answer]


def iteration_job(
    state: GoalState, owner: str, prompt: str, now: datetime, *, job_id: str, wrap_up: int | None
) -> StartJob:
    """The job of a round.

    Args:
        state: The goal's.
        owner: The goal's workflow.
        prompt: What the job is told.
        now: The goal's clock.
        job_id: Of the new job.
        wrap_up: Seconds for the closing report, which calls no tools; null for an iteration.
    """
    goal, limits = state.goal, state.limits
    spent, before = state.spent, state.spent_before
    scope = state.work_scope or goal.scope
    return StartJob(
        record=JobRecord(
            id=job_id,
            goal_id=goal.id,
            title=goal_title(goal),
            description=prompt,
            max_iterations=1 if wrap_up else state.job.max_steps,
            session_key=job_session_key(job_id),
            thread_id=goal.thread_id,
            user_id=state.user_id,
            scope=scope.text,
            created_at=now,
        ),
        scope=scope,
        route=goal.route,
        owner=owner,
        hop=state.hop,
        # At the deadline, which may be moved meanwhile, the goal ends the job itself.
        timeout_seconds=wrap_up or limits.run_timeout_seconds,
        step_timeout_seconds=state.job.step_timeout_seconds,
        step_heartbeat_seconds=state.job.step_heartbeat_seconds,
        approval_timeout_seconds=state.job.approval_timeout_seconds,
        allowed_tools=[] if wrap_up else None,
        # The report must not wait until others are through: the deadline has passed.
        needs_slot=wrap_up is None,
        # So that no single round spends more than the goal has left.
        max_tokens_total=(
            None if wrap_up else _left(limits.max_tokens_total, spent.tokens, before.tokens)
        ),
        max_cost_micros=(
            None
            if wrap_up
            else _left(limits.max_cost_micros, spent.cost_micros, before.cost_micros)
        ),
    )


def _left(limit: int | None, spent: int | None, before: int | None) -> int | None:
    return None if limit is None else max(1, limit - (spent or 0) + (before or 0))


def iteration_ended(
    ended: JobEnded, cut: IterationEnd | None, error: str | None = None
) -> IterationEnded:
    """What the end of a job means for its goal.

    Args:
        ended: How the job ended.
        cut: Why the goal ended it; null when it did not.
        error: What went wrong, where that is why.
    """
    match ended.status:
        case JobStatus.COMPLETED:
            end = IterationEnd.OK
        case JobStatus.CANCELLED:
            end = cut or IterationEnd.CANCELLED
        case _ if ended.error == _NO_TOKENS:
            end = IterationEnd.BUDGET
        case _:
            end = IterationEnd.TIMEOUT if ended.timed_out else IterationEnd.ERROR
    text = ended.text.strip()
    return IterationEnded(
        end=end,
        elapsed_seconds=ended.elapsed_seconds,
        result_digest=hashlib.sha256(text.encode("utf-8", "replace")).hexdigest() if text else None,
        tool_actions=ended.tool_actions,
        thread_id=ended.thread_id,
        error=(error or ended.error) if end == IterationEnd.ERROR else None,
        spent=Spent(
            tokens_in=ended.tokens_in,
            tokens_out=ended.tokens_out,
            cost_micros=ended.cost_micros,
        ),
    )
