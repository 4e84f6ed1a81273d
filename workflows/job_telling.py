"""What a job writes down and tells: its row, what people decided, notices, events, its result.

Owns what is still to be written, and how the job stands in lists. What is said is
`domain.job_events`'s, how it is stored and sent the activity's.
Source: triggers-and-actions.md §6 and §8, DESIGN §3.

Invariants:
    1. What could not be written is written by whoever writes next.
    2. The first to write says what the job begins with, be it cancelled by now.
"""

from collections.abc import Sequence
from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeUpdate

from workflows.delivering import deliver
from workflows.session_gate import SessionGate

with workflow.unsafe.imports_passed_through():
    from activities import search_attributes as attributes
    from activities.jobs import CallPlace, JobActivities, JobOpening, PutJob
    from domain.approvals import Approval
    from domain.deliveries import Part
    from domain.emissions import EmittedEvent
    from domain.job_approvals import ApprovalNews
    from domain.job_book import JobBook
    from domain.job_events import approval_parts, events_of_decisions, events_of_news
    from domain.job_state import JobState
    from domain.jobs import job_thread
    from domain.standing_grants import StandingGrant

# More ids than that would end the workflow: the server bounds the value of a search attribute.
MAX_LISTED_APPROVALS = 40
TASK_IN_THREAD = "2026-11-21-task-in-thread"


class JobTelling:
    """Writes for one job.

    Attributes:
        decided: What people decided since the last time.
        changed: Approvals that changed in another way.
        grants: What was allowed for good.
        asked: Where the arguments of approvals are that the ledger does not know yet.
    """

    def __init__(self, state: JobState, book: JobBook, gate: SessionGate) -> None:
        """Begin with nothing to write.

        Args:
            state: The job's.
            book: The same, changed in place.
            gate: The chat, while the result is said there.
        """
        self._state = state
        self._book = book
        self._gate = gate
        self.decided: list[Approval] = []
        self.changed: list[Approval] = []
        self.grants: list[StandingGrant] = []
        self.asked: dict[str, CallPlace] = {}
        # A job of a run or goal is written before it exists, and works in a thread that is there.
        self._written = self._book.record.thread_id is not None

    @property
    def is_behind(self) -> bool:
        """Whether something changed that is not written."""
        return bool(self.decided or self.changed or self.grants)

    def show(self) -> None:
        """Say how the job stands where lists read it."""
        pending = [approval.id for approval in self._book.approvals.pending]
        updates: list[SearchAttributeUpdate[Any]] = [
            attributes.STATUS.value_set(self._book.status),
            attributes.APPROVALS.value_set(pending[:MAX_LISTED_APPROVALS]),
        ]
        workflow.upsert_search_attributes(updates)

    async def begin(self) -> None:
        """Write down that the job exists, unless it was written before it did."""
        if not self._written:
            await self.write()

    async def tell_approvals(self, news: Sequence[tuple[Approval, ApprovalNews]]) -> None:
        """Tell people and routines of approvals: asked for, reminded of, expired."""
        reminded = {item.approval.id: item.reminded for item in self._state.approvals}
        sizes = {key: place.arguments_chars for key, place in self.asked.items()}
        self.changed += [approval for approval, _ in news]
        self.show()
        await self.write(
            events=events_of_news(news, self._book.record, self._state.start.hop),
            notices=approval_parts(news, self._state.start, reminded, sizes),
        )

    async def write_decisions(self) -> None:
        """Write what people decided, before anything is done on the strength of it."""
        # Again for what came meanwhile: the store lets nothing run that it does not know of.
        while self.is_behind:
            self.show()
            await self.write()

    async def write(
        self,
        *,
        events: Sequence[EmittedEvent] = (),
        notices: Sequence[Part] = (),
        result: Part | None = None,
    ) -> None:
        """Write how the job stands, with everything that has changed since the last time.

        Args:
            events: Told to routines.
            notices: Sent to people.
            result: Sent as what came of the job.

        Raises:
            ActivityError: It could not be written, or the chat was given to a user meanwhile.
        """
        decided, changed, grants, asked = self.decided, self.changed, self.grants, self.asked
        self.decided, self.changed, self.grants, self.asked = [], [], [], {}
        start, first, opening = self._state.start, not self._written, self._opening()
        record = self._book.full_record if first else self._book.record
        request = PutJob(
            record=record,
            thread=job_thread(record),
            run=start.run if first else None,
            opening=opening,
            approvals=[*changed, *decided],
            asked=asked,
            grants=grants,
            notices=list(notices),
            result=result,
            hold=self._gate.held,
            events=[*events_of_decisions(decided, record, start.hop), *events],
        )
        summary = f"{record.status}: record" + (" and tell" if notices or result else "")
        try:
            await deliver(JobActivities.put_job, request, summary)
        except BaseException:
            # Not written, as far as anybody knows: whoever writes next, writes it too.
            self.decided, self.changed = [*decided, *self.decided], [*changed, *self.changed]
            self.grants, self.asked = [*grants, *self.grants], asked | self.asked
            raise
        if opening is not None:
            self._book.task_told()
        self._written = True

    def _opening(self) -> JobOpening | None:
        """What a job that nobody has written yet begins with."""
        if self._written:
            return None
        self._book.note_thread(job_thread(self._book.record).id)
        if not workflow.patched(TASK_IN_THREAD):
            return None
        return JobOpening(nonce=workflow.uuid4().hex, untrusted=self._state.start.untrusted)
