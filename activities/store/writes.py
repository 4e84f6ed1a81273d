"""Inserts that may be repeated, spelled for whichever database is behind the store.

Owns the spelling. Statements are built once, when a table's module is imported, and get their rows
when they run: SQLAlchemy then finds each in its cache without looking at its parts.
Source: DESIGN §5.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from sqlalchemy import Executable, Table
from sqlalchemy.dialects import postgresql, sqlite

Insert = sqlite.Insert | postgresql.Insert
Spelled = Mapping[str, Executable]


def insert(table: Table, finish: Callable[[Insert], Executable]) -> Spelled:
    """An insert by dialect name.

    Args:
        table: Where to insert.
        finish: What to do about rows that exist, and what to return.
    """
    return MappingProxyType(
        {"sqlite": finish(sqlite.insert(table)), "postgresql": finish(postgresql.insert(table))}
    )


def or_nothing(statement: Insert) -> Insert:
    """Insert a row unless one with its primary key, or another key of it, exists."""
    return statement.on_conflict_do_nothing()


def or_replace(statement: Insert) -> Insert:
    """Insert a row, or replace the one with its primary key, the only unique key of its table."""
    table = statement.table
    replaced = {
        column.name: statement.excluded[column.name]
        for column in table.columns
        if not column.primary_key
    }
    return statement.on_conflict_do_update(index_elements=table.primary_key, set_=replaced)
