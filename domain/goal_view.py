"""A goal as it begins, and as others see it: its first state, its view, the text in the UI.

Owns putting them together. What changes a goal is `domain.goal_book`'s. Source: automation.md §9,
DESIGN §1 (three ways in).
"""

from datetime import datetime
from urllib.parse import quote

from domain.errors import DomainError, ErrorKind
from domain.goal_book import GoalBook
from domain.goal_events import event_of_creation, goal_title
from domain.goal_messages import CreateGoal, GoalStart, GoalView
from domain.goal_record import Goal, GoalStatus, GoalWaiting
from domain.goal_state import GoalState, NextStep
from domain.jobs import job_workflow_id
from domain.notices import cost_text

STAGES = {
    GoalStatus.ACTIVE: "about to go on",
    GoalStatus.PAUSED: "paused",
    GoalStatus.COMPLETE: "complete",
    GoalStatus.TIMEOUT: "timed out",
    GoalStatus.WAITING_FOR_SESSION: "waiting for a conversation",
}


def new_state(request: CreateGoal, now: datetime) -> GoalState:
    """The state of a goal that begins.

    Args:
        request: As it was created. Without a thread it works in one of its own, where it belongs to
            no conversation, or waits for the conversation to have one.
        now: Where the record names no time of creation.
    """
    goal = request.goal
    thread = goal.thread_id or (None if goal.session_key else goal.id)
    goal = goal.model_copy(
        update={
            "status": GoalStatus.ACTIVE if thread else GoalStatus.WAITING_FOR_SESSION,
            "thread_id": thread,
            "created_at": goal.created_at or now,
            "updated_at": now,
        }
    )
    return GoalState(
        goal=goal,
        limits=request.limits,
        timezone=request.timezone,
        work_scope=request.work_scope,
        user_id=request.user_id,
        judge=request.judge,
        job=request.job,
        create_key=request.create_key,
        create_digest=request.create_digest,
        events=[event_of_creation(goal)],
    )


def first_state(start: GoalStart, now: datetime) -> GoalState | None:
    """The state a workflow begins with; null when it is told nothing to begin with."""
    if start.state is not None:
        return start.state
    if start.view is not None:
        return start.view.state
    return None if start.create is None else new_state(start.create, now)


def is_repeated(state: GoalState, request: CreateGoal) -> bool:
    """Whether a creation is that of this goal, said again; of one that was deleted none is."""
    same_key = bool(request.create_key) and request.create_key == state.create_key
    return state.goal.id == request.goal.id or (same_key and not state.deleted)


def check_creation(state: GoalState, request: CreateGoal) -> None:
    """Refuse a second goal beside one that goes on; its own creation again is none.

    Raises:
        DomainError: `conflict` on `goal`, naming it; on `idempotency_key` when the key came with
            another body.
    """
    goal = state.goal
    if goal.id == request.goal.id:
        return
    if not request.create_key or request.create_key != state.create_key:
        raise DomainError(
            ErrorKind.CONFLICT,
            "goal",
            f"there is a goal already: {goal.id} is {goal.status}; complete or delete it first",
            [goal.id],
        )
    if request.create_digest != state.create_digest:
        message = f"idempotency_key was used for another body, which made {goal.id}"
        raise DomainError(ErrorKind.CONFLICT, "idempotency_key", message)


def goal_view(state: GoalState, stage: str, now: datetime, *, whole: bool = False) -> GoalView:
    """The goal as its readers see it.

    Args:
        state: The goal's.
        stage: What it does; blank where its status says so.
        now: The goal's clock.
        whole: With all that is needed to start it again.
    """
    goal = state.goal
    step = GoalBook(state).next_step(now)
    return GoalView(
        goal=goal,
        stage=stage or _stage(goal, now),
        spent=state.spent,
        summary=state.summary,
        job_id=state.job_id,
        wait_event=state.wait_event,
        next_at=step.until if step.step is NextStep.WAIT else None,
        deleted=state.deleted,
        limits=state.limits,
        timezone=state.timezone,
        work_scope=state.work_scope or goal.scope,
        state=state if whole else None,
    )


def goal_details(view: GoalView, namespace: str) -> str:
    """The current details of a goal's workflow: what it does, waits for, and has cost.

    Links are relative to the Temporal UI, whose address a workflow cannot know.
    """
    goal, spent = view.goal, view.spent
    reason = f" ({goal.paused_reason})" if goal.paused_reason else ""
    lines = [
        f"**{goal_title(goal)}** is *{view.stage}*, status `{goal.status}`{reason}",
        "",
        f"- Round {goal.iteration}",
        f"- Deadline: {goal.deadline_at.isoformat() if goal.deadline_at else 'none'}",
        f"- Spent so far: {spent.tokens or 0} tokens, {_cost(view)}",
    ]
    if goal.delay_reason:
        lines.append(f"- Rests until {view.next_at}: {goal.delay_reason}")
    if view.wait_event:
        lines.append(f"- Waits for the event `{view.wait_event}`")
    if goal.last_error:
        lines.append(f"- Last error: {goal.last_error}")
    if view.summary:
        lines += ["", "> " + view.summary[:500].replace("\n", "\n> ")]
    if view.job_id:
        job = quote(job_workflow_id(view.job_id), safe="")
        lines += ["", f"[Job {view.job_id}](/namespaces/{namespace}/workflows/{job})"]
    return "\n".join(lines)


def _cost(view: GoalView) -> str:
    return cost_text(view.spent.cost_micros) or "cost unknown"


def _stage(goal: Goal, now: datetime) -> str:
    if goal.status == GoalStatus.ACTIVE and goal.next_run_at and now < goal.next_run_at:
        return "waiting for an event" if goal.waiting_for == GoalWaiting.EVENT else "resting"
    return STAGES[goal.status]
