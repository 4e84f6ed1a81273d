"""Keys that begin alike, as a range that the key's index serves.

Owns the bounds. Instead of LIKE: no wildcards to escape, upper and lower case differ, and the use
of the index does not depend on the database's collation.
"""

from typing import Any, Final

from sqlalchemy import Column, ColumnElement, and_, bindparam

_LAST_CODE_POINT: Final = "\U0010ffff"


def begins(column: Column[Any]) -> ColumnElement[bool]:
    """The condition that a key begins with the prefix whose `bounds` come with the statement."""
    return and_(column >= bindparam("prefix"), column < bindparam("after"))


def bounds(prefix: str) -> dict[str, str]:
    """The parameters of `begins`."""
    return {"prefix": prefix, "after": prefix + _LAST_CODE_POINT}
