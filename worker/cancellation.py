"""How cancellations reach activities on this server, measured once at a worker's start.

Owns the probe and the heartbeat throttles that follow from it. Source: DESIGN §4.
"""

import asyncio
from datetime import timedelta

import structlog
from temporalio import activity
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client, WorkflowFailureError
from temporalio.worker import Worker
from ulid import ULID

from worker.sandbox import workflow_runner
from workflows.cancellation_probe import PROBE_TIMEOUT, CancellationProbe

_log = structlog.stdlib.get_logger("tickless.worker")

# With cancellations pushed by the server, heartbeats only carry live text and prove life.
_PUSHED_THROTTLE = timedelta(seconds=1)
# Without, a cancellation rides on the answer to a heartbeat (116 / 216 ms, p50 / p99).
_POLLED_THROTTLE = timedelta(milliseconds=200)
_PUSHED_SILENT_BEAT = timedelta(seconds=2)
_POLLED_SILENT_BEAT = timedelta(milliseconds=100)


def model_heartbeat_throttle(*, pushed: bool) -> timedelta:
    """How often a model call's heartbeat is really sent."""
    return _PUSHED_THROTTLE if pushed else _POLLED_THROTTLE


def silent_model_beat(*, pushed: bool) -> timedelta:
    """How often a model call heartbeats while its model is silent."""
    return _PUSHED_SILENT_BEAT if pushed else _POLLED_SILENT_BEAT


async def pushes_cancellations(client: Client) -> bool:
    """Whether the server tells workers of cancellations at once, not with a heartbeat's answer.

    Takes some 50 ms where it does, two seconds where only half of it is switched on.
    """
    answer = await client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace=client.namespace)
    )
    if not answer.namespace_info.capabilities.worker_commands:
        return False
    name = f"tickless-probe-{str(ULID()).lower()}"
    async with Worker(
        client,
        task_queue=name,
        workflows=[CancellationProbe],
        activities=[_Waiting(client).wait_for_cancellation],
        workflow_runner=workflow_runner(sandboxed=False),
    ):
        try:
            return await client.execute_workflow(
                CancellationProbe.run,
                id=name,
                task_queue=name,
                execution_timeout=PROBE_TIMEOUT * 5,
                static_summary="Does this server push cancellations?",
            )
        except WorkflowFailureError:
            # Too busy to tell; heartbeats work everywhere.
            _log.warning("cancellation_probe_failed", workflow_id=name)
            return False


class _Waiting:
    def __init__(self, client: Client) -> None:
        self._client = client

    @activity.defn
    async def wait_for_cancellation(self) -> bool:
        """Wait without heartbeats; false when no cancellation came in time."""
        info = activity.info()
        if info.workflow_id is not None:
            await self._client.get_workflow_handle(info.workflow_id).signal("activity_waits")
        await asyncio.sleep(PROBE_TIMEOUT.total_seconds())
        return False
