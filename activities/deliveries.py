"""The activity that ends a run in the ledger and sends what it has to say.

Owns the order of writing and sending, and when a refused text is tried again. The ledger's side is
`activities.delivery_steps`', one attempt `activities.messenger`'s, what is said the run's.
Source: triggers-and-actions.md §9 and §10, DESIGN §6.

Invariants:
    1. The ledger knows of a text before a channel does, and of an attempt before it is made.
    2. A run without texts is one transaction, every text adds one.
    3. Who speaks in a session and comes late asks it first, because it may have been taken back for
       a user meanwhile: what then is left to say is suppressed, but the result of a job, which the
       run says when the session is its own again.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.delivery_steps import DeliverySteps
from activities.emitting import Emitter, tell_or_retry
from activities.failures import DELIVERY_REFUSED, SESSION_LOST, STORE_FAILED
from activities.heartbeats import beating
from activities.messenger import Messenger
from activities.sessions import SessionHolds
from domain.deliveries import DeliveryStatus, Part
from domain.delivery_events import event_of_unknown
from domain.emissions import EmittedEvent
from domain.runs import RunRecord
from domain.scopes import Scope
from domain.session_requests import SessionHold, session_thread_id
from domain.threads import Thread, ThreadKind

if TYPE_CHECKING:
    # Heavy to import, and this module is imported for its payloads by every client.
    from activities.store import Store

BEAT: Final = timedelta(seconds=3)
# A session is taken back 10 s after its holder was told to let go.
LATE_AFTER: Final = timedelta(seconds=5)


class FinishRun(BaseModel):
    """What is known of a run, and what it says.

    Attributes:
        record: The row of the ledger.
        thread: The thread that the record names; made if there is none.
        parts: Texts to deliver, in order.
        scope: Who may see the texts, where no thread says so.
        events: Told in this scope once the rest is done.
        hold: The hold of the session in which they are said; null when in none.
    """

    record: RunRecord
    thread: Thread | None = None
    parts: list[Part] = []
    scope: str | None = None
    events: list[EmittedEvent] = []
    hold: SessionHold | None = None


class DeliveryReceipt(BaseModel):
    """How a delivery stands after the activity.

    Attributes:
        replyable: A later text can be sent as a reply to `message_id`.
        gone: The message that this text was to reply to exists no more.
    """

    occurrence_id: str
    status: DeliveryStatus
    message_id: str | None = None
    error: str | None = None
    replyable: bool = False
    gone: bool = False


class RunFinished(BaseModel):
    """One receipt for each part, in order."""

    deliveries: list[DeliveryReceipt] = []


class Delivering(BaseModel):
    """Heartbeat: the delivery that is being made, null before and between."""

    occurrence_id: str | None = None


class DeliveryActivities:
    """Writes runs to the ledger and delivers their texts."""

    def __init__(
        self,
        store: "Store",
        messenger: Messenger,
        emitter: Emitter | None = None,
        holds: SessionHolds | None = None,
    ) -> None:
        """Take what is needed.

        Args:
            store: The ledger; stays its owner's.
            messenger: Sends the texts.
            emitter: Hears of texts whose fate nobody knows; null where nobody listens.
            holds: Asks sessions; null where nobody speaks in one.
        """
        self._store = store
        self._messenger = messenger
        self._emitter = emitter
        self._holds = holds

    @activity.defn
    async def finish_run(self, request: FinishRun) -> RunFinished:
        """Write the record, then deliver the parts that are not settled yet.

        Returns:
            How every part stands; none of them waits for another attempt.

        Raises:
            ApplicationError: `delivery_refused`, to be retried after the delay it names, with the
                `RunFinished` so far; `store_failed` from the store, or because another sender is at
                one of the parts; `entity_silent` when nobody could be told of an unknown one, or
                the session did not answer; `session_lost`, final, for the result of a job.
        """
        current = Delivering()
        messenger, run = self._messenger, request.record.id
        scope = request.thread.scope if request.thread else request.scope
        rows = [messenger.row(part, run, scope=scope) for part in request.parts]
        session = session_of(request.hold, scope or "", request.record.occurred_at)
        steps = DeliverySteps(rows, messenger.may_be_repeated, session)
        with beating(lambda: current, BEAT):
            steps.revoked = bool(request.parts) and await is_revoked(self._holds, request.hold)
            if steps.revoked and request.record.job_id is not None:
                raise session_lost(request.record.job_id)
            row = await self._store.write(steps.begin, request.record, request.thread)
            while row is not None:
                current = Delivering(occurrence_id=row.occurrence_id)
                sent = await messenger.send(row)
                row = await self._store.write(steps.go_on, sent)
            await self._tell(steps, request)
        if steps.disturbed is not None:
            key = steps.disturbed.occurrence_id
            raise ApplicationError(f"another sender is at {key!r}", type=STORE_FAILED)
        finished = RunFinished(deliveries=self._receipts(steps))
        if steps.held:
            raise self._refusal(steps, finished)
        return finished

    async def _tell(self, steps: DeliverySteps, request: FinishRun) -> None:
        """Tell the event of each unknown text; who repeats the activity tells the same ones."""
        if self._emitter is None:
            return
        await tell_or_retry(self._emitter, request.events, request.scope or "")
        for row in steps.unknown:
            event = event_of_unknown(row, hop=request.record.hop)
            if event is not None:
                await tell_or_retry(self._emitter, [event], row.scope or "")

    def _receipts(self, steps: DeliverySteps) -> list[DeliveryReceipt]:
        return [
            DeliveryReceipt(
                **row.model_dump(include={"occurrence_id", "status", "message_id", "error"}),
                replyable=self._messenger.threads(row),
                gone=row.occurrence_id in steps.gone,
            )
            for row in steps.rows
        ]

    def _refusal(self, steps: DeliverySteps, finished: RunFinished) -> ApplicationError:
        waiting = [
            row for row in steps.rows if row.status == DeliveryStatus.PENDING and row.attempts
        ]
        return ApplicationError(
            "; ".join(f"{row.occurrence_id} was not delivered: {row.error}" for row in waiting),
            finished,
            type=DELIVERY_REFUSED,
            next_retry_delay=max(map(self._messenger.delay, waiting)),
        )


def session_lost(job_id: str) -> ApplicationError:
    """The end of an attempt to say a job's result in a session that a user has by now."""
    message = f"the result of {job_id} waits: a user was given the session"
    return ApplicationError(message, type=SESSION_LOST, non_retryable=True)


async def is_revoked(holds: SessionHolds | None, hold: SessionHold | None) -> bool:
    """Whether a user was given the session in which something is to be said; asked when it is late.

    Args:
        holds: Asks sessions; null where nobody speaks in one.
        hold: The hold of the session; null when it is said in none.

    Raises:
        ApplicationError: `entity_silent`, retryable, when the session did not answer.
    """
    if holds is None or hold is None or not comes_late():
        return False
    return not await holds.stands(hold)


def comes_late() -> bool:
    """Whether this attempt comes so late that a session may have been taken back."""
    info = activity.info()
    return info.started_time - info.scheduled_time > LATE_AFTER


def session_of(hold: SessionHold | None, scope: str, at: datetime) -> Thread | None:
    """The thread of the session in which something is said; null where it is said in none."""
    if hold is None or not scope:
        return None
    return Thread(
        id=session_thread_id(Scope.of_text(scope), hold.key),
        scope=scope,
        session_key=hold.key,
        kind=ThreadKind.SESSION,
        created_at=at,
    )
