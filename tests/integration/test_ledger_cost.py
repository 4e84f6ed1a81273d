"""How often a run goes to its ledger: so many transactions, every statement compiled once."""

import io
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine.interfaces import CacheStats
from temporalio.testing import ActivityEnvironment

from activities.channels import build_channels
from activities.deliveries import DeliveryActivities, FinishRun, RunFinished
from activities.messenger import Messenger
from activities.models import CallModel, ModelActivities, ModelAnswer
from activities.store import Store
from activities.workspace import Workspace
from domain.channels import FileChannel
from domain.deliveries import DeliveryStatus, Part
from domain.model_chain import ModelSpec
from domain.prices import PriceTable
from domain.runs import RunStatus
from domain.scopes import Route
from tests.support.ledger_rows import NOON, run_record, thread
from tests.support.model_server import ModelServer
from tests.support.model_steps import Reply

pytest_plugins = ["tests.support.databases"]


@dataclass
class Work:
    """What the database was asked for."""

    transactions: int = 0
    statements: list[str] = field(default_factory=list)
    compiled: list[str] = field(default_factory=list)


@contextmanager
def counted() -> Generator[Work]:
    """Count what all engines do meanwhile."""
    work = Work()

    def on_begin(_connection: Connection) -> None:
        work.transactions += 1

    def on_statement(
        _connection: Connection, _cursor: Any, text: str, _values: Any, context: Any, _many: bool
    ) -> None:
        if text.startswith("BEGIN"):
            return
        work.statements.append(text)
        if context.cache_hit is not CacheStats.CACHE_HIT:
            work.compiled.append(text)

    event.listen(Engine, "begin", on_begin)
    event.listen(Engine, "before_cursor_execute", on_statement)
    try:
        yield work
    finally:
        event.remove(Engine, "begin", on_begin)
        event.remove(Engine, "before_cursor_execute", on_statement)


class NeverPaused:
    """The big red button, which nobody presses."""

    async def check(self) -> None:
        pass


class Runs:
    """The activities of a run, with a real model server and a real file."""

    def __init__(self, store: Store, server: ModelServer, folder: Path) -> None:
        spec = ModelSpec(
            name="m1", provider="test", base_url=server.base_url, api_key=SecretStr("key")
        )
        self.models = ModelActivities(
            store=store,
            chain=[spec],
            prices=PriceTable(prices={}, price_version="1"),
            workspace=Workspace(folder),
            pause=NeverPaused(),
        )
        channels = build_channels({"file": FileChannel()}, folder=folder, console=io.StringIO())
        self.deliveries = DeliveryActivities(store, Messenger(channels, "file"))

    async def call_model(self, run: str, attempt: int = 1) -> ModelAnswer:
        environment = ActivityEnvironment()
        environment.info = replace(
            environment.info, workflow_id=f"routine-run/{run}", activity_id="1", attempt=attempt
        )
        request = CallModel(
            run=run_record(run), thread=thread("the thread"), prompt="Hi.", timeout_seconds=60
        )
        return await environment.run(self.models.call_model, request)

    async def finish_run(self, run: str, texts: int) -> RunFinished:
        file = Route(receive_id_type="file")
        parts = [Part(part=str(number), route=file, text="Hello") for number in range(texts)]
        record = run_record(run, status=RunStatus.OK, finished_at=NOON, thread_id="the thread")
        request = FinishRun(record=record, thread=thread("the thread"), parts=parts)
        return await ActivityEnvironment().run(self.deliveries.finish_run, request)


@pytest.fixture
async def runs(store: Store, tmp_path: Path) -> AsyncIterator[Runs]:
    with ModelServer() as server:
        server.always(lambda _: Reply("Hello.", chunks=1))
        made = Runs(store, server, tmp_path)
        yield made
        await made.models.close()


async def test_model_call_is_two_transactions(runs: Runs) -> None:
    await runs.call_model("brief/m-1")
    with counted() as work:
        await runs.call_model("brief/m-2")
    assert work.transactions == 2
    assert len(work.statements) == 10
    assert work.compiled == []


async def test_answer_that_is_found_is_one_transaction_and_no_write(runs: Runs) -> None:
    first = await runs.call_model("brief/m-1")
    with counted() as work:
        again = await runs.call_model("brief/m-1", attempt=2)
    assert again.text == first.text
    assert work.transactions == 1
    assert {text.split()[0] for text in work.statements} == {"SELECT"}


@pytest.mark.parametrize(("texts", "statements"), [(0, 2), (1, 5), (3, 11)])
async def test_every_text_adds_one_transaction(runs: Runs, texts: int, statements: int) -> None:
    for run in ("brief/m-1", "brief/m-2"):
        await runs.call_model(run)
    await runs.finish_run("brief/m-1", texts)
    with counted() as work:
        finished = await runs.finish_run("brief/m-2", texts)
    assert [item.status for item in finished.deliveries] == [DeliveryStatus.SENT] * texts
    assert work.transactions == 1 + texts
    assert len(work.statements) == statements
    assert work.compiled == []
