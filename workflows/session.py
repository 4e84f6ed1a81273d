"""A session: one conversation, its gate and its inbox.

Owns the messages of the workflow and the order of its side effects. Who gets the session is
`domain.lease_queue`'s, what becomes of a message `domain.inbox`'s, a turn `workflows.turns`', what
the ledger is told `workflows.session_books`'.
Lifecycle and invariants: docs/lifecycles/session.md.
Source: DESIGN §3 rules 4, 7, 8 and 10, automation.md §8, chat-policies.md §3.
"""

import asyncio
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

from workflows.handlers import guarded, guarded_signal
from workflows.lease_rounds import check_leases, signal_workflow
from workflows.outgoing import Outgoing
from workflows.renewal import is_renewal_due, time_until
from workflows.session_books import SessionBooks
from workflows.turn_tools import TurnTools
from workflows.turns import BUSY, ChatTurn

with workflow.unsafe.imports_passed_through():
    from pydantic import BaseModel

    from activities import search_attributes as attributes
    from domain.chat_settings import SessionRules
    from domain.errors import DomainError
    from domain.goal_messages import THREAD_READY, ThreadReady, goal_workflow_id
    from domain.inbox import Inbox
    from domain.inbox_edit import edit_queue
    from domain.inbox_turns import cancel_turn, is_due, rows_to_keep, take_turn
    from domain.lease_queue import LeaseQueue
    from domain.lease_queue_state import (
        Granted,
        LeaseAnswer,
        LeaseDecision,
        LeaseKind,
        RequestLease,
    )
    from domain.redaction import redact_reason
    from domain.session_messages import (
        EditQueue,
        InboundMessage,
        MessageAccepted,
        Stopped,
        StopSession,
    )
    from domain.session_requests import (
        AskHold,
        AskTurn,
        HoldAnswer,
        ReleaseSession,
        SessionQueue,
        SessionState,
        SessionView,
        TurnAnswer,
        session_queue,
        session_view,
        turn_answer,
    )
    from domain.turns import RANDOM_BITS, turn_id

# A session that nobody wants ends; the next request or message starts it again.
IDLE_AFTER = timedelta(hours=24)
IDLE = "idle"
# A user's turn is looked after by the session itself, so nobody has to look at its lease.
OWN_LEASE = timedelta(days=3650)
TRY_AGAIN = timedelta(minutes=1)
# Turns that begin though a renewal is due. An execution takes 2,000 updates and has had 1,700 when
# the server suggests one.
LATE_TURNS = 20


@workflow.defn(name="Session")
class Session:
    """Workflow `session/<key>`."""

    @workflow.init
    def __init__(self, state: SessionState) -> None:
        self._state = state
        self._id = workflow.info().workflow_id
        self._leases = LeaseQueue(state.leases, own=self._id)
        self._inbox = Inbox(state.inbox, state.key, state.rules)
        self._turn: ChatTurn | None = None
        self._tools = TurnTools()
        self._outgoing = Outgoing(lambda: bool(state.inbox.waiting) and not self._holds_back())
        self._late_turns = 0
        self._stops: list[StopHolder] = []
        self._threads: list[ThreadReady] = []
        self._look: asyncio.Task[None] | None = None
        self._busy = False
        self._books = SessionBooks(state, self._holds_back)
        self._upgrade = False

    @workflow.run
    async def run(self, _state: SessionState) -> None:
        """Serve the session until nobody has wanted it for a day."""
        self._describe()
        beside = [asyncio.create_task(self._converse()), asyncio.create_task(self._books.keep())]
        while not self._is_over():
            await self._wait_for_work(beside)
            self._leases.revoke(workflow.now())
            await self._send_out()
            await self._check_leases()
            self._describe()
            if self._may_renew() and not self._has_work():
                await workflow.wait_condition(workflow.all_handlers_finished)
                if self._may_renew() and not self._has_work():
                    workflow.continue_as_new(self._state)
        await workflow.wait_condition(workflow.all_handlers_finished)

    # Messages: none of them awaits (DESIGN §3 rule 4).

    @workflow.update
    @guarded
    def send(self, message: InboundMessage) -> MessageAccepted:
        """Take a message of a user; the same id again gets the same answer."""
        return self._accept(message)

    @workflow.signal(name="send")
    @guarded_signal
    def send_signal(self, message: InboundMessage) -> None:
        """The same as the update, for senders that need no answer."""
        try:
            self._accept(message)
        except DomainError as error:
            self._inbox.refuse(message, error, workflow.now())
            raise

    @workflow.update
    @guarded
    def edit_queue(self, request: EditQueue) -> SessionQueue:
        """Reorder, drop or merge what waits; all or nothing."""
        edit_queue(self._state.inbox, self._state.key, request, workflow.now())
        return session_queue(self._state)

    @workflow.update
    @guarded
    def stop(self, request: StopSession | None = None) -> Stopped:
        """Stop the turn that runs, else the automation that holds the session."""
        return self._stop((request or StopSession()).reason)

    @workflow.signal(name="stop")
    @guarded_signal
    def stop_signal(self, request: StopSession | None = None) -> None:
        """The same as the update, for senders that need no answer."""
        self._stop((request or StopSession()).reason)

    @workflow.update
    @guarded
    def request(self, request: RequestLease) -> LeaseAnswer:
        """Grant the session, let the request wait, or ask to look at its holder first."""
        return self._leases.request(request, workflow.now())

    @workflow.signal
    @guarded_signal
    def release(self, request: ReleaseSession) -> None:
        """Let the session go, or stop waiting for it; from anybody else it changes nothing."""
        if request.key != self._id:
            self._leases.release(request.key, workflow.now(), request.request_id)

    @workflow.signal
    @guarded_signal
    def granted(self, _grant: Granted | None = None) -> None:
        """Everything goes on after a pause."""
        if self._turn is not None:
            self._turn.resumed = True

    @workflow.signal
    @guarded_signal
    def thread_ready(self, ready: ThreadReady) -> None:
        """This conversation has a thread; passed on to a goal that waits for it."""
        self._threads.append(ready.model_copy(update={"session_key": self._state.key}))

    @workflow.signal
    @guarded_signal
    def upgrade(self) -> None:
        """Continue as new as soon as nothing runs."""
        self._upgrade = True

    @workflow.query
    def view(self) -> SessionView:
        """Whether the session is active, who holds it, and how its conversation stands."""
        return session_view(self._state).model_copy(update=self._tools.shown)

    @workflow.query
    def queue(self) -> SessionQueue:
        """Who waits for it, and which messages."""
        return session_queue(self._state)

    @workflow.query
    def holds(self, request: AskHold) -> HoldAnswer:
        """Whether a grant still stands, or was taken back for a user."""
        return HoldAnswer(held=self._leases.is_valid(request.token))

    @workflow.query
    def answer(self, request: AskTurn) -> TurnAnswer:
        """What became of a message, or of a turn."""
        return turn_answer(self._state, request)

    def _accept(self, message: InboundMessage) -> MessageAccepted:
        self._inbox.rules = self._state.rules
        arrival = self._inbox.accept(message, workflow.now(), self._new_turn_id())
        if arrival.stop:
            self._stop(StopSession().reason)
        return arrival.answer

    def _stop(self, reason: str) -> Stopped:
        reason = redact_reason(reason)
        turn = cancel_turn(self._state.inbox, reason)
        if turn is not None:
            return Stopped(stopped="turn", owner=turn.turn_id)
        holder = next(iter(self._state.leases.holders), None)
        if holder is None or holder.kind != LeaseKind.AUTOMATION:
            return Stopped()
        self._stops.append(StopHolder(owner=holder.owner, request=StopSession(reason=reason)))
        return Stopped(stopped="automation", owner=holder.owner)

    # The gate

    async def _wait_for_work(self, beside: list["asyncio.Task[None]"]) -> None:
        due = self._next_check()
        until = IDLE_AFTER if due is None else time_until(due)
        try:
            await workflow.wait_condition(
                # A holder that came or went changes when to look next.
                lambda: (
                    self._has_work()
                    or self._may_renew()
                    or self._next_check() != due
                    or self._is_over()
                    or any(task.done() for task in beside)
                ),
                timeout=until,
                timeout_summary="look at the holder" if due else "nobody wants the session",
            )
        except TimeoutError:
            return
        for task in beside:
            if task.done():
                task.result()

    def _has_work(self) -> bool:
        leases = self._state.leases
        return bool(leases.grants or leases.interrupts or self._stops or self._threads)

    def _is_over(self) -> bool:
        info, leases, inbox = workflow.info(), self._state.leases, self._state.inbox
        talking = inbox.turn or inbox.waiting or inbox.settled
        busy = leases.holders or leases.waiting or talking or self._has_work()
        since = max([one.ended_at for one in leases.remembered], default=info.start_time)
        since = max(since, inbox.last_at or since)
        return not busy and workflow.now() - since >= IDLE_AFTER

    def _may_renew(self) -> bool:
        """Whether to continue as new: it is time, and all that is at work has been put down."""
        inbox = self._state.inbox
        busy = inbox.turn or inbox.settled or self._books.is_writing or not self._outgoing.is_empty
        if busy or not self._wants_renewal():
            return False
        return not rows_to_keep(inbox, self._state.key)

    def _wants_renewal(self) -> bool:
        return self._upgrade or is_renewal_due()

    def _holds_back(self) -> bool:
        """Whether no turn begins any more, so that the session can continue as new.

        It cannot while answers are on their way; a few turns go on meanwhile, because a channel may
        refuse for minutes.
        """
        putting_off = not self._outgoing.is_empty and self._late_turns < LATE_TURNS
        return self._wants_renewal() and not putting_off

    def _next_check(self) -> datetime | None:
        if self._holds_itself():
            return None
        return self._leases.next_check(looking=self._is_looking())

    async def _send_out(self) -> None:
        """Tell those whose turn has come, those who have to let go or to stop, and a goal."""
        for grant in self._leases.take_grants():
            if grant.owner == self._id:
                continue
            if not await signal_workflow(grant.owner, "granted", grant.signal):
                self._leases.lose(grant.signal.token, workflow.now())
        for lease in self._leases.take_interrupts():
            if not await signal_workflow(lease.owner, "interrupt", lease):
                self._leases.lose(lease.token, workflow.now())
        stops, self._stops = self._stops, []
        for stop in stops:
            await signal_workflow(stop.owner, "cancel", stop.request)
        threads, self._threads = self._threads, []
        for ready in threads:
            goal = goal_workflow_id(self._state.goal_scope)
            await signal_workflow(goal, THREAD_READY, ready)

    async def _check_leases(self) -> None:
        """Begin to look at holders whose lease is over, unless that goes on."""
        if self._is_looking() or not self._leases.due(workflow.now()):
            return
        if workflow.patched("2026-11-21-looks-beside"):
            self._look = asyncio.create_task(self._look_at_holders())
        else:
            await check_leases(self._leases)

    def _is_looking(self) -> bool:
        return self._look is not None and not self._look.done()

    async def _look_at_holders(self) -> None:
        """Look beside all else: it may take long, and a user waits 10 s at most."""
        try:
            await check_leases(self._leases)
        except ActivityError as error:
            # What is worth a retry was retried for ever; a person has to look.
            workflow.logger.error("holders were not looked at: %s", error)
            await workflow.sleep(TRY_AGAIN, summary="holders were not looked at")

    def _holds_itself(self) -> bool:
        return any(holder.owner == self._id for holder in self._state.leases.holders)

    async def _let_in(self) -> None:
        """Wait until a turn of the session's own holds it; automation lets go within 10 s."""
        turn = self._state.inbox.turn
        if turn is None or self._holds_itself():
            return
        request = RequestLease(
            owner=self._id,
            request_id=turn.turn_id,
            kind=LeaseKind.USER,
            lease_seconds=int(OWN_LEASE.total_seconds()),
            checked=True,
        )
        answer = self._leases.request(request, workflow.now())
        if answer.decision != LeaseDecision.GRANTED:
            await workflow.wait_condition(self._holds_itself)

    # The conversation

    async def _converse(self) -> None:
        """Answer what comes, one turn after the other."""
        inbox = self._state.inbox
        while True:
            await self._wait_for_turn()
            if inbox.turn is not None:
                self._late_turns += self._wants_renewal()
                self._show_busy()
                self._turn = ChatTurn(
                    self._state, inbox.turn, self._let_in, self._tools, self._outgoing
                )
                await self._turn.run()
                self._turn = None
                self._tell_thread()
                self._describe()
            if not inbox.turn and not inbox.waiting:
                # What waits meanwhile has its turn when the user has none left.
                self._leases.release(self._id, workflow.now())
                self._show_idle()

    def _tell_thread(self) -> None:
        """Have a goal told once that this conversation has a thread."""
        state = self._state
        if not state.thread_told and workflow.patched("2026-11-21-thread-ready"):
            state.thread_told = True
            self._threads.append(ThreadReady(thread_id=state.thread_id, session_key=state.key))

    async def _wait_for_turn(self) -> None:
        """Wait until there is a turn, or nothing is left to hold the session for."""
        inbox = self._state.inbox
        while inbox.turn is None:
            if self._has_due():
                rules = self._state.rules or SessionRules()
                take_turn(inbox, rules, workflow.now(), self._new_turn_id())
                return
            if self._is_done():
                return
            due = self._drains_at()
            try:
                await workflow.wait_condition(
                    # Of a later time the timer need not know: it looks again when it fires.
                    lambda: (
                        inbox.turn is not None
                        or self._has_due()
                        or self._is_done()
                        or self._drains_before(due)  # noqa: B023 - waited for here
                    ),
                    timeout=None if due is None else time_until(due),
                    timeout_summary="until no more messages come",
                )
            except TimeoutError:
                continue

    def _drains_at(self) -> datetime | None:
        """When what waits is answered; null when nothing does, or not in this execution."""
        inbox = self._state.inbox
        return None if not inbox.waiting or self._holds_back() else inbox.drain_at

    def _drains_before(self, due: datetime | None) -> bool:
        """Whether a timer until `due` would fire too late, or for nothing."""
        now = self._drains_at()
        if now is None or due is None:
            return now is not due
        return now < due

    def _is_done(self) -> bool:
        """Whether the session is held, or shown as busy, for nothing."""
        inbox = self._state.inbox
        return not (inbox.turn or inbox.waiting) and (self._busy or self._holds_itself())

    def _new_turn_id(self) -> str:
        bits = workflow.random().getrandbits(RANDOM_BITS)
        return turn_id(self._state.key, workflow.now(), bits)

    def _has_due(self) -> bool:
        return is_due(self._state.inbox, workflow.now()) and not self._holds_back()

    def _show_busy(self) -> None:
        """Say once per conversation that it goes on: an event each."""
        self._describe()
        if not self._busy:
            self._busy = True
            scope = self._state.inbox.scope
            workflow.upsert_search_attributes(
                [
                    attributes.STATUS.value_set(BUSY),
                    attributes.SCOPE.value_set(attributes.capped(scope.text if scope else "")),
                ]
            )

    def _show_idle(self) -> None:
        self._busy = False
        workflow.upsert_search_attributes([attributes.STATUS.value_set(IDLE)])
        self._describe()

    def _describe(self) -> None:
        view = session_view(self._state)
        held = f"held by `{view.holder.owner}`" if view.holder else "idle"
        turn = f", turn `{view.turn.turn_id}` is {view.turn.stage}" if view.turn else ""
        queued = f", {view.queued} messages wait" if view.queued else ""
        workflow.set_current_details(
            f"**{view.key}** is {held}{turn}, {view.waiting} waiting{queued}"
        )


class StopHolder(BaseModel):
    """Automation that is to be stopped."""

    owner: str
    request: StopSession
