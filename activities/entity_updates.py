"""The one way to send an Update to an entity workflow.

Owns the rules that make thousands of callers safe on one entity (DESIGN §3 rule 6). Used by the
client, the gateway and by the activities through which runs talk to their routine.

Invariants:
    1. At most five updates of this process are in flight per target: a default server takes ten per
       workflow and refuses the rest (1,000 unbounded: 72 succeed; with five: all).
    2. A try that may have been lost is repeated with the same update id, so it is booked once.
    3. What the entity itself answers is final and comes back as a `DomainError`, unless it is a
       fault.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

from pydantic import BaseModel, ValidationError
from temporalio import activity
from temporalio.client import (
    Client,
    RPCError,
    RPCTimeoutOrCancelledError,
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCStatusCode

from activities.failures import ENTITY_SILENT
from domain.errors import DomainError, ErrorKind, Problem

MAX_IN_FLIGHT: Final = 5
# Shorter than the local activity's own limit, so that its failure says what was waited for.
LOCAL_PATIENCE: Final = timedelta(seconds=1.8)
NORMAL_PATIENCE: Final = timedelta(seconds=25)
RPC_TIMEOUT: Final = timedelta(seconds=5)
# The pause between two tries doubles from the first to the second.
RETRY_PAUSES: Final = (timedelta(milliseconds=20), timedelta(seconds=1))

_RETRYABLE_STATUS = frozenset(
    {
        RPCStatusCode.RESOURCE_EXHAUSTED,
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.CANCELLED,
        RPCStatusCode.ABORTED,
        RPCStatusCode.UNKNOWN,
    }
)
# The server's words for an update that met a workflow in the act of continuing as new.
_CLOSING = ("closing", "workflow task completed", "unable to perform workflow execution update")

ResultT = TypeVar("ResultT", bound=BaseModel)
# Made anew for each try: the SDK refuses to use one of them twice.
StartOperation = Callable[[], WithStartWorkflowOperation[Any, Any]]


class NoAnswer(DomainError):
    """The entity did not answer in time; the same update id may be sent again."""

    def __init__(self, workflow_id: str, cause: str) -> None:
        super().__init__(
            ErrorKind.UNAVAILABLE,
            "temporal",
            f"{workflow_id} did not answer ({cause}); is a worker running? See `tickless doctor`",
        )


class EntityUpdates:
    """Sends Updates with the rules of this module; one per process and client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        # Weak: a target's semaphore lives as long as somebody waits for it.
        self._gates: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def send(
        self,
        workflow_id: str,
        update: str,
        arg: BaseModel | None,
        result: type[ResultT],
        *,
        update_id: str | None = None,
        patience: timedelta,
        start: StartOperation | None = None,
    ) -> ResultT:
        """Send one Update and wait for its answer.

        Args:
            workflow_id: The entity.
            update: Name of the update.
            arg: Its one argument; null for none.
            result: Model of the answer.
            update_id: Makes repetitions the same update; needed wherever a caller may repeat.
            patience: How long to go on trying.
            start: Makes the operation that starts the entity with the update if it does not run.

        Returns:
            The entity's answer.

        Raises:
            DomainError: What the entity refused, `not_found` without such an entity.
            NoAnswer: No answer within `patience`.
            ApplicationError: A fault inside the entity (type `internal`).
        """
        deadline = time.monotonic() + patience.total_seconds()
        pause = RETRY_PAUSES[0]
        gate = self._gates.setdefault(workflow_id, asyncio.Semaphore(MAX_IN_FLIGHT))
        while True:
            remaining = deadline - time.monotonic()
            try:
                async with gate:
                    return await self._once(
                        workflow_id, update, arg, result, update_id, remaining, start
                    )
            except RPCTimeoutOrCancelledError as error:
                if isinstance(error.__cause__, asyncio.CancelledError):
                    # The SDK hides our own cancellation in its error.
                    raise asyncio.CancelledError from error
                cause = "no answer in time"
            except (RPCError, WorkflowUpdateFailedError) as error:
                cause = _reason_to_retry(workflow_id, error)
            if time.monotonic() + pause.total_seconds() >= deadline:
                raise NoAnswer(workflow_id, cause)
            await asyncio.sleep(pause.total_seconds())
            pause = min(pause * 2, RETRY_PAUSES[1])

    async def _once(
        self,
        workflow_id: str,
        update: str,
        arg: BaseModel | None,
        result: type[ResultT],
        update_id: str | None,
        remaining: float,
        start: StartOperation | None,
    ) -> ResultT:
        args = [] if arg is None else [arg]
        timeout = min(RPC_TIMEOUT, timedelta(seconds=max(remaining, 0.05)))
        if start is not None:
            operation = start()
            try:
                answer: ResultT = await self._client.execute_update_with_start_workflow(
                    update,
                    args=args,
                    start_workflow_operation=operation,
                    id=update_id,
                    result_type=result,
                    rpc_timeout=timeout,
                )
            except Exception:
                await _forget(operation)
                raise
            return answer
        handle = self._client.get_workflow_handle(workflow_id)
        answered: ResultT = await handle.execute_update(
            update, args=args, id=update_id, result_type=result, rpc_timeout=timeout
        )
        return answered


async def _forget(operation: WithStartWorkflowOperation[Any, Any]) -> None:
    """Look at the start's own outcome; asyncio complains about an error that nobody has seen."""
    with suppress(Exception):
        await asyncio.wait_for(operation.workflow_handle(), 0.01)


def _reason_to_retry(workflow_id: str, error: RPCError | WorkflowUpdateFailedError) -> str:
    """Why the same update should be sent again; raises what is final instead."""
    if isinstance(error, WorkflowUpdateFailedError):
        cause = error.cause
        if isinstance(cause, ApplicationError):
            if cause.type == "AcceptedUpdateCompletedWorkflow":
                return "it continued as new"
            raise domain_error_of(cause) or cause from error
        raise error
    if error.status == RPCStatusCode.NOT_FOUND:
        raise DomainError(
            ErrorKind.NOT_FOUND, "id", workflow_id.partition("/")[2] or workflow_id
        ) from error
    text = error.message.lower()
    if error.status in _RETRYABLE_STATUS or any(words in text for words in _CLOSING):
        return error.message
    raise error


def domain_error_of(error: ApplicationError) -> DomainError | None:
    """The `DomainError` that a handler turned into an `ApplicationError`, if it was one."""
    try:
        kind = ErrorKind(error.type or "")
    except ValueError:
        return None
    for detail in error.details:
        try:
            return DomainError.from_problem(Problem.model_validate(detail))
        except ValidationError:
            continue
    return DomainError(kind, "", error.message)


def application_error_of(error: DomainError) -> ApplicationError:
    """A `DomainError` as the error a workflow or activity raises; never worth a retry."""
    return ApplicationError(
        error.message, error.to_problem(), type=str(error.kind), non_retryable=True
    )


def update_patience() -> timedelta:
    """How long an activity goes on asking an entity; a local one must not hold its place long."""
    return LOCAL_PATIENCE if activity.info().is_local else NORMAL_PATIENCE


def retryable_if_silent(error: DomainError) -> ApplicationError:
    """The error of an activity whose entity did not answer, or refused."""
    if error.kind == ErrorKind.UNAVAILABLE:
        return ApplicationError(error.message, type=ENTITY_SILENT)
    return application_error_of(error)
