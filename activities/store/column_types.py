"""The column types that SQLite and PostgreSQL do not share by themselves.

Owns three: instants that come back aware, texts that any database accepts, and keys that sort alike
everywhere.
"""

import re
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

# PostgreSQL refuses NUL, every driver refuses half a surrogate pair; models write both.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_REPLACEMENT = "\ufffd"


class Instant(TypeDecorator[datetime]):
    """An aware instant; kept and returned in UTC (SQLite keeps no offset)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Move to UTC before SQLite drops the offset."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Put the offset back, or move out of the server's time zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class StoredText(TypeDecorator[str]):
    """A text; what no database can hold becomes the replacement character.

    Otherwise one such character in a model's answer would fail the same write on every retry.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Replace what cannot be stored; also makes plain texts of enumeration values."""
        return None if value is None else _UNSTORABLE.sub(_REPLACEMENT, str(value))


class Key(StoredText):
    """A text that identifies a row; compared and sorted by code point on every database."""

    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """SQLite compares bytes by itself, PostgreSQL has to be told."""
        collation = "C" if dialect.name == "postgresql" else None
        return Text(collation=collation)
