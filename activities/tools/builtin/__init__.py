"""The tools that every deployment has, one module per family.

Owns the list of them. What each needs is given as plain values and clients; a family whose need is
not given does not exist. Source: triggers-and-actions.md §7.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from temporalio.client import Client

from activities.clock import Clock, utc_now
from activities.emitting import Emitter
from activities.messenger import Messenger
from activities.tools.builtin.commands import command_tools
from activities.tools.builtin.events import event_tools
from activities.tools.builtin.file_reading import file_reading_tools
from activities.tools.builtin.file_writing import file_writing_tools
from activities.tools.builtin.goals import goal_tools
from activities.tools.builtin.jobs import JobCalls, job_tools
from activities.tools.builtin.json_query import json_tools
from activities.tools.builtin.memory import memory_tools
from activities.tools.builtin.messages import MessageSend
from activities.tools.builtin.routines import RoutineCalls, routine_tools
from activities.tools.builtin.time_now import time_tools
from activities.tools.builtin.web import web_tools
from activities.tools.outbound_http import OutboundHttp
from activities.tools.sandbox import NoSandbox, Sandbox
from activities.tools.tool import Tool
from activities.workspace import Workspace

if TYPE_CHECKING:
    from activities.store import Store

__all__ = ["JobCalls", "RoutineCalls", "ToolNeeds", "builtin_tools"]


@dataclass(frozen=True, slots=True)
class ToolNeeds:
    """What the builtin tools work with.

    Attributes:
        workspace: The workspaces of all scopes.
        http: Makes requests to the web.
        sandbox: Runs commands.
        python: The Python command there.
        default_timezone: The zone of a question for the time that names none.
        store: The ledger; null leaves out `goal_*` and `message_send`.
        messenger: Sends texts; null leaves out `message_send`.
        channels: The names it knows.
        emitter: Starts what events fire; null leaves out `event_emit`.
        routines: The library's calls for routines; null leaves out `routine_*`.
        jobs: Those for jobs and approvals; null leaves out `job_*` and `approval_list`.
        client: The connection to Temporal; null leaves out `goal_*`.
        clock: Now.
    """

    workspace: Workspace
    http: OutboundHttp = field(default_factory=OutboundHttp)
    sandbox: Sandbox = field(default_factory=NoSandbox)
    python: str = "python3"
    default_timezone: str = "UTC"
    store: "Store | None" = None
    messenger: Messenger | None = None
    channels: Collection[str] = ()
    emitter: Emitter | None = None
    routines: RoutineCalls | None = None
    jobs: JobCalls | None = None
    client: Client | None = None
    clock: Clock = utc_now


def builtin_tools(needs: ToolNeeds) -> list[Tool]:
    """The builtin tools.

    Args:
        needs: What they work with.
    """
    tools: list[Tool] = [
        *time_tools(needs.default_timezone, needs.clock),
        *file_reading_tools(needs.workspace),
        *file_writing_tools(needs.workspace),
        *json_tools(needs.workspace),
        *memory_tools(needs.workspace, needs.clock),
        *web_tools(needs.http),
        *command_tools(needs.workspace, needs.sandbox, needs.python),
    ]
    if needs.store is not None and needs.messenger is not None:
        tools.append(MessageSend(needs.store, needs.messenger, needs.channels, needs.emitter))
    if needs.emitter is not None:
        tools += event_tools(needs.emitter)
    if needs.store is not None and needs.client is not None:
        tools += goal_tools(needs.client, needs.store)
    if needs.jobs is not None:
        tools += job_tools(needs.jobs)
    if needs.routines is not None:
        tools += routine_tools(needs.routines)
    return tools
