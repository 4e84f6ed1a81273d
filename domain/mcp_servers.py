"""An MCP server that the operator lets us use, an item of setting `mcp_servers`.

Owns its description, the names under which its tools appear, and which of them the operator has
allowed. Talking to it is `activities.tools.mcp`'s. Source: triggers-and-actions.md §7.

Invariant: a tool is allowed in the form in which it was looked at: `allow` names its digest, so
another description or schema returns it to `ask`, also after a restart and on every worker.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from domain.guardrails import canonical_json
from domain.tool_specs import Permission

MAX_NAME_CHARS: Final = 64
DIGEST_CHARS: Final = 16

_NOT_IN_NAMES: Final = re.compile(r"[^a-z0-9_]+")


class McpServer(BaseModel):
    """How a server is reached: by a command that is started, or by a URL."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]{0,31}$", description="What the names of its tools begin with."
    )
    command: str | None = Field(
        default=None, min_length=1, description="Program of a server that talks over stdio."
    )
    args: list[str] = Field(default=[], description="Arguments of the command.")
    env: dict[str, SecretStr] = Field(
        default={},
        description="Variables of the command, each a literal, `env:NAME` or `file:PATH`. It gets "
        "none of the worker's own but PATH, HOME and the like.",
    )
    folder: str | None = Field(default=None, description="Where the command starts.")
    url: str | None = Field(
        default=None, pattern=r"^https?://", description="Address of a server over HTTP."
    )
    headers: dict[str, SecretStr] = Field(
        default={}, description="Headers of each request, each a literal or a reference."
    )
    allow: list[str] = Field(
        default=[],
        description="Tools that run without asking, each `<tool>@<digest>`: the digest is told in "
        "the list of tools, and changes when the tool does.",
    )
    timeout_seconds: float = Field(default=60, gt=0, le=3600, description="Longest call.")
    connect_seconds: float = Field(
        default=15, gt=0, le=300, description="Longest wait for the server to begin."
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.command is None) == (self.url is None):
            raise ValueError(f"the MCP server {self.name!r} needs exactly one of command and url")
        return self


def mcp_tool_name(server: str, tool: str) -> str:
    """The name under which a tool of a server appears here, cut to what names may be."""
    plain = _NOT_IN_NAMES.sub("_", tool.lower())
    return f"{server}_{plain}"[:MAX_NAME_CHARS]


def mcp_tool_digest(name: str, description: str, schema: Mapping[str, Any]) -> str:
    """What tells one form of a tool from another."""
    said = canonical_json({"name": name, "description": description, "schema": dict(schema)})
    return hashlib.sha256(said).hexdigest()[:DIGEST_CHARS]


def mcp_permission(allow: Sequence[str], tool: str, digest: str) -> Permission:
    """Whether a tool may run without asking: only in the form that the operator has named."""
    return Permission.ALLOW if f"{tool}@{digest}" in allow else Permission.ASK


def named_tools(allow: Sequence[str]) -> list[str]:
    """The tools that the operator has named, in whatever form, each once."""
    names = (entry.rpartition("@")[0] or entry for entry in allow)
    return list(dict.fromkeys(names))
