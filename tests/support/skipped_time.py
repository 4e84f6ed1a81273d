"""A Tickless on a server that skips time.

Owns starting both; only what the harness's client starts skips time.
"""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import TimeSkippingConfig, WorkflowEnvironment

from tests.support.harness import Harness, running_harness
from worker.temporal_server import DEV_FLAGS, temporal_binary

_FLAGS: Final = {
    **DEV_FLAGS,
    "frontend.WorkflowTimeSkippingEnabled": True,
    # A new execution of a workflow that is ahead of the clock counts as one that began too soon
    # after the last, and has to wait for as long as it is ahead.
    "history.workflowIdReuseMinimalInterval": "-2400h",
}


@asynccontextmanager
async def skipping_environment(
    config: TimeSkippingConfig | None = None,
) -> AsyncGenerator[WorkflowEnvironment]:
    """The server; without a config, time is skipped whenever a workflow only waits."""
    arguments: list[str] = []
    for name, value in _FLAGS.items():
        arguments += ["--dynamic-config-value", f"{name}={json.dumps(value)}"]
    async with await WorkflowEnvironment.start_time_skipping_v2(
        ts_config=config or TimeSkippingConfig(),
        dev_server_existing_path=str(temporal_binary()),
        dev_server_extra_args=arguments,
        data_converter=pydantic_data_converter,
    ) as started:
        yield started


@asynccontextmanager
async def skipping_harness(
    environment: WorkflowEnvironment, folder: Path, **overrides: Any
) -> AsyncGenerator[Harness]:
    """The rest of it, with workers that know nothing of skipped time."""
    server: Any = SimpleNamespace(address=environment.client.service_client.config.target_host)
    async with running_harness(folder, server, **overrides) as harness:
        yield replace(harness, client=environment.client)
