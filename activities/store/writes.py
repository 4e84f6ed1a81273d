"""Idempotent inserts, spelled for whichever database is behind the store.

Owns the two forms every table needs: insert if absent, and insert or replace. Source: DESIGN §5.
"""

from collections.abc import Mapping

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite

Insert = sqlite.Insert | postgresql.Insert


def insert_missing(dialect: str, table: Table, row: Mapping[str, object]) -> Insert:
    """Insert a row unless one with its primary key, or another key of it, exists."""
    return _insert(dialect, table, row).on_conflict_do_nothing()


def insert_or_replace(dialect: str, table: Table, row: Mapping[str, object]) -> Insert:
    """Insert a row, or replace the one with its primary key, the only unique key of its table."""
    statement = _insert(dialect, table, row)
    replaced = {
        column.name: statement.excluded[column.name]
        for column in table.columns
        if not column.primary_key
    }
    return statement.on_conflict_do_update(index_elements=table.primary_key, set_=replaced)


def _insert(dialect: str, table: Table, row: Mapping[str, object]) -> Insert:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert(table).values(dict(row))
