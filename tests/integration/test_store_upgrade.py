"""A store with rows of an older schema is upgraded where it stands, and nothing is lost.

What fills an older store is plain SQL: the code of today does not know the tables of then.
"""

import pytest
from alembic import command
from sqlalchemy import Connection, create_engine, text

from activities.store import migrator, open_store
from activities.store.engine import Transaction, engine_options, prepare
from activities.store.urls import read_url, sqlite_file
from tests.support.ledger_rows import RUN_ID

pytest_plugins = ["tests.support.databases"]

# One row in each table that the others refer to.
ROWS = (
    (
        "INSERT INTO threads (id, scope, session_key, kind, created_at)"
        " VALUES ('t', 'user:me', '', 'routine', '2026-03-01 12:00:00')"
    ),
    (
        "INSERT INTO runs (id, routine_id, workflow_id, trigger_type, trigger_detail, occurred_at,"
        " status, stands_for, attempts, hop, warnings, thread_id)"
        f" VALUES ('{RUN_ID}', 'morning-brief', 'routine-run/{RUN_ID}', 'schedule', '',"
        " '2026-03-01 12:00:00', 'ok', 1, 1, 0, '[]', 't')"
    ),
    (
        "INSERT INTO llm_calls (id, run_id, sequence, attempt, model, provider, purpose, status,"
        f" started_at) VALUES ('c', '{RUN_ID}', 1, 1, 'small', 'local', 'routine', 'ok',"
        " '2026-03-01 12:00:00')"
    ),
    (
        "INSERT INTO messages (id, thread_id, sequence, role, content, llm_call_id, created_at)"
        " VALUES ('m', 't', 1, 'assistant', 'hello', 'c', '2026-03-01 12:00:00')"
    ),
    (
        "INSERT INTO outbox (occurrence_id, run_id, receive_id_type, receive_id, part, text,"
        f" status, attempts, created_at) VALUES ('{RUN_ID}/final', '{RUN_ID}', 'console', '',"
        " 'final', 'hello', 'sent', 1, '2026-03-01 12:00:00')"
    ),
)


def at_schema(url: str, revision: str) -> None:
    """Make a store of an older schema, with a row in each table."""
    address = read_url(url)
    if file := sqlite_file(address):
        file.parent.mkdir()
    engine = create_engine(address, **engine_options(address))
    prepare(engine)
    with engine.execution_options(**Transaction.WRITE.options).begin() as connection:
        upgrade(connection, revision)
        for row in ROWS:
            connection.execute(text(row))
    engine.dispose()


def upgrade(connection: Connection, revision: str) -> None:
    config = migrator._alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


@pytest.mark.parametrize("revision", ["0001", "0002", "0003", "0007"])
async def test_a_filled_store_is_upgraded(store_url: str, revision: str) -> None:
    at_schema(store_url, revision)

    async with await open_store(store_url) as store:
        run = await store.runs.get(RUN_ID)
        calls = await store.calls.of_run(RUN_ID)
        said = await store.threads.messages("t")
        sent = await store.outbox.of_run(RUN_ID)

    assert run is not None
    assert run.thread_id == "t"
    assert [(call.id, call.turn_id) for call in calls] == [("c", None)]
    assert [(one.content, one.llm_call_id) for one in said] == [("hello", "c")]
    assert [(row.text, row.reply_to, row.audio_as_voice) for row in sent] == [
        ("hello", None, False)
    ]
