"""An approval: a person's yes or no to one call of a tool with exactly these arguments.

Owns what an approval can be (`transition`), what it is bound to (`digest`) and the row of the table
`approvals`. When one is asked for is `domain.tools`' and the dispatch's; the job that asks owns it.
Source: triggers-and-actions.md §8.

Invariants:
    1. Whatever the table of `transition` does not name is refused, naming the status.
    2. An approval is used once: `consumed` has no way out.
"""

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict

from domain.guardrails import canonical_json
from domain.transitions import follow

ID_PREFIX: Final = "approval_"


class ApprovalStatus(StrEnum):
    """Where an approval stands; `stale` is one whose call is no longer wanted."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    TIMED_OUT = "timed_out"
    CONSUMED = "consumed"
    STALE = "stale"


class ApprovalEvent(StrEnum):
    """What happens to an approval."""

    APPROVE = "approve"
    DENY = "deny"
    EXPIRE = "expire"
    WITHDRAW = "withdraw"
    EXTEND = "extend"
    REMIND = "remind"
    CONSUME = "consume"


class Decision(StrEnum):
    """What a person says to an approval."""

    APPROVE = "approve"
    DENY = "deny"


class Approval(BaseModel):
    """One row of `approvals`.

    Attributes:
        id: `approval_` and a ULID.
        arguments: Masked: for the person who decides. The ledger has all of them; what asks for
            an approval may carry them cut, or not at all.
        digest: Of the real arguments; see `digest`.
        action_id: The call it is for.
        scope: In its text form, `user:me`: whose actors may decide.
        decided_by: The preferred id of who decided; null while nobody did, and after an expiry.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    tool: str
    version: str
    arguments: dict[str, Any] = {}
    digest: str
    run_id: str | None = None
    job_id: str | None = None
    action_id: str | None = None
    scope: str
    requested_at: AwareDatetime
    expires_at: AwareDatetime
    status: ApprovalStatus = ApprovalStatus.PENDING
    decided_by: str | None = None
    decided_at: AwareDatetime | None = None
    reason: str | None = None


_TRANSITIONS: Final[dict[tuple[str, str], ApprovalStatus]] = {
    (ApprovalStatus.PENDING, ApprovalEvent.APPROVE): ApprovalStatus.APPROVED,
    (ApprovalStatus.PENDING, ApprovalEvent.DENY): ApprovalStatus.DENIED,
    (ApprovalStatus.PENDING, ApprovalEvent.EXPIRE): ApprovalStatus.TIMED_OUT,
    (ApprovalStatus.PENDING, ApprovalEvent.WITHDRAW): ApprovalStatus.STALE,
    (ApprovalStatus.PENDING, ApprovalEvent.EXTEND): ApprovalStatus.PENDING,
    (ApprovalStatus.PENDING, ApprovalEvent.REMIND): ApprovalStatus.PENDING,
    (ApprovalStatus.APPROVED, ApprovalEvent.CONSUME): ApprovalStatus.CONSUMED,
    (ApprovalStatus.APPROVED, ApprovalEvent.WITHDRAW): ApprovalStatus.STALE,
}


def digest(tool: str, version: str, args: Mapping[str, Any]) -> str:
    """What an approval is bound to: the sha256, in hex, of tool, version and real arguments.

    Args:
        tool: The tool's name.
        version: Its version; a new one asks again.
        args: The arguments as they will be given to the tool, nothing masked.
    """
    content = canonical_json({"tool": tool, "version": version, "args": args})
    return hashlib.sha256(content).hexdigest()


def arguments_text(arguments: Mapping[str, Any]) -> str:
    """Arguments as the person who decides reads them."""
    return json.dumps(arguments, ensure_ascii=False, indent=1)


def transition(status: str, event: str) -> ApprovalStatus:
    """What an event makes of an approval.

    Raises:
        DomainError: `conflict` on `status` when the status has no such event.
    """
    return follow(_TRANSITIONS, status, event)
