"""How the task queues stand: who polls them, and how long work has waited.

Owns one look at them all, which needs no worker. What is too old is for whoever looks to say.
Source: DESIGN §3 rule 15.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

from client.connection import translated
from domain.identifiers import ENTITIES_QUEUE, LLM_QUEUE, RUNS_QUEUE, TOOLS_QUEUE, WATCH_QUEUE

MAX_BACKLOG_AGE: Final = timedelta(seconds=60)
# The server remembers pollers that are gone for minutes; one that lives asks again within one.
MAX_POLLER_AGE: Final = timedelta(seconds=90)
LOOK_TIMEOUT: Final = timedelta(seconds=3)

_WORKFLOW = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
_ACTIVITY = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
_LOOKED_AT: Final = (
    (ENTITIES_QUEUE, _WORKFLOW),
    (ENTITIES_QUEUE, _ACTIVITY),
    (RUNS_QUEUE, _WORKFLOW),
    (RUNS_QUEUE, _ACTIVITY),
    (LLM_QUEUE, _ACTIVITY),
    (TOOLS_QUEUE, _ACTIVITY),
    (WATCH_QUEUE, _WORKFLOW),
    (WATCH_QUEUE, _ACTIVITY),
)


class QueueState(BaseModel):
    """One task queue, for one kind of task (`workflow` or `activity`).

    `pollers` are those that have asked lately; `backlog_seconds` is the age of the oldest task that
    waits.
    """

    model_config = ConfigDict(frozen=True)

    queue: str
    kind: str
    pollers: int
    backlog: int
    backlog_seconds: float

    @property
    def name(self) -> str:
        """Queue and kind, for messages."""
        return f"{self.queue} ({self.kind} tasks)"


async def look_at_queues(
    temporal: Client, *, max_poller_age: timedelta = MAX_POLLER_AGE
) -> Sequence[QueueState]:
    """Look at every queue that has something to do.

    Raises:
        DomainError: `unavailable` when Temporal does not answer.
    """
    with translated():
        return await asyncio.gather(
            *(_look(temporal, queue, kind, max_poller_age) for queue, kind in _LOOKED_AT)
        )


async def _look(
    temporal: Client, queue: str, kind: TaskQueueType.ValueType, max_poller_age: timedelta
) -> QueueState:
    answer = await temporal.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=temporal.namespace,
            task_queue=TaskQueue(name=queue),
            task_queue_type=kind,
            report_stats=True,
        ),
        retry=False,
        timeout=LOOK_TIMEOUT,
    )
    since = datetime.now(UTC) - max_poller_age
    return QueueState(
        queue=queue,
        kind="workflow" if kind == _WORKFLOW else "activity",
        pollers=len(
            {
                poller.identity
                for poller in answer.pollers
                if poller.last_access_time.ToDatetime(tzinfo=UTC) > since
            }
        ),
        backlog=answer.stats.approximate_backlog_count,
        backlog_seconds=answer.stats.approximate_backlog_age.ToTimedelta().total_seconds(),
    )
