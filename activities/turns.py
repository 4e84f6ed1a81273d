"""The activities of a session: they end turns in the ledger, send answers, and keep messages.

Owns the order of writing and sending. The ledger's side of sending is `activities.delivery_steps`',
one attempt `activities.messenger`'s, what is said `domain.chat_replies`'.
Source: chat-policies.md §3.6 and §5, triggers-and-actions.md §9 and §10.

Invariants:
    1. A turn, how its messages ended and its text are one transaction; an answer that could not be
       delivered takes a second one, which makes the turn a failed one.
    2. Every activity can run twice: rows have natural keys, a text the key `<turn id>/<part>`.
    3. The answer is read from the thread: it does not travel through the history once more.
"""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.deliveries import BEAT, Delivering
from activities.delivery_steps import DeliverySteps
from activities.emitting import Emitter, tell_or_retry
from activities.failures import DELIVERY_REFUSED, STORE_FAILED
from activities.heartbeats import beating
from activities.messenger import Messenger
from activities.open_calls import close_turn_calls
from domain.chat_replies import NO_VOICE, ChatReply, ReplyTo, chat_reply, failure_part
from domain.chat_settings import SessionRules
from domain.deliveries import Delivery, DeliveryStatus, Part, occurrence_id
from domain.delivery_events import event_of_unknown
from domain.inbound_records import InboundRecord, inbound_id
from domain.inbox_texts import TextBlock, text_of_blocks
from domain.notices import cut_mark
from domain.threads import Thread, ThreadMessage
from domain.turns import TurnRecord, TurnStatus

if TYPE_CHECKING:
    # Heavy to import, and this module is imported for its payloads by every client.
    from activities.store import Ledger, Store

SUMMARY_CHARS: Final = 500
# A session does nothing else while its answer is on its way: it tries for about a minute, not for
# the 15 minutes of a run. What was refused then, a person may send again.
TURN_ATTEMPTS: Final = 3
TURN_RETRY_MAX: Final = timedelta(seconds=40)


class FinishTurn(BaseModel):
    """How a turn ended.

    Attributes:
        record: Its row; `answered` until it is known what the answer says.
        thread: The thread that the record names; made if there is none.
        to: Where the answer goes.
        answer_id: The answer's id in the thread; null when there is none.
        truncated: The token limit cut it.
        filtered: The provider's content filter cut it.
        inbound: Messages that ended, with the turn or before it.
        said: What the user said, as a whole; sessions of former versions gave it so.
        blocks: The same in pieces, where no answer says that it was heard: kept in the thread. The
            texts of messages that end here are not in them a second time.
    """

    record: TurnRecord
    thread: Thread
    to: ReplyTo
    answer_id: str | None = None
    truncated: bool = False
    filtered: bool = False
    inbound: list[InboundRecord] = []
    said: str | None = None
    blocks: list[TextBlock] = []


class TurnFinished(BaseModel):
    """How the turn stands after all, and the settings as they are now."""

    status: TurnStatus
    error: str | None = None
    rules: SessionRules


class RecordMessages(BaseModel):
    """Messages that ended, or whose texts are to be kept while they wait."""

    rows: list[InboundRecord]


class LoadTexts(BaseModel):
    """Which texts are wanted: the keys of their rows."""

    ids: list[str]


class KeptTexts(BaseModel):
    """Texts by message id."""

    texts: dict[str, str]


class SessionRulesActivities:
    """Tells sessions what the settings say."""

    def __init__(self, rules: SessionRules) -> None:
        self._rules = rules

    @activity.defn
    async def session_rules(self) -> SessionRules:
        """The settings of this worker."""
        return self._rules


class TurnActivities:
    """Writes turns and messages to the ledger, and delivers answers."""

    def __init__(
        self,
        store: "Store",
        messenger: Messenger,
        rules: SessionRules,
        emitter: Emitter | None = None,
    ) -> None:
        """Take what is needed.

        Args:
            store: The ledger; stays its owner's.
            messenger: Sends the texts.
            rules: The settings, told to each session with each turn.
            emitter: Hears of texts whose fate nobody knows; null where nobody listens.
        """
        self._store = store
        self._messenger = messenger
        self._rules = rules
        self._emitter = emitter

    @activity.defn
    async def finish_turn(self, request: FinishTurn) -> TurnFinished:
        """Write the turn and its messages, then deliver its text.

        Returns:
            How it stands: `answered` has become `silent` when there was nothing to say, and
            `failed` when nothing could be delivered.

        Raises:
            ApplicationError: `delivery_refused`, to be retried after the delay it names, and not
                for long; `store_failed` from the store, or because another sender is at the text.
        """
        reply = await self._reply(request)
        record = _concluded(request.record, reply)
        if reply.audio_as_voice and not self._messenger.speaks(request.to.route):
            record = record.model_copy(update={"warnings": [*record.warnings, NO_VOICE]})
        parts = [reply.part] if reply.part else []
        rows = [self._row(part, record.id, request.thread.scope) for part in parts]
        steps = DeliverySteps(rows, self._messenger.may_be_repeated)
        current = Delivering()
        with beating(lambda: current, BEAT):
            row = await self._store.write(_begin, steps, request, record)
            while row is not None:
                current = Delivering(occurrence_id=row.occurrence_id)
                last = row.attempts >= TURN_ATTEMPTS
                sent = await self._messenger.send(row, last=last)
                row = await self._store.write(steps.go_on, sent)
        self._check(steps)
        await self._tell(steps)
        record = await self._judged(record, steps)
        return TurnFinished(status=record.status, error=record.error, rules=self._rules)

    @activity.defn
    async def record_messages(self, request: RecordMessages) -> None:
        """Write how messages ended, or keep the texts of those that wait."""
        await self._store.inbound.put(request.rows)

    @activity.defn
    async def load_texts(self, request: LoadTexts) -> KeptTexts:
        """The texts of messages that waited."""
        return KeptTexts(texts=await self._store.inbound.texts(request.ids))

    async def _reply(self, request: FinishTurn) -> ChatReply:
        record = request.record
        if record.status == TurnStatus.FAILED:
            return ChatReply(part=failure_part(record.error or "", request.to), error=record.error)
        if request.answer_id is None or record.status == TurnStatus.CANCELLED:
            return ChatReply()
        message = await self._store.threads.message(request.answer_id)
        if message is None:
            # It was there when the model had answered, and no waiting brings it back.
            error = f"the answer {request.answer_id!r} is not in the store"
            return ChatReply(part=failure_part(error, request.to), error=error)
        mark = cut_mark(truncated=request.truncated, filtered=request.filtered)
        reply = chat_reply(message.content, request.to, mark=mark)
        if reply.error is None:
            return reply
        return reply.model_copy(update={"part": failure_part(reply.error, request.to)})

    def _row(self, part: Part, turn_id: str, scope: str) -> Delivery:
        return self._messenger.row(part, None, occurrence_id(turn_id, part.part), scope=scope)

    def _check(self, steps: DeliverySteps) -> None:
        """Refuse to go on while a text is not settled."""
        if steps.disturbed is not None:
            key = steps.disturbed.occurrence_id
            raise ApplicationError(f"another sender is at {key!r}", type=STORE_FAILED)
        if steps.held:
            row = steps.rows[0]
            raise ApplicationError(
                f"{row.occurrence_id} was not delivered: {row.error}",
                type=DELIVERY_REFUSED,
                next_retry_delay=min(self._messenger.delay(row), TURN_RETRY_MAX),
            )

    async def _tell(self, steps: DeliverySteps) -> None:
        """Tell the event of an unknown text; who repeats the activity tells the same one."""
        if self._emitter is None:
            return
        for row in steps.unknown:
            event = event_of_unknown(row)
            if event is not None:
                await tell_or_retry(self._emitter, [event], row.scope or "")

    async def _judged(self, record: TurnRecord, steps: DeliverySteps) -> TurnRecord:
        """The turn; a failed one when its answer could not be delivered."""
        lost = [row for row in steps.rows if row.status == DeliveryStatus.FAILED]
        if not lost or record.status == TurnStatus.FAILED:
            return record
        failed = record.model_copy(
            update={
                "status": TurnStatus.FAILED,
                "error": f"the answer could not be delivered: {lost[0].error}",
            }
        )
        await self._store.write(_fail, failed)
        return failed


def _concluded(record: TurnRecord, reply: ChatReply) -> TurnRecord:
    """The turn as its answer makes it."""
    if record.status != TurnStatus.ANSWERED:
        return record
    if reply.error is not None:
        return record.model_copy(update={"status": TurnStatus.FAILED, "error": reply.error})
    if reply.part is None:
        return record.model_copy(update={"status": TurnStatus.SILENT})
    return record.model_copy(update={"summary": reply.part.text.strip()[:SUMMARY_CHARS]})


def _begin(
    ledger: "Ledger", steps: DeliverySteps, request: FinishTurn, record: TurnRecord
) -> Delivery | None:
    """Write all that is known, then take the text."""
    ledger.threads.ensure(request.thread)
    ledger.turns.put(record)
    close_turn_calls(ledger, record, datetime.now(UTC))
    ledger.inbound.put(request.inbound)
    said = _said(ledger, request)
    if said:
        message = ThreadMessage(
            id=f"{record.id}/said",
            thread_id=request.thread.id,
            role="user",
            content=said,
            created_at=record.started_at,
        )
        ledger.threads.append([message])
    if record.status == TurnStatus.FAILED and record.error:
        ledger.inbound.fail_turn(record.id, record.error)
    return steps.enqueue(ledger)


def _said(ledger: "Ledger", request: FinishTurn) -> str:
    """What the user said; the texts are in the request, or waited in the store."""
    if not request.blocks:
        return request.said or ""
    key = request.record.session_key
    named = [inbound_id(key, block.message_id) for block in request.blocks if block.message_id]
    given = {row.message_id: row.text for row in request.inbound if row.text is not None}
    return text_of_blocks(request.blocks, ledger.inbound.texts(named) | given)


def _fail(ledger: "Ledger", record: TurnRecord) -> None:
    ledger.turns.put(record)
    ledger.inbound.fail_turn(record.id, record.error or "")
