"""What a run leaves for the next one (automation.md §7.5, §7.8 and §7.11)."""

import pytest

from domain.admission import EndRun
from domain.routine import Routine
from domain.run_conversation import after_run
from domain.runs import RunStatus
from tests.support.bookings import Bookings, ending
from tests.support.routines import routine


def left(before: Routine, ended: EndRun) -> tuple[str | None, str | None]:
    """The thread to go on with and the message to reply under; nothing else has changed."""
    after = after_run(before, ended)
    kept = ("resume_thread_id", "source_message_id")
    assert after.model_dump(exclude=set(kept)) == before.model_dump(exclude=set(kept))
    return after.resume_thread_id, after.source_message_id


class TestThread:
    @pytest.mark.parametrize(
        "status", [RunStatus.OK, RunStatus.ATTENTION, RunStatus.INTERRUPTED], ids=str
    )
    def test_the_next_run_goes_on_in_it(self, status: RunStatus) -> None:
        ended = ending("m-1", status, thread_id="thread-2")
        assert left(routine(fresh=False), ended) == ("thread-2", None)
        known = routine(fresh=False, resume_thread_id="thread-1")
        assert left(known, ended) == ("thread-2", None)

    @pytest.mark.parametrize(
        "status",
        [RunStatus.FAILED, RunStatus.TIMED_OUT, RunStatus.CANCELLED, RunStatus.SKIPPED],
        ids=str,
    )
    def test_a_run_without_an_answer_leaves_the_former(self, status: RunStatus) -> None:
        before = routine(fresh=False, resume_thread_id="thread-1")
        ended = ending("m-1", status, thread_id="thread-2")
        assert left(before, ended) == ("thread-1", None)

    def test_a_run_that_reported_none_leaves_the_former(self) -> None:
        before = routine(fresh=False, resume_thread_id="thread-1")
        assert left(before, ending("m-1")) == ("thread-1", None)

    def test_a_fresh_routine_keeps_none(self) -> None:
        """Invariant 1."""
        ended = ending("m-1", thread_id="thread-2")
        assert left(routine(fresh=True), ended) == (None, None)


class TestSourceMessage:
    """Invariant 2."""

    def test_the_first_message_becomes_it(self) -> None:
        ended = ending("m-1", message_id="om_2")
        assert left(routine(), ended) == (None, "om_2")

    def test_a_blank_one_is_none(self) -> None:
        ended = ending("m-1", message_id="om_2")
        assert left(routine(source_message_id=""), ended) == (None, "om_2")

    def test_it_stays(self) -> None:
        ended = ending("m-1", message_id="om_2")
        assert left(routine(source_message_id="om_1"), ended) == (None, "om_1")

    def test_one_that_is_gone_is_replaced(self) -> None:
        ended = ending("m-1", message_id="om_2", message_gone=True)
        assert left(routine(source_message_id="om_1"), ended) == (None, "om_2")

    @pytest.mark.parametrize("gone", [True, False])
    def test_nothing_sent_replaces_nothing(self, gone: bool) -> None:
        ended = ending("m-1", message_gone=gone)
        assert left(routine(source_message_id="om_1"), ended) == (None, "om_1")


class TestNextRun:
    def test_it_gets_both(self) -> None:
        booked = Bookings(fresh=False)
        booked.begin("m-1")
        booked.end("m-1", thread_id="thread-1", message_id="om_1")
        definition = booked.begin("m-2").definition
        assert definition is not None
        assert (definition.resume_thread_id, definition.reply_to) == ("thread-1", "om_1")
        assert definition.threaded

    def test_a_route_of_its_own_is_another_conversation(self) -> None:
        alerts = {"receive_id_type": "webhook", "receive_id": "alerts"}
        booked = Bookings(source_message_id="om_1", notify={"route": alerts})
        definition = booked.begin("m-1").definition
        assert definition is not None
        assert (definition.reply_to, definition.threaded) == (None, False)

    def test_an_end_that_is_told_again_changes_nothing(self) -> None:
        booked = Bookings(fresh=False)
        booked.begin("m-1")
        booked.end("m-1", thread_id="thread-1", message_id="om_1")
        booked.begin("m-2")
        booked.end("m-2", thread_id="thread-2", message_id="om_2")
        before = booked.state.model_copy(deep=True)
        booked.end("m-1", thread_id="thread-1", message_id="om_1", message_gone=True)
        assert booked.state == before
