"""What a goal is started with, what it can be told, and what it shows and answers.

Owns the payloads of the workflow `Goal` and its id. What it remembers is `domain.goal_state`'s,
what a change means `domain.goal_book`'s. Source: automation.md §9, DESIGN §3.

Invariants:
    1. Every message can be sent as plain JSON, and where it says nothing, not at all.
    2. Lengths of time and reasons come as people write them; the workflow reads them, so whoever
       sends one gets the same refusals.
"""

from typing import Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from domain.goal_record import Goal, GoalWaiting
from domain.goal_state import ClaimAnswer, GoalJob, GoalLimits, GoalState
from domain.scopes import Scope
from domain.usage import Spent

WORKFLOW_PREFIX: Final = "goal/"
THREAD_READY: Final = "thread_ready"
EVENT_CAME: Final = "event_came"
ITERATION_WAITS: Final = "iteration_waits"

JobWaits = GoalWaiting | Literal["budget", "slot", "paused"]
CANCELLED_BY_USER: Final = "cancelled by user"


def goal_workflow_id(scope: Scope) -> str:
    """The workflow id of a scope's goal: `goal/<kind>/<scope id>`."""
    return f"{WORKFLOW_PREFIX}{scope.kind}/{scope.id}"


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True)


class CreateGoal(_Message):
    """A goal to be created.

    Attributes:
        goal: Checked; its id is new, its deadline a time. Without a thread it works in one of its
            own where it has no session key, else in that of the session.
        limits: Its brakes.
        timezone: For prompts and notices.
        work_scope: Whose workspace and tools it has, and who hears of it.
        user_id: Whose rate limits its tools count for.
        create_key: Tells a repetition from a second goal; blank: only the id does.
        create_digest: Of the body, to refuse a key that comes with another one.
        judge: Name of the model that has to agree that the goal is reached; null: none.
        job: Limits of each iteration.
    """

    goal: Goal
    limits: GoalLimits = GoalLimits()
    timezone: str = "UTC"
    work_scope: Scope
    user_id: str = ""
    create_key: str = ""
    create_digest: str = ""
    judge: str | None = None
    job: GoalJob = GoalJob()


class ExtendGoal(_Message):
    """Move the deadline to `deadline_in` from now, such as `24h`; `goal_id` where one is meant."""

    deadline_in: str
    goal_id: str | None = None


class DeleteGoal(_Message):
    """End the goal without a word; `goal_id` where one is meant, and not whichever there is."""

    goal_id: str | None = None


class DelayGoal(_Message):
    """Rest for `duration` (`0s`, or 1m to 12h); `job_id` where an iteration asks."""

    duration: str
    reason: str
    job_id: str | None = None


class WaitGoal(_Message):
    """Rest for `duration`, or until an event `source:event_type` comes."""

    event: str
    duration: str
    reason: str
    job_id: str | None = None


class PauseGoal(_Message):
    """Pause after the iteration that runs; `now` interrupts it."""

    now: bool = False


class CompleteGoal(_Message):
    """The goal is reached; `summary` is told; `goal_id` where one is meant."""

    summary: str = ""
    goal_id: str | None = None


class CancelIteration(_Message):
    """End the iteration that runs; the next one follows."""

    reason: str = CANCELLED_BY_USER


class ClaimGoal(_Message):
    """An iteration says that the goal is reached.

    Attributes:
        job_id: The iteration's job; another than the present one is refused.
        summary: For the user.
        evidence: Ids of tool calls whose results prove it.
        proven: Whether all of them are calls of this goal that went well.
    """

    job_id: str
    summary: str = ""
    evidence: list[str] = []
    proven: bool = False


class ReportProgress(_Message):
    """An iteration says how it stands."""

    job_id: str
    text: str


class ThreadReady(_Message):
    """The session has a thread to work in."""

    thread_id: str
    session_key: str = ""


class EventCame(_Message):
    """An event has come that the goal waits for; what it does not wait for changes nothing.

    `goal_id` is the goal that a built-in event tells of: none hears of itself. `hop` counts what is
    between the event and the outside world.
    """

    source: str
    event_type: str
    event_id: str = ""
    payload_note: str = ""
    goal_id: str = ""
    hop: int = 0


class IterationWaits(_Message):
    """The iteration's job waits; with null it may go on and waits for the session to be held.

    `slot`: for one of the deployment's; `paused`: for a person to resume the job; `budget`: for
    money, which ends the iteration.
    """

    job_id: str
    waiting_for: JobWaits | None = None


class ProgressTold(_Message):
    """The report was heard; the same one twice running is told once."""

    told: bool


class ClaimAnswered(_Message):
    """What became of a claim, and what the model is told."""

    answer: ClaimAnswer
    message: str


class GoalView(_Message):
    """A goal as its readers see it: the answer of updates and of the query, and the result.

    Attributes:
        goal: The record.
        stage: What it does, in words a person reads.
        spent: Of all iterations.
        summary: What the completion said.
        job_id: The job that is the present iteration.
        wait_event: The event that wakes it, `source:event_type`.
        next_at: When it wakes or times out; null where nothing is planned.
        deleted: It is gone: whoever asks is told that there is none.
        limits, timezone, work_scope: As it was created.
        state: All of it, to start the id again from; only in the result of the workflow.
    """

    goal: Goal
    stage: str
    spent: Spent = Spent()
    summary: str = ""
    job_id: str | None = None
    wait_event: str | None = None
    next_at: AwareDatetime | None = None
    deleted: bool = False
    limits: GoalLimits = GoalLimits()
    timezone: str = "UTC"
    work_scope: Scope
    state: GoalState | None = None


class GoalStart(_Message):
    """Input of the workflow; exactly one of the three.

    Attributes:
        create: A new goal; the update `create` with the same goes with the start.
        view: The result of a closed goal, to extend, complete or delete it.
        state: Where a former execution of the same goal went on from.
    """

    create: CreateGoal | None = None
    view: GoalView | None = None
    state: GoalState | None = None
