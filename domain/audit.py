"""The audit as it is read from outside: rows of its tables, and the calls of one run or job.

Owns the names of the tables and the pages. Source: triggers-and-actions.md §7 and §10.
"""

from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, BaseModel

from domain.tool_actions import ActionRecord


class AuditTable(StrEnum):
    """The tables of the audit, in the order of an export."""

    RUNS = "runs"
    JOBS = "jobs"
    JOB_ACTIONS = "job_actions"
    LLM_CALLS = "llm_calls"
    APPROVALS = "approvals"


class AuditPage(BaseModel):
    """Rows of one table in order of time; `last_at` and `last_id` while there are more."""

    rows: list[dict[str, Any]]
    last_at: AwareDatetime | None = None
    last_id: str = ""


class ActionPage(BaseModel):
    """Calls of tools in their sequence; `more` while others follow."""

    actions: list[ActionRecord]
    more: bool = False
