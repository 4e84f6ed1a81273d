"""The search attributes by which Tickless objects are found, and what each may hold.

Owns their names and types (DESIGN §3) and the cap on their values. Registering them is
`client.setup`'s. Invariant: values are ids, states and numbers, never a definition or a text of a
user, because visibility is readable by everyone who can list workflows.
"""

from datetime import datetime
from typing import Any, Literal

from temporalio.common import SearchAttributeKey, SearchAttributeUpdate

from domain.outcome import to_record_outcome
from domain.run_view import RunView
from domain.usage import Spent

KIND = SearchAttributeKey.for_keyword("TicklessKind")
SCOPE = SearchAttributeKey.for_keyword("TicklessScope")
OWNER = SearchAttributeKey.for_keyword("TicklessOwner")
ROUTINE = SearchAttributeKey.for_keyword("TicklessRoutine")
TRIGGER = SearchAttributeKey.for_keyword("TicklessTrigger")
STATUS = SearchAttributeKey.for_keyword("TicklessStatus")
OUTCOME = SearchAttributeKey.for_keyword("TicklessOutcome")
APPROVALS = SearchAttributeKey.for_keyword_list("TicklessApprovals")
TOKENS = SearchAttributeKey.for_int("TicklessTokens")
LATE_SECONDS = SearchAttributeKey.for_int("TicklessLateSeconds")
COST_USD = SearchAttributeKey.for_float("TicklessCostUsd")
CREATED = SearchAttributeKey.for_datetime("TicklessCreated")
DUE = SearchAttributeKey.for_datetime("TicklessDue")
# When what a routine is found by has changed last: who keeps a list reads only what is newer.
CHANGED = SearchAttributeKey.for_datetime("TicklessChanged")

# What `temporal server start-dev --search-attribute` and the operator API call the types.
AttributeType = Literal["Keyword", "KeywordList", "Int", "Double", "Datetime"]
TYPES: dict[str, AttributeType] = {
    KIND.name: "Keyword",
    SCOPE.name: "Keyword",
    OWNER.name: "Keyword",
    ROUTINE.name: "Keyword",
    TRIGGER.name: "Keyword",
    STATUS.name: "Keyword",
    OUTCOME.name: "Keyword",
    APPROVALS.name: "KeywordList",
    TOKENS.name: "Int",
    LATE_SECONDS.name: "Int",
    COST_USD.name: "Double",
    CREATED.name: "Datetime",
    DUE.name: "Datetime",
    CHANGED.name: "Datetime",
}

# The server refuses keyword values above 2,048 bytes with a failed workflow task; we stay below.
MAX_VALUE_BYTES = 1_800


def capped(value: str) -> str:
    """The text cut to the longest a keyword may be, at a character boundary."""
    raw = value.encode()
    return value if len(raw) <= MAX_VALUE_BYTES else raw[:MAX_VALUE_BYTES].decode(errors="ignore")


def quoted(value: str) -> str:
    """A keyword as visibility's language quotes it, as long as it may be."""
    return capped(value).replace("\\", "\\\\").replace("'", "\\'")


def run_outcome_attributes(
    view: RunView, spent: Spent, next_due: datetime | None
) -> list[SearchAttributeUpdate[Any]]:
    """What is written of a run when it ends, all at once.

    Args:
        view: The run as it ended.
        spent: What its model calls cost.
        next_due: The routine's next time: the watchdog reads it here, so that the routine need not
            write it with every run.
    """
    record = view.record
    outcome = to_record_outcome(record.status, record.error)
    updates: list[SearchAttributeUpdate[Any]] = [
        STATUS.value_set(record.status),
        OUTCOME.value_set(outcome.kind if outcome else record.status),
        LATE_SECONDS.value_set(view.late_seconds),
    ]
    if next_due is not None:
        updates.append(DUE.value_set(next_due))
    if spent.tokens is not None:
        updates.append(TOKENS.value_set(spent.tokens))
    if spent.cost_micros is not None:
        updates.append(COST_USD.value_set(spent.cost_micros / 1_000_000))
    return updates
