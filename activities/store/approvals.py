"""The table `approvals`: what people were asked, and what they said.

Owns reading and writing of `Approval`s. The table is audit; the job that asks owns the approval,
except that using it up happens here, in one transaction with the start of the call.
Source: triggers-and-actions.md §8 and §10.

Invariants:
    1. A row never goes back: neither from decided to pending nor out of a final status.
    2. One call uses an approval up.
    3. The arguments are those that were written first: all of them, masked.
"""

from typing import Final

from sqlalchemy import Connection, RowMapping, bindparam, case, select, update

from activities.store.tables import approvals
from activities.store.writes import insert, or_nothing
from domain.approvals import Approval, ApprovalStatus

_INSERT: Final = insert(approvals, lambda new: or_nothing(new).returning(approvals.c.id))
# What a row may be when it becomes what it shall be.
_BEFORE: Final = {
    ApprovalStatus.PENDING: {ApprovalStatus.PENDING},
    ApprovalStatus.CONSUMED: {ApprovalStatus.APPROVED},
    ApprovalStatus.STALE: {ApprovalStatus.PENDING, ApprovalStatus.APPROVED},
}
_REPLACE: Final = update(approvals).where(
    approvals.c.id == bindparam("approval_id"),
    approvals.c.status.in_(bindparam("before", expanding=True)),
)
_WITHDRAW: Final = (
    update(approvals)
    .where(
        approvals.c.job_id == bindparam("of_job"),
        approvals.c.status.in_([ApprovalStatus.PENDING, ApprovalStatus.APPROVED]),
    )
    .values(status=ApprovalStatus.STALE)
)
_CONSUME: Final = (
    update(approvals)
    .where(
        approvals.c.id == bindparam("approval_id"),
        # The job that asks says `consumed` itself, maybe before its call is written down.
        approvals.c.status.in_([ApprovalStatus.APPROVED, ApprovalStatus.CONSUMED]),
        approvals.c.action_id.is_(None),
        approvals.c.digest == bindparam("of_digest"),
    )
    .values(status=ApprovalStatus.CONSUMED, action_id=bindparam("by_action"))
)
_BY_ID: Final = select(approvals).where(approvals.c.id == bindparam("approval_id"))
# Those that wait for a person are never behind others.
_WAITING_FIRST: Final = case((approvals.c.status == ApprovalStatus.PENDING, 0), else_=1)
_NEWEST: Final = select(approvals).order_by(
    _WAITING_FIRST, approvals.c.requested_at.desc(), approvals.c.id
)


class ApprovalTable:
    """Approvals, by id."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, record: Approval) -> None:
        """Insert an approval, or write over the one with its id unless that would lead back.

        Raises:
            StoreError: The database failed, or a run, job or action that is named does not exist.
        """
        row = record.model_dump()
        if self._connection.execute(_INSERT[self._connection.dialect.name], row).first():
            return
        before = _BEFORE.get(record.status, {ApprovalStatus.PENDING}) | {record.status}
        # Which call used it up is told by `consume` alone.
        kept = {name: value for name, value in row.items() if name != "action_id" or value}
        self._connection.execute(
            _REPLACE.values({name: kept[name] for name in kept if name not in {"id", "arguments"}}),
            {"approval_id": record.id, "before": sorted(before)},
        )

    def withdraw(self, job_id: str) -> None:
        """Make stale what is open of a job that nothing carries any more.

        Raises:
            StoreError: The database failed.
        """
        self._connection.execute(_WITHDRAW, {"of_job": job_id})

    def consume(self, approval_id: str, *, digest: str, action_id: str) -> bool:
        """Use an approval up for a call.

        Args:
            approval_id: The approval.
            digest: Of the arguments with which the call will run.
            action_id: The call; its row is written in the same transaction.

        Returns:
            Whether the call may run by it: it was approved for these arguments and not used, or
            used by this very call.

        Raises:
            StoreError: The database failed.
        """
        wanted = {"approval_id": approval_id, "of_digest": digest, "by_action": action_id}
        if self._connection.execute(_CONSUME, wanted).rowcount:
            return True
        stored = self.get(approval_id)
        return (
            stored is not None
            and stored.status is ApprovalStatus.CONSUMED
            and stored.action_id == action_id
            and stored.digest == digest
        )

    def get(self, approval_id: str) -> Approval | None:
        """An approval, null if there is none."""
        found = self._connection.execute(_BY_ID, {"approval_id": approval_id})
        row = found.mappings().one_or_none()
        return _approval(row) if row else None

    def listing(
        self,
        limit: int,
        *,
        status: str | None = None,
        scope: str | None = None,
        job_id: str | None = None,
    ) -> list[Approval]:
        """Those that wait first, then the newest: of a status, a scope, a job, or all."""
        query = _NEWEST
        for column, value in (
            (approvals.c.status, status),
            (approvals.c.scope, scope),
            (approvals.c.job_id, job_id),
        ):
            query = query if value is None else query.where(column == value)
        return [_approval(row) for row in self._connection.execute(query.limit(limit)).mappings()]


def _approval(row: RowMapping) -> Approval:
    return Approval.model_validate(dict(row))
