"""What sections of the settings are made of, and the small ones: store, gateway, context, log.

Owns the bounded types and the rule for relative paths. Channels, queues and the connection to
Temporal have modules of their own; models and prices are the domain's (`domain.model_chain`,
`domain.budget`).
Source: automation.md §13, DESIGN §8.
"""

import re
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_serializer,
)

from client.settings.secrets import without_password

# Bounded above, so that no duration or date computed from a setting can overflow.
Seconds: TypeAlias = Annotated[int, Field(gt=0, le=31_536_000)]
Days: TypeAlias = Annotated[int, Field(gt=0, le=36_500)]
Count: TypeAlias = Annotated[int, Field(gt=0, le=1_000_000)]
Port: TypeAlias = Annotated[int, Field(ge=0, le=65_535)]
Name: TypeAlias = Annotated[str, Field(min_length=1)]

# What the names in `env` references of webhooks begin with, unless the settings say otherwise.
DEFAULT_ENV_PREFIX = "WEBHOOK_SECRET_"

_RELATIVE_SQLITE = re.compile(r"(?P<driver>sqlite(?:\+\w+)?:///)(?P<file>[^/:?][^:?]*(?:\?.*)?)")


def _in_folder(value: object, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Path:
    """Make a path absolute: relative ones start at the settings file, `~/` at the user's home."""
    # A default is a path already; what was given is a text that has to be checked.
    path: Path = value if isinstance(value, Path) else handler(value)
    context: dict[str, Path] = info.context or {}
    if path.parts[:1] == ("~",) and "home" in context:
        return context["home"].joinpath(*path.parts[1:])
    return context["folder"] / path if "folder" in context else path


# A default that is a relative path needs `validate_default`, so that it becomes absolute too.
FolderPath: TypeAlias = Annotated[Path, WrapValidator(_in_folder)]


class Section(BaseModel):
    """A section: its values never change and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _database_in_folder(url: SecretStr, info: ValidationInfo) -> SecretStr:
    """The same rule for the file of a SQLite address."""
    context: dict[str, Path] = info.context or {}
    match = _RELATIVE_SQLITE.fullmatch(url.get_secret_value())
    if not match or "folder" not in context:
        return url
    return SecretStr(f"{match['driver']}{(context['folder'] / match['file']).as_posix()}")


class StoreSettings(Section):
    """Where the ledger is kept."""

    folder: FolderPath = Field(
        default=Path(".tickless"),
        validate_default=True,
        description="Folder for what Tickless itself writes.",
    )
    url: Annotated[SecretStr, AfterValidator(_database_in_folder)] = Field(
        default_factory=lambda data: SecretStr(
            f"sqlite:///{(data['folder'] / 'tickless.db').as_posix()}"
        ),
        description="SQLAlchemy address of the ledger, or a reference (`env:NAME`, `file:PATH`). "
        "Left out: the SQLite file tickless.db in `store.folder`. Its password is never shown.",
    )

    @field_serializer("url", when_used="json")
    def _shown_url(self, url: SecretStr) -> str:
        return without_password(url.get_secret_value())


class GatewaySettings(Section):
    """The HTTP gateway."""

    host: Name = Field(
        default="127.0.0.1", description="Address to listen at; loopback unless said otherwise."
    )
    port: Port = Field(default=8234, description="Port to listen at; 0 takes a free one.")
    tokens_file: FolderPath = Field(
        default=Path(".tickless/tokens.json"),
        validate_default=True,
        description="File of the bearer tokens and their scopes.",
    )
    allowed_hosts: list[Name] = Field(
        default=[],
        description="Names that requests may be addressed to, besides those of loopback and "
        "`gateway.host`; a web page that makes its own name point here is refused.",
    )
    requests_per_minute: Count = Field(
        default=120, description="Requests a minute that one client may make."
    )
    alert_url: SecretStr | None = Field(
        default=None,
        description="Where the gateway posts when workers or the server fail, or a reference "
        "(`env:NAME`, `file:PATH`); null posts nothing.",
    )


class ContextSettings(Section):
    """Who asks and where answers go, when the caller does not say; blank is unknown."""

    receive_id_type: str = Field(
        default="", description="Channel of the route, a name in `channels`."
    )
    receive_id: str = Field(
        default="", description="Target in that channel; may be empty for console and file."
    )
    source_message_id: str = Field(default="", description="Message that replies hang under.")
    actor_user_id: str = Field(default="", description="User id of the actor.")
    actor_open_id: str = Field(
        default="", description="Open id of the actor, used where there is no user id."
    )
    chat_type: str = Field(default="", description="Kind of chat, such as `group`.")
    session_key: str = Field(
        default="", description="Conversation that runs speak in: `base` or `base|thread:<id>`."
    )
    resume_thread_id: str = Field(default="", description="Thread of the agent that runs continue.")


class LogSettings(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least important level that is written."
    )
    format: Literal["auto", "console", "json"] = Field(
        default="auto", description="`auto` writes for people on a terminal and JSON elsewhere."
    )


class LocalModelSettings(Section):
    """The model that runs on this machine when no other is configured."""

    gguf: FolderPath | None = Field(
        default=None, description="Weights to load; null fetches the small default model once."
    )
    context_tokens: Count = Field(default=8192, description="Size of the context window.")
    threads: Count | None = Field(
        default=None, description="Threads to compute with; null is one less than the processors."
    )
    cache_folder: FolderPath | None = Field(
        default=None, description="Where fetched weights are kept; null is the user's cache folder."
    )
