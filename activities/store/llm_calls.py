"""The table `llm_calls`: what each call of a model used and cost.

Owns reading and writing of `LlmCall`s. Source: triggers-and-actions.md §10 and §11.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, RowMapping, bindparam, func, select, update

from activities.store.call_costs import call_costs
from activities.store.key_ranges import begins, bounds
from activities.store.tables import llm_calls
from activities.store.writes import insert, or_replace
from domain.costs import CallCost
from domain.llm_calls import LlmCall, LlmCallStatus

_PUT: Final = insert(llm_calls, or_replace)
_CANCEL: Final = (
    update(llm_calls)
    .where(llm_calls.c.id == bindparam("call_id"), llm_calls.c.status == LlmCallStatus.STARTED)
    .values(status=LlmCallStatus.CANCELLED)
)
_BY_ID: Final = select(llm_calls).where(llm_calls.c.id == bindparam("call_id"))
_SORTED: Final = select(llm_calls).order_by(llm_calls.c.started_at, llm_calls.c.id)
_OF_RUN: Final = _SORTED.where(llm_calls.c.run_id == bindparam("run_id"))
# Cached tokens are tokens; what a provider did not say counts as none.
_TOKENS: Final = select(
    func.coalesce(
        func.sum(
            func.coalesce(llm_calls.c.tokens_in, 0)
            + func.coalesce(llm_calls.c.cache_read_tokens, 0)
            + func.coalesce(llm_calls.c.cache_write_tokens, 0)
            + func.coalesce(llm_calls.c.tokens_out, 0)
        ),
        0,
    )
)
_WITH_PREFIX: Final = _SORTED.where(begins(llm_calls.c.id))


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

    def get(self, call_id: str) -> LlmCall | None:
        """A call, null if there is none."""
        row = self._connection.execute(_BY_ID, {"call_id": call_id}).mappings().one_or_none()
        return _call(row) if row else None

    def cancel(self, call_id: str) -> None:
        """Mark a call as cancelled if there is one and it has only started."""
        self._connection.execute(_CANCEL, {"call_id": call_id})

    def of_run(self, run_id: str) -> list[LlmCall]:
        """The calls of a run by start time, then id."""
        found = self._connection.execute(_OF_RUN, {"run_id": run_id})
        return [_call(row) for row in found.mappings()]

    def tokens(
        self,
        *,
        run_id: str | None = None,
        turn_id: str | None = None,
        job_id: str | None = None,
    ) -> int:
        """The tokens that all calls of a run, a turn or a job have used, in and out.

        The first that is given is asked for: a job of a run counts with that run.
        """
        column, owner = next(
            (column, owner)
            for column, owner in (
                (llm_calls.c.run_id, run_id),
                (llm_calls.c.turn_id, turn_id),
                (llm_calls.c.job_id, job_id),
            )
            if owner is not None
        )
        found = self._connection.execute(_TOKENS.where(column == owner))
        return int(found.scalar_one())

    def costs(self, scope: str, since: datetime) -> Iterator[CallCost]:
        """What the calls of a scope since a time have cost, in no order."""
        return call_costs(self._connection, scope, since)

    def with_prefix(self, prefix: str) -> list[LlmCall]:
        """The calls whose id starts with a text, taken literally, by start time, then id."""
        found = self._connection.execute(_WITH_PREFIX, bounds(prefix))
        return [_call(row) for row in found.mappings()]


def _call(row: RowMapping) -> LlmCall:
    return LlmCall.model_validate(dict(row))
