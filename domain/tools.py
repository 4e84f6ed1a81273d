"""Tools: which of them exist where nobody is watching, and what may be shown of what they said.

Owns the unattended rule and gathers the names others use. What a tool says of itself is in
`domain.tool_specs`, its output in `domain.tool_output`; the rule is enforced by the dispatch.
Source: triggers-and-actions.md §7.

Invariants:
    1. A permission that is not known is `ask`.
    2. Whatever cannot run safely does not exist: nothing falls back from the sandbox to the host.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from domain.errors import DomainError, ErrorKind
from domain.fields import shown
from domain.tool_output import TruncatedOutput, sanitize_output, truncate_output
from domain.tool_specs import Permission, ToolSpec

__all__ = [
    "OfferedTools",
    "Removal",
    "SandboxMode",
    "TruncatedOutput",
    "UnattendedMode",
    "sanitize_output",
    "truncate_output",
    "unattended_tools",
]

_Word = TypeVar("_Word", bound=StrEnum)


class UnattendedMode(StrEnum):
    """Where a tool is to be used without a person waiting for it."""

    LIGHTWEIGHT = "lightweight"
    FULL_JOB = "full_job"


class SandboxMode(StrEnum):
    """Setting `sandbox_mode`: where tools that need a sandbox run."""

    DOCKER = "docker"
    HOST = "host"
    OFF = "off"


class Removal(StrEnum):
    """Why a tool is not offered; the first that applies."""

    NOT_ALLOWED = "not_allowed"
    ATTENDED_ONLY = "attended_only"
    DENIED = "denied"
    APPROVAL = "approval"
    SANDBOX_OFF = "sandbox_off"
    SANDBOX_UNAVAILABLE = "sandbox_unavailable"
    NO_GOAL = "no_goal"


class OfferedTools(BaseModel):
    """The names that are offered, in the order of the registry, and why the others are not."""

    model_config = ConfigDict(frozen=True)

    offered: list[str]
    removed: dict[str, Removal]


class _Traits(BaseModel):
    """What the rule looks at; tools may be given as JSON that holds more, or less."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    name: str
    permission: str | None = Permission.ASK
    needs_sandbox: bool = False
    attended_only: bool = False


def unattended_tools(
    tools: Sequence[ToolSpec] | Sequence[Mapping[str, object]],
    allowed: Collection[str] | None = None,
    mode: str = UnattendedMode.LIGHTWEIGHT,
    sandbox: str = SandboxMode.DOCKER,
    engine_ready: bool = True,
) -> OfferedTools:
    """Which tools a run or a job has.

    Args:
        tools: The registry's.
        allowed: The guardrail `allowed_tools`: exactly these, attended ones too; null for all.
        mode: A lightweight run never asks, so what needs an approval does not exist there.
        sandbox: Setting `sandbox_mode`.
        engine_ready: Whether the sandbox's engine answers.

    Raises:
        DomainError: `invalid_field` on `mode` or `sandbox_mode`.
    """
    attends = _read_word(mode, UnattendedMode, "mode")
    where = _read_word(sandbox, SandboxMode, "sandbox_mode")
    offered: list[str] = []
    removed: dict[str, Removal] = {}
    for tool in tools:
        traits = _Traits.model_validate(tool)
        reason = _policy_removal(traits, allowed, attends) or _sandbox_removal(
            traits, where, engine_ready
        )
        if reason is None:
            offered.append(traits.name)
        else:
            removed[traits.name] = reason
    return OfferedTools(offered=offered, removed=removed)


def _policy_removal(
    tool: _Traits, allowed: Collection[str] | None, mode: UnattendedMode
) -> Removal | None:
    if allowed is not None and tool.name not in allowed:
        return Removal.NOT_ALLOWED
    if tool.attended_only and allowed is None:
        return Removal.ATTENDED_ONLY
    if tool.permission == Permission.DENY:
        return Removal.DENIED
    if tool.permission != Permission.ALLOW and mode == UnattendedMode.LIGHTWEIGHT:
        return Removal.APPROVAL
    return None


def _sandbox_removal(tool: _Traits, sandbox: SandboxMode, engine_ready: bool) -> Removal | None:
    if not tool.needs_sandbox or sandbox == SandboxMode.HOST:
        return None
    if sandbox == SandboxMode.OFF:
        return Removal.SANDBOX_OFF
    return None if engine_ready else Removal.SANDBOX_UNAVAILABLE


def _read_word(value: str, words: type[_Word], field: str) -> _Word:
    accepted = [word.value for word in words]
    if value not in accepted:
        message = f"{field} must be one of {', '.join(accepted)}, not {shown(value)}"
        raise DomainError(ErrorKind.INVALID_FIELD, field, message, accepted)
    return words(value)
