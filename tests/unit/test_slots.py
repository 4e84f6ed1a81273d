"""What is shown of slots."""

from datetime import UTC, datetime

from domain.lease_queue import LeaseQueue
from domain.lease_queue_state import RequestLease
from domain.slots import SlotsState, slots_view, slots_workflow_id

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def test_holders_and_those_who_wait_are_shown_in_order() -> None:
    state = SlotsState(name="jobs")
    leases = LeaseQueue(state.leases)
    leases.resize(2, NOW)
    for number in range(4):
        owner = f"job/{number}"
        asked = RequestLease(owner=owner, request_id=f"{owner}:1", lease_seconds=60, checked=True)
        leases.request(asked, NOW)
    view = slots_view(state)
    assert (view.name, view.capacity) == ("jobs", 2)
    assert [one.owner for one in view.holders] == ["job/0", "job/1"]
    assert [one.owner for one in view.waiting] == ["job/2", "job/3"]
    assert slots_workflow_id("jobs") == "slots/jobs"
