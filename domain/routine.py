"""The noun routine: everything others may ask about one, or do with one.

Owns the status filter of lists and gathers the names that other modules use. The model is in
`domain.routine_model`, a whole record in `domain.routine_record`, creation in
`domain.routine_create`, patches in `domain.routine_patch`, outcomes in `domain.routine_outcome`.
Source: automation.md §2 to §7 and §10.
"""

from pydantic import BaseModel, ConfigDict

from domain.errors import DomainError, ErrorKind
from domain.fields import shown
from domain.prompt_variables import RenderedPrompt, render_prompt
from domain.routine_create import new_routine, validate_name
from domain.routine_model import (
    ManageMode,
    PausedReason,
    Routine,
    RoutineStatus,
    RunState,
    can_manage,
    effective_route,
)
from domain.routine_outcome import record_outcome
from domain.routine_patch import apply_patch
from domain.routine_record import normalize_routine, validate_routine
from domain.routine_timing import next_anchor

__all__ = [
    "ManageMode",
    "PausedReason",
    "RenderedPrompt",
    "Routine",
    "RoutineStatus",
    "RunState",
    "StatusFilter",
    "apply_patch",
    "can_manage",
    "effective_route",
    "new_routine",
    "next_anchor",
    "normalize_routine",
    "parse_status_filter",
    "record_outcome",
    "render_prompt",
    "validate_name",
    "validate_routine",
]

_ALL = "all"
_FILTERS = (*(status.value for status in RoutineStatus), _ALL)


class StatusFilter(BaseModel):
    """Which routines a list shows: one status, or (null) all but deleted ones unless included."""

    model_config = ConfigDict(frozen=True)

    status: RoutineStatus | None = None
    include_deleted: bool = False


def parse_status_filter(raw: str | None) -> StatusFilter:
    """Read the status filter of a list.

    Args:
        raw: `active`, `paused`, `deleted`, `all`, in any case; blank or null for all but deleted.

    Raises:
        DomainError: `invalid_field` on `status` for anything else.
    """
    word = raw.strip().lower() if isinstance(raw, str) else raw
    if not word:
        return StatusFilter()
    if word == _ALL:
        return StatusFilter(include_deleted=True)
    if word in _FILTERS:
        status = RoutineStatus(word)
        return StatusFilter(status=status, include_deleted=status == RoutineStatus.DELETED)
    message = f"status must be one of {', '.join(_FILTERS)}, not {shown(raw)}"
    raise DomainError(ErrorKind.INVALID_FIELD, "status", message, _FILTERS)
