"""A queue for leases: who holds one of a few places, who waits for one, and whose turn is next.

Serves sessions (capacity 1, user turns first) and slots (capacity n, first come first served).
Owns every change of a `LeaseQueueState`; signals and looks at workflows are the caller's, and what
a queue is called. Source: DESIGN §3 rules 4, 7 and 8, automation.md §8, triggers-and-actions.md §6.

Invariants:
    1. No place is granted beyond the capacity; a lowered capacity takes nothing away.
    2. Nobody waits while a place is free. User turns go first, then automation that rejoins at the
       front, then the rest; among equals the first to ask is the first to hold.
    3. An owner holds or waits once. A request is granted at most once, and the same request gets
       the same answer, for 24 h after its end too while it is among the newest that ended.
    4. Nothing is lost: a request holds, waits, or has ended with a reason.
    5. A token that was released, revoked, lost or superseded is never valid again.
    6. Time alone takes no lease away, except 10 s after an interrupt. Only automation is
       interrupted, and only for a user turn.
    7. Nothing here awaits, so a check and its booking are one step.
"""

from datetime import datetime, timedelta
from typing import Final

from domain.lease_queue_state import (
    Grant,
    Granted,
    Holder,
    LeaseAnswer,
    LeaseDecision,
    LeaseEnd,
    LeaseKind,
    LeaseQueueState,
    LeaseRef,
    Remembered,
    RequestLease,
    Waiting,
)

LET_GO_WITHIN: Final = timedelta(seconds=10)
KEPT_FOR: Final = timedelta(hours=24)
# Whoever lost an answer asks again within seconds; all that is kept goes through continue-as-new.
KEPT_ANSWERS: Final = 100
KEPT_BYTES: Final = 65_536
# Of a remembered answer as JSON, without its ids.
_ANSWER_BYTES: Final = 250


class LeaseQueue:
    """Grants leases in a `LeaseQueueState`; one instance lives in the queue's workflow."""

    def __init__(self, state: LeaseQueueState, own: str = "") -> None:
        """Go on with a state.

        Args:
            state: Changed in place.
            own: An owner who never asks again, so that its answers need not be kept: the queue's
                workflow itself.
        """
        self._state = state
        self._own = own

    @property
    def state(self) -> LeaseQueueState:
        """What goes through continue-as-new."""
        return self._state

    # Asking and letting go

    def request(self, request: RequestLease, now: datetime) -> LeaseAnswer:
        """Grant a lease, let the request wait, or repeat what was answered.

        Args:
            request: Who asks, and for how long.
            now: The queue's clock.

        Returns:
            `granted`, `queued`, or `check`: nothing is booked, the caller asks again when it has
            looked whether the named holders still exist.
        """
        self._forget(now)
        for token in request.closed:
            self._end(token, LeaseEnd.LOST, now)
        if self._find_answer(request.owner, request.request_id) is not None:
            self._settle(now)
        answer = self._find_answer(request.owner, request.request_id)
        if answer is not None:
            return answer
        # Whoever asks anew has let go, though word of that may come later than this.
        self._end(request.owner, LeaseEnd.SUPERSEDED, now)
        return self._stand_in_line(request, now)

    def release(self, key: str, now: datetime, request_id: str = "") -> bool:
        """End a lease or the wait for one, because its owner wants that.

        Args:
            key: The token; or the owner, for whatever it holds or waits for.
            now: The queue's clock.
            request_id: With an owner: the request that it withdraws. One that comes later than
                this is never granted.

        Returns:
            Whether anything was ended; a late or foreign token ends nothing.
        """
        ended = self._end(key, LeaseEnd.RELEASED, now)
        if request_id and self._find_answer(key, request_id) is None:
            answer = LeaseAnswer(decision=LeaseDecision.QUEUED, ended=LeaseEnd.WITHDRAWN)
            self._remember(key, request_id, answer, now)
        self._settle(now)
        return ended

    def lose(self, key: str, now: datetime) -> bool:
        """End a lease or the wait for one, because its owner's workflow was seen closed."""
        ended = self._end(key, LeaseEnd.LOST, now)
        self._settle(now)
        return ended

    def is_valid(self, token: str) -> bool:
        """Whether a token is that of a present holder."""
        return any(holder.token == token for holder in self._state.holders)

    def resize(self, capacity: int, now: datetime) -> None:
        """Change the number of places; those above a lowered one are not taken away."""
        self._state.capacity = capacity
        self._settle(now)

    # What has to go out

    def take_grants(self) -> list[Grant]:
        """The signals `granted` that have to go out, in the order of the grants.

        A signal whose workflow is gone is to be answered with `lose`.
        """
        taken, self._state.grants = self._state.grants, []
        return taken

    def take_interrupts(self) -> list[LeaseRef]:
        """The holders that have to be told to let go."""
        taken, self._state.interrupts = self._state.interrupts, []
        return taken

    # Leases and their times

    def next_check(self, *, looking: bool = False) -> datetime | None:
        """When the earliest holder is to be looked at or revoked.

        Args:
            looking: Somebody looks at the holders already, so only revoking counts.
        """
        holders = self._state.holders
        times = [one.revoke_at or (None if looking else one.lease_until) for one in holders]
        return min((time for time in times if time is not None), default=None)

    def due(self, now: datetime) -> list[LeaseRef]:
        """The leases that are over: their owners' workflows are to be looked at."""
        return [
            holder.ref
            for holder in self._state.holders
            if holder.revoke_at is None and holder.lease_until <= now
        ]

    def extend(self, token: str, now: datetime) -> None:
        """Renew the lease of a holder whose workflow was seen open."""
        for holder in self._state.holders:
            if holder.token == token:
                holder.lease_until = now + timedelta(seconds=holder.lease_seconds)

    def revoke(self, now: datetime) -> list[LeaseRef]:
        """Take the leases of those who were interrupted and did not let go in time.

        Returns:
            Whose they were: nothing they still say may be heard.
        """
        late = [
            holder.ref
            for holder in self._state.holders
            if holder.revoke_at is not None and holder.revoke_at <= now
        ]
        for lease in late:
            self._end(lease.token, LeaseEnd.REVOKED, now)
        self._settle(now)
        return late

    # Inside

    def _stand_in_line(self, request: RequestLease, now: datetime) -> LeaseAnswer:
        """Give every free place to whose turn it is, the newcomer among them."""
        state = self._state
        asked = {"owner", "request_id", "kind", "lease_seconds", "front"}
        waiting = Waiting(**request.model_dump(include=asked), since=now)
        line = sorted([*state.waiting, waiting], key=_rank)
        if not request.checked and line.index(waiting) >= state.capacity - len(state.holders):
            self._settle(now)
            holders = [holder.ref for holder in state.holders]
            return LeaseAnswer(decision=LeaseDecision.CHECK, holders=holders)
        state.waiting = line
        self._settle(now)
        for grant in state.grants:
            if grant.owner == request.owner:
                # It gets an answer, so it needs no signal.
                state.grants.remove(grant)
                return LeaseAnswer(decision=LeaseDecision.GRANTED, token=grant.signal.token)
        return LeaseAnswer(decision=LeaseDecision.QUEUED, position=self._position(waiting))

    def _find_answer(self, owner: str, request_id: str) -> LeaseAnswer | None:
        asked = (owner, request_id)
        for holder in self._state.holders:
            if asked == (holder.owner, holder.request_id):
                return _granted(holder)
        for waiting in self._state.waiting:
            if asked == (waiting.owner, waiting.request_id):
                place = self._position(waiting)
                return LeaseAnswer(decision=LeaseDecision.QUEUED, position=place)
        for kept in reversed(self._state.remembered):
            if asked == (kept.owner, kept.request_id):
                return kept.answer
        return None

    def _position(self, waiting: Waiting) -> int:
        return self._state.waiting.index(waiting) + 1

    def _grant(self, waiting: Waiting, now: datetime) -> Holder:
        self._state.grant_count += 1
        holder = Holder(
            owner=waiting.owner,
            request_id=waiting.request_id,
            # Holds the request, so that a queue that begins anew repeats nobody's old token.
            token=f"{self._state.grant_count}/{waiting.request_id}",
            kind=waiting.kind,
            lease_seconds=waiting.lease_seconds,
            granted_at=now,
            lease_until=now + timedelta(seconds=waiting.lease_seconds),
        )
        self._state.holders.append(holder)
        return holder

    def _settle(self, now: datetime) -> None:
        """Grant what is free, and interrupt for the user turns that still wait."""
        state = self._state
        while state.waiting and len(state.holders) < state.capacity:
            holder = self._grant(state.waiting.pop(0), now)
            signal = Granted(lease=holder.request_id, token=holder.token)
            state.grants.append(Grant(owner=holder.owner, signal=signal))
        self._interrupt(now)

    def _interrupt(self, now: datetime) -> None:
        """Interrupt as many holders as user turns need to let go, the latest first."""
        state = self._state
        users = sum(waiting.kind == LeaseKind.USER for waiting in state.waiting)
        if not users:
            return
        staying = [holder for holder in state.holders if holder.revoke_at is None]
        # More than `users` where the capacity was lowered.
        too_many = len(staying) + users - state.capacity
        automation = [holder for holder in staying if holder.kind == LeaseKind.AUTOMATION]
        for holder in automation[::-1][: max(too_many, 0)]:
            holder.revoke_at = now + LET_GO_WITHIN
            state.interrupts.append(holder.ref)

    def _end(self, key: str, why: LeaseEnd, now: datetime) -> bool:
        state = self._state
        for holder in state.holders:
            if key in {holder.token, holder.owner}:
                state.holders.remove(holder)
                state.grants = [one for one in state.grants if one.signal.token != holder.token]
                state.interrupts = [one for one in state.interrupts if one.token != holder.token]
                self._remember(holder.owner, holder.request_id, _granted(holder, why), now)
                return True
        for waiting in state.waiting:
            if key == waiting.owner:
                why = LeaseEnd.WITHDRAWN if why == LeaseEnd.RELEASED else why
                place = self._position(waiting)
                answer = LeaseAnswer(decision=LeaseDecision.QUEUED, position=place, ended=why)
                state.waiting.remove(waiting)
                self._remember(waiting.owner, waiting.request_id, answer, now)
                return True
        return False

    def _remember(self, owner: str, request_id: str, answer: LeaseAnswer, now: datetime) -> None:
        if owner == self._own:
            return
        kept = Remembered(owner=owner, request_id=request_id, answer=answer, ended_at=now)
        self._state.remembered = _newest([*self._state.remembered, kept])

    def _forget(self, now: datetime) -> None:
        remembered = self._state.remembered
        self._state.remembered = [kept for kept in remembered if now - kept.ended_at < KEPT_FOR]


def _granted(holder: Holder, ended: LeaseEnd | None = None) -> LeaseAnswer:
    return LeaseAnswer(decision=LeaseDecision.GRANTED, token=holder.token, ended=ended)


def _rank(waiting: Waiting) -> tuple[bool, bool]:
    """Smaller goes first; sorting keeps the order of equals."""
    return waiting.kind != LeaseKind.USER, not waiting.front


def _newest(remembered: list[Remembered]) -> list[Remembered]:
    """The last of them, as many as there is room for."""
    room, first = KEPT_BYTES, len(remembered)
    for kept in reversed(remembered[-KEPT_ANSWERS:]):
        texts = (kept.owner, kept.request_id, kept.answer.token or "")
        room -= _ANSWER_BYTES + sum(len(text.encode()) for text in texts)
        if room < 0:
            break
        first -= 1
    return remembered[first:]
