"""A whole Tickless for tests: real Temporal server, real workers in this process, scripted models.

Owns starting the parts and the marks by which a test scripts the model for its own routines: the
parts are shared by all tests of a process, so a prompt that holds `mark` gets that test's steps.
"""

import asyncio
import os
import uuid
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.client import Client

from activities.search_attributes import TYPES
from client.connection import connect
from client.settings import Settings, connect_config, load_settings
from client.setup import setup_namespace
from client.tickless import TicklessClient
from domain.identifiers import SERVED_QUEUES, routine_workflow_id
from domain.run_view import RunView
from domain.runs import run_workflow_id
from tests.support.model_server import ModelServer
from tests.support.model_steps import Behaviour, Body, Reply, Step
from worker.process import running_workers
from worker.temporal_server import DEV_FLAGS, DevServer, DevServerOptions


@dataclass
class Scripts:
    """What the models do, by a mark in the prompt; a prompt without one gets a silent answer."""

    steps: dict[str, deque[Behaviour]] = field(default_factory=dict)

    def on(self, mark: str, *steps: Behaviour) -> None:
        """Do these for prompts with the mark, one for each request; the last is repeated."""
        self.steps[mark] = deque(steps)

    def step(self, body: Body) -> Step:
        text = " ".join(str(message.get("content")) for message in body["messages"])
        for mark, steps in self.steps.items():
            if mark in text:
                found = steps.popleft() if len(steps) > 1 else steps[0]
                return found(body) if callable(found) else found
        return Reply(text="ROUTINE_OK", chunks=1)


@dataclass
class Harness:
    """The running parts, and what most tests do with them."""

    client: Client
    settings: Settings
    tickless: TicklessClient
    models: ModelServer
    scripts: Scripts
    folder: Path
    environ: dict[str, str]
    serving: "asyncio.Task[None] | None" = None

    @property
    def deliveries(self) -> Path:
        """The file to which the channel `file` writes."""
        return self.settings.store.folder / "deliveries.jsonl"

    def name(self) -> str:
        """A name for a routine that nobody else has; also good as a mark."""
        return f"t-{uuid.uuid4().hex[:20]}"

    async def routine(self, *steps: Behaviour, **body: Any) -> str:
        """Create a routine whose model calls do these steps; fires by hand unless told."""
        name = self.name()
        if steps:
            self.scripts.on(name, *steps)
        given: dict[str, Any] = {"prompt": f"Do {name}.", **body}
        if not {"schedule", "trigger"} & set(given):
            given["trigger"] = {"type": "manual"}
        given.setdefault("notify", {"route": {"receive_id_type": "file", "receive_id": ""}})
        await self.tickless.routines.create(given, name=name)
        return name

    async def run_once(self, routine: str, *, force: bool = False) -> RunView:
        """Trigger a routine and wait for the end of the run."""
        started = await self.tickless.runs.trigger(routine, force=force)
        return await self.tickless.runs.wait(started.run_id)

    async def routine_events(self, routine: str) -> list[str]:
        """Types of the history events of a routine's workflow."""
        return await self.events(routine_workflow_id(routine))

    async def run_events(self, run: str) -> list[str]:
        """Types of the history events of a run's workflow."""
        return await self.events(run_workflow_id(run))

    async def rests(self, workflow_id: str) -> None:
        """Wait until a workflow only waits: nothing of it goes on, nothing is to be looked at."""
        handle = self.client.get_workflow_handle(workflow_id)

        async def quiet() -> bool:
            raw = (await handle.describe()).raw_description
            busy = raw.pending_activities or raw.pending_children
            return not busy and not raw.HasField("pending_workflow_task")

        await until(quiet, f"{workflow_id} only waits")

    async def failed_tasks(self, workflow_id: str) -> list[str]:
        """Why tasks of a workflow failed, but for those that are only done again.

        A message that arrives while the workflow ends makes it look again, and a machine on which
        it does not get its turn for two seconds is taken for a deadlock: a real one comes again, so
        that the workflow does not end.
        """
        history = await self.client.get_workflow_handle(workflow_id).fetch_history()
        failed = [event.workflow_task_failed_event_attributes for event in history.events]
        return [
            f"{WorkflowTaskFailedCause.Name(item.cause)}: {item.failure.message}"
            for item in failed
            if item.cause != WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNSPECIFIED
            and item.cause != WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND
            and not item.failure.message.startswith("[TMPRL1101]")
        ]

    async def events(self, workflow_id: str) -> list[str]:
        history = await self.client.get_workflow_handle(workflow_id).fetch_history()
        return [
            EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in history.events
        ]


async def until(
    holds: Callable[[], Awaitable[bool]], what: str, seconds: float = 30, pause: float = 0.03
) -> None:
    """Wait for a condition that needs asking."""
    try:
        async with asyncio.timeout(seconds):
            while not await holds():  # noqa: ASYNC110 - the server sets no event of ours
                await asyncio.sleep(pause)
    except TimeoutError as error:
        raise AssertionError(f"not within {seconds} s: {what}") from error


def environment_for(
    folder: Path, server: DevServer, models: ModelServer, **overrides: str
) -> dict[str, str]:
    """The settings of a test: its own folder, the test's server, two scripted models."""
    environ = {
        "TEMPORAL_ADDRESS": server.address,
        "TICKLESS_STORE__FOLDER": str(folder),
        "TICKLESS_STORE__URL": f"sqlite:///{folder / 'ledger.db'}",
        "TICKLESS_WORKSPACE": str(folder / "workspace"),
        "TICKLESS_CONTEXT__ACTOR_USER_ID": "me",
        "TICKLESS_CONTEXT__RECEIVE_ID_TYPE": "file",
        "TICKLESS_MAX_CONCURRENT_RUNS": "50",
        # Another than the default, so that it shows where the setting is not heard of.
        "TICKLESS_JOB_STEP_HEARTBEAT_SECONDS": "20",
        "TICKLESS_TEMPORAL__SANDBOX": "true",
        **overrides,
    }
    for index, name in enumerate(("first", "second")):
        environ[f"TICKLESS_MODELS__{index}__NAME"] = name
        environ[f"TICKLESS_MODELS__{index}__BASE_URL"] = models.base_url
        environ[f"TICKLESS_MODELS__{index}__API_KEY"] = "test-key"
    return environ


@asynccontextmanager
async def running_server(folder: Path, **options: Any) -> AsyncGenerator[DevServer]:
    """A Temporal server in memory, without UI, on free ports."""
    given: dict[str, Any] = {
        "log_file": folder / "temporal-server.log",
        "port": 0,
        "ui_port": 0,
        "headless": True,
        "search_attributes": TYPES,
        **options,
    }
    async with DevServer(DevServerOptions(**given)) as server:
        yield server
        # Its orderly end takes a second, and nothing is left to be kept.
        await server.kill()


@asynccontextmanager
async def running_harness(
    folder: Path,
    server: DevServer,
    *,
    queues: tuple[str, ...] = SERVED_QUEUES,
    **overrides: str,
) -> AsyncGenerator[Harness]:
    """A harness on a running server; with no queues, one without workers."""
    (folder / "workspace").mkdir(parents=True, exist_ok=True)
    # Otherwise the workers of this process would write into the output of commands under test.
    structlog.configure(logger_factory=structlog.stdlib.LoggerFactory())
    # As everywhere: without the locals of every frame, which take seconds to be written.
    structlog.dev.ConsoleRenderer.get_active().exception_formatter = structlog.dev.plain_traceback
    scripts = Scripts()
    with ModelServer() as models:
        models.always(scripts.step)
        environ = environment_for(folder, server, models, **overrides)
        config = folder / "settings.yaml"
        config.write_text("{}\n", encoding="utf-8")
        settings = load_settings(config, environ).settings
        client = await connect(connect_config(settings.temporal, {}))
        await setup_namespace(client, timedelta(days=7))
        harness = Harness(
            client=client,
            settings=settings,
            tickless=TicklessClient.of_settings(client, settings),
            models=models,
            scripts=scripts,
            folder=folder,
            environ=environ,
        )
        if not queues:
            yield harness
            return
        async with running_workers(client, settings, os.environ, queues) as serving:
            harness.serving = serving
            yield harness


@asynccontextmanager
async def renewing_harness(folder: Path) -> AsyncGenerator[Harness]:
    """A Tickless of its own, where a history of 60 events is long: workflows go on anew."""
    config = {**DEV_FLAGS, "limit.historyCount.suggestContinueAsNew": 60}
    async with (
        running_server(folder, dynamic_config=config) as server,
        running_harness(folder, server) as harness,
    ):
        yield harness
