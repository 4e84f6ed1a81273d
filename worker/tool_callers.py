"""The library as tools use it: on behalf of whoever the tool is called for.

Owns how the caller of a tool becomes the caller of the library. What can be done is the library's.
Source: triggers-and-actions.md §7, automation.md §10.

Invariants:
    1. A tool sees and changes the objects of its caller's scope only.
    2. It is no operator: it may not name variables or files of this process as secrets.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel
from temporalio.client import Client

from client.context import GROUP_CHAT, CallerContext
from client.settings import Settings
from client.tickless import TicklessClient
from domain.scopes import ScopeKind
from domain.tool_specs import ToolCaller

# Clients of callers that came lately, with what they know of updates under way.
_KEPT: Final = 64


class LibraryCalls:
    """`RoutineCalls` and `JobCalls` of `activities.tools.builtin`."""

    def __init__(self, temporal: Client, settings: Settings, environ: Mapping[str, str]) -> None:
        """Take what is needed.

        Args:
            temporal: The connection.
            settings: All settings.
            environ: Where references in them are looked up.
        """
        self._temporal = temporal
        self._settings = settings
        self._environ = environ
        self._clients: OrderedDict[CallerContext, TicklessClient] = OrderedDict()

    async def list_routines(self, caller: ToolCaller, status: str, limit: int) -> Mapping[str, Any]:
        """The newest routines first."""
        return _shown(await self._client(caller).routines.list(status=status, limit=limit))

    async def list_runs(self, caller: ToolCaller, routine_id: str, limit: int) -> Mapping[str, Any]:
        """The newest runs of a routine first."""
        runs = await self._client(caller).routines.runs(routine_id, limit=limit)
        return {"runs": [_shown(run) for run in runs]}

    async def create_routine(
        self, caller: ToolCaller, body: Mapping[str, Any], key: str
    ) -> Mapping[str, Any]:
        """A new routine; the same key is the same routine."""
        return _shown(await self._client(caller).routines.create(body, idempotency_key=key))

    async def update_routine(
        self, caller: ToolCaller, routine_id: str, changes: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """A routine, changed by a JSON merge patch."""
        return _shown(await self._client(caller).routines.patch(routine_id, changes))

    async def delete_routine(self, caller: ToolCaller, routine_id: str) -> Mapping[str, Any]:
        """A routine, deleted; it can be restored for a while."""
        return _shown(await self._client(caller).routines.delete(routine_id))

    async def trigger_routine(
        self, caller: ToolCaller, routine_id: str, key: str, *, force: bool
    ) -> Mapping[str, Any]:
        """One extra run; the same key is the same run."""
        return _shown(
            await self._client(caller).runs.trigger(routine_id, force=force, idempotency_key=key)
        )

    async def list_jobs(self, caller: ToolCaller, status: str, limit: int) -> Mapping[str, Any]:
        """The newest jobs first."""
        return _shown(await self._client(caller).jobs.list(status=status, limit=limit))

    async def get_job(self, caller: ToolCaller, job_id: str) -> Mapping[str, Any]:
        """One job as it stands."""
        return _shown(await self._client(caller).jobs.get(job_id))

    async def create_job(
        self, caller: ToolCaller, body: Mapping[str, Any], key: str
    ) -> Mapping[str, Any]:
        """A new job; the same key is the same job."""
        jobs = self._client(caller).jobs
        return _shown(await jobs.create(body, idempotency_key=key, hop=caller.hop))

    async def tell_job(
        self, caller: ToolCaller, job_id: str, said: str, key: str
    ) -> Mapping[str, Any]:
        """A job, told something; the same key is the same message."""
        return _shown(await self._client(caller).jobs.send(job_id, said, key=key))

    async def cancel_job(self, caller: ToolCaller, job_id: str, reason: str) -> Mapping[str, Any]:
        """A job, ended."""
        return _shown(await self._client(caller).jobs.cancel(job_id, reason=reason))

    async def list_approvals(
        self, caller: ToolCaller, status: str, limit: int
    ) -> Mapping[str, Any]:
        """The approvals that wait first, then the newest."""
        return _shown(await self._client(caller).approvals.list(status=status, limit=limit))

    def _client(self, caller: ToolCaller) -> TicklessClient:
        context = caller_context(caller)
        found = self._clients.pop(context, None)
        if found is None:
            section = self._settings.context.model_copy(update=context.model_dump())
            settings = self._settings.model_copy(update={"context": section})
            found = TicklessClient.of_settings(
                self._temporal, settings, self._environ, operator=False
            )
        self._clients[context] = found
        if len(self._clients) > _KEPT:
            self._clients.popitem(last=False)
        return found


def caller_context(caller: ToolCaller) -> CallerContext:
    """Who asks, as the library knows callers: the user or chat whose scope it is."""
    if caller.scope.kind is ScopeKind.CHAT:
        channel, _, target = caller.scope.id.partition(":")
        return CallerContext(
            receive_id_type=channel,
            receive_id=target,
            actor_user_id=caller.user_id,
            chat_type=GROUP_CHAT,
            session_key=caller.session_key,
        )
    return CallerContext(
        receive_id_type=caller.route.receive_id_type if caller.route else "",
        receive_id=caller.route.receive_id if caller.route else "",
        actor_user_id=caller.scope.id,
        session_key=caller.session_key,
    )


def _shown(answer: BaseModel) -> Mapping[str, Any]:
    """An answer of the library as JSON."""
    return answer.model_dump(mode="json", exclude_none=True)
