"""Whether a call may run, must be agreed to, or does not exist here: step 3 of the dispatch.

Owns the order of its questions: what the caller may use, where nobody is watching, the sandbox, the
permission. The rule itself is `domain.tools.unattended_tools`; what an approval is bound to is
`domain.approvals`'. Source: triggers-and-actions.md §7 and §8.

Invariants:
    1. What is not offered cannot be called either: both come from the same rule.
    2. A standing grant takes away the question, never a refusal.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from activities.tools.calls import ReadCall, Refusal
from activities.tools.registry import RegisteredTool, ToolRegistry
from activities.tools.requests import CallMode, DispatchTool, OfferedTools, OfferTools
from activities.tools.sandbox import Readiness, Sandbox
from activities.tools.tool import permission_of_call, why_unavailable
from domain.tool_specs import Permission, ToolCaller, ToolSpec
from domain.tools import Removal, UnattendedMode, unattended_tools

if TYPE_CHECKING:
    from activities.store import Store

NOT_PERMITTED: Final = "not_permitted"
SANDBOX_UNAVAILABLE: Final = "sandbox_unavailable"
_REASONS: Final = {
    Removal.NOT_ALLOWED: "allowed_tools does not name it",
    Removal.ATTENDED_ONLY: "it needs a person who is present; allowed_tools could name it",
    Removal.DENIED: "it is denied here",
    Removal.APPROVAL: "it needs an approval, which only a job can ask for",
    Removal.NO_GOAL: "it is for the iterations of a goal",
}
_READY: Final = Readiness(ok=True)


class Permissions:
    """The permissions of one deployment."""

    def __init__(self, registry: ToolRegistry, sandbox: Sandbox, store: "Store") -> None:
        self._registry = registry
        self._sandbox = sandbox
        self._store = store

    async def check(self, request: DispatchTool, call: ReadCall) -> Refusal | Permission:
        """Decide about one call.

        Args:
            request: The call as it was asked for.
            call: What was read of it, without a refusal.

        Returns:
            A refusal, or `allow`, or `ask`.

        Raises:
            StoreError: The ledger could not be read.
        """
        assert call.tool is not None  # `read_call` found it, or refused
        spec, caller = call.tool.spec, request.caller
        own = permission_of_call(call.tool.tool, call.arguments, caller)
        permission = await self._granted(spec, self._registry.permission(spec, own), caller)
        ready = await self._sandbox.ready() if spec.needs_sandbox else _READY
        removal = self._removal(spec, permission, request, ready)
        if removal is None:
            return permission
        if removal in _REASONS:
            return Refusal(NOT_PERMITTED, f"{spec.name} may not be called: {_REASONS[removal]}")
        return Refusal(SANDBOX_UNAVAILABLE, f"{spec.name} needs the sandbox: {ready.reason}")

    async def offered(self, request: OfferTools) -> OfferedTools:
        """What a run, a job or a chat is offered.

        Raises:
            StoreError: The ledger could not be read.
        """
        tools = self._registry.all()
        wanted = [tool for tool in tools if _named(tool.spec, request.allowed_tools)]
        boxed = any(tool.spec.needs_sandbox for tool in wanted)
        ready = await self._sandbox.ready() if boxed else _READY
        removed: dict[str, str] = {}
        offered: list[ToolSpec] = []
        for tool in tools:
            reason = await self._why_not(tool, request, ready)
            if reason is None:
                offered.append(tool.spec)
            else:
                removed[tool.spec.name] = reason
        return OfferedTools(
            names=[spec.name for spec in offered],
            read_only=[spec.name for spec in offered if spec.read_only],
            removed=removed,
            sandbox_mode=self._sandbox.mode,
            refusal=_refusal(request, wanted, removed, ready),
        )

    async def _why_not(
        self, tool: RegisteredTool, request: OfferTools, ready: Readiness
    ) -> str | None:
        spec = tool.spec
        permission = self._registry.permission(spec, spec.permission)
        permission = await self._granted(spec, permission, request.caller)
        removal = self._removal(spec, permission, request, ready)
        return removal or why_unavailable(tool.tool)

    async def _granted(
        self, spec: ToolSpec, permission: Permission, caller: ToolCaller
    ) -> Permission:
        """The permission after what a person allowed this routine for good."""
        if permission is not Permission.ASK or caller.routine_id is None:
            return permission
        grant = await self._store.grants.get(caller.routine_id, spec.name, spec.version)
        return permission if grant is None else Permission.ALLOW

    def _removal(
        self,
        spec: ToolSpec,
        permission: Permission,
        request: DispatchTool | OfferTools,
        ready: Readiness,
    ) -> Removal | None:
        if spec.goal_only and request.caller.goal_workflow is None:
            return Removal.NO_GOAL
        mode, allowed = request.mode, request.allowed_tools
        attended = mode is CallMode.CHAT
        return unattended_tools(
            [spec.model_copy(update={"permission": permission})],
            # Where a person is present, what needs one exists.
            [spec.name] if attended and allowed is None else allowed,
            # An approval belongs to the job that asks for it: nobody else can wait for one.
            UnattendedMode.FULL_JOB if mode is CallMode.FULL_JOB else UnattendedMode.LIGHTWEIGHT,
            self._sandbox.mode,
            ready.ok,
        ).removed.get(spec.name)


def _named(spec: ToolSpec, allowed: Collection[str] | None) -> bool:
    return allowed is None or spec.name in allowed


def _refusal(
    request: OfferTools,
    wanted: list[RegisteredTool],
    removed: dict[str, str],
    ready: Readiness,
) -> str | None:
    """Why a full job must not begin: it names a tool that has no sandbox to run in."""
    if request.mode is not CallMode.FULL_JOB or request.allowed_tools is None:
        return None
    boxed = (Removal.SANDBOX_OFF, Removal.SANDBOX_UNAVAILABLE)
    names = [tool.spec.name for tool in wanted if removed.get(tool.spec.name) in boxed]
    return f"{', '.join(names)} needs the sandbox: {ready.reason}" if names else None
