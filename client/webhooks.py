"""Deliveries to webhooks: from signed request to started run.

Owns the steps between a known path and a run, and what a repeated delivery is told. The judgement
on a signature is `domain.webhooks`', paths are `client.webhook_paths`', HTTP is the gateway's.
Source: triggers-and-actions.md §3.

Invariants:
    1. A delivery with an id starts one run, however often and wherever it is posted: the run's id
       is made of it.
    2. Needs Temporal and no worker; what was accepted is in Temporal.
    3. A run is started only for a delivery whose signature was verified, or that needs none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from temporalio.client import Client, WorkflowFailureError
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from ulid import ULID

from activities.entity_updates import EntityUpdates
from activities.runs import run_attributes
from client.connection import QUERY_TIMEOUT, translated
from client.context import CallerContext
from client.runs import MEMO_DIGEST, Runs, RunStarted
from client.webhook_paths import Webhook, WebhookPaths
from client.webhook_secrets import WebhookSecrets
from domain.errors import DomainError, ErrorKind
from domain.identifiers import RUNS_QUEUE, routine_workflow_id
from domain.routine_model import RoutineStatus
from domain.run_start import StartRun
from domain.run_view import RunView
from domain.runs import FireKind, run_id, run_workflow_id
from domain.trigger_models import Secret
from domain.webhook_body import body_hash, delivery_text
from domain.webhook_claim import WebhookClaim
from domain.webhooks import UNSIGNED, DeliveryId, delivery_id, run_workflow_suffix, verify
from workflows.routine import RoutineWorkflow

START_TIMEOUT: Final = timedelta(seconds=5)
_DETAIL_CHARS: Final = 200


@dataclass(frozen=True)
class Delivery:
    """A request as it came; names of headers in lower case, those sent twice joined."""

    headers: Mapping[str, str]
    body: bytes
    at: datetime


class UnreachableSecret(DomainError):
    """A delivery could not be judged, because a secret cannot be had; `reasons` are for the log."""

    def __init__(self, reasons: str) -> None:
        super().__init__(
            ErrorKind.UNAVAILABLE,
            "secret",
            "a secret of this webhook cannot be read now; nothing was started",
        )
        self.reasons = reasons


class Webhooks:
    """Takes deliveries; one per process and connection."""

    def __init__(
        self, temporal: Client, paths: WebhookPaths, secrets: WebhookSecrets, ui_url: str = ""
    ) -> None:
        self.paths = paths
        self._temporal = temporal
        self._secrets = secrets
        self._runs = Runs(temporal, EntityUpdates(temporal), CallerContext(), ui_url)

    async def accept(
        self, webhook: Webhook, delivery: Delivery, *, signed: bool = False
    ) -> RunStarted:
        """Verify a delivery and start its run.

        Args:
            webhook: What `paths` has found.
            delivery: The request.
            signed: It has to bear a signature, also where the routine takes it without.

        Returns:
            The run; `duplicate` when the same delivery has started it before.

        Raises:
            DomainError: `unauthenticated` on `signature` with the reason as its message;
                `not_found` for a routine that is not active, of whose refusal the run tells;
                `conflict` on `delivery_id`; `unavailable`, when nothing was started.
        """
        if webhook.status == RoutineStatus.DELETED:
            raise unknown_path()
        scheme = await self._check_signature(webhook, delivery)
        if signed and scheme == UNSIGNED:
            raise DomainError(
                ErrorKind.UNAUTHENTICATED,
                "wait",
                "wait is for signed deliveries: what a run answers is not told to everybody",
            )
        identity = delivery_id(webhook.claim.path, delivery.headers, delivery.body)
        started = await self._start(webhook, delivery, identity)
        if webhook.status != RoutineStatus.ACTIVE:
            raise unknown_path()
        return started

    async def end_of(self, run: str) -> RunView | None:
        """The end of a run, waited for; null when it was ended from outside.

        Only for whoever has started it: no scope is looked at.
        """
        handle = self._temporal.get_workflow_handle(run_workflow_id(run), result_type=RunView)
        with translated(run):
            try:
                result: RunView = await handle.result()
            except WorkflowFailureError:
                return None
        return result

    async def _check_signature(self, webhook: Webhook, delivery: Delivery) -> str | None:
        """Judge a delivery; answers the scheme of its signature."""
        claim = webhook.claim
        found = self._secrets.resolve(await self._stored(webhook), webhook.routine_id)
        # What is unreachable is still a secret: without it nothing is unsigned.
        unsigned = claim.unsigned and not found.unreachable
        judged = verify(
            found.texts,
            delivery.headers,
            delivery.body,
            delivery.at,
            claim.scheme,
            allow_unsigned=unsigned,
        )
        if judged.ok:
            return judged.scheme
        if found.unreachable:
            raise UnreachableSecret("; ".join(found.unreachable))
        raise DomainError(ErrorKind.UNAUTHENTICATED, "signature", str(judged.reason))

    async def _stored(self, webhook: Webhook) -> list[Secret]:
        if webhook.claim.secrets is not None:
            return webhook.claim.secrets
        handle = self._temporal.get_workflow_handle(routine_workflow_id(webhook.routine_id))
        with translated():
            claim: WebhookClaim | None = await handle.query(
                RoutineWorkflow.webhook, rpc_timeout=QUERY_TIMEOUT
            )
        if claim is None or claim.path != webhook.claim.path:
            raise unknown_path()
        return claim.secrets or []

    async def _start(
        self, webhook: Webhook, delivery: Delivery, identity: DeliveryId
    ) -> RunStarted:
        derived = identity.source == "body"
        occurrence = run_workflow_suffix(identity.delivery_id) + (f"-{ULID()}" if derived else "")
        run = run_id(webhook.routine_id, occurrence)
        start = StartRun(
            routine_id=webhook.routine_id,
            kind=FireKind.WEBHOOK,
            trigger_detail=f"{webhook.claim.path} {identity.delivery_id}"[:_DETAIL_CHARS],
            occurred_at=delivery.at,
            content_hash=body_hash(delivery.body),
            delivery_digest=identity.delivery_id if derived else None,
            untrusted=[delivery_text(delivery.headers, identity.delivery_id, delivery.body)],
        )
        answer = RunStarted(
            run_id=run, workflow_id=run_workflow_id(run), ui_url=self._runs.ui_url(run)
        )
        try:
            with translated():
                await self._temporal.start_workflow(
                    "RoutineRun",
                    start,
                    id=answer.workflow_id,
                    task_queue=RUNS_QUEUE,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                    search_attributes=run_attributes(start, webhook.scope, webhook.owner),
                    static_summary=f"{webhook.routine_id}: delivery to {webhook.claim.path}"[:200],
                    memo={MEMO_DIGEST: identity.body_sha256},
                    rpc_timeout=START_TIMEOUT,
                )
        except WorkflowAlreadyStartedError:
            await self._check_same_body(answer.workflow_id, identity)
            return answer.model_copy(update={"duplicate": True})
        return answer

    async def _check_same_body(self, workflow_id: str, identity: DeliveryId) -> None:
        with translated():
            description = await self._temporal.get_workflow_handle(workflow_id).describe()
            former = await description.memo_value(MEMO_DIGEST, identity.body_sha256)
        if former != identity.body_sha256:
            raise DomainError(
                ErrorKind.CONFLICT,
                "delivery_id",
                f"the delivery id in {identity.source} was used with another body",
            )


def unknown_path() -> DomainError:
    """The problem of a path that takes no deliveries; the same whatever the reason is."""
    return DomainError(ErrorKind.NOT_FOUND, "path", "there is no webhook at this path")
