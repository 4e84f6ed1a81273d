"""Webhooks: deliveries accepted over HTTP, against bare starts of a workflow.

Both are starts in the same server that nobody takes up: no worker runs meanwhile. A delivery is
verified and its routine is looked up; client and gateway share this process and its time.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring import Throughput, measure, quantile
from client.sealing import KEY_FILE, create_key_file
from client.tickless import TicklessClient
from domain.identifiers import SERVED_QUEUES
from tests.support.gateway import gateway_under_test
from tests.support.harness import Harness, running_harness, running_server
from tests.support.webhooks import HOOKS, OPEN, signed
from worker.temporal_server import DevServer

AT_ONCE = 20
SETTINGS = {
    "TICKLESS_WEBHOOKS_ENABLED": "true",
    "TICKLESS_WEBHOOK_RATE_PER_MINUTE": "1000000",
    "TICKLESS_TEMPORAL__SANDBOX": "false",
}


@dataclass(frozen=True)
class WebhookReport:
    """Accepted deliveries beside bare starts."""

    floor: Throughput
    deliveries: Throughput
    milliseconds: list[float]

    @property
    def ratio(self) -> float:
        """Share of the floor's rate."""
        return self.deliveries.per_second / self.floor.per_second

    @property
    def p99(self) -> float:
        """The longest answers but one in a hundred."""
        return quantile(self.milliseconds, 0.99)


async def measure_webhooks(harness: Harness, server: DevServer, count: int) -> WebhookReport:
    """The floor, then the deliveries.

    Args:
        harness: Without workers, on a server where `make_hook` made the routine.
        server: Its server.
        count: Starts of each kind.
    """
    assert server.pid is not None

    async def start(number: int) -> None:
        await harness.client.start_workflow("Nobody", id=f"bare-{number}", task_queue="nobody")

    await start(-1)
    floor = await measure(start, count, AT_ONCE, server.pid)
    milliseconds: list[float] = []
    async with gateway_under_test(harness) as gateway, gateway.client("") as http:

        async def post(number: int) -> None:
            body = b'{"number": %d}' % number
            begun = time.monotonic()
            answer = await http.post(
                f"{HOOKS}/bench", content=body, headers=signed(body, f"delivery-{number}")
            )
            milliseconds.append((time.monotonic() - begun) * 1e3)
            assert answer.status_code == 202, answer.text

        await post(-1)
        deliveries = await measure(post, count, AT_ONCE, server.pid)
    return WebhookReport(floor, deliveries, milliseconds[1:])


async def make_hook(harness: Harness) -> None:
    """The routine whose webhook is posted to; needs workers."""
    client = TicklessClient.of_settings(harness.client, harness.settings)
    trigger = {"type": "webhook", "path": "bench", "secret": "a literal that nobody may find"}
    await client.routines.create(
        {"prompt": "Do it.", "guardrails": OPEN, "trigger": trigger}, name="bench"
    )


async def compare_webhooks(count: int) -> WebhookReport:
    """Make the routine, stop the workers, measure."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with running_server(folder) as server:
            async with running_harness(folder, server, queues=SERVED_QUEUES, **SETTINGS) as made:
                create_key_file(made.settings.store.folder / KEY_FILE)
                await make_hook(made)
            async with running_harness(folder, server, queues=(), **SETTINGS) as harness:
                return await measure_webhooks(harness, server, count)
