"""What can be asked of the ledger from outside, and how it answers.

Owns one model for each question; its `ask` is the name of the activity that answers. A new question
is a model here, in `LedgerQuestion`, and an activity of that name. Who asks is `client.ledger`.
Source: DESIGN §3 (Lists), triggers-and-actions.md §9.

Invariants:
    1. An answer has at most `MAX_ANSWER_BYTES`: a page that would be longer ends before.
    2. What cannot be done is an answer, too: the problem, with nothing changed.
"""

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from domain.approvals import ApprovalStatus
from domain.audit import AuditTable
from domain.costs import CostBy
from domain.deliveries import Delivery, DeliveryStatus
from domain.errors import Problem
from domain.jobs import JobStatus

MAX_ANSWER_BYTES: Final = 256 * 1024
PREVIEW_CHARS: Final = 200


class _Question(BaseModel):
    """A question; `REPAIRS` says that answering it changes something, so it is tried once."""

    model_config = ConfigDict(frozen=True)

    REPAIRS: ClassVar[bool] = False


class ListDeliveries(_Question):
    """The newest deliveries of a scope; `before_at` and `before_id` are those of the last known."""

    ask: Literal["list_deliveries"] = "list_deliveries"
    scope: str
    status: DeliveryStatus | None = None
    limit: int = 20
    before_at: AwareDatetime | None = None
    before_id: str = ""


class GetDelivery(_Question):
    """One delivery of a scope."""

    ask: Literal["get_delivery"] = "get_delivery"
    scope: str
    id: str


class ResendDelivery(_Question):
    """Send a text again that did not arrive, or of which nobody knows."""

    REPAIRS: ClassVar[bool] = True

    ask: Literal["resend_delivery"] = "resend_delivery"
    scope: str
    id: str


class ResolveDelivery(_Question):
    """What a person has found out about a text of which nobody knew."""

    REPAIRS: ClassVar[bool] = True

    ask: Literal["resolve_delivery"] = "resolve_delivery"
    scope: str
    id: str
    status: Literal[DeliveryStatus.SENT, DeliveryStatus.FAILED]


class FindOwnMessage(_Question):
    """Whether a message is one that we have sent ourselves."""

    ask: Literal["find_own_message"] = "find_own_message"
    message_id: str


class ListTools(_Question):
    """All tools of the deployment."""

    ask: Literal["list_tools"] = "list_tools"


class ListActions(_Question):
    """The calls of tools of one run or one job of a scope, those after a sequence."""

    ask: Literal["list_actions"] = "list_actions"
    scope: str
    run_id: str | None = None
    job_id: str | None = None
    after: int = 0
    limit: int = 100


class ExportAudit(_Question):
    """Rows of one table of the audit, of all scopes: for the operator."""

    ask: Literal["export_audit"] = "export_audit"
    table: AuditTable
    limit: int = 200
    after_at: AwareDatetime | None = None
    after_id: str = ""


class ListJobs(_Question):
    """The newest jobs of a scope; `before_at` and `before_id` are those of the last known."""

    ask: Literal["list_jobs"] = "list_jobs"
    scope: str
    status: JobStatus | None = None
    limit: int = 20
    before_at: AwareDatetime | None = None
    before_id: str = ""


class GetJob(_Question):
    """One job of a scope."""

    ask: Literal["get_job"] = "get_job"
    scope: str
    id: str


class ListApprovals(_Question):
    """The newest approvals of a scope."""

    ask: Literal["list_approvals"] = "list_approvals"
    scope: str
    status: ApprovalStatus | None = None
    limit: int = 20


class GetApproval(_Question):
    """One approval of a scope."""

    ask: Literal["get_approval"] = "get_approval"
    scope: str
    id: str


class SumCosts(_Question):
    """What the calls of models of a scope have cost in the last days."""

    ask: Literal["sum_costs"] = "sum_costs"
    scope: str
    by: CostBy = CostBy.DAY
    days: int = 30


LedgerQuestion = Annotated[
    ListDeliveries
    | GetDelivery
    | ResendDelivery
    | ResolveDelivery
    | FindOwnMessage
    | ListTools
    | ListActions
    | ExportAudit
    | ListJobs
    | GetJob
    | ListApprovals
    | GetApproval
    | SumCosts,
    Field(discriminator="ask"),
]


class AskLedger(BaseModel):
    """Input of the workflow `Ledger`."""

    question: LedgerQuestion


class LedgerAnswer(BaseModel):
    """What the ledger says: the JSON of an answer, or a problem."""

    answer: Any = None
    problem: Problem | None = None


class DeliveryRecord(BaseModel):
    """A delivery as people see it; `text` may be cut, then `truncated` says so."""

    occurrence_id: str
    run_id: str | None
    route: str
    part: str
    status: DeliveryStatus
    attempts: int
    message_id: str | None
    error: str | None
    created_at: AwareDatetime
    sent_at: AwareDatetime | None
    text: str
    truncated: bool = False

    @classmethod
    def of(cls, row: Delivery, max_chars: int) -> "DeliveryRecord":
        """The record of a row, its text cut to so many characters."""
        return cls(
            **row.model_dump(exclude={"route", "text", "scope", "reply_to", "audio_as_voice"}),
            route=row.route.text,
            text=row.text[:max_chars],
            truncated=len(row.text) > max_chars,
        )


class DeliveryPage(BaseModel):
    """Deliveries, newest first; `more` while there are older ones."""

    deliveries: list[DeliveryRecord]
    more: bool = False


class OwnMessage(BaseModel):
    """Answer to `FindOwnMessage`."""

    ours: bool
