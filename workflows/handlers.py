"""What keeps a workflow's work whole: a decorator for its handlers, a shield for its end.

Owns the rule that a handler can fail its own message and nothing else (DESIGN §3 rule 5), and that
what has to be done is done although a cancellation arrives.

Invariant: what leaves a handler is a `FailureError`. Anything else would fail the workflow task, be
retried for ever, and the entity would answer nothing more.
"""

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar, cast

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from activities.entity_updates import application_error_of
    from domain.errors import DomainError

P = ParamSpec("P")
T = TypeVar("T")

INTERNAL = "internal"


def _failure_of(error: Exception) -> FailureError:
    if isinstance(error, FailureError):
        return error
    if isinstance(error, DomainError):
        return application_error_of(error)
    workflow.logger.exception("a message handler failed")
    return ApplicationError(f"{type(error).__name__}: {error}", type=INTERNAL, non_retryable=True)


def guarded(handler: Callable[P, T]) -> Callable[P, T]:
    """Turn everything a handler raises into a failure of its message.

    Put it below the Temporal decorator, on sync and async handlers alike. A `DomainError` becomes
    an `ApplicationError` of its kind with the problem as detail; anything unforeseen one of type
    `internal`.
    """
    if inspect.iscoroutinefunction(handler):
        waiting = cast("Callable[P, Awaitable[object]]", handler)

        @functools.wraps(handler)
        async def guarded_async(*args: P.args, **kwargs: P.kwargs) -> object:
            try:
                return await waiting(*args, **kwargs)
            except Exception as error:
                raise _failure_of(error) from error

        return cast("Callable[P, T]", guarded_async)

    @functools.wraps(handler)
    def guarded_sync(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return handler(*args, **kwargs)
        except Exception as error:
            raise _failure_of(error) from error

    return guarded_sync


def guarded_signal(handler: Callable[P, T]) -> Callable[P, T]:
    """The same for signals, which have nobody to answer: what was refused is logged and dropped."""
    if inspect.iscoroutinefunction(handler):
        waiting = cast("Callable[P, Awaitable[object]]", handler)

        @functools.wraps(handler)
        async def logged_async(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                await waiting(*args, **kwargs)
            except Exception as error:  # A signal must never fail the workflow task.
                _log_refused(handler.__name__, error)

        return cast("Callable[P, T]", logged_async)

    @functools.wraps(handler)
    def logged(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            handler(*args, **kwargs)
        except Exception as error:  # A signal must never fail the workflow task.
            _log_refused(handler.__name__, error)

    return cast("Callable[P, T]", logged)


def _log_refused(name: str, error: Exception) -> None:
    workflow.logger.warning("signal %s refused: %s", name, error)


async def undisturbed(work: "asyncio.Task[T]", told: Callable[[], None] = lambda: None) -> T:
    """Wait for work that has to be done even when a cancellation arrives meanwhile.

    Args:
        work: The work.
        told: Called with each cancellation.
    """
    while True:
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            if work.cancelled():
                raise
            told()
