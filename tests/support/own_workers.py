"""Workers of a test's own: some activities are the test's, and nobody else serves their queues."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from tests.support.harness import Harness, running_harness, running_server, until


@asynccontextmanager
async def unserved(folder: Path) -> AsyncGenerator[Harness]:
    """A harness without workers, on a server of its own."""
    async with (
        running_server(folder) as server,
        running_harness(folder / "tickless", server, queues=()) as harness,
    ):
        yield harness


def serving(
    client: Client,
    queue: str,
    *activities: Callable[..., Any],
    workflows: Sequence[type] = (),
) -> Worker:
    """Who serves a queue, and hears of cancellations at once."""
    return Worker(
        client,
        task_queue=queue,
        workflows=workflows,
        activities=activities,
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_heartbeat_throttle_interval=timedelta(milliseconds=100),
    )


def forgetful(client: Client, queue: str, workflow: type, *local: Callable[..., Any]) -> Worker:
    """Who serves a workflow, and remembers nothing of it from one task to the next."""
    return Worker(
        client,
        task_queue=queue,
        workflows=[workflow],
        activities=local,
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=0,
        no_remote_activities=True,
    )


async def activities_over(handle: WorkflowHandle[Any, Any]) -> None:
    """Wait until none of a workflow's activities is pending."""

    async def over() -> bool:
        return not (await handle.describe()).raw_description.pending_activities

    await until(over, "the activities have ended")
