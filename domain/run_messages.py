"""What a run can be told, and what it answers.

Owns the payloads of the workflow `RoutineRun`; what it is started with is `domain.run_start`'s,
what it shows `domain.run_view`'s. Source: automation.md §7.
"""

from pydantic import BaseModel

from domain.admission import Verdict


class CancelRun(BaseModel):
    """Ask a run to end as cancelled; may be left out altogether."""

    reason: str = "cancelled by user"


class RunAdmission(BaseModel):
    """Answer of the update `admission`: the verdict, without the routine's definition."""

    run_id: str
    workflow_id: str
    verdict: Verdict
