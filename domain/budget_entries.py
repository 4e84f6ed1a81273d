"""What one call has reserved and spent in one budget: a row of the table `budget_entries`.

Owns the row model and the names of the sums that rows are added to. Whether a call may be made is
`domain.budget`'s. Source: triggers-and-actions.md §10 and §11.
"""

from typing import NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict

from domain.budget import BudgetScopeName


class BudgetEntry(BaseModel):
    """One row of `budget_entries`; amounts are micros of USD, `spent` is null until it is settled.

    `id` is `<call id>/<name of the scope>`, `scope` a key of `budget_key`, `day` the calendar day
    on which it was reserved.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    scope: str
    day: str
    call_id: str
    reserved: int
    spent: int | None = None
    settled_at: AwareDatetime | None = None


class BudgetSums(NamedTuple):
    """What is spent in a budget, and what is reserved and not settled, in micros."""

    spent: int
    reserved: int

    @property
    def used(self) -> int:
        """Both together."""
        return self.spent + self.reserved


def budget_key(scope: BudgetScopeName, owner: str = "") -> str:
    """What the entries of one budget have in common: `run:<id>`, `deployment_day`."""
    return f"{scope}:{owner}" if owner else str(scope)


def entry_id(call_id: str, scope: BudgetScopeName) -> str:
    """The id of a call's entry in one budget."""
    return f"{call_id}/{scope}"
