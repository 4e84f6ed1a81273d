"""The state of one goal, as its workflow keeps it, and what comes in and goes out.

Owns the serialisable models: what goes through continue-as-new, how an iteration ended, what is to
be told. What changes them is `domain.goal_book`'s. Source: automation.md §9, DESIGN §3 rule 10.
"""

from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict

from domain.emissions import EmittedEvent
from domain.goal_record import Goal
from domain.goal_timing import FAST_LOOP_LIMIT, FAST_LOOP_SECONDS
from domain.scopes import Scope
from domain.usage import Spent

DEFAULT_RUN_TIMEOUT_SECONDS = 3600
WRAP_UP_SECONDS = 300
# Of the texts of notices that wait, in UTF-8; the newest one waits whatever its length.
MAX_WAITING_BYTES = 12_288
MAX_WAITING_EVENTS = 16


class GoalLimits(BaseModel):
    """The brakes of a goal; null is no limit.

    Attributes:
        run_timeout_seconds: Longest iteration.
        fast_loop_limit: Short successful iterations in a row before it pauses.
        fast_loop_seconds: What takes as long is not short.
        no_progress_limit: Iterations with the same result and no tool call before it pauses.
        max_iterations: Iterations, counted anew when a person resumes it.
        max_tokens_total: Tokens, counted likewise.
        max_cost_micros: Money, counted likewise.
    """

    model_config = ConfigDict(frozen=True)

    run_timeout_seconds: int = DEFAULT_RUN_TIMEOUT_SECONDS
    fast_loop_limit: int = FAST_LOOP_LIMIT
    fast_loop_seconds: int = FAST_LOOP_SECONDS
    no_progress_limit: int = 3
    max_iterations: int | None = None
    max_tokens_total: int | None = None
    max_cost_micros: int | None = None


class GoalJob(BaseModel):
    """Limits of each iteration's job, besides its time.

    Attributes:
        max_steps: Calls of the model with tools.
        step_timeout_seconds: Of one step.
        step_heartbeat_seconds: Silence after which the worker of a step is taken for dead.
        approval_timeout_seconds: How long an answer is waited for.
    """

    model_config = ConfigDict(frozen=True)

    max_steps: int = 25
    step_timeout_seconds: int = 300
    step_heartbeat_seconds: int = 30
    approval_timeout_seconds: int = 604_800


class GoalNoticeKind(StrEnum):
    """What is told of a goal; see the table of notices in automation.md §9."""

    ITERATION = "iteration"
    DELAYED = "delayed"
    CONTINUED = "continued"
    PAUSED = "paused"
    COMPLETE = "complete"
    TIMEOUT = "timeout"
    PROGRESS = "progress"
    LEFT_OUT = "left_out"


class GoalNotice(BaseModel):
    """A text that has to go out once; `part` is its place in the outbox: `<goal id>/<part>`.

    `stands_for` counts the notices that are lost with it: more than one where it counts others.
    """

    model_config = ConfigDict(frozen=True)

    kind: GoalNoticeKind
    part: str
    text: str
    stands_for: int = 1

    @property
    def is_start(self) -> bool:
        """Whether it says only that an iteration begins."""
        return self.kind == GoalNoticeKind.ITERATION


class IterationEnd(StrEnum):
    """How an iteration ended.

    `interrupted` by a user's turn: the same one is begun again. `cancelled` by `goal cancel`.
    `stopped` by a stop command of the user. `budget`: money or tokens of the day are used up.
    """

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"
    STOPPED = "stopped"
    BUDGET = "budget"


class IterationEnded(BaseModel):
    """What a goal needs to know of the job that was its iteration.

    Attributes:
        elapsed_seconds: Time spent in running, without waiting.
        result_digest: Of its final answer; null when it had none.
        tool_actions: How many tools it called, goal tools not counted.
        thread_id: The thread it worked in.
        error: Why it failed.
        spent: What it cost, whatever came of it.
    """

    model_config = ConfigDict(frozen=True)

    end: IterationEnd
    elapsed_seconds: float = 0
    result_digest: str | None = None
    tool_actions: int = 0
    thread_id: str | None = None
    error: str | None = None
    spent: Spent = Spent()


class CompletionClaim(BaseModel):
    """A model says that the goal is reached.

    Attributes:
        summary: For the user.
        evidence: Ids of tool calls whose results prove it.
        proven: Whether all of them are calls of this goal that went well, of an earlier iteration
            than this one or of a round before; the activity that looks them up says so.
    """

    model_config = ConfigDict(frozen=True)

    summary: str = ""
    evidence: list[str] = []
    proven: bool = False


class ClaimAnswer(StrEnum):
    """What becomes of a claim.

    `accepted`: the goal is complete. `judge`: the judge is asked first. `check`: it goes on, to be
    claimed again in a later round. `refused`: it names no result that proves it.
    """

    ACCEPTED = "accepted"
    JUDGE = "judge"
    CHECK = "check"
    REFUSED = "refused"


class NextStep(StrEnum):
    """What the goal's loop does next."""

    WAIT = "wait"
    ITERATE = "iterate"
    JUDGE = "judge"
    WRAP_UP = "wrap_up"
    TIME_OUT = "time_out"
    CLOSE = "close"


class WhatNext(BaseModel):
    """The next step; with `wait` until when at the latest, null for as long as it takes."""

    model_config = ConfigDict(frozen=True)

    step: NextStep
    until: AwareDatetime | None = None


class GoalState(BaseModel):
    """Everything the workflow `Goal` carries from one execution to the next.

    Attributes:
        goal: The record as others see it.
        limits: Its brakes, as the settings were when it was created.
        timezone: For prompts and notices.
        work_scope: Whose workspace and tools its iterations have; who hears its events.
        user_id: Whose rate limits its tools count for.
        judge: The model that has to agree to a claim; null: none.
        job: Limits of each iteration.
        fast_count: Short successful iterations in a row.
        failures: Failed iterations in a row.
        same_results: Iterations in a row with the result `last_digest` and no tool call.
        claimed_in: The iteration in which completion was claimed last.
        claim: Which the judge has to look at.
        judged: How many claims were put to the judge.
        judge_note: What the next round is told of a claim that the judge refused.
        used_tools: Whether any iteration has called a tool.
        interrupted: The present iteration was begun and has to be begun again.
        delayed: A positive delay was set during the present iteration.
        announced: The last iteration that was announced.
        wait_event: `source:event_type` that wakes it before `next_run_at`.
        hop: Of the event that woke it last, for what its rounds tell; 0 where none did.
        summary: What the completion said.
        notices: Not told yet, oldest first; the newest ones, within `MAX_WAITING_BYTES`.
        told: How many notices there were.
        left_out: How many had to go because the ledger could not be written for so long.
        events: Not told yet, oldest first; the newest `MAX_WAITING_EVENTS`.
        last_progress: Digest of the last progress that was told; it is not told twice running.
        spent: Of all iterations.
        rounds_before: Iterations when a person resumed it last: the limit counts from there.
        spent_before: What was spent then.
        wrapped_up: The closing report was asked for, or left out.
        deleted: It is gone.
        job_id: The job that is the present iteration.
        jobs: How many jobs were started.
    """

    schema_version: int = 1
    goal: Goal
    limits: GoalLimits = GoalLimits()
    timezone: str = "UTC"
    work_scope: Scope | None = None
    user_id: str = ""
    judge: str | None = None
    job: GoalJob = GoalJob()
    create_key: str = ""
    create_digest: str = ""
    fast_count: int = 0
    failures: int = 0
    same_results: int = 0
    last_digest: str | None = None
    claimed_in: int | None = None
    claim: CompletionClaim | None = None
    judged: int = 0
    judge_note: str = ""
    used_tools: bool = False
    interrupted: bool = False
    delayed: bool = False
    announced: int = 0
    wait_event: str | None = None
    hop: int = 0
    summary: str = ""
    notices: list[GoalNotice] = []
    told: int = 0
    left_out: int = 0
    events: list[EmittedEvent] = []
    last_progress: str = ""
    spent: Spent = Spent()
    rounds_before: int = 0
    spent_before: Spent = Spent()
    wrapped_up: bool = False
    deleted: bool = False
    job_id: str | None = None
    jobs: int = 0
