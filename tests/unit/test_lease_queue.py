"""Leases: who holds, who waits, whose turn is next (automation.md §8, DESIGN §3 rules 7 and 8)."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from domain.lease_queue import KEPT_ANSWERS, KEPT_BYTES, KEPT_FOR, LET_GO_WITHIN, LeaseQueue
from domain.lease_queue_state import (
    LeaseAnswer,
    LeaseDecision,
    LeaseEnd,
    LeaseKind,
    LeaseQueueState,
    LeaseRef,
    RequestLease,
)

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
LEASE = 660


class Queue:
    """A queue with a clock, whose requests are short to write."""

    def __init__(self, capacity: int = 1, own: str = "") -> None:
        self.queue = LeaseQueue(LeaseQueueState(capacity=capacity), own)
        self.now = NOW

    def ask(
        self,
        owner: str,
        kind: LeaseKind = LeaseKind.AUTOMATION,
        *,
        again: str = "1",
        front: bool = False,
        checked: bool = True,
        closed: list[str] | None = None,
    ) -> LeaseAnswer:
        request = RequestLease(
            owner=owner,
            request_id=f"{owner}-{again}",
            kind=kind,
            lease_seconds=LEASE,
            front=front,
            checked=checked,
            closed=closed or [],
        )
        return self.queue.request(request, self.now)

    def hold(self, owner: str, kind: LeaseKind = LeaseKind.AUTOMATION) -> str:
        token = self.ask(owner, kind).token
        assert token is not None
        return token

    def release(self, key: str) -> bool:
        return self.queue.release(key, self.now)

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @property
    def holders(self) -> list[str]:
        return [holder.owner for holder in self.queue.state.holders]

    @property
    def waiting(self) -> list[str]:
        return [waiting.owner for waiting in self.queue.state.waiting]

    def granted(self) -> list[str]:
        return [grant.owner for grant in self.queue.take_grants()]


def queued(position: int, ended: LeaseEnd | None = None) -> LeaseAnswer:
    return LeaseAnswer(decision=LeaseDecision.QUEUED, position=position, ended=ended)


class TestAsking:
    def test_a_free_place_is_granted_at_once(self) -> None:
        queue = Queue(capacity=2)

        first, second = queue.ask("a"), queue.ask("b")

        assert first.decision == second.decision == LeaseDecision.GRANTED
        assert first.token != second.token
        assert queue.holders == ["a", "b"]
        assert queue.queue.take_grants() == []

    def test_before_anybody_waits_the_holders_are_looked_at(self) -> None:
        queue = Queue()
        token = queue.hold("a")

        answer = queue.ask("b", checked=False)

        ref = LeaseRef(owner="a", token=token)
        assert answer == LeaseAnswer(decision=LeaseDecision.CHECK, holders=[ref])
        assert queue.waiting == []
        assert queue.ask("b") == queued(1)

    def test_a_holder_that_was_seen_closed_gives_its_place(self) -> None:
        queue = Queue()
        token = queue.hold("a")

        answer = queue.ask("b", closed=[token])

        assert answer.decision == LeaseDecision.GRANTED
        assert queue.ask("a").ended == LeaseEnd.LOST

    def test_those_who_waited_come_before_the_one_who_looked(self) -> None:
        queue = Queue()
        token = queue.hold("a")
        queue.ask("b")

        assert queue.ask("c", closed=[token]) == queued(1)
        assert (queue.holders, queue.granted()) == (["b"], ["b"])

    def test_a_user_turn_goes_ahead_of_them_into_the_place_it_found_free(self) -> None:
        queue = Queue()
        token = queue.hold("a")
        queue.ask("b")

        answer = queue.ask("user", LeaseKind.USER, closed=[token])

        assert answer.decision == LeaseDecision.GRANTED
        assert (queue.granted(), queue.queue.take_interrupts()) == ([], [])
        assert (queue.holders, queue.waiting) == (["user"], ["b"])

    def test_one_that_waits_may_find_a_place_free_too(self) -> None:
        queue = Queue()
        token = queue.hold("a")
        queue.ask("b")

        assert queue.ask("b", closed=[token]).decision == LeaseDecision.GRANTED

    def test_the_same_request_gets_the_same_answer(self) -> None:
        queue = Queue()
        first = queue.ask("a")
        queue.ask("b")
        queue.ask("c")

        assert queue.ask("a", checked=False) == first
        assert queue.ask("c", checked=False) == queued(2)
        queue.release("b")
        assert queue.ask("c") == queued(1)
        assert (queue.holders, queue.waiting) == (["a"], ["c"])

    def test_a_waiting_one_that_asks_again_learns_of_its_grant(self) -> None:
        queue = Queue()
        token = queue.hold("a")
        queue.ask("b")
        queue.release(token)

        answer = queue.ask("b")

        [grant] = queue.queue.take_grants()
        assert answer.token == grant.signal.token
        assert grant.signal.lease == "b-1"

    def test_whoever_asks_anew_has_let_go(self) -> None:
        queue = Queue()
        token = queue.hold("a")
        queue.ask("b")

        assert queue.ask("a", again="2") == queued(1)
        assert queue.holders == ["b"]
        assert not queue.queue.is_valid(token)
        assert not queue.release(token)
        assert queue.waiting == ["a"]
        assert queue.ask("a", again="3") == queued(1)
        assert queue.ask("a", again="2") == queued(1, LeaseEnd.SUPERSEDED)

    @pytest.mark.parametrize("field", [{"owner": ""}, {"request_id": ""}, {"lease_seconds": 0}])
    def test_a_request_names_who_and_how_long(self, field: dict[str, object]) -> None:
        with pytest.raises(ValidationError, match=next(iter(field))):
            RequestLease.model_validate(
                {"owner": "a", "request_id": "1", "lease_seconds": 1, **field}
            )


class TestOrder:
    def test_first_come_first_served(self) -> None:
        queue = Queue()
        queue.hold("a")
        assert [queue.ask(name) for name in "bcd"] == [queued(1), queued(2), queued(3)]

        for holder, following in zip("abc", "bcd", strict=True):
            queue.release(holder)
            assert (queue.holders, queue.granted()) == ([following], [following])

    def test_users_go_ahead_and_rejoining_jobs_to_the_front(self) -> None:
        queue = Queue()
        queue.hold("holder")
        for name, kind, front in [
            ("a1", LeaseKind.AUTOMATION, False),
            ("f1", LeaseKind.AUTOMATION, True),
            ("u1", LeaseKind.USER, False),
            ("a2", LeaseKind.AUTOMATION, False),
            ("f2", LeaseKind.AUTOMATION, True),
            ("u2", LeaseKind.USER, False),
        ]:
            queue.ask(name, kind, front=front)

        assert queue.waiting == ["u1", "u2", "f1", "f2", "a1", "a2"]

    def test_more_places_are_filled_at_once(self) -> None:
        queue = Queue()
        for name in "abcd":
            queue.ask(name)

        queue.queue.resize(3, queue.now)

        assert (queue.granted(), queue.waiting) == (["b", "c"], ["d"])

    def test_fewer_places_take_nothing_away(self) -> None:
        queue = Queue(capacity=2)
        first, second = queue.hold("a"), queue.hold("b")
        queue.queue.resize(1, queue.now)
        queue.ask("c")

        queue.release(first)
        assert (queue.holders, queue.waiting) == (["b"], ["c"])
        queue.release(second)
        assert queue.holders == ["c"]


class TestLettingGo:
    @pytest.mark.parametrize("by_token", [True, False])
    def test_a_holder_by_its_token_or_its_name(self, by_token: bool) -> None:
        queue = Queue()
        token = queue.hold("a")

        assert queue.release(token if by_token else "a")
        assert not queue.queue.is_valid(token)
        assert queue.holders == []

    def test_whoever_holds_nothing_changes_nothing(self) -> None:
        queue = Queue()
        token = queue.hold("a")
        before = queue.queue.state.model_copy(deep=True)

        for key in ("b", token + "0", "0/a-1", ""):
            assert not queue.release(key)
        assert queue.queue.state == before

    def test_one_that_waits_withdraws(self) -> None:
        queue = Queue()
        queue.hold("a")
        queue.ask("b")
        queue.ask("c")

        assert queue.release("b")
        assert queue.waiting == ["c"]
        assert queue.ask("b") == queued(1, LeaseEnd.WITHDRAWN)
        assert queue.queue.lose("c", queue.now)
        assert queue.ask("c") == queued(1, LeaseEnd.LOST)

    def test_a_request_that_comes_after_its_withdrawal_is_void(self) -> None:
        queue = Queue()

        assert not queue.queue.release("a", queue.now, "a-1")
        assert not queue.queue.release("a", queue.now, "a-1")
        assert queue.ask("a") == LeaseAnswer(
            decision=LeaseDecision.QUEUED, ended=LeaseEnd.WITHDRAWN
        )
        assert (queue.holders, queue.waiting) == ([], [])
        assert len(queue.queue.state.remembered) == 1
        token = queue.ask("a", again="2").token
        assert token is not None
        assert LeaseRef(owner="a", token=token).request_id == "a-2"

    def test_a_withdrawal_that_names_a_request_ends_what_its_owner_has(self) -> None:
        queue = Queue()
        queue.hold("a")

        assert queue.queue.release("a", queue.now, "a-1")
        assert queue.holders == []
        assert queue.ask("a").ended == LeaseEnd.RELEASED

    def test_a_grant_that_did_not_go_out_is_taken_back(self) -> None:
        queue = Queue()
        queue.hold("a")
        queue.ask("b")
        queue.ask("c")
        queue.release("a")

        queue.release("b")

        assert queue.granted() == ["c"]
        assert queue.granted() == []


class TestUserTurns:
    def test_automation_is_interrupted_and_has_ten_seconds(self) -> None:
        queue = Queue()
        token = queue.hold("run")

        assert queue.ask("user", LeaseKind.USER) == queued(1)

        ref = LeaseRef(owner="run", token=token)
        assert queue.queue.take_interrupts() == [ref]
        assert queue.queue.take_interrupts() == []
        assert queue.queue.next_check() == NOW + LET_GO_WITHIN
        queue.later(9.9)
        assert queue.queue.revoke(queue.now) == []
        assert queue.queue.is_valid(token)
        queue.later(0.1)
        assert queue.queue.revoke(queue.now) == [ref]
        assert not queue.queue.is_valid(token)
        assert queue.granted() == ["user"]
        assert queue.ask("run").ended == LeaseEnd.REVOKED
        assert not queue.release(token)
        assert queue.holders == ["user"]

    def test_it_starts_at_once_when_automation_lets_go(self) -> None:
        queue = Queue()
        token = queue.hold("run")
        queue.ask("other")
        queue.ask("user", LeaseKind.USER)

        queue.release(token)

        assert queue.queue.take_interrupts() == []
        assert queue.granted() == ["user"]
        assert queue.ask("run", again="2") == queued(2)
        queue.release("user")
        assert queue.granted() == ["other"]

    def test_a_user_turn_is_not_interrupted(self) -> None:
        queue = Queue()
        queue.hold("user", LeaseKind.USER)

        assert queue.ask("second", LeaseKind.USER) == queued(1)
        assert queue.ask("run") == queued(2)
        assert queue.queue.take_interrupts() == []
        assert queue.queue.next_check() == NOW + timedelta(seconds=LEASE)

    def test_automation_interrupts_nobody(self) -> None:
        queue = Queue()
        queue.hold("run")
        queue.ask("other", front=True)

        assert queue.queue.take_interrupts() == []

    def test_each_waiting_user_turn_interrupts_one_holder(self) -> None:
        queue = Queue(capacity=3)
        for name in ("old", "new"):
            queue.hold(name)
        queue.hold("user", LeaseKind.USER)

        interrupted: list[list[str]] = []
        for name in ("u1", "u2", "u3"):
            queue.ask(name, LeaseKind.USER)
            interrupted.append([ref.owner for ref in queue.queue.take_interrupts()])

        assert interrupted == [["new"], ["old"], []]

    def test_where_places_were_taken_away_more_have_to_let_go(self) -> None:
        queue = Queue(capacity=2)
        tokens = [queue.hold("old"), queue.hold("new")]
        queue.queue.resize(1, queue.now)

        queue.ask("user", LeaseKind.USER)

        interrupted = [ref.token for ref in queue.queue.take_interrupts()]
        assert interrupted == tokens[::-1]
        queue.release(tokens[1])
        assert queue.holders == ["old"]
        queue.release(tokens[0])
        assert queue.granted() == ["user"]


class TestLeases:
    def test_the_end_of_a_lease_is_a_time_to_look(self) -> None:
        queue = Queue(capacity=2)
        assert queue.queue.next_check() is None
        token = queue.hold("a")
        queue.later(10)
        queue.hold("b")

        assert queue.queue.next_check() == NOW + timedelta(seconds=LEASE)
        queue.later(LEASE - 11)
        assert queue.queue.due(queue.now) == []
        queue.later(1)
        assert queue.queue.due(queue.now) == [LeaseRef(owner="a", token=token)]
        assert queue.queue.is_valid(token)

        queue.queue.extend(token, queue.now)

        assert queue.queue.due(queue.now) == []
        assert queue.queue.next_check() == NOW + timedelta(seconds=LEASE + 10)

    def test_a_closed_workflow_loses_its_place(self) -> None:
        queue = Queue()
        token = queue.hold("a")
        queue.ask("b")

        assert queue.queue.lose(token, queue.now)
        assert not queue.queue.lose(token, queue.now)
        assert queue.granted() == ["b"]

    def test_one_that_was_interrupted_is_revoked_rather_than_looked_at(self) -> None:
        queue = Queue()
        token = queue.hold("run")
        queue.later(LEASE)
        queue.ask("user", LeaseKind.USER)

        assert queue.queue.due(queue.now) == []
        assert queue.queue.next_check() == queue.now + LET_GO_WITHIN
        queue.queue.extend("nobody", queue.now)
        queue.later(10)
        assert [ref.token for ref in queue.queue.revoke(queue.now)] == [token]

    def test_while_somebody_looks_only_revoking_is_waited_for(self) -> None:
        queue = Queue()
        queue.hold("run")
        queue.later(LEASE)

        assert queue.queue.next_check(looking=True) is None
        queue.ask("user", LeaseKind.USER)
        assert queue.queue.next_check(looking=True) == queue.now + LET_GO_WITHIN


class TestMemory:
    def test_an_answer_is_kept_for_a_day_after_the_end(self) -> None:
        queue = Queue()
        token = queue.hold("a")
        queue.release(token)

        queue.later(KEPT_FOR.total_seconds() - 1)
        kept = queue.ask("a")
        assert (kept.token, kept.ended) == (token, LeaseEnd.RELEASED)
        queue.later(1)
        fresh = queue.ask("a")
        assert fresh.decision == LeaseDecision.GRANTED
        assert fresh.ended is None
        assert fresh.token != token

    def test_a_request_that_still_holds_is_never_forgotten(self) -> None:
        queue = Queue()
        token = queue.hold("a")
        queue.later(KEPT_FOR.total_seconds() * 3)

        assert queue.hold("a") == token

    def test_only_so_many_answers_are_kept(self) -> None:
        queue = Queue()
        for number in range(KEPT_ANSWERS + 1):
            queue.release(queue.hold(f"r{number}"))

        kept = queue.queue.state.remembered
        assert len(kept) == KEPT_ANSWERS
        assert (kept[0].owner, kept[-1].owner) == ("r1", f"r{KEPT_ANSWERS}")

    def test_long_ids_are_kept_as_far_as_there_is_room(self) -> None:
        queue = Queue()
        for number in range(KEPT_ANSWERS):
            queue.release(queue.hold(f"{'ü' * 256}{number}"))

        state = queue.queue.state
        assert 0 < len(state.remembered) < KEPT_ANSWERS
        assert state.remembered[-1].owner.endswith(f"ü{KEPT_ANSWERS - 1}")
        # Together with a full inbox this has to stay below what one payload may hold.
        assert len(state.model_dump_json().encode()) < KEPT_BYTES + 1_000

    def test_what_the_queue_itself_held_is_not_kept(self) -> None:
        queue = Queue(own="session/chat")
        for number in range(3):
            queue.ask("session/chat", LeaseKind.USER, again=str(number))
            queue.release("session/chat")

        assert queue.queue.state.remembered == []

    def test_a_queue_that_begins_anew_repeats_no_token_of_another_request(self) -> None:
        assert Queue().hold("a") != Queue().hold("b")
