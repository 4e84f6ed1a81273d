"""What admission looks at and what it answers.

Owns the fire, the booked state, the decision and its reasons. How one follows from the others is
`domain.admission_rules`'; the messages between a run and its routine are `domain.admission`'s.
Source: triggers-and-actions.md §4 and §14.
"""

from datetime import datetime
from enum import StrEnum
from typing import Literal, Protocol

from pydantic import AwareDatetime, BaseModel, ConfigDict

from domain.guardrail_models import Guardrails
from domain.runs import FireKind
from domain.schedule import Catchup


class Reason(StrEnum):
    """Why a fire was refused; the first eleven in the order in which they are asked."""

    DELETED = "deleted"
    PAUSED = "paused"
    SYSTEM_PAUSED = "system_paused"
    MAX_RUNS = "max_runs"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    DUPLICATE = "duplicate"
    COOLDOWN = "cooldown"
    RATE_LIMITED = "rate_limited"
    MAX_CONCURRENT = "max_concurrent"
    BUDGET = "budget"
    HOP_LIMIT = "hop_limit"


class _Input(BaseModel):
    """What is read of a larger record: other keys are none of admission's business."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ScheduleFacts(Protocol):
    """What admission asks of a schedule; `domain.schedule.Schedule` has it."""

    @property
    def catchup(self) -> Catchup:
        """What happens to missed times."""
        ...


class RoutineFacts(Protocol):
    """What admission asks of a routine; any routine model that has these will do."""

    @property
    def status(self) -> str:
        """`active`, `paused` or `deleted`."""
        ...

    @property
    def max_runs(self) -> int:
        """0 is unlimited."""
        ...

    @property
    def run_count(self) -> int:
        """Runs counted so far."""
        ...

    @property
    def last_run_at(self) -> datetime | None:
        """Start of the last counted run."""
        ...

    @property
    def next_run_at(self) -> datetime | None:
        """The next planned time."""
        ...

    @property
    def next_run_explicit(self) -> bool:
        """Whether that time was set by hand."""
        ...

    @property
    def schedule(self) -> ScheduleFacts | None:
        """The compiled schedule, null for pushed and manual triggers."""
        ...

    @property
    def guardrails(self) -> Guardrails:
        """The validated guardrails."""
        ...


class AdmissionSchedule(_Input):
    """`ScheduleFacts` read from JSON."""

    catchup: Catchup = Catchup.ONCE


class AdmissionRoutine(_Input):
    """`RoutineFacts` read from JSON."""

    status: str
    max_runs: int = 0
    run_count: int = 0
    last_run_at: AwareDatetime | None = None
    next_run_at: AwareDatetime | None = None
    next_run_explicit: bool = False
    schedule: AdmissionSchedule | None = None
    guardrails: Guardrails = Guardrails()


class Fire(_Input):
    """One fire that asks for a run.

    `scheduled_at` is the nominal time of a schedule's fire. `delivery_digest` only for a webhook
    delivery without an id of its own. `force` counts for manual fires only.
    """

    kind: FireKind
    scheduled_at: AwareDatetime | None = None
    occurred_at: AwareDatetime | None = None
    content_hash: str | None = None
    delivery_digest: str | None = None
    force: bool = False


class RecentHash(_Input):
    """A content or delivery digest that was admitted, when, and as which run."""

    hash: str
    at: AwareDatetime
    run_id: str | None = None


class AdmissionState(_Input):
    """What the routine's workflow has booked, and what its surroundings say.

    `running` counts admitted runs, `queued` the one that waits for them. `skipped` are the counters
    of refusals by reason.
    """

    system_paused: bool = False
    running: int = 0
    queued: int | bool = 0
    last_admitted_at: AwareDatetime | None = None
    recent_starts: list[AwareDatetime] = []
    recent_hashes: list[RecentHash] = []
    budget_exhausted: bool = False
    skipped: dict[str, int] = {}


class AdmissionDecision(BaseModel):
    """The verdict; `reason` with `skip` only.

    `retry_at` is when the same fire could pass, for `duplicate`, `cooldown` and `rate_limited`;
    `duplicate_of` the run it repeats; `skipped` the counters after this decision.
    """

    model_config = ConfigDict(frozen=True)

    decision: Literal["run", "queue", "skip"]
    reason: Reason | None = None
    retry_at: AwareDatetime | None = None
    skipped: dict[str, int] = {}
    duplicate_of: str | None = None
