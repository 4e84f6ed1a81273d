"""What Tickless tells of budgets, as an event that routines may listen to.

Owns the event `budget.exceeded`. When a budget refuses is `domain.budget`'s.
Source: triggers-and-actions.md §2 (Built-in events) and §11.

Invariants:
    1. One budget that is used up on one day is one event, however many calls it refuses.
    2. A routine does not hear of what itself has used up.
"""

from typing import Final

from domain.emissions import EmittedEvent
from domain.run_events import SOURCE
from domain.trigger_matching import HOP_LIMIT

BUDGET_EXCEEDED: Final = "budget.exceeded"


def event_of_refusal(
    budget: str, key: str, day: str, reason: str, *, routine_id: str | None = None, hop: int = 0
) -> EmittedEvent | None:
    """The event of a call that a budget refused; null beyond the hop limit.

    Args:
        budget: The kind of budget, `routine_day`.
        key: Names it among those of its kind.
        day: The calendar day on which it refused.
        reason: What was said of it.
        routine_id: The routine whose run was refused.
        hop: Of that run.
    """
    if hop > HOP_LIMIT:
        return None
    return EmittedEvent(
        id=f"{BUDGET_EXCEEDED} {key} {day}",
        source=SOURCE,
        event_type=BUDGET_EXCEEDED,
        payload={
            "routine_id": routine_id,
            "budget": budget,
            "day": day,
            "title": routine_id or budget,
            "status": "exceeded",
            "reason": reason,
        },
        hop=hop + 1,
        about=routine_id,
    )
