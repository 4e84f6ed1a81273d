"""The completion hook: code of the operator's that is told how runs ended.

Owns finding it and calling it. When it is called is the run's matter. Source: automation.md §11.

Invariants:
    1. It is called for outcomes that were recorded, ok or error, and for nothing else.
    2. What it raises is logged and changes nothing.
"""

import asyncio
import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Final

import structlog
from pydantic import BaseModel, ConfigDict
from temporalio import activity

from domain.errors import DomainError, ErrorKind
from domain.runs import RunRecord

FIELD: Final = "completion_hook"

log = structlog.get_logger(__name__)


class RoutineCompleted(BaseModel):
    """What a completion hook is given; `error` is null when all went well."""

    model_config = ConfigDict(frozen=True)

    routine_id: str
    title: str
    record: RunRecord
    error: str | None = None


Hook = Callable[[RoutineCompleted], object]


def load_hook(name: str) -> Hook | None:
    """Find a hook by its name, `package.module:function`; null for an empty name.

    Raises:
        DomainError: `invalid_field` on `completion_hook`.
    """
    if not name:
        return None
    module, _, attribute = name.partition(":")
    try:
        found: object = getattr(import_module(module), attribute) if attribute else None
    except (ImportError, AttributeError, ValueError) as error:
        raise _invalid(name, str(error)) from error
    if not callable(found):
        raise _invalid(name, "it is no function")
    return found


def _invalid(name: str, why: str) -> DomainError:
    message = f"{FIELD} must be `package.module:function`; {name!r} cannot be used: {why}"
    return DomainError(ErrorKind.INVALID_FIELD, FIELD, message)


class HookActivities:
    """Calls the operator's code."""

    def __init__(self, hook: Hook | None) -> None:
        self._hook = hook

    @activity.defn
    async def routine_completed(self, completed: RoutineCompleted) -> None:
        """Call the hook, in a thread if it is no coroutine function."""
        if self._hook is None:
            return
        try:
            if inspect.iscoroutinefunction(self._hook):
                await self._hook(completed)
            else:
                await asyncio.to_thread(self._hook, completed)
        except Exception:  # the operator's fault must not become the run's
            log.exception("completion_hook_failed", run=completed.record.id)
