"""The inbox of a session: what happens to a message when it comes.

Owns accepting messages and remembering what was answered. Decides by `domain.queueing`'s rules over
an `InboxState`; side effects are the session's. When what waits is answered is
`domain.inbox_turns`', a change by a person `domain.inbox_edit`'s.
Source: chat-policies.md §2.9 and §3, DESIGN §3 rule 4.

Invariants:
    1. A message is accepted once: whoever hands in its id again gets the first answer. Only one
       that a full queue refused may come again.
    2. Every message waits, is in the turn that runs, or has come to exactly one end.
    3. Nothing overtakes what waits, except by an interrupt or a person's order.
    4. Nothing here awaits, so a decision and its booking are one step.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from domain.chat_settings import MAX_CAP, ChatSettings, SessionRules
from domain.errors import DomainError, ErrorKind
from domain.identifiers import session_workflow_id
from domain.inbound import is_abort_trigger_text
from domain.inbound_records import MessageFate
from domain.inbox_edit import MAX_TURN_BYTES, replace_waiting
from domain.inbox_fates import Ending, settle
from domain.inbox_memory import forget, kept_id, memory_of
from domain.inbox_state import InboxState, QueuedMessage, RememberedMessage
from domain.inbox_texts import PREVIEW_CHARS, inbound_context, json_bytes, queued_message
from domain.inbox_turns import begin_turn, cancel_turn, steer_turn
from domain.queueing import (
    QueueAction,
    QueueSettings,
    decide_queue_action,
    resolve_queue_behavior,
    resolve_queue_overflow,
)
from domain.session import gate_key
from domain.session_messages import (
    MAX_TEXT_BYTES,
    InboundMessage,
    MessageAccepted,
    MessageDecision,
)

# Everything about waiting messages but their texts: it goes through continue-as-new.
MAX_ABOUT_BYTES: Final = 150_000
# Of one message: it stands around the prompt of its turn, too.
MAX_MESSAGE_ABOUT_BYTES: Final = 16_384
MAX_LINES_BYTES: Final = 32_768
# As long as the settings are not known, only a message or its session can say that fewer may wait.
_UNKNOWN: Final = ChatSettings(cap=MAX_CAP)
QUEUE_FULL: Final = "queue_full"
INTERRUPTED: Final = "interrupted by another message"


@dataclass(frozen=True, slots=True)
class Arrival:
    """The answer to a message; `stop` asks to stop what runs."""

    answer: MessageAccepted
    stop: bool = False


class Inbox:
    """Takes messages into an `InboxState`; one instance lives in the session's workflow.

    Attributes:
        rules: The settings; null until they are known, and then only what a message and the session
            say themselves holds.
    """

    def __init__(self, state: InboxState, key: str, rules: SessionRules | None = None) -> None:
        """Take the state.

        Args:
            state: Changed in place.
            key: The key of the session's gate.
            rules: The settings.
        """
        self._state = state
        self._key = key
        self.rules = rules

    def accept(self, message: InboundMessage, now: datetime, turn_id: str) -> Arrival:
        """Decide what becomes of a message.

        Args:
            message: The message.
            now: The session's clock.
            turn_id: The id of the turn that begins with it, if one does.

        Raises:
            DomainError: It is no message for this session, or its id is that of another one.
        """
        self._check(message)
        settings = self._settings(message)
        item = queued_message(message, settings.mode, now)
        _check_weight(message, item)
        forget(self._state, now)
        known = self._known(message)
        if known is not None:
            return Arrival(self._repeated(message.message_id, known))
        state = self._state
        state.scope, state.last_at = state.scope or message.scope, now
        if is_abort_trigger_text(inbound_context(message).body_for_commands):
            return self._abort_word(item, now)
        same = self._same_text(item)
        if same is not None:
            return Arrival(self._drop_duplicate(item, same, now))
        return Arrival(self._decide(item, settings, now, turn_id))

    def refuse(self, message: InboundMessage, error: DomainError, now: datetime) -> None:
        """Note a message that was refused and whose sender hears of it in no other way.

        Args:
            message: The message.
            error: Why `accept` refused it; what is no message of this session is not noted.
            now: The session's clock.
        """
        if error.kind != ErrorKind.PAYLOAD_TOO_LARGE or memory_of(self._state, message.message_id):
            return
        # Whatever was too large, this is not.
        cut = InboundMessage(
            message_id=message.message_id,
            text=message.text[:PREVIEW_CHARS],
            session_key=self._key,
            scope=message.scope,
            route=message.route,
            sender_id=message.sender_id[:PREVIEW_CHARS],
            sender_label=message.sender_label[:PREVIEW_CHARS],
        )
        item = queued_message(cut, self._settings(message).mode, now)
        self._answer(item, MessageDecision.DROP, error.kind, now)
        settle(self._state, self._key, item, Ending(MessageFate.DROPPED, now, error.kind))

    def learn(self, rules: SessionRules, now: datetime) -> None:
        """Take the settings, and decide again by them what becomes of all that waits.

        What was answered to its senders stays answered.

        Args:
            rules: The settings, for the first time.
            now: The session's clock.
        """
        self.rules = rules
        state, line = self._state, self._state.waiting
        joined = {one.item.id for one in state.turn.steered} if state.turn else set[str]()
        state.waiting, state.drain_at = [], None
        for waiting in line:
            settings = self._settings(waiting.message)
            item = waiting.model_copy(update={"mode": settings.mode})
            found = decide_queue_action(settings.mode, True, item.message.is_heartbeat)
            if found.action == QueueAction.INTERRUPT_AND_RUN and state.turn is not None:
                self._interrupt(item, now, state.turn.turn_id)
            elif not self._put(item, settings, now, joins=item.id not in joined):
                settle(state, self._key, item, Ending(MessageFate.DROPPED, now, QUEUE_FULL))
        if line:
            replace_waiting(state, state.waiting)

    # What it is

    def _check(self, message: InboundMessage) -> None:
        size = len(message.text.encode())
        if size > MAX_TEXT_BYTES:
            raise DomainError(
                ErrorKind.PAYLOAD_TOO_LARGE,
                "text",
                f"text must have at most {MAX_TEXT_BYTES} bytes of UTF-8, not {size}",
            )
        if not message.text.strip() and not message.media_urls:
            raise DomainError(ErrorKind.MISSING_FIELD, "text", "a message has a text or media_urls")
        scope = self._state.scope
        foreign = scope is not None and scope != message.scope
        if gate_key(message.session_key) != self._key or foreign:
            text = f"there is no session {message.session_key!r}"
            raise DomainError(ErrorKind.NOT_FOUND, "session_key", text)

    def _known(self, message: InboundMessage) -> RememberedMessage | None:
        kept = memory_of(self._state, message.message_id)
        if kept is None:
            return None
        if message.digest and kept.digest and message.digest != kept.digest:
            raise DomainError(
                ErrorKind.CONFLICT,
                "message_id",
                f"message_id {message.message_id!r} is that of another message of this session",
            )
        if kept.retryable:
            self._state.remembered.remove(kept)
            return None
        return kept

    def _repeated(self, message_id: str, known: RememberedMessage) -> MessageAccepted:
        """The first answer to a message, once more."""
        first = memory_of(self._state, known.duplicate_of) if known.duplicate_of else known
        told = known.duplicate_of or message_id
        return self._accepted(told, first or known, duplicate=True)

    def _drop_duplicate(
        self, item: QueuedMessage, same: QueuedMessage, now: datetime
    ) -> MessageAccepted:
        """Drop a message that says what waits already; it gets the answer of that one."""
        state = self._state
        first = memory_of(state, same.id)
        assert first is not None  # whatever waits is remembered
        kept = RememberedMessage(
            message_id=kept_id(item.id),
            at=now,
            decision=first.decision,
            reason=first.reason,
            position=first.position,
            turn_id=first.turn_id,
            request_id=first.request_id,
            digest=item.message.digest,
            duplicate_of=same.id,
        )
        state.remembered.append(kept)
        settle(state, self._key, item, Ending(MessageFate.DROPPED, now, "duplicate"))
        return self._accepted(same.id, first, duplicate=True)

    def _same_text(self, item: QueuedMessage) -> QueuedMessage | None:
        """What waits and says the same, where neither has an id of its platform."""
        if item.message.id_given or item.message.allow_duplicate:
            return None
        sender = item.message.sender_id
        parts = [part for waiting in self._state.waiting for part in waiting.parts]
        return next(
            (
                part
                for part in parts
                if not part.message.id_given
                and (part.text_hash, part.message.sender_id) == (item.text_hash, sender)
            ),
            None,
        )

    def _abort_word(self, item: QueuedMessage, now: datetime) -> Arrival:
        allowed = item.message.command_authorized
        decision = MessageDecision.ABORT if allowed else MessageDecision.IGNORE
        fate = MessageFate.ABORTED if allowed else MessageFate.IGNORED
        reason = "abort_trigger" if allowed else "abort_not_authorized"
        answer = self._answer(item, decision, reason, now)
        settle(self._state, self._key, item, Ending(fate, now, reason))
        return Arrival(answer, stop=allowed)

    # What becomes of it

    def _decide(
        self, item: QueuedMessage, settings: QueueSettings, now: datetime, turn_id: str
    ) -> MessageAccepted:
        state = self._state
        busy = state.turn is not None or bool(state.waiting)
        found = decide_queue_action(settings.mode, busy, item.message.is_heartbeat)
        match found.action:
            case QueueAction.RUN_NOW:
                begin_turn(state, item, now, turn_id)
                return self._answer(item, MessageDecision.RUN_NOW, found.reason, now)
            case QueueAction.INTERRUPT_AND_RUN:
                self._interrupt(item, now, turn_id)
                return self._answer(item, MessageDecision.INTERRUPT, found.reason, now)
            case _:
                return self._enqueue(item, settings, found.reason, now)

    def _interrupt(self, item: QueuedMessage, now: datetime, turn_id: str) -> None:
        """End the turn that runs, forget what waits, and go on with this."""
        state = self._state
        for waiting in state.waiting:
            settle(state, self._key, waiting, Ending(MessageFate.DROPPED, now, "interrupted"))
        replace_waiting(state, [])
        if state.turn is None:
            begin_turn(state, item, now, turn_id)
            return
        cancel_turn(state, INTERRUPTED)
        replace_waiting(state, [item])
        state.drain_at = now

    def _enqueue(
        self, item: QueuedMessage, settings: QueueSettings, reason: str, now: datetime
    ) -> MessageAccepted:
        decision = self._put(item, settings, now)
        if decision is not None:
            return self._answer(item, decision, reason, now)
        answer = self._answer(item, MessageDecision.DROP, QUEUE_FULL, now)
        settle(self._state, self._key, item, Ending(MessageFate.DROPPED, now, QUEUE_FULL))
        return answer

    def _put(
        self, item: QueuedMessage, settings: QueueSettings, now: datetime, *, joins: bool = True
    ) -> MessageDecision | None:
        """Let a message join the turn that runs, wait, or both; null when it can do neither."""
        state, behavior = self._state, resolve_queue_behavior(settings.mode)
        # A heartbeat never joins a turn, whatever the mode.
        wanted = behavior.steer and joins and not item.message.is_heartbeat
        steered = steer_turn(state, item) if wanted else None
        if steered is not None and not behavior.backlog_after:
            return MessageDecision.STEER
        if self._make_room(item, settings, now):
            replace_waiting(state, [*state.waiting, item])
            state.drain_at = item.received_at + timedelta(milliseconds=settings.debounce_ms)
            if steered is not None:
                steered.queued = True
        elif steered is None:
            return None
        return MessageDecision.ENQUEUE if steered is None else MessageDecision.STEER

    def _make_room(self, item: QueuedMessage, settings: QueueSettings, now: datetime) -> bool:
        """Drop what has to give way for a message; false when it is the message itself."""
        state = self._state
        cap = min(settings.cap, _room(state.waiting, item))
        overflow = resolve_queue_overflow(cap, len(state.waiting), settings.drop_policy)
        dropped, left = (
            state.waiting[: overflow.items_to_drop],
            state.waiting[overflow.items_to_drop :],
        )
        for old in dropped:
            settle(state, self._key, old, Ending(MessageFate.DROPPED, now, QUEUE_FULL))
        if overflow.should_summarize:
            parts = _parts(dropped)
            lines = [part.preview for part in parts]
            state.lines_dropped += len(lines)
            if not all(part.message.command_authorized for part in parts):
                state.lines_command = False
            state.lines = _newest_lines([*state.lines, *lines][-settings.cap :])
        state.waiting = left
        return overflow.keep_new

    def _settings(self, message: InboundMessage) -> QueueSettings:
        chat = self.rules.chat if self.rules else _UNKNOWN
        return chat.queue(message.options, self._state.options, message.route.receive_id_type)

    # What was answered

    def _answer(
        self, item: QueuedMessage, decision: MessageDecision, reason: str, now: datetime
    ) -> MessageAccepted:
        state = self._state
        places = [waiting.id for waiting in state.waiting]
        turn = state.turn if decision in {MessageDecision.RUN_NOW, MessageDecision.STEER} else None
        if decision == MessageDecision.INTERRUPT and item.id not in places:
            turn = state.turn
        kept = RememberedMessage(
            message_id=kept_id(item.id),
            at=now,
            decision=decision,
            reason=reason,
            position=places.index(item.id) + 1 if item.id in places else None,
            turn_id=turn.turn_id if turn else None,
            retryable=decision == MessageDecision.DROP,
            request_id=item.message.request_id,
            digest=item.message.digest,
        )
        state.remembered.append(kept)
        return self._accepted(item.id, kept)

    def _accepted(
        self, message_id: str, kept: RememberedMessage | None, *, duplicate: bool = False
    ) -> MessageAccepted:
        assert kept is not None  # whatever waits is remembered
        told = {"decision", "reason", "position", "turn_id", "retryable", "request_id", "digest"}
        return MessageAccepted(
            message_id=message_id,
            session_key=self._key,
            workflow_id=session_workflow_id(self._key),
            duplicate=duplicate,
            **{name: getattr(kept, name) for name in told},
        )


def _check_weight(message: InboundMessage, item: QueuedMessage) -> None:
    """Refuse what does not fit into a payload with all that goes along with it."""
    checks = (
        (_too_heavy_part(message), item.weight, MAX_TURN_BYTES),
        ("message", item.about_bytes, MAX_MESSAGE_ABOUT_BYTES),
    )
    for field, size, limit in checks:
        if size > limit:
            raise DomainError(
                ErrorKind.PAYLOAD_TOO_LARGE,
                field,
                f"{field} must have at most {limit} bytes as JSON, not {size}",
            )


def _too_heavy_part(message: InboundMessage) -> str:
    return "text" if json_bytes(message.text) > MAX_TURN_BYTES else "media_urls"


def _room(waiting: list[QueuedMessage], item: QueuedMessage) -> int:
    """How many messages may wait for their size alone, the newest and `item` among them."""
    weight, count = item.about_bytes, 1
    for one in reversed(waiting):
        weight += sum(part.about_bytes for part in one.parts)
        if weight > MAX_ABOUT_BYTES:
            break
        count += 1
    return count if count <= len(waiting) else MAX_CAP


def _newest_lines(lines: list[str]) -> list[str]:
    """The newest lines, as many as fit."""
    weight = 0
    for number, line in enumerate(reversed(lines)):
        weight += json_bytes(line) + 1
        if weight > MAX_LINES_BYTES:
            return lines[len(lines) - number :]
    return lines


def _parts(items: Iterable[QueuedMessage]) -> list[QueuedMessage]:
    return [part for item in items for part in item.parts]
