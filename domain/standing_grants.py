"""A standing grant: what a person allowed a routine's runs to do without asking each time.

Owns the row of the table `standing_grants` and its key. Source: triggers-and-actions.md §8.

Invariant: a grant is for one routine, one tool and one version; a new version asks again.
"""

from pydantic import AwareDatetime, BaseModel, ConfigDict


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
