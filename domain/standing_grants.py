"""A standing grant: what a person allowed a routine's runs to do without asking each time.

Owns the row of the table `standing_grants` and its key. Source: triggers-and-actions.md §8.

Invariant: a grant is for one routine, one tool and one version; a new version asks again.
"""

from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict

from domain.approvals import Approval


class StandingGrant(BaseModel):
    """One row of `standing_grants`.

    Attributes:
        id: See `grant_id`.
        routine_id: Whose runs need not ask.
        tool: For which tool.
        version: In which version.
        granted_by: The preferred id of who allowed it.
        created_at: When.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    routine_id: str
    tool: str
    version: str
    granted_by: str
    created_at: AwareDatetime


def grant_id(routine_id: str, tool: str, version: str) -> str:
    """`<routine>/<tool>/<version>`; the version may contain anything, so it comes last."""
    return f"{routine_id}/{tool}/{version}"


def granted_by(approval: Approval, routine_id: str, now: datetime) -> StandingGrant:
    """What somebody grants who allows a call for good."""
    return StandingGrant(
        id=grant_id(routine_id, approval.tool, approval.version),
        routine_id=routine_id,
        tool=approval.tool,
        version=approval.version,
        granted_by=approval.decided_by or "",
        created_at=now,
    )
