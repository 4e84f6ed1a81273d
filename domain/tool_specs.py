"""What a tool says of itself, what a model asks of it, and who asks.

Owns the models that the registry, the dispatch and the tools share. Whether a call may run is
`domain.tools`' and `domain.approvals`'; how it runs is `activities.tools`'.
Source: triggers-and-actions.md §7.
"""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from domain.scopes import Route, Scope


class Permission(StrEnum):
    """Whether a call may run by itself, after a person agreed, or never."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


class ToolRate(BaseModel):
    """How many calls of a tool one user may make."""

    model_config = ConfigDict(frozen=True)

    per_minute: int = Field(default=60, gt=0)
    per_hour: int = Field(default=1000, gt=0)


class ToolSpec(BaseModel):
    """A tool as the registry lists it.

    Attributes:
        name: Unique in the deployment.
        version: Changes whenever what the tool does changes.
        description: For the model.
        parameters: JSON Schema 2020-12 of type object.
        permission: Of its calls, unless the operator is stricter.
        sensitive_params: Names or dotted paths whose values nobody is shown.
        needs_sandbox: Runs only in the sandbox.
        attended_only: Does not exist inside runs and jobs, unless they name it.
        goal_only: Exists in the iterations of a goal alone.
        read_only: Changes nothing.
        idempotent: May be run again with the same arguments and key.
        timeout_seconds: Longest call.
        rate_limit: Per user.
        output_limit_bytes: What is more of the output is left out.
        source: `builtin`, `mcp:<server>` or `plugin`.
    """

    model_config = ConfigDict(frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")
    version: str = "1"
    description: str
    parameters: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
    permission: Permission = Permission.ASK
    sensitive_params: list[str] = []
    needs_sandbox: bool = False
    attended_only: bool = False
    goal_only: bool = False
    read_only: bool = False
    idempotent: bool = False
    timeout_seconds: float = Field(default=60, gt=0)
    rate_limit: ToolRate = ToolRate()
    output_limit_bytes: int = Field(default=65_536, ge=256)
    source: str = "builtin"

    @field_validator("permission", mode="before")
    @classmethod
    def _known(cls, value: object) -> object:
        """A permission that is not known asks."""
        return value if value in tuple(Permission) else Permission.ASK


class ListedTool(BaseModel):
    """A tool as people are shown it.

    Attributes:
        name, version, description, source, read_only, needs_sandbox, attended_only: As in
            `ToolSpec`.
        permission: After the operator's settings.
        available: Whether it could be called now.
        reason: Why not.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    description: str
    permission: Permission
    source: str
    read_only: bool = False
    needs_sandbox: bool = False
    attended_only: bool = False
    available: bool = True
    reason: str | None = None


class ToolPage(BaseModel):
    """All tools of a deployment, by name."""

    tools: list[ListedTool]


class ToolCall(BaseModel):
    """A call as the model wrote it; `arguments` is JSON text, valid or not."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    arguments: str = "{}"


class AskedCall(BaseModel):
    """A call without its arguments: those stay in the thread, however long they are."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str


class ToolCaller(BaseModel):
    """On whose behalf a tool is called.

    Attributes:
        caller: `channel:<name>`, `routine:<id>`, `job:<id>`, `goal:<id>` or `api`.
        user_id: Whose rate limit it counts for.
        scope: Whose workspace, routines and jobs it sees.
        route: Where the caller's own texts go.
        run_id: The run, if one calls.
        turn_id: The turn of a chat, if one calls.
        job_id: The job, if one calls.
        routine_id: The routine of the run.
        goal_id: The goal of the job.
        goal_workflow: The workflow of that goal, while the job is one of its iterations.
        session_key: The conversation.
        attended: A person waits for the answer.
        hop: Of events that are emitted, one less.
    """

    model_config = ConfigDict(frozen=True)

    caller: str
    user_id: str = ""
    scope: Scope
    route: Route | None = None
    run_id: str | None = None
    turn_id: str | None = None
    job_id: str | None = None
    routine_id: str | None = None
    goal_id: str | None = None
    goal_workflow: str | None = None
    session_key: str = ""
    attended: bool = False
    hop: int = 0
