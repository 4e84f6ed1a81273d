"""What the server does with fires that overlap or were missed: the compiled policy of a Schedule.

Owns the table of automation.md §5. Source: DESIGN §3, last paragraph of "When it fires".
"""

from datetime import timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from domain.guardrails import Guardrails
from domain.schedule import Schedule

LONG_WINDOW = timedelta(days=7)
# Long enough for the server's own delays, too short to make up for an outage.
SHORT_WINDOW = timedelta(seconds=60)


class Overlap(StrEnum):
    """What happens to a fire while a run of the Schedule is open."""

    BUFFER_ONE = "buffer_one"
    BUFFER_ALL = "buffer_all"
    ALLOW_ALL = "allow_all"


class CompiledPolicy(BaseModel):
    """Overlap policy and catch-up window of a Temporal Schedule."""

    model_config = ConfigDict(frozen=True)

    overlap: Overlap
    catchup_window: timedelta


def compile_policy(schedule: Schedule, guardrails: Guardrails) -> CompiledPolicy:
    """The policy of a routine's Schedule.

    Args:
        schedule: Validated schedule; its `catchup` and window decide first.
        guardrails: Validated guardrails; `overlap` and `max_concurrent` decide the rest.
    """
    if schedule.catchup == "all":
        window = timedelta(seconds=schedule.catchup_window_seconds or LONG_WINDOW.total_seconds())
        return CompiledPolicy(overlap=Overlap.BUFFER_ALL, catchup_window=window)
    if guardrails.overlap == "queue_one" and guardrails.max_concurrent == 1:
        window = SHORT_WINDOW if schedule.catchup == "skip" else LONG_WINDOW
        return CompiledPolicy(overlap=Overlap.BUFFER_ONE, catchup_window=window)
    return CompiledPolicy(overlap=Overlap.ALLOW_ALL, catchup_window=SHORT_WINDOW)
