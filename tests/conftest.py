"""Fixtures for tests that need a running Tickless: one server and one set of workers a process."""

import inspect
from collections.abc import AsyncIterator

import pytest
from xdist.remote import Producer

from tests.support.harness import Harness, running_harness, running_server
from tests.support.scheduling import HEAVY, StageScheduling
from tests.support.time_limits import limited
from worker.temporal_server import DevServer

# Tests of many seconds come first, so that no processor is idle while the last of them runs.
_ORDER = ("chaos", "workflows", "integration", "replay", "unit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests, and limit those that could wait for ever."""
    items.sort(key=_rank)
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.obj = limited(item.obj, _limit(item))


def _limit(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    usual = item.config.getoption("timeout") or item.config.getini("timeout")
    given = marker.args[0] if marker and marker.args else usual
    # Less than the limit of the runner, which counts the start of the stage too.
    return float(given) * 0.75


def _rank(item: pytest.Item) -> tuple[int, bool]:
    folder = item.path.parent.name
    place = _ORDER.index(folder) if folder in _ORDER else len(_ORDER)
    return place, item.path.name not in HEAVY


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> StageScheduling | None:
    """Keep together what belongs together.

    Groups by mark hold no longer: xdist 3.8 writes them where pytest 9.2 does not read them.
    """
    if config.getvalue("dist") != "loadgroup":
        return None
    config.option.loadscopereorder = False
    return StageScheduling(config, log)


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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what tests have counted: those in other processes cannot write it themselves."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{report.head_line}: {value} {name}")
