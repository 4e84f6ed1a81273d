"""Fixtures for tests that need a running Tickless: one server and one set of workers a process."""

from collections.abc import AsyncIterator

import hypothesis  # noqa: F401 - compiled now: CPython 3.11 may fail to after many greenlets
import pytest

from tests.support.harness import Harness, running_harness, running_server
from worker.temporal_server import DevServer


@pytest.fixture(scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DevServer]:
    """A real Temporal server in memory."""
    async with running_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="session")
async def harness(
    server: DevServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Harness]:
    """A running Tickless, shared by the tests of this process."""
    async with running_harness(tmp_path_factory.mktemp("tickless"), server) as running:
        yield running
