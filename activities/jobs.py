"""The activity that writes down how a job stands, and tells people and routines of it.

Owns the order: first the ledger, in one transaction, then the texts, then the events. What is said
is `domain.job_events`'. Source: triggers-and-actions.md §6, §8 and §10, DESIGN §6.

Invariants:
    1. Everything here may be repeated: rows have natural keys, texts are in the outbox before they
       are sent, events have ids of their own.
    2. A notice gets one attempt and never holds up a job; a result gets as many as a run's. In a
       session that was given to a user meanwhile it is not said: the job asks for it again.
    3. The row of an approval has all the arguments, masked: they are read from the conversation,
       because no payload carries them.
    4. A conversation of a job's own begins with its task, word for word, before a model is called:
       no later payload repeats it.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel
from temporalio import activity
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ApplicationError

from activities import search_attributes as attributes
from activities.call_records import spent_in
from activities.deliveries import BEAT, Delivering, is_revoked, session_lost, session_of
from activities.delivery_steps import DeliverySteps, never_repeated
from activities.emitting import Emitter, tell_or_retry
from activities.failures import DELIVERY_REFUSED
from activities.heartbeats import beating
from activities.messenger import Messenger
from activities.open_calls import close_job_calls
from activities.sessions import SessionHolds
from activities.tools.calls import read_call
from domain.approvals import Approval
from domain.deliveries import Delivery, DeliveryStatus, Part
from domain.emissions import EmittedEvent
from domain.jobs import JobRecord, job_workflow_id
from domain.prompts import PromptFrame, UntrustedText, framed_prompt
from domain.runs import RunRecord
from domain.session_requests import SessionHold
from domain.standing_grants import StandingGrant
from domain.threads import Thread, ThreadMessage
from domain.tool_specs import AskedCall
from domain.usage import Spent

if TYPE_CHECKING:
    # Heavy to import, and this module is imported for its payloads by every client.
    from activities.store import Ledger, Store
    from activities.tools.registry import ToolRegistry


START: Final = "start"


class CallPlace(BaseModel):
    """Where the arguments of a call are, and how long they are."""

    message_id: str
    call: AskedCall
    arguments_chars: int = 0


class JobOpening(BaseModel):
    """What the conversation of a job begins with, besides its description.

    `untrusted` are texts from outside, `nonce` marks them: a text that nobody can guess.
    """

    nonce: str
    untrusted: list[UntrustedText] = []


class PutJob(BaseModel):
    """How a job stands, and what is to be told.

    Attributes:
        record: Its row.
        thread: The conversation it works in; made if there is none.
        run: The row of the run it works for, written in the same transaction.
        opening: With the description of `record`, what its conversation begins with.
        closing: No workflow carries the job any more: its row and its approvals are ended.
        approvals: Their rows.
        asked: Where the arguments of new ones are, by approval id.
        grants: What was allowed for good.
        notices: Texts that get one attempt.
        result: The text that nobody waits for: it gets as many attempts as a run's reply.
        hold: The hold of the session in which the result is said; null when in none.
        events: Told in the job's scope.
    """

    record: JobRecord
    thread: Thread
    run: RunRecord | None = None
    opening: JobOpening | None = None
    closing: bool = False
    approvals: list[Approval] = []
    asked: dict[str, CallPlace] = {}
    grants: list[StandingGrant] = []
    notices: list[Part] = []
    result: Part | None = None
    hold: SessionHold | None = None
    events: list[EmittedEvent] = []


def job_attributes(record: JobRecord) -> TypedSearchAttributes:
    """The search attributes every job is started with."""
    found: list[SearchAttributePair[Any]] = [
        SearchAttributePair(attributes.KIND, "job"),
        SearchAttributePair(attributes.SCOPE, attributes.capped(record.scope)),
        SearchAttributePair(attributes.OWNER, attributes.capped(record.user_id)),
        SearchAttributePair(attributes.STATUS, str(record.status)),
        SearchAttributePair(attributes.CREATED, record.created_at),
    ]
    if record.routine_id is not None:
        found.append(SearchAttributePair(attributes.ROUTINE, record.routine_id))
    return TypedSearchAttributes(found)


class JobActivities:
    """Writes down jobs and tells of them."""

    def __init__(
        self,
        store: "Store",
        messenger: Messenger,
        emitter: Emitter,
        *,
        start_notices: bool = True,
        registry: "ToolRegistry | None" = None,
        holds: SessionHolds | None = None,
    ) -> None:
        """Take what is needed.

        Args:
            store: The ledger; stays its owner's.
            messenger: Sends the texts.
            emitter: Tells the events.
            start_notices: Setting of the same name.
            registry: The tools, which say what of their arguments is masked; null: approvals are
                written with the arguments they come with.
            holds: Asks sessions; null where nobody speaks in one.
        """
        self._store = store
        self._messenger = messenger
        self._emitter = emitter
        self._start_notices = start_notices
        self._registry = registry
        self._holds = holds

    @activity.defn
    async def put_job(self, request: PutJob) -> Spent | None:
        """Write the rows, send the texts, tell the events.

        Returns:
            What a job that is closed has spent, by the calls of models in the ledger; null for one
            that tells so itself.

        Raises:
            ApplicationError: `delivery_refused`, to be retried after the delay it names;
                `store_failed` from the store; `entity_silent` when nobody could be told, or the
                session did not answer; `session_lost`, final, when a user has the session in which
                the result was to be said.
        """
        current = Delivering()
        told = [item for item in request.notices if self._start_notices or item.part != START]
        notices = self._steps(request, told, once=True)
        result = self._steps(request, [request.result] if request.result else [], once=False)
        with beating(lambda: current, BEAT):
            row = await self._store.write(self._begin, request, notices)
            while row is not None:
                sent = await self._messenger.send_once(row)
                row = await self._store.write(notices.go_on, sent)
            if request.result is not None:
                if await is_revoked(self._holds, request.hold):
                    raise session_lost(request.record.id)
                row = await self._store.write(result.enqueue)
                while row is not None:
                    current = Delivering(occurrence_id=row.occurrence_id)
                    sent = await self._messenger.send(row)
                    row = await self._store.write(result.go_on, sent)
            await tell_or_retry(self._emitter, request.events, request.record.scope)
        if result.held:
            raise self._refusal(result)
        if not request.closing:
            return None
        return await self._store.read(_spent_by, request.record.id)

    def _steps(self, request: PutJob, parts: list[Part], *, once: bool) -> DeliverySteps:
        record = request.record
        rows = [
            self._messenger.row(part, record.run_id, f"{record.id}/{part.part}", scope=record.scope)
            for part in parts
        ]
        if once:
            return DeliverySteps(rows, never_repeated)
        session = session_of(request.hold, record.scope, record.created_at)
        return DeliverySteps(rows, self._messenger.may_be_repeated, session)

    def _begin(self, ledger: "Ledger", request: PutJob, steps: DeliverySteps) -> Delivery | None:
        ledger.threads.ensure(request.thread)
        if request.opening is not None:
            ledger.threads.append([_task(request.record, request.thread.id, request.opening)])
        if request.run is not None:
            ledger.runs.put(request.run)
        if request.closing:
            spent = _spent_by(ledger, request.record.id).model_dump(exclude_none=True)
            ledger.jobs.close(request.record.model_copy(update=spent))
            ledger.approvals.withdraw(request.record.id)
        else:
            ledger.jobs.put(request.record)
        for approval in request.approvals:
            place = request.asked.get(approval.id)
            ledger.approvals.put(self._whole(ledger, approval, place) if place else approval)
        # After the approvals: it masks the arguments that those are read from.
        close_job_calls(ledger, request.record, datetime.now(UTC))
        for grant in request.grants:
            ledger.grants.put(grant)
        return steps.enqueue(ledger)

    def _whole(self, ledger: "Ledger", approval: Approval, place: CallPlace) -> Approval:
        """An approval with all the arguments of its call, masked."""
        if self._registry is None:
            return approval
        message = ledger.threads.message(place.message_id)
        call = read_call(self._registry, place.call, place.message_id, message)
        if call.digest != approval.digest:
            # A tool that has another version since: what was asked for stays as it was shown.
            return approval
        return approval.model_copy(update={"arguments": call.shown})

    def _refusal(self, steps: DeliverySteps) -> ApplicationError:
        waiting = [
            row for row in steps.rows if row.status == DeliveryStatus.PENDING and row.attempts
        ]
        return ApplicationError(
            "; ".join(f"{row.occurrence_id} was not delivered: {row.error}" for row in waiting),
            type=DELIVERY_REFUSED,
            next_retry_delay=max(map(self._messenger.delay, waiting)),
        )


def _spent_by(ledger: "Ledger", job_id: str) -> Spent:
    return spent_in(ledger.calls.with_prefix(f"{job_workflow_id(job_id)}/"))


def _task(record: JobRecord, thread_id: str, opening: JobOpening) -> ThreadMessage:
    """The first message of a job's conversation."""
    text = framed_prompt(
        record.description, PromptFrame(), nonce=opening.nonce, untrusted=opening.untrusted
    )
    return ThreadMessage(
        id=f"{record.id}/task",
        thread_id=thread_id,
        role="user",
        content=text,
        created_at=record.created_at,
    )
