"""Settings section `temporal`: the connection, and the server that `tickless dev` starts.

Owns the section and what it means for a client. Does not connect (`client.connection`) and starts
no server (`worker.temporal_server`). Source: DESIGN §3 and §8.
"""

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr

from client.settings.secrets import resolve_secret
from client.settings.sections import FolderPath, Name, Port, Section

if TYPE_CHECKING:
    from temporalio.envconfig import ClientConnectConfig

# DESIGN §3: a run id must not come free again while anything may still redeliver it.
_RETENTION_DAYS = 7


def _host_and_port(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not (host and colon and port.isdecimal()) or "/" in value:
        raise ValueError(f"must be `host:port`, such as 127.0.0.1:7233, not {value!r}")
    return value


def _ip(value: str) -> str:
    try:
        ip_address(value)
    except ValueError:
        raise ValueError(f"must be an IP address, such as 127.0.0.1, not {value!r}") from None
    return value


class TlsSettings(Section):
    """TLS to the Temporal server; certificates and key are PEM texts, `env:NAME` or `file:PATH`."""

    enabled: bool | None = Field(
        default=None,
        description="Whether to use TLS; null uses it when an API key or anything below is given.",
    )
    server_name: str | None = Field(
        default=None, description="Name the server's certificate bears."
    )
    server_ca_cert: SecretStr | None = Field(
        default=None, description="Certificate of the authority that signed the server's."
    )
    client_cert: SecretStr | None = Field(default=None, description="The client's certificate.")
    client_key: SecretStr | None = Field(default=None, description="The client's private key.")


class DevServerSettings(Section):
    """The real Temporal server that `tickless dev` starts."""

    ip: Annotated[str, AfterValidator(_ip)] = Field(
        default="127.0.0.1", description="IP address the server listens at."
    )
    port: Port = Field(default=7233, description="Port of the server; 0 takes a free one.")
    ui_port: Port | None = Field(
        default=8233, description="Port of the Temporal UI; 0 takes a free one, null starts no UI."
    )
    db_file: FolderPath | None = Field(
        default=Path(".tickless/temporal.db"),
        validate_default=True,
        description="SQLite file that keeps workflows over restarts; null keeps them in memory.",
    )
    retention_days: int = Field(
        default=_RETENTION_DAYS,
        ge=_RETENTION_DAYS,
        le=36_500,
        description="How long closed workflows are kept; duplicates are recognised that long.",
    )
    log_level: Literal["debug", "info", "warn", "error", "never"] = Field(
        default="warn", description="Least important level that the server logs."
    )
    dynamic_config: dict[str, bool | int | float | str] = Field(
        default={
            "history.transferProcessorMaxPollRPS": 2000,
            "history.timerProcessorMaxPollRPS": 2000,
            "history.visibilityProcessorMaxPollRPS": 2000,
            "history.timerProcessorMaxTimeShift": "10ms",
            "history.maxInFlightUpdates": 1000,
            "worker.schedulerNamespaceStartWorkflowRPS": 2000,
            "frontend.WorkerCommandsEnabled": True,
            "system.enableCancelActivityWorkerCommand": True,
        },
        description="The server's dynamic configuration, by key; what is given replaces it all.",
    )

    def reached_at(self, port: int) -> str:
        """`host:port` for clients; a server that listens everywhere is reached by loopback."""
        ip = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.ip, self.ip)
        return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def _dev_ui_url(fields: dict[str, Any]) -> str:
    dev: DevServerSettings = fields["dev"]
    if fields["address"] or not dev.ui_port:
        return ""
    return f"http://{dev.reached_at(dev.ui_port)}"


class TemporalSettings(Section):
    """The connection to Temporal, and the server of the dev stack."""

    address: Annotated[str, AfterValidator(_host_and_port)] | None = Field(
        default=None,
        description="`host:port` of the server; null is where `tickless dev` starts its own.",
    )
    namespace: Name = Field(default="default", description="Namespace that everything lives in.")
    api_key: SecretStr | None = Field(
        default=None, description="API key: a literal, `env:NAME` or `file:PATH`."
    )
    grpc_meta: dict[str, SecretStr] = Field(
        default={}, description="Headers sent with every call, by name."
    )
    tls: TlsSettings = Field(default=TlsSettings(), description="TLS to the server.")
    sandbox: bool = Field(
        default=False,
        description="Run workflow code in the SDK's sandbox, which finds what would not replay and "
        "costs CPU time; for developers of workflows.",
    )
    dev: DevServerSettings = Field(
        default=DevServerSettings(), description="The server that `tickless dev` starts."
    )
    ui_url: str = Field(
        default_factory=_dev_ui_url,
        description="Address of the Temporal UI, for links to runs. Left out: the UI of the dev "
        "server, unless `address` names another server.",
    )

    @property
    def target(self) -> str:
        """Where to connect; a `dev.port` of 0 names no place, so then `address` is needed."""
        return self.address or self.dev.reached_at(self.dev.port)


def connect_config(settings: TemporalSettings, environ: Mapping[str, str]) -> "ClientConnectConfig":
    """The keyword arguments of `Client.connect`, with all secrets resolved.

    Raises:
        DomainError: As `resolve_secret`.
    """
    from temporalio.envconfig import ClientConfigProfile, ClientConfigTLS

    def secret(value: SecretStr | None, field: str) -> str | None:
        return resolve_secret(value, environ, f"temporal.{field}") if value else None

    tls = settings.tls
    given = tls.model_dump(exclude_none=True)
    profile = ClientConfigProfile(
        address=settings.target,
        namespace=settings.namespace,
        api_key=secret(settings.api_key, "api_key"),
        tls=ClientConfigTLS(
            disabled=None if tls.enabled is None else not tls.enabled,
            server_name=tls.server_name,
            server_root_ca_cert=secret(tls.server_ca_cert, "tls.server_ca_cert"),
            client_cert=secret(tls.client_cert, "tls.client_cert"),
            client_private_key=secret(tls.client_key, "tls.client_key"),
        )
        if given
        else None,
        grpc_meta={
            name: resolve_secret(value, environ, f"temporal.grpc_meta.{name}")
            for name, value in settings.grpc_meta.items()
        },
    )
    return profile.to_client_connect_config()
