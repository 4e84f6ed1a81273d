"""The real Temporal server as a child: start, answer, stop, and what is told when it cannot."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from urllib.request import urlopen

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client, WorkflowExecutionStatus

from domain.errors import DomainError, ErrorKind
from tests.support.processes import (
    eventually,
    eventually_refuses,
    next_line,
    python_child,
    refuses,
)
from worker.ports import host_port
from worker.temporal_server import DevServer, DevServerOptions, temporal_binary

LOOPBACK = "127.0.0.1"


def port_of(server: DevServer) -> int:
    return int(server.address.rpartition(":")[2])


@pytest.fixture
def options(tmp_path: Path) -> DevServerOptions:
    return DevServerOptions(log_file=tmp_path / "temporal.log", port=0, ui_port=0, headless=True)


@pytest.fixture
async def server(options: DevServerOptions) -> AsyncIterator[DevServer]:
    async with DevServer(options) as running:
        yield running


async def test_it_answers_in_its_namespace_and_is_gone_after_stop(
    options: DevServerOptions,
) -> None:
    server = DevServer(
        replace(
            options,
            namespace="tickless-test",
            search_attributes={"TicklessKind": "Keyword", "TicklessApprovals": "KeywordList"},
        )
    )
    async with server:
        client = await Client.connect(server.address, namespace=server.namespace)
        found = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=server.namespace)
        )
        assert dict(found.custom_attributes) == {
            "TicklessKind": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
            "TicklessApprovals": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
        }
        assert server.pid
        assert server.ui_url is None
        assert os.getpgid(server.pid) == server.pid
    assert server.pid is None
    assert await refuses(LOOPBACK, port_of(server))
    await server.stop()


async def test_the_flags_reach_the_server(options: DevServerOptions) -> None:
    request = DescribeNamespaceRequest(namespace="default")
    seen: list[bool] = []
    for flags in (options.dynamic_config, {}):
        async with DevServer(replace(options, dynamic_config=flags)) as server:
            client = await Client.connect(server.address)
            namespace = await client.workflow_service.describe_namespace(request)
            seen.append(namespace.namespace_info.capabilities.worker_commands)
    assert seen == [True, False]


async def test_the_web_interface_is_served_unless_headless(options: DevServerOptions) -> None:
    async with DevServer(replace(options, headless=False)) as server:
        url = server.ui_url
        assert url
        assert url.startswith(f"http://{LOOPBACK}:")

        def status() -> int:
            with urlopen(url) as response:
                return int(response.status)

        assert await asyncio.to_thread(status) == 200


async def test_a_busy_port_is_told_with_its_holder_before_anything_starts(
    server: DevServer, options: DevServerOptions, tmp_path: Path
) -> None:
    other = replace(options, log_file=tmp_path / "other.log", port=port_of(server))
    with pytest.raises(DomainError) as raised:
        await DevServer(other).start()
    problem = raised.value
    assert (problem.kind, problem.field) == (ErrorKind.CONFLICT, "temporal.dev.port")
    assert f"{server.address} is in use by process {server.pid} (" in problem.message
    assert "temporal server start-dev" in problem.message
    assert not other.log_file.exists()

    busy_ui = replace(other, port=0, ui_port=port_of(server), headless=False)
    with pytest.raises(DomainError) as raised:
        await DevServer(busy_ui).start()
    assert raised.value.field == "temporal.dev.ui_port"


async def test_the_file_survives_kill_9_and_a_restart_on_the_same_port(
    options: DevServerOptions, tmp_path: Path
) -> None:
    server = DevServer(replace(options, db_file=tmp_path / "state" / "temporal.db"))
    async with server:
        address = server.address
        client = await Client.connect(address)
        started = await client.start_workflow("Nobody", id="kept", task_queue="nobody")
        await server.kill()
        assert await server.wait() == -signal.SIGKILL
        assert await refuses(LOOPBACK, port_of(server))

        await server.start()
        assert server.address == address
        # The client from before goes on.
        kept = await client.get_workflow_handle("kept").describe()
        assert kept.run_id == started.result_run_id
        assert kept.status == WorkflowExecutionStatus.RUNNING


async def test_an_early_end_is_told_with_the_end_of_the_log(options: DevServerOptions) -> None:
    server = DevServer(replace(options, extra_arguments=("--sqlite-pragma", "nonsense")))
    with pytest.raises(DomainError) as raised:
        await server.start()
    assert (raised.value.kind, raised.value.field) == (ErrorKind.UNAVAILABLE, "temporal.dev")
    assert "ended with exit code 1" in raised.value.message
    assert str(options.log_file) in raised.value.message
    assert "nonsense" in raised.value.message
    assert server.pid is None


async def test_a_file_that_cannot_be_written_is_named(
    options: DevServerOptions, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    below = tmp_path / "file" / "below" / "it"
    for broken in (replace(options, log_file=below), replace(options, db_file=below)):
        with pytest.raises(DomainError, match=r"cannot write .*file/below: Not a dir") as raised:
            await DevServer(broken).start()
        assert raised.value.kind is ErrorKind.UNAVAILABLE


async def test_a_server_that_does_not_answer_in_time_is_not_left_behind(
    options: DevServerOptions,
) -> None:
    server = DevServer(replace(options, start_timeout=timedelta(milliseconds=1)))
    with pytest.raises(DomainError, match=r"did not answer within 0\.001 s"):
        await server.start()
    assert server.pid is None
    assert await refuses(LOOPBACK, port_of(server))


async def test_a_start_that_is_cancelled_leaves_nothing_behind(options: DevServerOptions) -> None:
    server = DevServer(options)
    starting = asyncio.create_task(server.start())
    await eventually(options.log_file.exists)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert server.pid is None
    assert await refuses(LOOPBACK, port_of(server))


async def test_a_server_that_hangs_is_killed_after_the_grace(options: DevServerOptions) -> None:
    server = DevServer(replace(options, stop_grace=timedelta(seconds=0.1)))
    await server.start()
    assert server.pid
    os.kill(server.pid, signal.SIGSTOP)
    await server.stop()
    assert await server.wait() == -signal.SIGKILL


async def test_it_is_started_once_at_a_time(server: DevServer) -> None:
    with pytest.raises(RuntimeError, match="running already"):
        await server.start()


async def test_before_the_first_start_there_is_nothing_to_wait_for(
    options: DevServerOptions,
) -> None:
    with pytest.raises(RuntimeError, match="not started"):
        await DevServer(options).wait()


PARENT = """
import asyncio, signal, sys
from pathlib import Path
from temporalio.client import Client
from worker.temporal_server import DevServer, DevServerOptions
async def main():
    server = DevServer(DevServerOptions(Path(sys.argv[1]), port=0, headless=True))
    interrupted = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted.set)
    async with server:
        print(server.address.rpartition(":")[2], flush=True)
        await interrupted.wait()
        await Client.connect(server.address)
        print("the server still answers", flush=True)
    print("stopped", flush=True)
asyncio.run(main())
"""


async def test_it_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    async with python_child(PARENT, str(tmp_path / "temporal.log")) as parent:
        port = int(await next_line(parent))
        assert not await refuses(LOOPBACK, port)
        parent.kill()
        await eventually_refuses(LOOPBACK, port)


async def test_ctrl_c_reaches_the_parent_alone(tmp_path: Path) -> None:
    async with python_child(PARENT, str(tmp_path / "temporal.log")) as parent:
        port = int(await next_line(parent))
        os.killpg(parent.pid, signal.SIGINT)
        assert await next_line(parent) == "the server still answers"
        assert await next_line(parent) == "stopped"
        assert await refuses(LOOPBACK, port)


@pytest.mark.parametrize(
    ("ip", "address"),
    [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("0.0.0.0", "127.0.0.1"), ("::", "::1")],
)
def test_the_address_for_clients(ip: str, address: str) -> None:
    server = DevServer(DevServerOptions(log_file=Path("unused.log"), ip=ip))
    assert server.address == host_port(address, 7233)
    assert server.ui_url == f"http://{host_port(address, 8233)}"


def test_the_binary_is_that_of_the_package() -> None:
    binary = temporal_binary()
    assert binary.name == "temporal"
    assert os.access(binary, os.X_OK)


def test_without_the_package_the_path_is_searched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_files(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", no_files)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DomainError, match="install the extra `dev-stack`") as raised:
        temporal_binary()
    assert raised.value.kind is ErrorKind.UNAVAILABLE
    command = tmp_path / "temporal"
    command.touch(mode=0o755)
    assert temporal_binary() == command
