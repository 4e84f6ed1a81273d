"""The table `standing_grants`: which tools a routine's runs may call without asking again.

Owns reading and writing of `StandingGrant`s. Source: triggers-and-actions.md §8.
"""

from typing import Final

from sqlalchemy import Connection, bindparam, delete, select

from activities.store.tables import standing_grants
from activities.store.writes import insert, or_nothing
from domain.standing_grants import StandingGrant, grant_id

_INSERT: Final = insert(standing_grants, or_nothing)
_BY_ID: Final = select(standing_grants).where(standing_grants.c.id == bindparam("key"))
_OF_ROUTINE: Final = (
    select(standing_grants)
    .where(standing_grants.c.routine_id == bindparam("of_routine"))
    .order_by(standing_grants.c.id)
)
_DELETE: Final = delete(standing_grants).where(standing_grants.c.id == bindparam("key"))


class StandingGrantTable:
    """Grants, by routine, tool and version."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, grant: StandingGrant) -> None:
        """Insert a grant unless it exists.

        Raises:
            StoreError: The database failed.
        """
        self._connection.execute(_INSERT[self._connection.dialect.name], grant.model_dump())

    def get(self, routine_id: str, tool: str, version: str) -> StandingGrant | None:
        """The grant for a tool in this very version, null if there is none."""
        key = grant_id(routine_id, tool, version)
        row = self._connection.execute(_BY_ID, {"key": key}).mappings().one_or_none()
        return StandingGrant.model_validate(dict(row)) if row else None

    def of_routine(self, routine_id: str) -> list[StandingGrant]:
        """All grants of a routine, by id."""
        found = self._connection.execute(_OF_ROUTINE, {"of_routine": routine_id})
        return [StandingGrant.model_validate(dict(row)) for row in found.mappings()]

    def revoke(self, routine_id: str, tool: str, version: str) -> bool:
        """Take a grant back; says whether there was one."""
        key = grant_id(routine_id, tool, version)
        return self._connection.execute(_DELETE, {"key": key}).rowcount > 0
