"""Which routines may be late, judged by what is listed of them and of their runs.

Owns the choice of whom to look at; looking is the watchdog's, the judgement `domain.watchdog`'s.
Source: DESIGN §3 rule 15.

A routine writes its next time when its Schedule is put; after that each of its runs writes it when
it ends. So a time of the routine that has passed is no sign of trouble if a run that began since
tells of a next time that is still to come.

Invariant: a routine that is late is always among the suspects; one that is not may be.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict


class ListedRun(BaseModel):
    """What a listed run tells of its routine: when the next one is due."""

    model_config = ConfigDict(frozen=True)

    routine_id: str
    started_at: AwareDatetime
    next_due: AwareDatetime


def suspects(
    due: Mapping[str, datetime], runs: Iterable[ListedRun], overdue_from: datetime
) -> list[str]:
    """The routines that may be overdue.

    Args:
        due: The time that each active routine has written itself, where that is before
            `overdue_from`.
        runs: Runs that have ended and tell of a next time.
        overdue_from: A time before this should have been taken up by now.
    """
    fine = {
        run.routine_id
        for run in runs
        if run.next_due >= overdue_from
        and run.routine_id in due
        and run.started_at >= due[run.routine_id]
    }
    return [routine for routine in due if routine not in fine]
