"""What the calls of one scope have cost, read from `llm_calls` and the rows of who called.

Owns the query. Adding up is `domain.costs`'. Source: triggers-and-actions.md §11.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, bindparam, func, select

from activities.store.tables import jobs, llm_calls, runs, threads, turns
from domain.costs import CallCost

_RUN_THREADS: Final = threads.alias("run_threads")
_TURN_THREADS: Final = threads.alias("turn_threads")
_scope: Final = func.coalesce(_RUN_THREADS.c.scope, _TURN_THREADS.c.scope, jobs.c.scope)
_COSTS: Final = (
    select(
        llm_calls.c.started_at,
        func.coalesce(runs.c.routine_id, jobs.c.routine_id),
        llm_calls.c.provider + "/" + llm_calls.c.model,
        llm_calls.c.tokens_in
        + func.coalesce(llm_calls.c.cache_read_tokens, 0)
        + func.coalesce(llm_calls.c.cache_write_tokens, 0),
        llm_calls.c.tokens_out,
        llm_calls.c.cost_micros,
    )
    .select_from(
        llm_calls.outerjoin(runs, llm_calls.c.run_id == runs.c.id)
        .outerjoin(_RUN_THREADS, runs.c.thread_id == _RUN_THREADS.c.id)
        .outerjoin(turns, llm_calls.c.turn_id == turns.c.id)
        .outerjoin(_TURN_THREADS, turns.c.thread_id == _TURN_THREADS.c.id)
        .outerjoin(jobs, llm_calls.c.job_id == jobs.c.id)
    )
    .where(
        llm_calls.c.started_at >= bindparam("since", type_=llm_calls.c.started_at.type),
        _scope == bindparam("scope"),
    )
)


def call_costs(connection: Connection, scope: str, since: datetime) -> Iterator[CallCost]:
    """The calls of a scope since a time, in no order.

    Args:
        connection: A transaction.
        scope: In its text form.
        since: When the first may have begun.
    """
    for row in connection.execute(_COSTS, {"scope": scope, "since": since}):
        yield CallCost(*row)
