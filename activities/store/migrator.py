"""Brings a database to the schema that this version of the code needs.

Owns opening the database for the first time: the folder, the one migrator at a time, the refusal of
databases that are not ours to touch; also looking at one without touching it. The versions
themselves are `migrations/versions`. All of it blocks: `activities.store.store` runs it in threads.

Invariants:
    1. One migrator at a time over all processes: a lock on the file `<database>.lock`, or an
       advisory lock of PostgreSQL.
    2. A migration happens completely or not at all.
    3. A schema from the future is left alone.
"""

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from activities.file_locks import FileLockTimeout, locked
from activities.store.advice import opening_error
from activities.store.engine import Transaction, engine_options, prepare
from activities.store.errors import StoreError
from activities.store.urls import shown, sqlite_file

# Another process migrates for seconds at most; after a minute a person should look.
PATIENCE: Final = timedelta(seconds=60)
# Any number will do, as long as every version of the code takes the same.
ADVISORY_LOCK: Final = 0x7469636B6C657373  # "tickless"
_OTHER_FOLDER: Final = "make the folder writable, or point `store.url` to another file"
_SCRIPTS: Final = Path(__file__).with_name("migrations")
# Alembic keeps the migration that is running in globals of the process.
_alembic_turn = threading.Lock()


def migrate(url: URL) -> None:
    """Create or upgrade the schema.

    Args:
        url: A URL of `read_url`.

    Raises:
        StoreError: With the reason and what to do, retryable if waiting may help.
    """
    try:
        file = sqlite_file(url)
        if file is None:
            _migrate_server(url)
        else:
            with _alone_with(file, shown(url)):
                _migrate_file(url)
    except SQLAlchemyError as error:
        raise opening_error(url, error) from None


def describe(url: URL) -> str:
    """Look at a store without changing anything: what `doctor` says of one that can be used.

    Args:
        url: A URL of `read_url`.

    Raises:
        StoreError: It cannot be used, with the reason and what to do.
    """
    file = sqlite_file(url)
    if file is not None and not file.exists():
        _check_writable(file, shown(url))
        return f"{shown(url)}, not made yet"
    try:
        with _engine(url) as engine, engine.connect() as connection:
            schema = _check_schema(connection, shown(url))
    except SQLAlchemyError as error:
        raise opening_error(url, error) from None
    return f"{shown(url)}, {f'schema {schema}' if schema else 'empty yet'}"


def _check_writable(file: Path, address: str) -> None:
    folder = next(parent for parent in file.parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(f"the store {address} cannot be made in {str(folder)!r}: {_OTHER_FOLDER}")


def _migrate_file(url: URL) -> None:
    with _engine(url) as engine:
        with engine.execution_options(**Transaction.NONE.options).connect() as connection:
            # Kept in the file from now on: readers do not wait for the writer.
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        with engine.execution_options(**Transaction.WRITE.options).begin() as connection:
            _upgrade(connection, shown(url))


def _migrate_server(url: URL) -> None:
    with _engine(url) as engine, engine.begin() as connection:
        patience_ms = int(PATIENCE.total_seconds() * 1000)
        connection.execute(text(f"SET LOCAL lock_timeout = {patience_ms}"))
        # Freed with the transaction, also when this process dies.
        connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": ADVISORY_LOCK})
        _upgrade(connection, shown(url))


@contextmanager
def _engine(url: URL) -> Generator[Engine, None, None]:
    """An engine for Alembic, which has nothing to do with the pool of the store."""
    engine = create_engine(url, **engine_options(url))
    prepare(engine)
    try:
        yield engine
    finally:
        engine.dispose()


def _upgrade(connection: Connection, address: str) -> None:
    config = _alembic_config()
    config.attributes["connection"] = connection
    _check_schema(connection, address)
    with _alembic_turn:
        command.upgrade(config, "head")


def _check_schema(connection: Connection, address: str) -> str | None:
    """The schema of the database, null when it has none.

    Raises:
        StoreError: It is one that this version does not know.
    """
    scripts = ScriptDirectory.from_config(_alembic_config())
    known = {script.revision for script in scripts.walk_revisions()}
    found = MigrationContext.configure(connection).get_current_heads()
    if unknown := sorted(set(found) - known):
        raise StoreError(
            f"the store {address} has schema {', '.join(unknown)}, which is newer than this version"
            f" of tickless knows (up to {scripts.get_current_head()}): upgrade tickless, or point"
            " `store.url` to another database"
        )
    return found[0] if found else None


def _alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@contextmanager
def _alone_with(file: Path, address: str) -> Generator[None, None, None]:
    try:
        # Transcripts are nobody else's business.
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = file.with_name(file.name + ".lock").open("ab")
    except OSError as error:
        raise StoreError(
            f"the store {address} cannot be made in {str(file.parent)!r} ({error.strerror}):"
            f" {_OTHER_FOLDER}"
        ) from None
    with lock:
        try:
            with locked(lock, PATIENCE):
                yield
        except FileLockTimeout:
            raise StoreError(
                f"the store {address} is being opened by another process for {PATIENCE}:"
                " end that process if it hangs, then try again",
                retryable=True,
            ) from None
