"""Opening a store: migrations, one migrator at a time, and every way in which it can be refused."""

import asyncio
import contextlib
import re
import sqlite3
import sys
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, create_engine

from activities.file_locks import locked
from activities.store import Store, StoreError, check_store, migrator, open_store
from activities.store.tables import metadata
from activities.store.urls import read_url, sqlite_file
from tests.support.ledger_rows import RUN_ID, run_record

pytest_plugins = ["tests.support.databases"]

# The revision that opening brings every store to.
NEWEST = max(path.name[:4] for path in migrator._SCRIPTS.glob("versions/0*.py"))
DEFERRED = [("approvals", "action_id"), ("runs", "job_id")]
OPEN = "import asyncio, sys; from activities.store import open_store\n"
OPEN += "async def main():\n    async with await open_store(sys.argv[1]) as s: await s.check()\n"
OPEN += "asyncio.run(main())"


async def refusal(url: str) -> StoreError:
    """The error with which a store is not opened."""
    with pytest.raises(StoreError) as caught:
        await open_store(url)
    assert caught.value.__cause__ is None
    return caught.value


async def refusals(url: str) -> StoreError:
    """The same, where looking at the store says the same."""
    error = await refusal(url)
    with pytest.raises(StoreError, match=re.escape(str(error))):
        await check_store(url)
    return error


def run_sql(url: str, statement: str) -> None:
    """Run a statement beside the store, as another program would."""
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
            file.execute(statement)
            file.commit()
        return
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(statement.encode())


@pytest.fixture
def guarded_role(postgres_url: str) -> Iterator[str]:
    """A PostgreSQL role that must give its password (`right`) and owns nothing."""
    name = f"guarded_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'right'".encode())
        found = admin.execute("SHOW hba_file").fetchone()
        assert found is not None
        rules = Path(found[0])
        before = rules.read_text()
        rules.write_text(f"local all {name} scram-sha-256\n{before}")
        admin.execute("SELECT pg_reload_conf()")
        try:
            yield name
        finally:
            rules.write_text(before)
            admin.execute("SELECT pg_reload_conf()")
            admin.execute(f"DROP ROLE {name}".encode())


async def test_store_is_kept_between_openings(store_url: str) -> None:
    async with await open_store(store_url) as store:
        await store.runs.put(run_record())
    async with await open_store(store_url) as store:
        assert await store.runs.get(RUN_ID) == run_record()


async def test_looking_at_a_store_changes_nothing(store_url: str) -> None:
    before = await check_store(store_url)
    assert before.endswith((", not made yet", ", empty yet"))
    file = sqlite_file(read_url(store_url))
    assert file is None or not file.parent.exists()
    assert await check_store(store_url) == before

    await (await open_store(store_url)).close()

    assert (await check_store(store_url)).endswith(f", schema {NEWEST}")


async def test_migrations_make_the_tables_of_the_code(store: Store, store_url: str) -> None:
    def differences(connection: Connection) -> object:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        found = compare_metadata(context, metadata)
        if connection.dialect.name == "sqlite":
            # Reflection does not see that a column's own reference is deferred, so it is first
            # removed and then added; test_store_jobs.py proves that it is there.
            keys = [change[1] for change in found if change[0] in {"add_fk", "remove_fk"}]
            named = [(key.parent.name, *key.column_keys) for key in keys]
            assert sorted(named) == sorted(DEFERRED * 2)
            found = [change for change in found if change[1] not in keys]
        return found

    url = read_url(store_url)
    engine = create_engine(url.set(drivername="sqlite") if sqlite_file(url) else url)
    try:
        with engine.connect() as connection:
            assert differences(connection) == []
    finally:
        engine.dispose()


async def test_processes_may_open_a_new_store_at_once(store_url: str) -> None:
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", OPEN, store_url, stderr=asyncio.subprocess.PIPE
        )
        for _ in range(4)
    ]
    ended = await asyncio.gather(*(process.communicate() for process in processes))
    assert [process.returncode for process in processes] == [0] * 4, ended


async def test_openings_in_one_process_do_not_mix(tmp_path: Path, postgres_url: str) -> None:
    urls = [f"sqlite:///{tmp_path / name}" for name in ("a", "b", "c", "a", "b")]
    stores = await asyncio.gather(*(open_store(url) for url in [*urls, postgres_url]))
    for store in stores:
        await store.check()
        await store.close()


async def test_waiting_for_another_migrator_leaves_the_loop_alone(sqlite_url: str) -> None:
    file = sqlite_file(read_url(sqlite_url))
    assert file is not None
    file.parent.mkdir()
    with file.with_name("tickless.db.lock").open("ab") as lock:
        with locked(lock, timedelta(seconds=5)):
            opening = asyncio.create_task(open_store(sqlite_url))
            await asyncio.wait([opening], timeout=0.2)
            assert not opening.done()
        await (await opening).close()


async def test_waiting_for_another_migrator_on_a_server(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [migrator.ADVISORY_LOCK])
        opening = asyncio.create_task(open_store(postgres_url))
        waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"

        def wait_for_the_waiter() -> None:
            while other.execute(waiting).fetchone() is None:
                pass

        await asyncio.to_thread(wait_for_the_waiter)
        assert not opening.done()
        other.execute("SELECT pg_advisory_unlock_all()")
        await (await opening).close()


async def test_another_migrator_that_hangs_is_told(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await (await open_store(store_url)).close()
    monkeypatch.setattr(migrator, "PATIENCE", timedelta(milliseconds=50))
    file = sqlite_file(read_url(store_url))
    if file is None:
        with psycopg.connect(store_url, autocommit=True) as other:
            other.execute("SELECT pg_advisory_lock(%s)", [migrator.ADVISORY_LOCK])
            error = await refusal(store_url)
    else:
        with (
            file.with_name("tickless.db.lock").open("ab") as lock,
            locked(lock, timedelta(seconds=5)),
        ):
            error = await refusal(store_url)
    assert "another process" in str(error)
    assert error.retryable


async def test_schema_of_a_newer_version_is_left_alone(store_url: str) -> None:
    await (await open_store(store_url)).close()
    run_sql(store_url, "UPDATE alembic_version SET version_num = '9999'")
    error = await refusals(store_url)
    assert "9999" in str(error)
    assert "upgrade tickless" in str(error)
    assert not error.retryable


async def test_foreign_tables_are_left_alone_and_nothing_is_left_behind(store_url: str) -> None:
    file = sqlite_file(read_url(store_url))
    if file is not None:
        file.parent.mkdir()
    run_sql(store_url, "CREATE TABLE outbox (x INTEGER)")
    error = await refusal(store_url)
    assert "tables of something else" in str(error)
    assert not error.retryable
    run_sql(store_url, "CREATE TABLE threads (x INTEGER)")  # the migration made it before outbox


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("not a url", "sqlite:///path"),
        ("", "sqlite:///path"),
        ("mysql://me:hunter2@host/db", "'mysql'"),
        ("sqlite://", "three slashes"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite://host/file.db", "three slashes"),
        ("sqlite:///file.db?mode=ro", "without parameters"),
        ("postgresql://me:hunter2@host:port/db", "database URL"),
    ],
)
async def test_bad_address_is_explained(url: str, says: str) -> None:
    error = await refusals(url)
    assert says in str(error)
    assert "hunter2" not in str(error)
    assert not error.retryable


async def test_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Just notes, and long enough to be read as a header." * 40)
    error = await refusals(f"sqlite:///{tmp_path / 'notes.txt'}")
    assert "something else" in str(error)
    assert str(tmp_path / "notes.txt") in str(error)
    assert not error.retryable


async def test_folder_instead_of_a_file(tmp_path: Path) -> None:
    error = await refusals(f"sqlite:///{tmp_path}")
    assert "not a folder" in str(error)


async def test_folder_that_cannot_be_made() -> None:
    error = await refusal("sqlite:////proc/tickless/store.db")
    assert "'/proc/tickless'" in str(error)
    assert "make the folder writable" in str(error)
    assert not error.retryable


async def test_file_instead_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    error = await refusal(f"sqlite:///{tmp_path / 'plain' / 'store.db'}")
    with pytest.raises(StoreError, match="make the folder writable"):
        await check_store(f"sqlite:///{tmp_path / 'plain' / 'store.db'}")
    assert "make the folder writable, or point `store.url` to another file" in str(error)


async def test_file_that_another_program_keeps_locked(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.store.engine.BUSY_TIMEOUT", timedelta(milliseconds=50))
    async with await open_store(sqlite_url) as store:
        file = sqlite_file(read_url(sqlite_url))
        assert file is not None
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        error = await refusal(sqlite_url)
        assert "locked" in str(error)
        assert error.retryable
        with pytest.raises(StoreError, match="locked") as caught:
            await store.runs.put(run_record())
        assert caught.value.retryable
        other.close()
        await store.runs.put(run_record())


async def test_server_that_is_absent(unused_tcp_port: int) -> None:
    error = await refusals(f"postgresql://me:hunter2@127.0.0.1:{unused_tcp_port}/ledger")
    assert f"postgresql://me:***@127.0.0.1:{unused_tcp_port}/ledger" in str(error)
    assert "check that the server runs" in str(error)
    assert "hunter2" not in str(error)
    assert error.retryable


async def test_wrong_password(postgres_url: str, guarded_role: str) -> None:
    url = postgres_url.replace("postgres:@", f"{guarded_role}:hunter2@")
    while True:  # the server reads its rules again in its own time
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            break
    for address in (url, url.replace(":hunter2@", "@") + "&password=hunter2"):
        error = await refusals(address)
        assert "check user and password" in str(error)
        assert "hunter2" not in str(error)
        assert not error.retryable
    error = await refusal(url.replace(":hunter2@", "@"))
    assert "add the password" in str(error)
    error = await refusal(url.replace("hunter2", "right"))
    assert "create tables" in str(error)
    assert not error.retryable


async def test_database_that_does_not_exist(postgres_server: str) -> None:
    error = await refusals(postgres_server.format(database="nowhere"))
    assert "create the database" in str(error)
    assert not error.retryable


async def test_driver_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    error = await refusals("postgresql://me:hunter2@127.0.0.1/ledger")
    assert "extra `postgres`" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "postgres://me:p%40ss@host:5433/ledger?sslmode=require",
        "postgresql://me:p%40ss@host:5433/ledger?sslmode=require",
        "postgresql+psycopg2://me:p%40ss@host:5433/ledger?sslmode=require",
        " postgresql+asyncpg://me:p%40ss@host:5433/ledger?sslmode=require\n",
    ],
)
def test_server_address_gets_our_driver(text: str) -> None:
    url = read_url(text)
    assert url.drivername == "postgresql+psycopg"
    assert url.password == "p@ss"
    assert url.query == {"sslmode": "require"}
    assert sqlite_file(url) is None


def test_file_address_becomes_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert sqlite_file(read_url("sqlite:///a/b.db")) == tmp_path / "a" / "b.db"
    assert sqlite_file(read_url("sqlite:////a/b.db")) == Path("/a/b.db")
    assert sqlite_file(read_url("sqlite+pysqlite:///~/b.db")) == Path("/home/me/b.db")


async def test_new_folder_is_private(sqlite_url: str) -> None:
    await (await open_store(sqlite_url)).close()
    file = sqlite_file(read_url(sqlite_url))
    assert file is not None
    assert file.parent.stat().st_mode & 0o777 == 0o700
