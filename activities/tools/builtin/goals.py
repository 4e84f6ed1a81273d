"""The tools `goal_*`: an iteration of a goal looks at it, rests, reports, or says it is reached.

Owns their arguments and what the model is told. What becomes of a request is the goal's; whether a
claim is proven is looked up in `activities.goal_claims`. Source: automation.md §9,
triggers-and-actions.md §7.

Invariants:
    1. They exist for the iterations of a goal only, and reach that goal alone.
    2. A repeated attempt of a call says nothing twice, and what an iteration that is over says late
       changes nothing.
"""

import hashlib
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel
from temporalio.client import Client, RPCError, WorkflowQueryFailedError

from activities.entity_updates import NORMAL_PATIENCE, EntityUpdates
from activities.goal_claims import newest_calls, proven
from activities.tools.builtin.schemas import arguments, as_json, text
from activities.tools.function_tool import FunctionTool
from activities.tools.tool import Tool, ToolFailed, ToolUse
from domain.errors import DomainError, ErrorKind
from domain.goal_bodies import MAX_CALL_CHARS, MAX_REASON_CHARS, MAX_TOLD_CHARS
from domain.goal_judge import MAX_EVIDENCE
from domain.goal_messages import (
    ClaimAnswered,
    ClaimGoal,
    DelayGoal,
    GoalView,
    ProgressTold,
    ReportProgress,
    WaitGoal,
)
from domain.tool_specs import Permission, ToolSpec

if TYPE_CHECKING:
    from activities.store import Store

AnswerT = TypeVar("AnswerT", bound=BaseModel)

_SILENT: Final = "the goal does not answer; call it again"


def _tool(name: str, description: str, parameters: dict[str, Any], **traits: Any) -> ToolSpec:
    return ToolSpec(
        name=name,
        description=description,
        parameters=parameters,
        permission=Permission.ALLOW,
        goal_only=True,
        idempotent=True,
        timeout_seconds=30,
        **traits,
    )


_GET: Final = _tool(
    "goal_get",
    "Look at the goal you work on: objective, round, deadline, cost, and the newest calls whose "
    "results can prove that it is reached.",
    arguments({}),
    read_only=True,
)
_COMPLETE: Final = _tool(
    "goal_complete",
    "Say that the goal is reached, after you have checked every part of it in a later round than "
    "the work. Name the calls of tools whose results prove it.",
    arguments(
        {
            "summary": text("What was reached, for the user.", longest=MAX_TOLD_CHARS),
            "evidence": {
                "type": "array",
                "description": "Ids of calls, as goal_get lists them.",
                "items": {"type": "string", "minLength": 1, "maxLength": MAX_CALL_CHARS},
                "maxItems": MAX_EVIDENCE,
            },
        },
        ["summary"],
    ),
)
_DELAY: Final = _tool(
    "goal_delay",
    "End this round with what comes next: 0s goes on at once, 1m to 12h waits that long.",
    arguments(
        {
            "duration": text("0s, or 1m to 12h, such as 7m or 2h30m.", longest=64),
            "reason": text("The next step, or what is waited for.", longest=MAX_REASON_CHARS),
            "event": text(
                "An event SOURCE:TYPE that wakes the goal earlier, such as github:issue.*",
                longest=401,
            ),
        },
        ["duration", "reason"],
    ),
)
_PROGRESS: Final = _tool(
    "goal_progress",
    "Tell the user how it stands, in a sentence or two.",
    arguments({"text": text("What is to be told.", longest=MAX_TOLD_CHARS)}, ["text"]),
)


def goal_tools(client: Client, store: "Store") -> list[Tool]:
    """The tools.

    Args:
        client: The connection to Temporal.
        store: The ledger, where calls are looked up; stays its owner's.
    """
    goals = _Goals(client, store)
    return [
        FunctionTool(_GET, goals.get),
        FunctionTool(_COMPLETE, goals.complete),
        FunctionTool(_DELAY, goals.delay),
        FunctionTool(_PROGRESS, goals.progress),
    ]


class _Goals:
    """The functions of the tools."""

    def __init__(self, client: Client, store: "Store") -> None:
        self._client = client
        self._store = store
        self._updates = EntityUpdates(client)

    async def get(self, use: ToolUse) -> str:
        handle = self._client.get_workflow_handle(_workflow(use))
        try:
            view = await handle.query("view", result_type=GoalView)
        except (RPCError, WorkflowQueryFailedError):
            raise ToolFailed(_SILENT) from None
        goal, spent = view.goal, view.spent
        calls = await self._store.read(newest_calls, goal.id)
        return as_json(
            {
                "objective": goal.objective,
                "status": goal.status,
                "round": goal.iteration,
                "created_at": goal.created_at and goal.created_at.isoformat(),
                "deadline_at": goal.deadline_at and goal.deadline_at.isoformat(),
                "tokens": spent.tokens,
                "cost_usd": None if spent.cost_micros is None else spent.cost_micros / 1_000_000,
                "calls": [call.model_dump(mode="json", exclude={"status"}) for call in calls],
            }
        )

    async def complete(self, use: ToolUse) -> str:
        evidence = [str(name) for name in use.arguments.get("evidence", ())]
        asked_in = use.key.rpartition("/")[0]
        found = await self._store.read(proven, use.caller.goal_id or "", evidence, asked_in)
        claim = ClaimGoal(
            job_id=use.caller.job_id or "",
            summary=str(use.arguments["summary"]),
            evidence=evidence,
            proven=found,
        )
        return (await self._ask(use, "claim", claim, ClaimAnswered)).message

    async def delay(self, use: ToolUse) -> str:
        given = use.arguments
        rest: dict[str, Any] = {
            "duration": given["duration"],
            "reason": given["reason"],
            "job_id": use.caller.job_id,
        }
        if "event" in given:
            waiting = WaitGoal(event=given["event"], **rest)
            view = await self._ask(use, "wait", waiting, GoalView)
        else:
            view = await self._ask(use, "delay", DelayGoal(**rest), GoalView)
        if view.goal.next_run_at is None:
            return "The goal goes on at once. End this round now."
        until = view.goal.next_run_at.isoformat(timespec="seconds")
        waits = f" or when {view.wait_event} comes" if view.wait_event else ""
        return f"The goal goes on at {until}{waits}. End this round now."

    async def progress(self, use: ToolUse) -> str:
        report = ReportProgress(job_id=use.caller.job_id or "", text=str(use.arguments["text"]))
        await self._ask(use, "progress", report, ProgressTold)
        return "It is told."

    async def _ask(
        self, use: ToolUse, update: str, request: BaseModel, result: type[AnswerT]
    ) -> AnswerT:
        try:
            return await self._updates.send(
                _workflow(use),
                update,
                request,
                result,
                update_id=hashlib.sha256(use.key.encode()).hexdigest(),
                patience=NORMAL_PATIENCE,
            )
        except DomainError as error:
            if error.kind is ErrorKind.NOT_FOUND:
                raise ToolFailed("the goal has ended") from None
            raise ToolFailed(f"{error.field}: {error.message}") from None
        except RPCError:
            raise ToolFailed(_SILENT) from None


def _workflow(use: ToolUse) -> str:
    """The goal's workflow; who has none is not offered these tools."""
    workflow = use.caller.goal_workflow
    if workflow is None:
        raise ToolFailed("there is no goal here")
    return workflow
