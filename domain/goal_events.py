"""What is told of a goal, as events that routines may listen to.

Owns which change of a goal is which event, and its payload. Who hears of it is
`domain.listener_index`'s. Source: automation.md §9, triggers-and-actions.md §2 (Built-in events).

Invariant: the same change of the same goal is the same event; its revision is the change.
"""

from typing import Final

from domain.emissions import EmittedEvent
from domain.goal_record import Goal, GoalStatus
from domain.run_events import SOURCE

GOAL_CREATED: Final = "goal.created"
_CHANGES: Final = {
    GoalStatus.PAUSED: "goal.paused",
    GoalStatus.COMPLETE: "goal.completed",
    GoalStatus.TIMEOUT: "goal.timeout",
}
_TITLE_CHARS: Final = 200


def goal_title(goal: Goal) -> str:
    """The objective in one line, as far as a title goes."""
    text = " ".join(goal.objective.split())
    return text if len(text) <= _TITLE_CHARS else text[: _TITLE_CHARS - 1].rstrip() + "…"


def event_of_creation(goal: Goal) -> EmittedEvent:
    """A goal that is new."""
    return _event(GOAL_CREATED, goal)


def event_of_change(before: Goal, after: Goal, hop: int) -> EmittedEvent | None:
    """What a change of status tells; null where it tells nothing.

    Args:
        before: As it was.
        after: As it is now.
        hop: Of the event that woke the goal; 0 where none did.
    """
    event_type = _CHANGES.get(after.status)
    if event_type is None or before.status == after.status:
        return None
    return _event(event_type, after, hop)


def _event(event_type: str, goal: Goal, hop: int = 0) -> EmittedEvent:
    return EmittedEvent(
        id=f"{event_type} {goal.id}#{goal.revision}",
        source=SOURCE,
        event_type=event_type,
        payload={
            "goal_id": goal.id,
            "title": goal_title(goal),
            "status": str(goal.status),
            "reason": goal.paused_reason,
        },
        hop=hop + 1,
    )
