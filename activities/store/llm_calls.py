"""The table `llm_calls`: what each call of a model used and cost.

Owns reading and writing of `LlmCall`s. Source: triggers-and-actions.md §10 and §11.
"""

from sqlalchemy import ColumnElement, select, true

from activities.store.engine import Database
from activities.store.tables import llm_calls
from activities.store.writes import insert_or_replace
from domain.llm_calls import LlmCall

_LAST_CODE_POINT = "\U0010ffff"


class LlmCallTable:
    """Calls of models, by call id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, call: LlmCall) -> None:
        """Write a call over the one with its id.

        Raises:
            StoreError: The database failed, or `run_id` names no run.
        """
        statement = insert_or_replace(self._database.dialect, llm_calls, call.model_dump())
        await self._database.execute(statement)

    async def of_run(self, run_id: str) -> list[LlmCall]:
        """The calls of a run by start time, then id."""
        return await self._matching(llm_calls.c.run_id == run_id)

    async def with_prefix(self, prefix: str) -> list[LlmCall]:
        """The calls whose id starts with a text, taken literally, by start time, then id."""
        # A range instead of LIKE: no wildcards to escape, upper and lower case differ, the key's
        # index serves it.
        after = llm_calls.c.id < prefix + _LAST_CODE_POINT if prefix else true()
        return await self._matching((llm_calls.c.id >= prefix) & after)

    async def _matching(self, condition: ColumnElement[bool]) -> list[LlmCall]:
        statement = (
            select(llm_calls).where(condition).order_by(llm_calls.c.started_at, llm_calls.c.id)
        )
        return [LlmCall.model_validate(dict(row)) for row in await self._database.rows(statement)]
