"""How the benchmarks measure: wall time, and processor time of this process and of the server.

Owns the clock work. Ratios travel between machines, absolutes do not; the reports print both.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Throughput:
    """What many equal pieces of work took."""

    count: int
    seconds: float
    worker_cpu_seconds: float
    server_cpu_seconds: float

    @property
    def per_second(self) -> float:
        """Pieces per second."""
        return self.count / self.seconds

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"{self.per_second:6.1f}/s   server {self.server_cpu_seconds / self.count * 1e3:5.1f}"
            f" CPU-ms   worker {self.worker_cpu_seconds / self.count * 1e3:5.1f} CPU-ms each"
        )


async def measure(
    work: Callable[[int], Awaitable[None]], count: int, at_once: int, server_pid: int
) -> Throughput:
    """Do a piece of work so many times, so many at a time."""
    gate = asyncio.Semaphore(at_once)

    async def gated(number: int) -> None:
        async with gate:
            await work(number)

    started, worker, server = time.monotonic(), time.process_time(), cpu_seconds(server_pid)
    await asyncio.gather(*(gated(number) for number in range(count)))
    return Throughput(
        count=count,
        seconds=time.monotonic() - started,
        worker_cpu_seconds=time.process_time() - worker,
        server_cpu_seconds=cpu_seconds(server_pid) - server,
    )


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_mib(pid: int) -> float:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


def quantile(values: list[float], share: float) -> float:
    """The value below which that share of all lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
