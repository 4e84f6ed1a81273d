"""The names of budgets, and the event that one is used up."""

from domain.budget import BudgetScopeName
from domain.budget_entries import BudgetSums, budget_key, entry_id
from domain.budget_events import event_of_refusal
from domain.trigger_matching import HOP_LIMIT


def test_names() -> None:
    assert budget_key(BudgetScopeName.RUN, "brief/m-1") == "run:brief/m-1"
    assert budget_key(BudgetScopeName.DEPLOYMENT_DAY) == "deployment_day"
    assert entry_id("call/1", BudgetScopeName.ROUTINE_DAY) == "call/1/routine_day"
    assert BudgetSums(3, 4).used == 7


def test_one_budget_on_one_day_is_one_event() -> None:
    first = event_of_refusal("routine_day", "routine_day:brief", "2026-03-01", "a", hop=1)
    again = event_of_refusal(
        "routine_day", "routine_day:brief", "2026-03-01", "b", routine_id="brief"
    )
    assert first is not None
    assert again is not None
    assert first.id == again.id
    assert (first.event_type, first.hop, again.about) == ("budget.exceeded", 2, "brief")
    assert again.payload == {
        "routine_id": "brief",
        "budget": "routine_day",
        "day": "2026-03-01",
        "title": "brief",
        "status": "exceeded",
        "reason": "b",
    }
    other = event_of_refusal("routine_day", "routine_day:brief", "2026-03-02", "a")
    assert other is not None
    assert other.id != first.id


def test_beyond_the_hop_limit_nothing_is_told() -> None:
    assert event_of_refusal("run", "run:a", "2026-03-01", "a", hop=HOP_LIMIT) is not None
    assert event_of_refusal("run", "run:a", "2026-03-01", "a", hop=HOP_LIMIT + 1) is None
