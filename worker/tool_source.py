"""Which tools a worker has: the builtin ones, those of MCP servers, and where their commands run.

Owns putting them together from the settings, and the life of what they need. What each does is
`activities.tools`'. Source: triggers-and-actions.md §7.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pydantic import SecretStr
from temporalio.client import Client

from activities.emitting import Emitter
from activities.messenger import Messenger
from activities.store import Store
from activities.tools.builtin import ToolNeeds, builtin_tools
from activities.tools.outbound_http import OutboundHttp
from activities.tools.registry import ToolRegistry
from activities.tools.sandbox import NoSandbox, Sandbox
from activities.tools.sandbox_docker import DockerSandbox
from activities.tools.sandbox_host import HostSandbox
from activities.tools.tool import Tool
from activities.workspace import Workspace
from client.settings import Settings, resolve_secret
from client.tool_checks import sandbox_policy
from domain.errors import DomainError, ErrorKind
from domain.mcp_servers import McpServer
from domain.outbound_addresses import DEFAULT_PORTS, parse_allowed_host
from domain.tools import SandboxMode
from worker.tool_callers import LibraryCalls


@dataclass(frozen=True, slots=True)
class ToolSource:
    """The tools of a worker, and their sandbox."""

    registry: ToolRegistry
    sandbox: Sandbox


@asynccontextmanager
async def tool_source(
    client: Client,
    settings: Settings,
    environ: Mapping[str, str],
    store: Store,
    messenger: Messenger,
) -> AsyncGenerator[ToolSource]:
    """The tools; connections to MCP servers live as long as the context.

    Raises:
        DomainError: A tool or a setting is refused, or a reference leads nowhere.
    """
    sandbox, library = _sandbox(settings, environ), LibraryCalls(client, settings, environ)
    needs = ToolNeeds(
        workspace=Workspace(settings.workspace),
        http=_http(settings),
        sandbox=sandbox,
        python=settings.sandbox.python,
        default_timezone=settings.default_timezone,
        store=store,
        messenger=messenger,
        channels=list(settings.channels.by_name),
        emitter=Emitter(client),
        routines=library,
        jobs=library,
        client=client,
    )
    tools = builtin_tools(needs)
    servers = [
        _resolved(server, environ, index) for index, server in enumerate(settings.mcp_servers)
    ]
    if not servers:
        yield ToolSource(ToolRegistry(tools, settings.tool_permissions), sandbox)
        return
    async with _with_servers(settings, tools, servers) as registry:
        yield ToolSource(registry, sandbox)


@asynccontextmanager
async def _with_servers(
    settings: Settings, tools: list[Tool], servers: list[McpServer]
) -> AsyncGenerator[ToolRegistry]:
    # The SDK is heavy, and most deployments have no server.
    from activities.tools.mcp import mcp_tools

    async with mcp_tools(servers, settings.store.folder) as remote:
        yield ToolRegistry(
            tools,
            settings.tool_permissions,
            remote=remote.tools,
            remote_prefixes=[f"{server.name}_" for server in servers],
        )


def _sandbox(settings: Settings, environ: Mapping[str, str]) -> Sandbox:
    policy = sandbox_policy(settings)
    match settings.sandbox_mode:
        case SandboxMode.DOCKER:
            return DockerSandbox(policy, environ)
        case SandboxMode.HOST:
            return HostSandbox(policy, environ.get("PATH", ""))
        case SandboxMode.OFF:
            return NoSandbox()


def _http(settings: Settings) -> OutboundHttp:
    try:
        allowed = [parse_allowed_host(host) for host in settings.tool_http_allowed_hosts]
    except ValueError as error:
        message = f"tool_http_allowed_hosts: {error}"
        raise DomainError(
            ErrorKind.INVALID_FIELD, "tool_http_allowed_hosts", message, ["host", "host:port"]
        ) from None
    return OutboundHttp(allowed_hosts=allowed, ports={*DEFAULT_PORTS, *settings.tool_http_ports})


def _resolved(server: McpServer, environ: Mapping[str, str], index: int) -> McpServer:
    """A server whose secrets are all literals."""
    found = {
        name: {
            key: SecretStr(resolve_secret(value, environ, f"mcp_servers.{index}.{name}.{key}"))
            for key, value in values.items()
        }
        for name, values in (("env", server.env), ("headers", server.headers))
    }
    return server.model_copy(update=found)
