"""The floor: what Temporal itself costs, taken in the same run as what is compared to it.

A raw workflow with two no-op activities, on the same server and connection, with the SDK's
defaults.
"""

from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

from benchmarks.measuring import Throughput, measure

QUEUE = "floor"


@activity.defn
async def no_op(number: int) -> int:
    """Nothing."""
    return number


@workflow.defn
class TwoActivities:
    """Two activities, one after the other: what a run needs at the least (model, delivery)."""

    @workflow.run
    async def run(self, number: int) -> int:
        """Call twice."""
        for _ in range(2):
            number = await workflow.execute_activity(
                no_op, number, start_to_close_timeout=timedelta(seconds=30)
            )
        return number


@dataclass(frozen=True)
class Floor:
    """The raw workflow's throughput."""

    throughput: Throughput


async def measure_floor(client: Client, count: int, at_once: int, server_pid: int) -> Floor:
    """Run the raw workflow so many times, so many at a time."""
    async with Worker(
        client,
        task_queue=QUEUE,
        workflows=[TwoActivities],
        activities=[no_op],
    ):

        async def one(number: int) -> None:
            await client.execute_workflow(
                TwoActivities.run, number, id=f"floor-{number}", task_queue=QUEUE
            )

        return Floor(await measure(one, count, at_once, server_pid))
