"""What Tickless tells of a text whose fate nobody knows, as an event.

Owns the event `delivery.unknown`. Source: triggers-and-actions.md §2 (Built-in events) and §9.

Invariants:
    1. The same text is the same event, however often it is found.
    2. A routine does not hear of its own texts: what it would say of them may be lost as well.
"""

from typing import Final

from domain.deliveries import Delivery, DeliveryStatus
from domain.emissions import EmittedEvent
from domain.run_events import SOURCE
from domain.runs import routine_of_run
from domain.trigger_matching import HOP_LIMIT

DELIVERY_UNKNOWN: Final = "delivery.unknown"


def event_of_unknown(
    row: Delivery, *, routine_id: str | None = None, hop: int | None = None
) -> EmittedEvent | None:
    """The event of a text that may have arrived; null beyond the hop limit.

    Args:
        row: The text, of which nobody knows.
        routine_id: Whose it is; null takes it from the run.
        hop: That of the run which says it; null where none does.
    """
    if hop is not None and hop > HOP_LIMIT:
        return None
    routine = routine_id or (routine_of_run(row.run_id) if row.run_id else None)
    return EmittedEvent(
        id=f"{DELIVERY_UNKNOWN} {row.occurrence_id}",
        source=SOURCE,
        event_type=DELIVERY_UNKNOWN,
        payload={
            "routine_id": routine,
            "run_id": row.run_id,
            "occurrence_id": row.occurrence_id,
            "route": row.route.text,
            "title": routine or row.part,
            "status": str(DeliveryStatus.UNKNOWN),
            "reason": row.error,
        },
        hop=0 if hop is None else hop + 1,
        about=routine,
    )
