"""`make bench`: every measurement of this folder, printed with the goal it has."""

import argparse
import asyncio
import tempfile
from pathlib import Path

from benchmarks.measuring import memory_mib
from benchmarks.runs import cancellation_milliseconds, compare, summary
from benchmarks.startup import help_cpu_seconds
from tests.support.harness import running_harness, running_server


async def main(count: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with running_server(folder) as server:
            pid = server.pid
            assert pid is not None
            async with running_harness(
                folder, server, TICKLESS_TEMPORAL__SANDBOX="false"
            ) as harness:
                report = await compare(harness, pid, count)
                delays = await cancellation_milliseconds(harness)
            print(f"floor, two no-op activities   {report.floor}")
            print(f"full lightweight runs         {report.runs}")
            print(f"runs / floor                  {report.ratio:6.2f}   (goal 0.6)")
            print(f"cancel to closed connection   {summary(delays)}   (goal p99 300 ms)")
            print(f"server memory                 {memory_mib(pid):6.0f} MiB")
    print(f"tickless --help               {help_cpu_seconds():6.2f} s CPU   (goal 0.3)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="runs in a batch")
    asyncio.run(main(parser.parse_args().count))
