"""The promises of `domain.lease_queue` under any order of events.

The machine keeps its own account of every request, from the answers and signals alone, and compares
it with the queue after each step. Each step continues on a copy of the state that went through
JSON, as after continue-as-new.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from domain.lease_queue import LET_GO_WITHIN, LeaseQueue
from domain.lease_queue_state import (
    LeaseAnswer,
    LeaseDecision,
    LeaseEnd,
    LeaseKind,
    LeaseQueueState,
    RequestLease,
)

OWNERS = [f"run/{name}" for name in "abcdef"]


@dataclass
class Account:
    """What the machine knows of a request by itself."""

    request: RequestLease
    asked: int
    token: str | None = None
    ended: LeaseEnd | None = None
    interrupted_at: datetime | None = None
    alive: bool = True

    @property
    def waits(self) -> bool:
        return self.token is None and self.ended is None

    @property
    def holds(self) -> bool:
        return self.token is not None and self.ended is None

    @property
    def turn(self) -> tuple[bool, bool, int]:
        """Smaller has its turn first."""
        return self.request.kind != LeaseKind.USER, not self.request.front, self.asked


class Leases(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = datetime(2026, 3, 1, 9, tzinfo=UTC)
        self.accounts: list[Account] = []
        self.capacity = 1
        self.places = 1
        self.signalled: list[str] = []
        self.queue = LeaseQueue(LeaseQueueState())

    @initialize(capacity=st.integers(1, 3))
    def create(self, capacity: int) -> None:
        self.capacity = self.places = capacity
        self.queue = LeaseQueue(LeaseQueueState(capacity=capacity))

    # Asking

    @rule(
        owner=st.sampled_from(OWNERS),
        kind=st.sampled_from(LeaseKind),
        front=st.booleans(),
        seconds=st.sampled_from([30, 660]),
    )
    def ask(self, owner: str, kind: LeaseKind, front: bool, seconds: int) -> None:
        request = RequestLease(
            owner=owner,
            request_id=f"r{len(self.accounts)}",
            kind=kind,
            lease_seconds=seconds,
            front=front,
        )
        # Its former request is over when the owner asks for something new.
        for account in self._open(owner):
            self._close(account, LeaseEnd.SUPERSEDED)
        answer = self.queue.request(request, self.now)
        if answer.decision == LeaseDecision.CHECK:
            answer = self._look(request, answer)
        account = Account(request=request, asked=len(self.accounts), token=answer.token)
        self.accounts.append(account)
        if answer.decision == LeaseDecision.QUEUED:
            self._compare_position(account, answer)
        assert answer.ended is None

    def _look(self, request: RequestLease, answer: LeaseAnswer) -> LeaseAnswer:
        """Tell which holders died, as whoever asked would find out."""
        holders = self._holding()
        assert [ref.token for ref in answer.holders] == self._tokens(holders)
        dead = [account for account in holders if not account.alive]
        for account in dead:
            self._close(account, LeaseEnd.LOST)
        checked = {"checked": True, "closed": self._tokens(dead)}
        answer = self.queue.request(request.model_copy(update=checked), self.now)
        assert answer.decision != LeaseDecision.CHECK
        return answer

    @precondition(lambda self: self.accounts)
    @rule(data=st.data(), checked=st.booleans())
    def ask_again(self, data: st.DataObject, checked: bool) -> None:
        account = data.draw(st.sampled_from(self.accounts))
        again = account.request.model_copy(update={"checked": checked})
        answer = self.queue.request(again, self.now)
        self._hear_signals()
        assert answer.decision != LeaseDecision.CHECK
        assert (answer.token, answer.ended) == (account.token, account.ended)
        if account.waits:
            self._compare_position(account, answer)

    # Letting go

    @precondition(lambda self: self.accounts)
    @rule(data=st.data(), by_owner=st.booleans())
    def release(self, data: st.DataObject, by_owner: bool) -> None:
        """Any request is released, also one that is over, late."""
        account = data.draw(st.sampled_from(self.accounts))
        owner = account.request.owner
        key = account.token if account.token and not by_owner else owner
        found = [one for one in self._open(owner) if key in {one.token, owner}]
        assert self.queue.release(key, self.now) is bool(found)
        for one in found:
            self._close(one, LeaseEnd.RELEASED if one.holds else LeaseEnd.WITHDRAWN)

    @precondition(lambda self: self._holding())
    @rule(data=st.data(), noticed=st.booleans())
    def die(self, data: st.DataObject, noticed: bool) -> None:
        account = data.draw(st.sampled_from(self._holding()))
        account.alive = False
        if noticed:
            assert account.token
            assert self.queue.lose(account.token, self.now)
            self._close(account, LeaseEnd.LOST)

    @rule(capacity=st.integers(1, 4))
    def resize(self, capacity: int) -> None:
        self.capacity = capacity
        self.queue.resize(capacity, self.now)

    # Time

    @rule(seconds=st.sampled_from([0, 1, 5, 10, 30, 660]))
    def time_goes_on(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @precondition(lambda self: any(one.interrupted_at for one in self._holding()))
    @rule(seconds=st.sampled_from([0, 9, 10]))
    def revoke(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        late = [
            account
            for account in self._holding()
            if account.interrupted_at and account.interrupted_at + LET_GO_WITHIN <= self.now
        ]
        assert [ref.token for ref in self.queue.revoke(self.now)] == self._tokens(late)
        for account in late:
            self._close(account, LeaseEnd.REVOKED)

    @rule()
    def look_at_leases(self) -> None:
        for ref in self.queue.due(self.now):
            [account] = [one for one in self._holding() if one.token == ref.token]
            assert account.interrupted_at is None
            if account.alive:
                self.queue.extend(ref.token, self.now)
            else:
                self.queue.lose(ref.token, self.now)
                self._close(account, LeaseEnd.LOST)
        assert not self.queue.due(self.now)

    # What holds after every step

    @invariant()
    def the_state_survives_json(self) -> None:
        self._hear_signals()
        text = self.queue.state.model_dump_json()
        loaded = LeaseQueueState.model_validate_json(text)
        assert loaded == self.queue.state
        assert loaded.model_dump_json() == text
        self.queue = LeaseQueue(loaded)

    @invariant()
    def the_queue_and_the_account_agree(self) -> None:
        state = self.queue.state
        assert [one.token for one in state.holders] == self._tokens(self._holding())
        assert [one.request_id for one in state.waiting] == [
            account.request.request_id for account in self._waiting()
        ]

    @invariant()
    def places_are_not_overbooked_and_nobody_waits_for_a_free_one(self) -> None:
        holding = len(self._holding())
        self.places = max(self.capacity, min(self.places, holding))
        assert holding <= self.places
        assert not self._waiting() or holding >= self.capacity

    @invariant()
    def an_owner_holds_or_waits_once(self) -> None:
        assert all(len(self._open(owner)) <= 1 for owner in OWNERS)

    @invariant()
    def tokens_are_unique_and_valid_only_while_held(self) -> None:
        known = self._tokens([account for account in self.accounts if account.token])
        assert len(set(known)) == len(known)
        for account in self.accounts:
            if account.token:
                assert self.queue.is_valid(account.token) is account.holds
            assert account.holds or account.waits or account.ended

    @invariant()
    def every_lease_is_looked_after(self) -> None:
        due = self.queue.next_check()
        assert (due is None) == (not self._holding())
        if any(account.interrupted_at for account in self._holding()):
            assert due is not None
            assert due <= self.now + LET_GO_WITHIN

    @invariant()
    def a_user_turn_waits_only_for_users_or_the_interrupted(self) -> None:
        users = [one for one in self._waiting() if one.request.kind == LeaseKind.USER]
        free = [
            one
            for one in self._holding()
            if one.request.kind == LeaseKind.AUTOMATION and not one.interrupted_at
        ]
        interrupted = [one for one in self._holding() if one.interrupted_at]
        overbooked = len(self._holding()) - self.capacity
        assert not users or not free or len(interrupted) >= len(users) + overbooked

    # Inside

    def _hear_signals(self) -> None:
        """A grant goes to the one whose turn it was, once; an interrupt for users to automation."""
        for grant in self.queue.take_grants():
            account = self._line()[0]
            assert grant.owner == account.request.owner
            assert grant.signal.lease == account.request.request_id
            assert grant.signal.token not in self.signalled
            self.signalled.append(grant.signal.token)
            account.token = grant.signal.token
        for ref in self.queue.take_interrupts():
            assert any(one.request.kind == LeaseKind.USER for one in self._line())
            [holder] = [one for one in self.accounts if one.holds and one.token == ref.token]
            assert holder.request.kind == LeaseKind.AUTOMATION
            assert holder.interrupted_at is None
            holder.interrupted_at = self.now

    def _close(self, account: Account, why: LeaseEnd) -> None:
        account.ended = why

    def _compare_position(self, account: Account, answer: LeaseAnswer) -> None:
        assert answer.position == self._waiting().index(account) + 1

    def _open(self, owner: str) -> list[Account]:
        return [one for one in self.accounts if one.request.owner == owner and not one.ended]

    def _holding(self) -> list[Account]:
        """In the order of their grants."""
        self._hear_signals()
        holding = [account for account in self.accounts if account.holds]
        return sorted(holding, key=lambda one: int((one.token or "").partition("/")[0]))

    def _waiting(self) -> list[Account]:
        self._hear_signals()
        return self._line()

    def _line(self) -> list[Account]:
        return sorted((one for one in self.accounts if one.waits), key=lambda one: one.turn)

    def _tokens(self, accounts: list[Account]) -> list[str]:
        return [account.token for account in accounts if account.token]


Leases.TestCase.settings = settings(
    max_examples=300,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestLeases = Leases.TestCase
