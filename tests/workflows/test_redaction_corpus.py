"""No secret gets through: hundreds of them in arguments and outputs of tools.

Once for the dispatch alone, with all of them, and once on the whole way: a run whose model writes
secrets into its calls and reads them from a file, with the history, the ledger, the log, what the
model is sent afterwards and what people are told.
"""

import base64
import io
import json
import logging
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import structlog

from activities.store import open_store
from activities.tools.tool import ToolFailed, ToolUse
from domain.redaction import redact_text
from domain.runs import RunStatus, run_workflow_id
from domain.tool_specs import ToolRate
from tests.support.harness import Harness
from tests.support.model_steps import Refusal, Reply, error_body
from tests.support.secret_corpus import CORPUS, leaks
from tests.support.tool_calls import Bench, tool
from tests.support.tool_runs import Listener, asks, run_with
from worker.logs import configure_logging


@contextmanager
def logged() -> Iterator[io.StringIO]:
    """Everything that is logged, as a worker would write it."""
    root = logging.getLogger()
    before, level, configuration = root.handlers[:], root.level, structlog.get_config()
    written = io.StringIO()
    configure_logging("debug", "json", written)
    try:
        yield written
    finally:
        root.handlers[0].flush()
        root.handlers[:] = before
        root.setLevel(level)
        structlog.configure(**configuration)


def rows_of(path: Path) -> str:
    """Every row of an SQLite database."""
    with closing(sqlite3.connect(path)) as database:
        return "\n".join(database.iterdump())


def payloads_of(history: str) -> str:
    """What a history holds, its payloads as they were before they were encoded."""
    encoded = re.findall(r'"data": "([^"]+)"', history)
    return "\n".join([history, *(base64.b64decode(text).decode() for text in encoded)])


def test_the_corpus_is_large_and_its_secrets_are_there() -> None:
    assert len({item.secret for item in CORPUS}) == len(CORPUS) >= 200
    assert all(item.secret in item.text for item in CORPUS)


def test_each_is_masked_where_it_stands() -> None:
    assert [item.kind for item in CORPUS if item.secret in redact_text(item.text)] == []
    inside = [(item, redact_text(json.dumps({"note": item.text}))) for item in CORPUS]
    assert [item.kind for item, text in inside if item.secret in text] == []


async def test_dispatch_shows_none_of_them(tmp_path: Path) -> None:
    got: list[str] = []

    async def repeats(use: ToolUse) -> str:
        got.append(str(use.arguments["note"]))
        logging.getLogger("some.library").warning("got %s", use.arguments["note"])
        return f"noted: {use.arguments['note']} with {use.arguments['pin']}"

    async def fails(use: ToolUse) -> str:
        raise ToolFailed(f"cannot note {use.arguments['note']}")

    path = tmp_path / "ledger.db"
    told = ""
    with logged() as log:
        async with await open_store(f"sqlite:///{path}") as store:
            often = {"sensitive_params": ["pin"], "rate_limit": ToolRate(per_minute=1000)}
            bench = Bench(store, [tool("note", repeats, **often), tool("fail", fails, **often)])
            calls = [
                ("fail" if place % 4 == 0 else "note", {"note": item.text, "pin": item.secret})
                for place, item in enumerate(CORPUS)
            ]
            await bench.asks(*calls)
            for place, (name, _) in enumerate(calls, 1):
                outcome = await bench.run(bench.request(name, f"c{place}"))
                told += outcome.model_dump_json()
            for message in await store.threads.messages(bench.thread.id):
                told += message.model_dump_json()
            for action in await store.actions.of_run(bench.caller.run_id or ""):
                told += action.model_dump_json()

    assert got == [item.text for place, item in enumerate(CORPUS) if place % 4]
    assert leaks(told) == []
    assert leaks(log.getvalue()) == []
    assert "some.library" in log.getvalue()
    assert "tool_called" in log.getvalue()


async def test_a_whole_run_shows_none_of_them(harness: Harness) -> None:
    workspace = harness.folder / "workspace"
    secrets = "\n".join(item.text for item in CORPUS)
    model = Listener(
        asks(("memory_write", {"topic": "found", "text": secrets[:8_000]})),
        # Not `file_read`, which other tests call as often as one user may in a minute.
        asks(("file_search", {"pattern": ".", "glob": "secrets.txt"})),
        Reply("Nothing to see."),
    )
    for folder in [workspace, *workspace.glob("scopes/*")]:
        (folder / "secrets.txt").write_text(secrets, encoding="utf-8")
    with logged() as log:
        view = await run_with(harness, model)
        broken = Refusal(400, error_body(f"bad request: {secrets[:3000]}"))
        failed = await harness.run_once(await harness.routine(broken))

    assert view.record.status is RunStatus.ATTENTION
    assert failed.record.status is RunStatus.FAILED
    results = model.results()
    assert len(results) == 2
    assert results[1].startswith("[output of file_search ")
    assert "[REDACTED]" in results[1]
    assert results[0].startswith("[output of memory_write ")
    # The model wrote the note itself; in what it is sent afterwards it is masked.
    assert leaks(json.dumps(model.bodies[1:])) == []
    for run in (view, failed):
        workflow = harness.client.get_workflow_handle(run_workflow_id(run.record.id))
        told = payloads_of((await workflow.fetch_history()).to_json())
        assert run.record.id in told
        assert leaks(told) == []
    assert leaks(rows_of(harness.folder / "ledger.db")) == []
    assert leaks(log.getvalue()) == []
    assert leaks(harness.deliveries.read_text(encoding="utf-8")) == []
