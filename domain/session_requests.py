"""What a session can be asked, and what it carries and shows.

Owns the payloads of the messages of the workflow `Session`. Source: DESIGN §3, automation.md §8.
"""

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from domain.chat_settings import SessionRules
from domain.inbound_records import MessageFate
from domain.inbox_memory import memory_of
from domain.inbox_state import EndedTurn, InboxState, RunningTurn
from domain.inbox_texts import PREVIEW_CHARS
from domain.lease_queue_state import LeaseKind, LeaseQueueState, RequestLease
from domain.queueing import QueueMode, elide_queue_text
from domain.scopes import Scope, ScopeKind
from domain.session import gate_key
from domain.turns import TurnStage, TurnStatus


class SessionState(BaseModel):
    """Everything the workflow `Session` carries from one execution to the next.

    `schema_version` grows when a field changes its meaning; new fields have defaults instead.
    `rules` are the settings as its worker told them last; null while the session is new. `cooling`
    are models that failed a moment ago, `provider/name`, and until when (Unix time) they rest.
    `thread_told` says that a goal which waits for this conversation knows of its thread.
    """

    schema_version: int = 1
    key: str
    leases: LeaseQueueState = LeaseQueueState()
    inbox: InboxState = Field(default_factory=InboxState)
    rules: SessionRules | None = None
    cooling: dict[str, float] = Field(default_factory=dict[str, float])
    thread_told: bool = False

    @property
    def thread_id(self) -> str:
        """The thread of its chat; a key that another scope takes later leads to another thread."""
        scope = self.inbox.scope
        return session_thread_id(scope, self.key) if scope else f"session:{self.key}"

    @property
    def goal_scope(self) -> Scope:
        """Whose goal may wait for this conversation."""
        scope = self.inbox.scope
        if scope is not None and scope.kind is ScopeKind.USER:
            return scope
        return Scope(kind=ScopeKind.CHAT, id=self.key)


def session_thread_id(scope: Scope, session_key: str) -> str:
    """The thread of a conversation: keys that conflict have the same one."""
    return f"session:{scope.text}/{gate_key(session_key)}"


class RequestSession(BaseModel):
    """Ask for a session on behalf of a workflow; `key` is a session key in any of its forms."""

    model_config = ConfigDict(frozen=True)

    key: str
    lease: RequestLease


class ReleaseSession(BaseModel):
    """Let a session go: by the token of a grant, or by the owner that holds or waits.

    `request_id` is what an owner asked last, which may come later than this and is void then.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    request_id: str = ""


class SessionHold(BaseModel):
    """A hold of a session: the key of its gate, and the token of the grant."""

    model_config = ConfigDict(frozen=True)

    key: str
    token: str


class AskHold(BaseModel):
    """Argument of the query `holds`: the token of a grant."""

    model_config = ConfigDict(frozen=True)

    token: str


class HoldAnswer(BaseModel):
    """The answer of the query `holds`: whether the grant still stands."""

    model_config = ConfigDict(frozen=True)

    held: bool


class SessionHolder(BaseModel):
    """Who holds the session, since when."""

    model_config = ConfigDict(frozen=True)

    owner: str
    kind: LeaseKind
    since: AwareDatetime


class ActiveTurn(BaseModel):
    """The turn that runs, and the messages it answers."""

    model_config = ConfigDict(frozen=True)

    turn_id: str
    since: AwareDatetime
    message_ids: list[str]
    stage: TurnStage


class WaitingMessage(BaseModel):
    """A message in the queue; `preview` has at most 160 characters, `bytes` is all of its text."""

    model_config = ConfigDict(frozen=True)

    message_id: str
    sender_label: str = ""
    received_at: AwareDatetime
    preview: str = ""
    bytes: int = 0
    mode: QueueMode
    thread: str = ""


class SessionView(BaseModel):
    """The answer of the query `view`.

    Attributes:
        scope: Whose it is, in its text form; null while no message has come.
        waiting: How many workflows wait for the session.
        queued: How many messages wait.
        turn: The turn that runs.
        answered, merged, dropped: How many messages ended so, ever.
        last: The turn that ended last, its text cut to a preview.
        tools: What answers may call, by name; empty before a turn has asked for it.
        tools_removed: Why others are not offered, by name.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    active: bool
    holder: SessionHolder | None = None
    waiting: int = 0
    scope: str | None = None
    thread_id: str | None = None
    queued: int = 0
    turn: ActiveTurn | None = None
    answered: int = 0
    merged: int = 0
    dropped: int = 0
    last: "TurnAnswer | None" = None
    tools: list[str] = []
    tools_removed: dict[str, str] = {}


class AskTurn(BaseModel):
    """Argument of the query `answer`: which message or which turn is asked for."""

    model_config = ConfigDict(frozen=True)

    message_id: str = ""
    turn_id: str = ""


class TurnAnswer(BaseModel):
    """The answer of the query `answer`: what became of a message, or of a turn.

    Attributes:
        settled: It has come to its end; else all below may still change.
        fate: Where the message is, as `domain.inbound_records` names it, `waiting` also while it is
            being answered; blank for a turn, and for what the session does not know.
        status: How its turn ended; null without one.
        text: What the turn said, of the newest turns whole.
        truncated: `text` is not all of it.
    """

    model_config = ConfigDict(frozen=True)

    settled: bool = False
    fate: str = ""
    turn_id: str | None = None
    message_ids: list[str] = []
    status: TurnStatus | None = None
    text: str = ""
    truncated: bool = False
    error: str | None = None
    finished_at: AwareDatetime | None = None


class SessionQueue(BaseModel):
    """The answer of the query `queue`: who waits, in the order of their turns.

    `waiting` are workflows that wait for the session, `messages` those of its users; `revision`
    grows with every change of the latter.
    """

    model_config = ConfigDict(frozen=True)

    waiting: list[SessionHolder] = []
    messages: list[WaitingMessage] = []
    revision: int = 0
    turn: ActiveTurn | None = None


def session_view(state: SessionState) -> SessionView:
    """The session as its readers see it."""
    holder, inbox = next(iter(state.leases.holders), None), state.inbox
    return SessionView(
        key=state.key,
        active=holder is not None,
        holder=holder
        and SessionHolder(owner=holder.owner, kind=holder.kind, since=holder.granted_at),
        waiting=len(state.leases.waiting),
        scope=inbox.scope.text if inbox.scope else None,
        thread_id=state.thread_id if inbox.last_at else None,
        queued=len(inbox.waiting),
        turn=_active(inbox.turn),
        answered=inbox.counts.get(MessageFate.ANSWERED, 0),
        merged=inbox.counts.get(MessageFate.MERGED, 0),
        dropped=inbox.counts.get(MessageFate.DROPPED, 0),
        last=_last(inbox.ended),
    )


def session_queue(state: SessionState) -> SessionQueue:
    """Who waits for the session, and which messages."""
    return SessionQueue(
        waiting=[
            SessionHolder(owner=one.owner, kind=one.kind, since=one.since)
            for one in state.leases.waiting
        ],
        messages=[
            WaitingMessage(
                message_id=item.id,
                sender_label=item.message.sender_label,
                received_at=item.received_at,
                preview=item.preview,
                bytes=sum(part.bytes for part in item.parts),
                mode=item.mode,
                thread=item.message.thread_id,
            )
            for item in state.inbox.waiting
        ],
        revision=state.inbox.revision,
        turn=_active(state.inbox.turn),
    )


def turn_answer(state: SessionState, ask: AskTurn) -> TurnAnswer:
    """What became of a message, or of a turn; empty for what the session does not know."""
    inbox, turn_id = state.inbox, ask.turn_id
    answer = TurnAnswer()
    if ask.message_id:
        kept = memory_of(inbox, ask.message_id)
        if kept is None:
            return answer
        settled = kept.fate != MessageFate.WAITING
        answer = TurnAnswer(settled=settled, fate=kept.fate)
        turn_id = kept.fate_turn_id or _turn_of(inbox.turn, ask.message_id) or ""
    ended = next((one for one in reversed(inbox.ended) if one.turn_id == turn_id), None)
    if ended is not None:
        return _told(ended).model_copy(update={"fate": answer.fate})
    running = inbox.turn is not None and inbox.turn.turn_id == turn_id
    ids = _ids(inbox.turn) if running and inbox.turn else []
    return answer.model_copy(update={"turn_id": turn_id or None, "message_ids": ids})


def _active(turn: RunningTurn | None) -> ActiveTurn | None:
    if turn is None:
        return None
    return ActiveTurn(
        turn_id=turn.turn_id, since=turn.since, message_ids=_ids(turn), stage=turn.stage
    )


def _ids(turn: RunningTurn) -> list[str]:
    items = [*turn.items, *(one.item for one in turn.steered)]
    return [part.id for item in items for part in item.parts]


def _turn_of(turn: RunningTurn | None, message_id: str) -> str | None:
    return turn.turn_id if turn is not None and message_id in _ids(turn) else None


def _told(ended: EndedTurn) -> TurnAnswer:
    return TurnAnswer(
        settled=True,
        turn_id=ended.turn_id,
        message_ids=ended.message_ids,
        status=ended.status,
        text=ended.text,
        truncated=ended.truncated,
        error=ended.error,
        finished_at=ended.finished_at,
    )


def _last(ended: list[EndedTurn]) -> TurnAnswer | None:
    if not ended:
        return None
    told = _told(ended[-1])
    text = elide_queue_text(told.text, PREVIEW_CHARS)
    cut = told.truncated or text != told.text
    return told.model_copy(update={"text": text, "truncated": cut})
