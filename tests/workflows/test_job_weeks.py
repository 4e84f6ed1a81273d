"""Approvals over days: reminders and expiry, on a server that skips time."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from tests.support.harness import Harness, running_harness
from tests.support.jobs import calls, said, start_job
from worker.temporal_server import DEV_FLAGS, temporal_binary

WRITE = ("file_write", '{"path": "week.txt", "content": "x"}')


@pytest.fixture(scope="module")
async def skipping(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Harness]:
    folder: Path = tmp_path_factory.mktemp("weeks")
    flags = {**DEV_FLAGS, "frontend.WorkflowTimeSkippingEnabled": "true"}
    arguments = [part for flag in flags.items() for part in _flag(*flag)]
    async with await WorkflowEnvironment.start_time_skipping_v2(
        dev_server_existing_path=str(temporal_binary()),
        dev_server_extra_args=arguments,
        data_converter=pydantic_data_converter,
    ) as environment:
        address = environment.client.service_client.config.target_host
        server: Any = SimpleNamespace(address=address)
        async with running_harness(folder, server) as harness:
            # Only what this client starts skips time.
            harness.client = environment.client
            yield harness


def _flag(name: str, value: object) -> tuple[str, str]:
    return "--dynamic-config-value", f"{name}={str(value).lower()}"


async def test_a_week_without_an_answer_is_a_denial(skipping: Harness) -> None:
    job = await start_job(skipping, calls(WRITE), said("Without it."))
    ended = await job.result()
    assert ended.text == "Without it."
    approval = (await job.view()).approvals[0]
    assert approval.status == "timed_out"
    assert approval.decided_at is not None
    days = (approval.decided_at - approval.requested_at).total_seconds() / 86_400
    assert 7 <= days < 7.1
    texts = skipping.deliveries.read_text()
    assert texts.count(f'"part": "{approval.id}/reminder') == 2
