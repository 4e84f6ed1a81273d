"""What a run and its routine say to each other: begin, mark, end.

Owns the payloads of the Updates `begin_run`, `mark_run` and `end_run` (DESIGN §3 rule 2). The
decision itself is `domain.guardrails`', the booking `domain.run_bookings`'.
"""

from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict

from domain.actions import Action
from domain.outcome import Notify
from domain.run_start import StartRun
from domain.runs import FireKind, RunRecord
from domain.scopes import Route, Scope
from domain.watchdog import DEFAULT_GRACE_SECONDS


class Decision(StrEnum):
    """What became of a request to begin.

    `check` is not booked: the caller looks whether the named holders still exist, and asks again.
    """

    RUN = "run"
    QUEUE = "queue"
    SKIP = "skip"
    CHECK = "check"


class NoticeKind(StrEnum):
    """A notice that the end of a run, or a refusal, calls for (automation.md §9)."""

    FIRST_FAILURE = "first_failure"
    ROUTINE_PAUSED = "routine_paused"
    MAX_CONCURRENT = "max_concurrent"


class JobLimits(BaseModel):
    """The worker's settings for full jobs, in seconds.

    Of work, of a step, of the silence of a step's worker, of an approval.
    """

    model_config = ConfigDict(frozen=True)

    timeout_seconds: int = 3600
    step_timeout_seconds: int = 300
    step_heartbeat_seconds: int = 30
    approval_timeout_seconds: int = 604_800


class BeginRun(BaseModel):
    """Ask for admission; update id is the run id.

    `run_timeout_seconds` is the worker's setting, used where the routine names none, and
    `grace_seconds` how much longer a run may take before it counts as stuck. `closed` are holders
    whose workflow was seen closed since a former verdict `check`, which `checked` says.
    `trigger_digest` is the trigger that an event or message has matched. `job_limits` are settings
    of the worker too.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    kind: FireKind
    scheduled_at: AwareDatetime | None = None
    occurred_at: AwareDatetime
    trigger_detail: str = ""
    content_hash: str | None = None
    delivery_digest: str | None = None
    trigger_digest: str | None = None
    force: bool = False
    hop: int = 0
    actor_id: str | None = None
    system_paused: bool = False
    budget_exhausted: bool = False
    run_timeout_seconds: int = 600
    grace_seconds: int = DEFAULT_GRACE_SECONDS
    checked: bool = False
    closed: list[str] = []
    job_limits: JobLimits = JobLimits()

    @classmethod
    def of(cls, record: RunRecord, start: StartRun) -> "BeginRun":
        """What a run asks with, before a worker adds its settings."""
        return cls(
            run_id=record.id,
            kind=record.trigger_type,
            scheduled_at=record.scheduled_at,
            occurred_at=record.occurred_at,
            trigger_detail=record.trigger_detail,
            content_hash=start.content_hash,
            delivery_digest=start.delivery_digest,
            trigger_digest=start.trigger_digest,
            force=start.force,
            hop=record.hop,
            actor_id=start.actor_id,
        )


class RunDefinition(BaseModel):
    """What an admitted run needs to know of its routine, as it was at admission.

    `reply_to` is the message under which the run speaks, where the channel can; `threaded` says
    that what it sends there belongs to the routine's conversation. `user_id` is the creator's
    preferred id, for whom tools are called; the limits are those of the guardrails. `session_key`
    is the session that is held while it works, `result_session` the one that is held only while the
    result of a job is said; blank for none.
    """

    model_config = ConfigDict(frozen=True)

    routine_id: str
    title: str
    scope: Scope
    session_key: str = ""
    result_session: str = ""
    timezone: str
    action: Action
    route: Route
    reply_to: str | None = None
    threaded: bool = False
    notify: Notify
    run_timeout_seconds: int
    fresh: bool = True
    resume_thread_id: str | None = None
    user_id: str = ""
    allowed_tools: list[str] | None = None
    max_tool_calls: int | None = None
    max_tokens_total: int | None = None
    max_cost_micros: int | None = None
    job_limits: JobLimits = JobLimits()


class Verdict(BaseModel):
    """The routine's answer to `begin_run`.

    `definition` only with `run`, and with the `notices` that a refusal calls for. `next_run_at` is
    the routine's next time after this fire. `scope` and `title` are the routine's, for the events
    that tell of the run; a verdict without a scope tells nothing.
    """

    model_config = ConfigDict(frozen=True)

    decision: Decision
    reason: str | None = None
    message: str = ""
    scope: str = ""
    title: str = ""
    retry_at: AwareDatetime | None = None
    duplicate_of: str | None = None
    started_at: AwareDatetime | None = None
    late_seconds: int = 0
    stands_for: int = 1
    holders: list[str] = []
    notices: list[NoticeKind] = []
    next_run_at: AwareDatetime | None = None
    definition: RunDefinition | None = None


class RunMark(StrEnum):
    """Whether a run is counted (`running`) or waits again (`waiting`)."""

    RUNNING = "running"
    WAITING = "waiting"


class MarkRun(BaseModel):
    """Count or un-count an admitted run; `turn` tells the grants of one run apart."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    state: RunMark
    turn: int = 0


class EndRun(BaseModel):
    """Report how a run ended.

    `failure_limit` is the worker's setting. `message_id` is the first message that was delivered
    and can be replied to; `message_gone` says that the one replied to before exists no more.
    """

    model_config = ConfigDict(frozen=True)

    record: RunRecord
    message_id: str | None = None
    message_ids: list[str] = []
    message_gone: bool = False
    failure_limit: int = 3


class RunEnded(BaseModel):
    """The answer to `mark_run` and `end_run`; `accepted` is false when nothing was changed.

    `recorded` says that the outcome was ok or an error and is in the routine's record, `hook` that
    the worker has a completion hook to be called for such. `scope`, `title` and, when this end has
    paused the routine, `paused_reason` are for the events that tell of it.
    """

    model_config = ConfigDict(frozen=True)

    accepted: bool
    reason: str | None = None
    consecutive_failures: int = 0
    notices: list[NoticeKind] = []
    recorded: bool = False
    hook: bool = False
    next_run_at: AwareDatetime | None = None
    scope: str = ""
    title: str = ""
    paused_reason: str | None = None
