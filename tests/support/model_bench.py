"""`call_model` with everything around it: a real store, a real HTTP model server, no Temporal.

Owns the bench that tests of model calls share; each bench is one caller with a thread of its own.
"""

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import failures
from activities.failures import ModelFailure, model_failure_of
from activities.live_text import LiveText
from activities.models import CallModel, ModelActivities, ModelAnswer
from activities.store import Store
from activities.workspace import Workspace
from domain.llm_calls import LlmCall
from domain.model_chain import ModelSpec
from domain.prices import Price, PriceTable
from tests.support.ledger_rows import run_record, thread
from tests.support.model_server import ModelServer

KEY = "sk-secret-0123456789abcdef"
PRICES = PriceTable(
    prices={"test/m1": Price(input_per_mtok=1_000_000, output_per_mtok=2_000_000)},
    price_version="2026-03",
)


class Switch:
    """The big red button."""

    def __init__(self) -> None:
        self.pressed = False
        self.checked = asyncio.Event()

    async def check(self) -> None:
        self.checked.set()
        if self.pressed:
            raise ApplicationError("paused", type=failures.SYSTEM_PAUSED, non_retryable=True)


class Bench:
    """The activity with everything around it; each bench is one activity of one run."""

    _numbers = itertools.count(1)

    def __init__(self, store: Store, server: ModelServer, root: Path) -> None:
        self.store = store
        self.server = server
        self.workspace = Workspace(root)
        self.switch = Switch()
        self.run_id = f"brief/m-{next(self._numbers)}"
        self.workflow_id = f"routine-run/{self.run_id}"
        self.thread_id = f"thread of {self.run_id}"
        self.beats: list[LiveText] = []
        self.made: list[ModelActivities] = []
        self.environment = ActivityEnvironment()
        self.options: dict[str, Any] = {}

    def spec(self, name: str = "m1", **fields: Any) -> ModelSpec:
        known = {"base_url": self.server.base_url, "api_key": SecretStr(KEY), "provider": "test"}
        return ModelSpec(**{"name": name, **known, **fields})

    def request(self, **fields: Any) -> CallModel:
        known: dict[str, Any] = {
            "run": run_record(self.run_id),
            "thread": thread(self.thread_id),
            "prompt": "Say hello.",
            "timeout_seconds": 60,
        }
        return CallModel(**known | fields)

    async def call(
        self,
        request: CallModel | None = None,
        *,
        chain: list[ModelSpec] | None = None,
        attempt: int = 1,
        details: tuple[Any, ...] = (),
        activity_id: str = "1",
        silent_beat: timedelta = timedelta(seconds=5),
    ) -> ModelAnswer:
        known: dict[str, Any] = {
            "store": self.store,
            "chain": [self.spec()] if chain is None else chain,
            "prices": PRICES,
            "workspace": self.workspace,
            "pause": self.switch,
            "silent_beat": silent_beat,
        }
        activities = ModelActivities(**known | self.options)
        self.made.append(activities)
        self.environment = ActivityEnvironment()
        self.environment.info = replace(
            self.environment.info,
            workflow_id=self.workflow_id,
            activity_id=activity_id,
            attempt=attempt,
            heartbeat_details=list(details),
        )
        self.environment.on_heartbeat = self.beats.append
        return await self.environment.run(activities.call_model, request or self.request())

    async def close(self) -> None:
        for activities in self.made:
            await activities.close()

    async def fails(self, **options: Any) -> tuple[ApplicationError, ModelFailure]:
        with pytest.raises(ApplicationError) as caught:
            await self.call(**options)
        failure = model_failure_of(caught.value)
        assert failure is not None
        assert KEY not in str(caught.value) + failure.model_dump_json()
        return caught.value, failure

    async def rows(self) -> list[LlmCall]:
        return await self.store.calls.with_prefix(self.workflow_id + "/")

    async def texts(self) -> list[tuple[str, str]]:
        messages = await self.store.threads.messages(self.thread_id)
        return [(message.role, message.content) for message in messages]


@asynccontextmanager
async def running_bench(
    store: Store, server: ModelServer, root: Path, **options: Any
) -> AsyncGenerator[Bench]:
    """A bench whose model has been asked nothing yet; at the end it was asked nothing wrong."""
    server.calls.clear()
    bench = Bench(store, server, root)
    bench.options.update(options)
    try:
        yield bench
    finally:
        await bench.close()
    server.assert_clean()
