"""Rows of the ledger with everything filled in that a test does not care about."""

from datetime import UTC, datetime, timedelta
from typing import Any

from domain.approvals import Approval
from domain.deliveries import Delivery, occurrence_id
from domain.jobs import JobRecord, job_session_key
from domain.llm_calls import LlmCall
from domain.runs import FireKind, RunRecord, RunStatus, routine_of_run, run_workflow_id
from domain.scopes import Route
from domain.threads import Thread, ThreadKind, ThreadMessage
from domain.tool_actions import ActionRecord, ActionStatus

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RUN_ID = "morning-brief/s-2026-03-01T09:00:00Z"


def run_record(run_id: str = RUN_ID, **fields: Any) -> RunRecord:
    """A run that is going on."""
    known: dict[str, Any] = {
        "id": run_id,
        "routine_id": routine_of_run(run_id),
        "workflow_id": run_workflow_id(run_id),
        "trigger_type": FireKind.SCHEDULE,
        "occurred_at": NOON,
        "status": RunStatus.RUNNING,
    }
    return RunRecord(**known | fields)


def thread(thread_id: str = "thread-1", **fields: Any) -> Thread:
    """A routine's thread."""
    known: dict[str, Any] = {"scope": "user:me", "kind": ThreadKind.ROUTINE, "created_at": NOON}
    return Thread(id=thread_id, **known | fields)


def message(message_id: str, thread_id: str = "thread-1", **fields: Any) -> ThreadMessage:
    """A message whose text is its id."""
    known: dict[str, Any] = {"role": "user", "content": message_id, "created_at": NOON}
    return ThreadMessage(id=message_id, thread_id=thread_id, **known | fields)


def llm_call(call_id: str, **fields: Any) -> LlmCall:
    """A call of the run `RUN_ID`."""
    known: dict[str, Any] = {
        "run_id": RUN_ID,
        "model": "small",
        "provider": "local",
        "purpose": "routine",
        "started_at": NOON,
    }
    return LlmCall(id=call_id, **known | fields)


def delivery(part: str = "final", run_id: str = RUN_ID, **fields: Any) -> Delivery:
    """A text on its way to the console."""
    known: dict[str, Any] = {
        "occurrence_id": occurrence_id(run_id, part),
        "run_id": run_id,
        "route": Route(receive_id_type="console"),
        "part": part,
        "text": f"text of {part}",
        "created_at": NOON,
    }
    return Delivery(**known | fields)


def job_record(job_id: str = "job_1", **fields: Any) -> JobRecord:
    """A job that waits for its turn."""
    known: dict[str, Any] = {
        "title": "Report",
        "description": "Write it.",
        "session_key": job_session_key(job_id),
        "scope": "user:me",
        "created_at": NOON,
    }
    return JobRecord(id=job_id, **known | fields)


def action(action_id: str = "action-1", **fields: Any) -> ActionRecord:
    """A call of a tool that has begun."""
    known: dict[str, Any] = {
        "sequence": 1,
        "user_id": "me",
        "tool": "time_now",
        "status": ActionStatus.STARTED,
        "started_at": NOON,
        "caller": "api",
    }
    return ActionRecord(id=action_id, **known | fields)


def approval(approval_id: str = "approval_1", **fields: Any) -> Approval:
    """A question that waits for its answer."""
    known: dict[str, Any] = {
        "tool": "file_write",
        "version": "1",
        "digest": "d1",
        "scope": "user:me",
        "requested_at": NOON,
        "expires_at": NOON + timedelta(days=7),
    }
    return Approval(id=approval_id, **known | fields)
