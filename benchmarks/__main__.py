"""`make bench`: every measurement of this folder, printed with the goal it has.

python -m benchmarks [NAME …] [--count N] [--routines N] [--seconds S] [--listeners N]
"""

import argparse
import asyncio
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.events import measure_events
from benchmarks.events import summary as event_summary
from benchmarks.goals import compare_goals
from benchmarks.jobs import compare_jobs
from benchmarks.measuring import memory_mib
from benchmarks.prompts import measure_prompts
from benchmarks.prompts import summary as prompt_summary
from benchmarks.rounds import RoundsReport
from benchmarks.routines import compare_due, measure_idle
from benchmarks.runs import cancellation_milliseconds, compare, summary
from benchmarks.schedules import measure_schedules
from benchmarks.sessions import compare_sessions, interrupt_milliseconds
from benchmarks.startup import help_cpu_seconds
from benchmarks.webhooks import compare_webhooks
from domain.identifiers import SERVED_QUEUES
from tests.support.harness import Harness, running_harness, running_server

NAMES = (
    "schedules",
    "startup",
    "prompts",
    "runs",
    "sessions",
    "jobs",
    "goals",
    "webhooks",
    "due",
    "idle",
    "events",
)


@asynccontextmanager
async def running(**overrides: str) -> AsyncGenerator[tuple[Harness, int]]:
    """A harness as deployments run it, on a server of its own, and that server's process id."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with (
            running_server(folder) as server,
            running_harness(
                folder,
                server,
                queues=SERVED_QUEUES,
                TICKLESS_TEMPORAL__SANDBOX="false",
                **overrides,
            ) as harness,
        ):
            assert server.pid is not None
            yield harness, server.pid


async def report_runs(count: int) -> None:
    """Full runs against the floor, and cancellation."""
    async with running() as (harness, pid):
        report = await compare(harness, pid, count)
        delays = await cancellation_milliseconds(harness)
        print(f"floor, two no-op activities   {report.floor}")
        print(f"full lightweight runs         {report.runs}")
        print(f"runs / floor                  {report.ratio:6.2f}   (goal 0.6)")
        print(f"cancel to closed connection   {summary(delays)}   (goal p99 300 ms)")
        print(f"server memory                 {memory_mib(pid):6.0f} MiB")


async def report_sessions(count: int) -> None:
    """Messages to a session against the floor, and automation that lets go."""
    async with running() as (harness, _):
        report = await compare_sessions(harness, count)
        delays = await interrupt_milliseconds(harness)
    print(f"floor, update and activity    {summary(report.floor)}")
    print(f"message to model request      {summary(report.sessions)}")
    print(f"accepted to model request     {summary(report.accepted)}")
    print(f"accepted / floor, p50         {report.accepted_ratio:6.2f}   (goal 1.5 at most)")
    print(f"sent / floor, p50             {report.ratio:6.2f}")
    print(
        f"history of a turn             {report.bytes_each:6.0f} bytes,"
        f" {report.events_each:.0f} events   (goal 8000 bytes at most)"
    )
    print(f"message to closed connection  {summary(delays)}   (goal p99 300 ms)")


async def report_jobs() -> None:
    """Rounds of jobs against a raw workflow of the same activities."""
    async with running() as (harness, pid):
        _print_rounds("job", await compare_jobs(harness, pid), "   (goal 1.6 at most)")


async def report_goals() -> None:
    """Rounds of goals against a raw workflow that has the same jobs done."""
    async with running() as (harness, pid):
        _print_rounds("goal", await compare_goals(harness, pid))


def _print_rounds(noun: str, report: RoundsReport, aim: str = "") -> None:
    print(f"round of a raw workflow       {summary(report.floor)}")
    print(f"{f'round of a {noun}':30}{summary(report.ours)}")
    print(f"{f'{noun} / raw, p50':30}{report.ratio:6.2f}{aim}")
    print(f"{f'{noun} / raw, CPU':30}{report.cpu_ratio:6.2f}")
    print(
        f"events of a round             {report.our_events:6.1f}   (raw {report.floor_events:.1f})"
    )


async def report_due(count: int) -> None:
    """Many routines due at once, against raw Schedules; four models at a time, as set by default.

    A scripted model that answers at once on 50 places would fill the processor with the ends of
    the first runs while the last ones are still to be admitted.
    """
    async with running(TICKLESS_MAX_CONCURRENT_RUNS="4") as (harness, pid):
        report = await compare_due(harness, pid, count)
    print(f"{count:5} raw Schedules due       {report.floor}")
    print(f"{count:5} routines due            {report.routines}")
    print(f"routines / raw, last start    {report.ratio:6.2f}   (goal 2 at most)")
    print(f"routines / raw, CPU to the end{report.cpu_ratio:6.2f}")


async def report_idle(count: int, seconds: float) -> None:
    """Many routines at rest."""
    async with running() as (harness, pid):
        report = await measure_idle(harness, pid, count, seconds)
    print(f"{count:5} routines made           {report.creation}")
    print(
        f"{count:5} at rest for {seconds:4.0f} s      {report.workflow_tasks:6.0f} workflow tasks"
        f" ({report.new_events} events)   (goal 0)"
    )
    print(
        f"memory for each routine       worker {report.worker_kib_each:6.1f} KiB,"
        f" server {report.server_kib_each:6.1f} KiB"
    )


async def report_events(count: int) -> None:
    """Messages and events among many routines that listen."""
    async with running() as (harness, _):
        report = await measure_events(harness.client, count)
    print(f"{count:5} listeners, first list     {report.first_ms:6.0f} ms")
    print(f"one message matched           {event_summary(report.message_ms)}   (goal p99 2 ms)")
    print(f"one event matched             {event_summary(report.event_ms)}   (goal p99 2 ms)")
    print(f"a new routine is heard after  {report.new_ms:6.0f} ms   (goal 1000 ms)")


def report_schedules() -> None:
    """Occurrences and validation."""
    report = measure_schedules()
    print(f"1000 occurrences, daily, DST  {report.occurrences}   (goal 20 ms)")
    print(f"one next time                 {report.next_time}")
    print(f"validation of a schedule      {report.validation}   (goal 0.2 ms)")


async def report_prompts() -> None:
    """The prompt of a long conversation."""
    report = await measure_prompts()
    print(f"conversation                  {report.tokens} tokens, {report.sent} of them sent")
    print(f"read, pruned and framed       {prompt_summary(report.load)}   (goal 50 ms)")
    print(f"compacted after an overflow   {prompt_summary(report.compact)}   (goal 50 ms)")


async def report_webhooks(count: int) -> None:
    """Deliveries accepted over HTTP, against bare starts."""
    report = await compare_webhooks(count)
    print(f"bare starts                   {report.floor}")
    print(f"deliveries accepted           {report.deliveries}")
    print(
        f"deliveries / bare starts      {report.ratio:6.2f}   (goal 0.7)   p99 {report.p99:.0f} ms"
    )


def report_startup() -> None:
    """The command line."""
    print(f"tickless --help               {help_cpu_seconds():6.2f} s CPU   (goal 0.3)")


async def main(names: list[str], count: int, routines: int, seconds: float, listeners: int) -> None:
    """Measure and print."""
    if "schedules" in names:
        report_schedules()
    if "startup" in names:
        report_startup()
    if "prompts" in names:
        await report_prompts()
    if "runs" in names:
        await report_runs(count)
    if "sessions" in names:
        await report_sessions(count)
    if "jobs" in names:
        await report_jobs()
    if "goals" in names:
        await report_goals()
    if "webhooks" in names:
        await report_webhooks(count)
    if "due" in names:
        await report_due(routines)
    if "idle" in names:
        await report_idle(routines, seconds)
    if "events" in names:
        await report_events(listeners)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(NAMES)}; all")
    parser.add_argument("--count", type=int, default=200, help="runs in a batch")
    parser.add_argument("--routines", type=int, default=1000, help="routines due or at rest")
    parser.add_argument("--seconds", type=float, default=60, help="how long routines rest")
    parser.add_argument("--listeners", type=int, default=10_000, help="routines that listen")
    given = parser.parse_args()
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"{', '.join(sorted(unknown))}: not among {', '.join(NAMES)}")
    names = given.names or [*NAMES]
    asyncio.run(main(names, given.count, given.routines, given.seconds, given.listeners))
