"""How rounds of something that goes round are compared with those of a raw workflow.

Owns the taking in turn and the ratios; the work and its floor are the caller's.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from temporalio.client import Client

from benchmarks.measuring import Throughput, measure, quantile


@dataclass(frozen=True)
class RoundsReport:
    """Milliseconds of a round, ours and the floor's, one value a workflow; events of a round."""

    floor: list[float]
    ours: list[float]
    floor_cpu_ms: float
    our_cpu_ms: float
    floor_events: float
    our_events: float

    @property
    def ratio(self) -> float:
        """Ours over the floor, at the median."""
        return quantile(self.ours, 0.5) / quantile(self.floor, 0.5)

    @property
    def cpu_ratio(self) -> float:
        """Processor time of a round over the floor's, worker and server together."""
        return self.our_cpu_ms / self.floor_cpu_ms


async def compare_rounds(
    floor: Callable[[], Awaitable[int]],
    ours: Callable[[], Awaitable[int]],
    rounds: int,
    count: int,
    server_pid: int,
) -> RoundsReport:
    """Floor and ours in turn, one after the other: what else the machine does hits both.

    Args:
        floor: Makes all rounds of one raw workflow; gives the number of its events.
        ours: The same of ours.
        rounds: How many rounds each makes.
        count: How often each is made, after once that does not count.
        server_pid: Whose processor time counts too.
    """
    raw, our = _Side(floor), _Side(ours)
    for side in (raw, our):
        await side.once(0)
    for _ in range(count):
        for side in (raw, our):
            side.taken.append(await measure(side.once, 1, 1, server_pid))
    return RoundsReport(
        floor=raw.milliseconds(rounds),
        ours=our.milliseconds(rounds),
        floor_cpu_ms=raw.cpu_milliseconds(rounds),
        our_cpu_ms=our.cpu_milliseconds(rounds),
        floor_events=raw.events / rounds,
        our_events=our.events / rounds,
    )


class _Side:
    """One of the two that are compared, and what it has taken."""

    def __init__(self, work: Callable[[], Awaitable[int]]) -> None:
        self._work = work
        self.taken: list[Throughput] = []
        self.events = 0

    async def once(self, _number: int) -> None:
        self.events = await self._work()

    def milliseconds(self, rounds: int) -> list[float]:
        return [item.seconds / rounds * 1e3 for item in self.taken]

    def cpu_milliseconds(self, rounds: int) -> float:
        spent = [item.worker_cpu_seconds + item.server_cpu_seconds for item in self.taken]
        return quantile(spent, 0.5) / rounds * 1e3


async def events_of(client: Client, workflow_id: str) -> int:
    """How many events the history of a workflow has."""
    described = await client.get_workflow_handle(workflow_id).describe()
    return described.raw_description.workflow_execution_info.history_length
