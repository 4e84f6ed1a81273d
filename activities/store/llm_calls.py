"""The table `llm_calls`: what each call of a model used and cost.

Owns reading and writing of `LlmCall`s. Source: triggers-and-actions.md §10 and §11.
"""

from typing import Final

from sqlalchemy import Connection, RowMapping, bindparam, select, update

from activities.store.tables import llm_calls
from activities.store.writes import insert, or_replace
from domain.llm_calls import LlmCall, LlmCallStatus

_LAST_CODE_POINT: Final = "\U0010ffff"
_PUT: Final = insert(llm_calls, or_replace)
_CANCEL: Final = (
    update(llm_calls)
    .where(llm_calls.c.id == bindparam("call_id"), llm_calls.c.status == LlmCallStatus.STARTED)
    .values(status=LlmCallStatus.CANCELLED)
)
_SORTED: Final = select(llm_calls).order_by(llm_calls.c.started_at, llm_calls.c.id)
_OF_RUN: Final = _SORTED.where(llm_calls.c.run_id == bindparam("run_id"))
# A range instead of LIKE: no wildcards to escape, upper and lower case differ, the key's index
# serves it.
_WITH_PREFIX: Final = _SORTED.where(
    llm_calls.c.id >= bindparam("prefix"), llm_calls.c.id < bindparam("after")
)


class LlmCallTable:
    """Calls of models, by call id."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, call: LlmCall) -> None:
        """Write a call over the one with its id.

        Raises:
            StoreError: The database failed, or `run_id` names no run.
        """
        self._connection.execute(_PUT[self._connection.dialect.name], call.model_dump())

    def cancel(self, call_id: str) -> None:
        """Mark a call as cancelled if there is one and it has only started."""
        self._connection.execute(_CANCEL, {"call_id": call_id})

    def of_run(self, run_id: str) -> list[LlmCall]:
        """The calls of a run by start time, then id."""
        found = self._connection.execute(_OF_RUN, {"run_id": run_id})
        return [_call(row) for row in found.mappings()]

    def with_prefix(self, prefix: str) -> list[LlmCall]:
        """The calls whose id starts with a text, taken literally, by start time, then id."""
        bounds = {"prefix": prefix, "after": prefix + _LAST_CODE_POINT}
        return [_call(row) for row in self._connection.execute(_WITH_PREFIX, bounds).mappings()]


def _call(row: RowMapping) -> LlmCall:
    return LlmCall.model_validate(dict(row))
