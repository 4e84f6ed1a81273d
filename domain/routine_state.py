"""The state of one routine, as its workflow keeps it.

Owns the serialisable model that goes through continue-as-new, and nothing that changes it
(`domain.run_bookings`, `domain.routine_book`). Source: DESIGN §3 rule 10.
"""

from pydantic import AwareDatetime, BaseModel

from domain.admission import Decision, NoticeKind, RunDefinition, RunEnded, Verdict
from domain.emissions import EmittedEvent
from domain.guardrails import RecentHash
from domain.routine import Routine
from domain.routine_outcome import DEFAULT_FAILURE_LIMIT
from domain.run_start import StartRun
from domain.runs import KeptRun, RunRecord
from domain.watchdog import DEFAULT_GRACE_SECONDS, Alert


class OpenRun(BaseModel):
    """A run that holds a place or waits for one; its verdict is repeated to whoever asks again.

    `counted` says whether it is in `run_count`, `granted` whether a queued one has its turn.
    """

    record: RunRecord
    verdict: Verdict
    counted: bool = False
    granted: bool = False
    lease_until: AwareDatetime

    @property
    def holds_place(self) -> bool:
        """Whether it takes one of the routine's `max_concurrent` places."""
        return self.granted or self.verdict.decision == Decision.RUN


class PendingStart(BaseModel):
    """A run that the routine itself has to start."""

    workflow_id: str
    start: StartRun


class LostRun(BaseModel):
    """A run whose end the routine has to record and tell, because nobody else will."""

    record: RunRecord
    definition: RunDefinition | None = None
    notices: list[NoticeKind] = []
    consecutive_failures: int = 0
    events: list[EmittedEvent] = []
    scope: str = ""


class RoutineState(BaseModel):
    """Everything the workflow `Routine` carries from one execution to the next.

    `schema_version` grows when a field changes its meaning; new fields have defaults instead.
    `anchor` is where intervals count from, `given_guardrails` are those that somebody has set.
    `schedule_revision` grows with every change of what the Schedule should be, `put_revision` is
    the one that was put last. `refusals` and `endings` are
    what was answered to the runs in `ended_runs`, by run id; `failure_limit` and `grace_seconds`
    are the worker's settings as they were told last. `full_streak` counts the fires in a row that
    were refused for `max_concurrent`. `backfills` are the times still to be made up for, oldest
    first, and `backfilling` the run that does so now. `lost` and `alerts` wait to be told, and
    `pause_event` with the next Schedule that is put.
    """

    schema_version: int = 1
    routine: Routine
    create_key: str = ""
    create_digest: str = ""
    default_timezone: str = "UTC"
    warnings: list[str] = []
    anchor: AwareDatetime
    given_guardrails: list[str] = []
    purge_at: AwareDatetime | None = None

    open_runs: dict[str, OpenRun] = {}
    ended_runs: list[KeptRun] = []
    refusals: dict[str, Verdict] = {}
    endings: dict[str, RunEnded] = {}
    failure_limit: int = DEFAULT_FAILURE_LIMIT
    grace_seconds: int = DEFAULT_GRACE_SECONDS
    full_streak: int = 0
    last_admitted_at: AwareDatetime | None = None
    recent_starts: list[AwareDatetime] = []
    recent_hashes: list[RecentHash] = []
    skipped: dict[str, int] = {}

    grants: list[str] = []
    cancellations: list[str] = []
    starts: list[PendingStart] = []
    backfills: list[AwareDatetime] = []
    backfilling: str | None = None
    lost: list[LostRun] = []
    alerts: list[Alert] = []
    schedule_revision: int = 0
    put_revision: int = -1
    pause_event: EmittedEvent | None = None
