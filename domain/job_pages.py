"""Jobs and approvals as they are listed: pages, and what a page is asked for by.

Owns the two pages, their status filters and how much of a job they show. Source:
triggers-and-actions.md §6 and §8.
"""

from enum import StrEnum
from typing import Final, TypeVar

from pydantic import BaseModel

from domain.approvals import Approval, arguments_text
from domain.errors import DomainError, ErrorKind
from domain.fields import shown
from domain.jobs import JobRecord
from domain.ledger_requests import PREVIEW_CHARS

MAX_LISTED_CHARS: Final = 2_048
_Status = TypeVar("_Status", bound=StrEnum)


class JobPage(BaseModel):
    """Jobs, newest first, their descriptions and results cut; `more` while others follow."""

    jobs: list[JobRecord]
    more: bool = False


class ApprovalPage(BaseModel):
    """Approvals, newest first, long arguments cut; `more` while others follow."""

    approvals: list[Approval]
    more: bool = False


def preview(job: JobRecord) -> JobRecord:
    """A job as it stands in a list: its long texts cut."""
    result = job.result and job.result[:PREVIEW_CHARS]
    return job.model_copy(update={"description": job.description[:PREVIEW_CHARS], "result": result})


def preview_approval(approval: Approval) -> Approval:
    """An approval as it stands in a list: long arguments cut, which says how long they are."""
    whole = arguments_text(approval.arguments)
    if len(whole) <= MAX_LISTED_CHARS:
        return approval
    shown = {"[cut]": f"{len(whole)} characters: {whole[:PREVIEW_CHARS]}"}
    return approval.model_copy(update={"arguments": shown})


def read_status(raw: str, statuses: type[_Status]) -> _Status | None:
    """Read the status filter of a list, in any case; blank is any.

    Raises:
        DomainError: `invalid_field` on `status` for anything else.
    """
    word, accepted = raw.strip().lower(), [status.value for status in statuses]
    if not word:
        return None
    if word in accepted:
        return statuses(word)
    message = f"status must be one of {', '.join(accepted)}, not {shown(raw)}"
    raise DomainError(ErrorKind.INVALID_FIELD, "status", message, accepted)
