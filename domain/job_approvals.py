"""The approvals of one job: asking, reminding, deciding, expiring, withdrawing.

Owns these decisions over the state of a job. What an approval can be is `domain.approvals`'; the
job's own status is `domain.job_book`'s. Source: triggers-and-actions.md §8.

Invariants:
    1. A decision is for exactly the arguments that were shown; it is taken once.
    2. The same decision again changes nothing; the other one is refused.
    3. What was asked for and is over is not decided any more, also when nobody has noticed yet.
    4. Reminders come at 50 % and 90 % of the time, the denial at its end; a job that slept through
       several of them tells the last one only.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from domain.approvals import Approval, ApprovalEvent, ApprovalStatus, Decision, transition
from domain.errors import DomainError, ErrorKind
from domain.fields import shown
from domain.job_messages import DecideApproval, ExtendApproval
from domain.job_prompts import EXPIRED
from domain.job_state import JobApproval, JobState
from domain.redaction import redact_text

REMINDERS: Final = (0.5, 0.9)
KEPT: Final = 100
MAX_EXTENDED: Final = timedelta(days=30)
_DECIDED: Final = {
    Decision.APPROVE: (ApprovalStatus.APPROVED, ApprovalStatus.CONSUMED),
    Decision.DENY: (ApprovalStatus.DENIED,),
}


class ApprovalNews(StrEnum):
    """What people are to be told of an approval."""

    REQUESTED = "requested"
    REMINDER = "reminder"
    EXPIRED = "expired"


class WantedApproval(BaseModel):
    """A call that may run when a person agrees; `arguments` are masked."""

    model_config = ConfigDict(frozen=True)

    approval_id: str
    call_id: str
    tool: str
    version: str
    digest: str
    arguments: dict[str, Any] = {}


class JobApprovals:
    """The approvals in a `JobState`."""

    def __init__(self, state: JobState) -> None:
        self._state = state

    def ask(self, wanted: WantedApproval, now: datetime) -> Approval:
        """Ask for an approval of a call that has none which still counts.

        Returns:
            The approval with the arguments; the job keeps it without them.
        """
        start, record = self._state.start, self._state.record or self._state.start.record
        approval = Approval(
            id=wanted.approval_id,
            tool=wanted.tool,
            version=wanted.version,
            arguments=wanted.arguments,
            digest=wanted.digest,
            run_id=record.run_id,
            job_id=record.id,
            scope=start.scope.text,
            requested_at=now,
            expires_at=now + timedelta(seconds=start.approval_timeout_seconds),
        )
        kept = [item for item in self._state.approvals if item.call_id != wanted.call_id]
        light = approval.model_copy(update={"arguments": {}})
        item = JobApproval(approval=light, call_id=wanted.call_id)
        # Decided ones stay for who decides them again; a batch has fewer calls than that.
        self._state.approvals = [*kept, item][-KEPT:]
        return approval

    def of_call(self, call_id: str) -> Approval | None:
        """The approval of a call, null where none was asked for."""
        for item in self._state.approvals:
            if item.call_id == call_id:
                return item.approval
        return None

    @property
    def pending(self) -> list[Approval]:
        """Those that nobody has decided."""
        return [item.approval for item in self._pending()]

    def decide(self, request: DecideApproval, now: datetime) -> Approval:
        """Take a person's decision.

        Returns:
            The approval; unchanged where it was decided the same way before.

        Raises:
            DomainError: `invalid_field` on `decision`, `not_found` on `id`, `conflict` on `digest`
                or `status`, `invalid_field` on `always`.
        """
        decision = _read_decision(request.decision)
        item = self._find(request.approval_id)
        approval = item.approval
        if request.digest is not None and request.digest != approval.digest:
            message = f"digest is {approval.digest}: other arguments than the ones you have seen"
            raise DomainError(ErrorKind.CONFLICT, "digest", message)
        if request.always and self._state.start.record.routine_id is None:
            message = "always must be false: only the calls of a routine can be allowed for good"
            raise DomainError(ErrorKind.INVALID_FIELD, "always", message, ["false"])
        if approval.status in _DECIDED[decision]:
            return approval
        _refuse_late(approval, now)
        return self._change(
            item,
            ApprovalEvent(decision),
            decided_by=request.decided_by,
            decided_at=now,
            reason=request.reason and redact_text(request.reason),
        )

    def extend(self, request: ExtendApproval, now: datetime) -> Approval:
        """Give an approval more time, up to 30 days after it was asked for.

        Raises:
            DomainError: `invalid_field` on `seconds`, `not_found` on `id`, `conflict` on `status`.
        """
        item = self._find(request.approval_id)
        approval = item.approval
        transition(approval.status, ApprovalEvent.EXTEND)
        _refuse_late(approval, now)
        latest = approval.requested_at + MAX_EXTENDED
        room = int((latest - approval.expires_at).total_seconds())
        if not 1 <= request.seconds <= room:
            message = (
                f"seconds must be from 1 to {max(room, 0)}, not {shown(request.seconds)}: an "
                "approval waits 30 days at most"
            )
            raise DomainError(ErrorKind.INVALID_FIELD, "seconds", message)
        longer = approval.expires_at + timedelta(seconds=request.seconds)
        return self._change(item, ApprovalEvent.EXTEND, expires_at=longer)

    def next_time(self) -> datetime | None:
        """When somebody has to be reminded, or the time of an approval is over."""
        return min((_next_time(item) for item in self._pending()), default=None)

    def due(self, now: datetime) -> list[tuple[Approval, ApprovalNews]]:
        """Remind and let expire what is due; gives what changed."""
        found: list[tuple[Approval, ApprovalNews]] = []
        for item in list(self._pending()):
            if item.approval.expires_at <= now:
                expired = self._change(item, ApprovalEvent.EXPIRE, decided_at=now, reason=EXPIRED)
                found.append((expired, ApprovalNews.EXPIRED))
                continue
            passed = sum(at <= now for at in _reminders(item.approval))
            if passed > item.reminded:
                item.reminded = passed
                found.append((item.approval, ApprovalNews.REMINDER))
        return found

    def consume(self, call_id: str) -> None:
        """Use up the approval of a call that is about to run; without one nothing happens."""
        for item in self._state.approvals:
            if item.call_id == call_id and item.approval.status == ApprovalStatus.APPROVED:
                self._change(item, ApprovalEvent.CONSUME)

    def withdraw(self, call_id: str | None = None) -> list[Approval]:
        """Make stale what is open, of one call or of all: it is no longer wanted."""
        open_ones = {ApprovalStatus.PENDING, ApprovalStatus.APPROVED}
        return [
            self._change(item, ApprovalEvent.WITHDRAW)
            for item in self._state.approvals
            if item.approval.status in open_ones and call_id in {None, item.call_id}
        ]

    def _pending(self) -> Iterator[JobApproval]:
        for item in self._state.approvals:
            if item.approval.status == ApprovalStatus.PENDING:
                yield item

    def _find(self, approval_id: str) -> JobApproval:
        for item in self._state.approvals:
            if item.approval.id == approval_id:
                return item
        raise DomainError(ErrorKind.NOT_FOUND, "id", approval_id)

    def _change(self, item: JobApproval, event: ApprovalEvent, **changes: object) -> Approval:
        status = transition(item.approval.status, event)
        item.approval = item.approval.model_copy(update={"status": status, **changes})
        return item.approval


def _read_decision(value: str) -> Decision:
    accepted = [decision.value for decision in Decision]
    if value not in accepted:
        message = f"decision must be one of {', '.join(accepted)}, not {shown(value)}"
        raise DomainError(ErrorKind.INVALID_FIELD, "decision", message, accepted)
    return Decision(value)


def _refuse_late(approval: Approval, now: datetime) -> None:
    """Whoever comes after the end of its time is told so, though no timer has fired yet."""
    if approval.status == ApprovalStatus.PENDING and approval.expires_at <= now:
        message = f"status is {ApprovalStatus.TIMED_OUT}: {EXPIRED}"
        raise DomainError(ErrorKind.CONFLICT, "status", message)


def _reminders(approval: Approval) -> list[datetime]:
    whole = approval.expires_at - approval.requested_at
    return [approval.requested_at + whole * share for share in REMINDERS]


def _next_time(item: JobApproval) -> datetime:
    return [*_reminders(item.approval), item.approval.expires_at][item.reminded]
