"""The dev stack: the real server, set up, and workers on it.

Owns the order in which the parts start and stop, for `tickless dev` and the demo, and that two
stacks never share a server's file.

Invariant: what it started it stops, the newest first; nothing it did not start is touched.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from temporalio.client import Client

from activities.file_locks import FileLockTimeout, locked
from activities.search_attributes import TYPES
from client.codec import payload_codec
from client.connection import connect
from client.settings import Settings, TemporalSettings, connect_config
from client.setup import setup_namespace
from domain.errors import DomainError, ErrorKind
from domain.identifiers import SERVED_QUEUES
from worker.logs import sdk_runtime
from worker.model_source import Progress
from worker.ports import require_free_port
from worker.process import running_workers
from worker.temporal_server import DevServer, DevServerOptions

if TYPE_CHECKING:
    from client.gateway import Gateway

TOKEN_FILE: Final = "gateway-token"


@dataclass(frozen=True)
class Stack:
    """A running stack.

    Attributes:
        client: Connection to its server.
        settings: The settings with the addresses that were really taken.
        serving: Ends only by the fault of a worker.
        gateway: The HTTP gateway, null where none was asked for.
        stopped_server: Ends when the server has ended by itself.
    """

    client: Client
    settings: Settings
    serving: "asyncio.Task[None]"
    stopped_server: "asyncio.Task[int]"
    gateway: "Gateway | None" = None

    @property
    def token_file(self) -> Path:
        """Where the token for this machine's own use is kept."""
        return self.settings.store.folder / TOKEN_FILE


@asynccontextmanager
async def running_stack(
    settings: Settings,
    environ: Mapping[str, str],
    progress: Progress | None = None,
    *,
    gateway: bool = False,
) -> AsyncGenerator[Stack]:
    """Start server, workers and if asked the gateway; drain and stop them on the way out.

    Raises:
        DomainError: `conflict` naming who holds a port or the data, and whatever server or workers
            lack.
    """
    server = DevServer(_server_options(settings))
    with _alone_with_data(settings):
        async with server:
            actual = _with_addresses(settings, server)
            codec = payload_codec(actual, environ)
            config = connect_config(actual.temporal, environ)
            client = await connect(config, sdk_runtime(), codec=codec)
            await setup_namespace(client, timedelta(days=settings.temporal.dev.retention_days))
            async with (
                running_workers(client, actual, environ, SERVED_QUEUES, progress) as serving,
                _gateway(client, actual, environ, wanted=gateway) as served,
            ):
                stopped = asyncio.create_task(server.wait())
                try:
                    yield Stack(client, actual, serving, stopped, served)
                finally:
                    stopped.cancel()


@asynccontextmanager
async def _gateway(
    client: Client, settings: Settings, environ: Mapping[str, str], *, wanted: bool
) -> AsyncGenerator["Gateway | None"]:
    """The HTTP gateway, with a token for this machine's own use in a file of mode 600."""
    if not wanted:
        yield None
        return
    # Heavy to import, and the demo has no use for it.
    from client.gateway import running_gateway
    from client.tokens import TokenFile, ensure_token_in_file
    from client.webhook_secrets import ensure_key

    ensure_key(settings)
    tokens = TokenFile(settings.gateway.tokens_file)
    file = settings.store.folder / TOKEN_FILE
    ensure_token_in_file(tokens, file, "dev", datetime.now(UTC))
    async with running_gateway(client, settings, environ) as gateway:
        yield gateway


@contextmanager
def _alone_with_data(settings: Settings) -> Generator[None]:
    """Keep the server's file from a second server, which would carry out everything twice.

    Raises:
        DomainError: `conflict` on a port or on `temporal.dev.db_file`, with the holder;
            `unavailable` where nothing can be written.
    """
    file = settings.temporal.dev.db_file
    if file is None:
        yield
        return
    path = file.with_name(file.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("a+", encoding="ascii")
    except OSError as error:
        raise DomainError(
            ErrorKind.UNAVAILABLE,
            "temporal.dev.db_file",
            f"temporal.dev.db_file: cannot write {error.filename}: {error.strerror}; make the "
            "folder writable or choose another one",
        ) from error
    with lock, ExitStack() as held:
        try:
            held.enter_context(locked(lock, timedelta()))
        except FileLockTimeout:
            # With the same settings the ports are taken too, and their holder says more.
            _require_ports(settings)
            raise _data_conflict(path, file) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _require_ports(settings: Settings) -> None:
    dev = settings.temporal.dev
    for name, port in (("port", dev.port), ("ui_port", dev.ui_port)):
        if port:
            require_free_port(dev.ip, port, f"temporal.dev.{name}")


def _data_conflict(lock: Path, file: Path) -> DomainError:
    holder = lock.read_text(encoding="ascii").strip()
    return DomainError(
        ErrorKind.CONFLICT,
        "temporal.dev.db_file",
        f"temporal.dev.db_file: {file} is in use by another `tickless dev`"
        + (f", process {holder}" if holder else "")
        + "; stop it, or choose another file and store.folder",
    )


def _server_options(settings: Settings) -> DevServerOptions:
    dev = settings.temporal.dev
    return DevServerOptions(
        log_file=settings.store.folder / "temporal-server.log",
        ip=dev.ip,
        port=dev.port,
        ui_port=dev.ui_port or 0,
        headless=dev.ui_port is None,
        db_file=dev.db_file,
        namespace=settings.temporal.namespace,
        dynamic_config=dev.dynamic_config,
        search_attributes=TYPES,
        extra_arguments=("--log-level", dev.log_level, *_codec_endpoint(settings)),
    )


def _codec_endpoint(settings: Settings) -> tuple[str, ...]:
    """Where the Temporal UI has payloads decoded, if they are encrypted."""
    gateway = settings.gateway
    if settings.codec_key is None or not gateway.port:
        return ()
    return ("--ui-codec-endpoint", f"http://{gateway.host}:{gateway.port}/codec")


def _with_addresses(settings: Settings, server: DevServer) -> Settings:
    """The settings with the ports that were picked, so that everybody talks to this server."""
    temporal = TemporalSettings(
        address=server.address,
        namespace=server.namespace,
        ui_url=server.ui_url or "",
        # Keys and certificates in the environment are those of some other server.
        dev=settings.temporal.dev,
    )
    return settings.model_copy(update={"temporal": temporal})
