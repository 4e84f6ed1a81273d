"""Routines that have changed a short while ago, as visibility shows them.

Owns the question to visibility, and from when on to ask: whoever keeps a list of routines reads all
of them once, then only what is new. Source: DESIGN §3 (Lists).

Invariants:
    1. A change is found by a look that begins after visibility shows it, although changes are shown
       out of order, and whatever the clocks of clients and workers say.
    2. When nothing has changed for a while a look finds nothing.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Final

from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.converter import decode_typed_search_attributes

from activities import search_attributes as attributes

# Changes of different routines are shown in another order than they were made, by less than this.
OVERLAP: Final = timedelta(seconds=3)
# When nothing new was shown for so long, nothing older will be.
SETTLED: Final = timedelta(seconds=30)

_ANY: Final = f"{attributes.KIND.name} = 'routine' AND ExecutionStatus != 'ContinuedAsNew'"


class ChangeMark:
    """How far a list of routines is known, by the server's clock alone."""

    def __init__(self) -> None:
        self._newest = datetime.fromtimestamp(0, UTC) + OVERLAP
        self._moved_at = time.monotonic()

    def saw(self, changed: datetime) -> None:
        """Note the change of a routine that was read."""
        if changed > self._newest:
            self._newest, self._moved_at = changed, time.monotonic()

    @property
    def since(self) -> datetime:
        """What is older was seen."""
        if time.monotonic() - self._moved_at > SETTLED.total_seconds():
            return self._newest + timedelta(microseconds=1)
        return self._newest - OVERLAP


def changes_query(since: datetime, scope: str | None = None) -> str:
    """The routines, of one scope or all, whatever they are now, that have changed since then.

    New ones are among them, which say so by when they were started.
    """
    text = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    query = f"{_ANY} AND ({attributes.CHANGED.name} >= '{text}' OR StartTime >= '{text}')"
    return query if scope is None else f"{query} AND {of_scope(scope)}"


def of_scope(scope: str) -> str:
    """The condition that a workflow is of a scope."""
    return f"{attributes.SCOPE.name} = '{attributes.quoted(scope)}'"


def changed_at(row: WorkflowExecutionInfo) -> datetime:
    """When a routine has changed last, as far as it says."""
    began = row.start_time.ToDatetime(UTC)
    if attributes.CHANGED.name not in row.search_attributes.indexed_fields:
        return began
    changed = decode_typed_search_attributes(row.search_attributes).get(attributes.CHANGED)
    return max(began, changed) if changed is not None else began
