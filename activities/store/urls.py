"""The address of the store: what may be written and how it may be shown.

Owns reading a database URL, choosing the driver for it, and its form without password.
Accepted: `sqlite:///relative/or//absolute/path` and `postgresql://user:password@host/name`.
"""

from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from activities.store.errors import StoreError

ACCEPTED = "sqlite:///path/to/file.db or postgresql://user:password@host/database"
_DRIVERS = {
    "sqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
}
# libpq takes these as query parameters too, where SQLAlchemy does not hide them.
_SECRET_PARAMETERS = ("password", "sslpassword")


def read_url(text: str) -> URL:
    """Read the address of a store.

    Args:
        text: The address; a driver in it (`postgresql+psycopg`) is replaced by ours.

    Returns:
        The URL with our driver; an SQLite file as an absolute path.

    Raises:
        StoreError: It is no URL, of another kind of database, or names no file.
    """
    try:
        url = make_url(text.strip())
    except (ArgumentError, ValueError):
        # The text is not repeated: without knowing its parts nobody knows where the password is.
        raise StoreError(
            f"the address of the store is not a database URL; write {ACCEPTED}"
        ) from None
    kind = url.get_backend_name()
    if kind not in _DRIVERS:
        raise StoreError(f"the store cannot be a {kind!r} database; write {ACCEPTED}")
    url = url.set(drivername=_DRIVERS[kind])
    if url.get_backend_name() != "sqlite":
        return url
    if url.host or not url.database or url.database == ":memory:" or url.query:
        raise StoreError(
            f"the store {shown(url)} names no file; write three slashes and a path, such as"
            " sqlite:///tickless.db, without parameters"
        )
    return url.set(database=str(Path(url.database).expanduser().absolute()))


def sqlite_file(url: URL) -> Path | None:
    """The file of an SQLite store, null for a server."""
    if url.get_backend_name() != "sqlite" or url.database is None:
        return None
    return Path(url.database)


def shown(url: URL) -> str:
    """The URL for messages: without driver and without password."""
    hidden = {name: "***" for name in _SECRET_PARAMETERS if name in url.query}
    plain = url.set(drivername=url.get_backend_name())
    return plain.update_query_dict(hidden).render_as_string(hide_password=True)
