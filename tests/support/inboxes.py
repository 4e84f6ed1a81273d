"""An inbox for unit tests, with a clock and messages that are quickly made."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from domain.chat_settings import ChatSettings, SessionRules
from domain.inbound_records import InboundRecord, MessageFate
from domain.inbox import Inbox
from domain.inbox_state import EndedTurn, InboxState
from domain.inbox_texts import turn_text
from domain.inbox_turns import end_turn, take_turn, turn_records
from domain.queueing import QueueMode
from domain.scopes import Route, Scope, ScopeKind
from domain.session_messages import InboundMessage, MessageAccepted, QueueOptions
from domain.turns import TurnStatus

KEY = "chat"
START = datetime(2026, 3, 1, 9, tzinfo=UTC)


def inbound(message_id: str, text: str = "", **fields: Any) -> InboundMessage:
    """A message to the session `chat`."""
    given: dict[str, Any] = {
        "message_id": message_id,
        "text": text or f"text of {message_id}",
        "session_key": KEY,
        "scope": Scope(kind=ScopeKind.USER, id="me"),
        "route": Route(receive_id_type="console"),
    }
    return InboundMessage.model_validate({**given, **fields})


@dataclass
class Desk:
    """An inbox at work."""

    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    now: datetime = START
    stops: int = 0
    numbers: int = 0

    def __post_init__(self) -> None:
        self.rules = SessionRules(chat=ChatSettings(**self.settings))
        self.state = InboxState()
        self.inbox = Inbox(self.state, KEY, self.rules)

    def send(self, message: InboundMessage | str, text: str = "", **fields: Any) -> MessageAccepted:
        """Hand a message in."""
        made = inbound(message, text, **fields) if isinstance(message, str) else message
        self.numbers += 1
        arrival = self.inbox.accept(made, self.now, f"{KEY}/t-{self.numbers}")
        self.stops += arrival.stop
        return arrival.answer

    def in_mode(self, mode: QueueMode, *ids: str, **fields: Any) -> list[MessageAccepted]:
        """Hand messages in that name their mode."""
        options = QueueOptions(mode=mode, **fields)
        return [self.send(one, options=options) for one in ids]

    def travel(self) -> None:
        """Go on with a copy of the state that went through JSON, as after continue-as-new."""
        self.state = InboxState.model_validate_json(self.state.model_dump_json())
        self.inbox = Inbox(self.state, KEY, self.rules)

    def later(self, seconds: float = 60) -> None:
        self.now += timedelta(seconds=seconds)

    def take(self) -> list[str]:
        """Begin the next turn; its messages."""
        self.numbers += 1
        turn = take_turn(self.state, self.rules, self.now, f"{KEY}/t-{self.numbers}")
        return [item.id for item in turn.items] if turn else []

    def text(self, kept: dict[str, str] | None = None, heard: int | None = None) -> str:
        assert self.state.turn is not None
        return turn_text(self.state.turn, kept or {}, heard)

    def end(
        self, status: TurnStatus = TurnStatus.ANSWERED, text: str = "Yes."
    ) -> list[InboundRecord]:
        """End the turn that runs; the rows it leaves."""
        turn = self.state.turn
        assert turn is not None
        rows = turn_records(KEY, turn, status, self.now, None)
        ended = EndedTurn(
            turn_id=turn.turn_id,
            message_ids=[row.message_id for row in rows],
            status=status,
            text=text,
            finished_at=self.now,
        )
        end_turn(self.state, rows, ended)
        return rows

    @property
    def waiting(self) -> list[str]:
        return [item.id for item in self.state.waiting]

    def settled(self) -> dict[str, MessageFate]:
        """What came to its end without a turn, by message id."""
        return fates(self.state.settled)


def fates(rows: Iterable[InboundRecord]) -> dict[str, MessageFate]:
    return {row.message_id: row.status for row in rows}
