"""Webhook paths of routines that are created or changed: claimed, and given back.

Owns the steps around a creation or patch that gives a routine a path. Who has a path is
`client.webhook_paths`'. Source: triggers-and-actions.md §3.

Invariants:
    1. A path that is taken is refused before anything is started, and what two have claimed at the
       same moment one of them has in the end.
    2. What is rolled back is as it was before: a new routine is gone, a changed one has its former
       values.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final, cast

from temporalio.client import Client

from client.connection import QUERY_TIMEOUT, translated
from client.webhook_paths import WebhookPaths, taken
from domain.errors import DomainError
from domain.identifiers import routine_workflow_id
from domain.routine import Routine
from domain.routine_changes import EDITABLE
from domain.trigger_models import Secret, TriggerType
from domain.webhook_claim import WebhookClaim, webhook_claim
from workflows.routine import RoutineWorkflow

# Parts of a routine that its trigger and action say, and that must not be said twice.
_SAID_ELSEWHERE: Final = frozenset({"schedule", "timezone", "prompt"})


class WebhookClaims:
    """Claims paths; one per client."""

    def __init__(self, temporal: Client, paths: WebhookPaths) -> None:
        self._temporal = temporal
        self._paths = paths

    async def for_creation(self, planned: Routine) -> WebhookClaim | None:
        """What a new routine claims, for the memo that it is started with.

        Raises:
            DomainError: `conflict` on `trigger.path`.
        """
        claim = webhook_claim(planned.id, planned.trigger, datetime.now(UTC))
        if claim is not None:
            await self._paths.require_free(claim.path, planned.id)
        return claim

    async def settle_creation(self, routine_id: str, claim: WebhookClaim | None) -> None:
        """Keep a path that was claimed with a creation, or take the creation back.

        Raises:
            DomainError: `conflict` on `trigger.path`.
        """
        if claim is None:
            return
        present = await self._paths.of_routine(routine_id)
        # A repeated creation has met the routine that the first one made, which is settled.
        if present is None or present.claim.at != claim.at:
            return
        if not await self._paths.settle(routine_id, claim):
            with translated(routine_id):
                handle = self._temporal.get_workflow_handle(routine_workflow_id(routine_id))
                # It fires by deliveries only, so there is no Schedule to be taken away.
                await handle.terminate(f"the webhook path {claim.path} is taken")
            raise taken(claim.path)

    @asynccontextmanager
    async def around_patch(
        self,
        routine_id: str,
        patch: Mapping[str, object],
        read: Callable[[], Awaitable[Routine]],
        change: Callable[[dict[str, Any]], Awaitable[object]],
    ) -> AsyncGenerator[None]:
        """Claim the path that a patch gives to a routine; the patch is applied inside.

        Args:
            routine_id: The routine.
            patch: The changes, secrets sealed.
            read: Reads the routine as it is.
            change: Changes it back.

        Raises:
            DomainError: `conflict` on `trigger.path`.
        """
        path = _patched_path(patch, routine_id)
        if path is None:
            yield
            return
        before = await self._paths.of_routine(routine_id)
        if before is not None and before.claim.path == path:
            yield
            return
        former = await read()
        secrets = None if before is None else await self._secrets(routine_id, before.claim)
        await self._paths.require_free(path, routine_id)
        yield
        present = await self._paths.of_routine(routine_id)
        if present is None or await self._paths.settle(routine_id, present.claim):
            return
        # What cannot be undone stays refused by its path: the stronger claim has it.
        with suppress(DomainError):
            await change(_undone(patch, former, secrets))
        raise taken(path)

    async def _secrets(self, routine_id: str, claim: WebhookClaim) -> list[Secret]:
        if claim.secrets is not None:
            return claim.secrets
        handle = self._temporal.get_workflow_handle(routine_workflow_id(routine_id))
        with translated(routine_id):
            whole: WebhookClaim | None = await handle.query(
                RoutineWorkflow.webhook, rpc_timeout=QUERY_TIMEOUT
            )
        return (whole.secrets if whole else None) or []


def _patched_path(patch: Mapping[str, object], routine_id: str) -> str | None:
    """The path that a patch asks for; null when it asks for no webhook."""
    trigger = patch.get("trigger")
    if not isinstance(trigger, Mapping):
        return None
    given = cast("Mapping[str, object]", trigger)
    kind, path = given.get("type"), given.get("path")
    if not isinstance(kind, str) or kind.strip().lower() != TriggerType.WEBHOOK:
        return None
    return (path.strip() if isinstance(path, str) else "") or routine_id


def _undone(
    patch: Mapping[str, object], former: Routine, secrets: list[Secret] | None
) -> dict[str, Any]:
    """The patch that takes another one back."""
    values = former.model_dump(mode="json")
    if secrets is not None:
        stored = former.trigger.model_copy(update={"secret": secrets or None})
        values["trigger"] = stored.model_dump(mode="json")
    keys = {key for key in patch if key in EDITABLE} | {"trigger", "guardrails"}
    if "prompt" in patch:
        keys.add("action")
    return {key: values[key] for key in sorted(keys - _SAID_ELSEWHERE)}
