"""The loop of a job as a book: what the next step is, and what its outcome means.

Owns every decision of the loop over a `JobState`: which prompt, with tools or without, when a batch
is over, when it goes round in circles, when the job ends. Carrying steps out is `workflows.job`'s,
approvals are `domain.job_approvals`'. Source: triggers-and-actions.md §6.

Invariants:
    1. The status moves only as `domain.jobs.transition` says; what it refuses changes nothing.
    2. A call of a model that was planned stays the same until it is answered or given up.
    3. A steering message is read once and in order, and never lost: one that comes while the last
       answer is written opens another round, and one that could not is refused.
    4. `max_iterations` rounds with tools are followed by at most one call without.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from domain import job_prompts
from domain.approvals import ApprovalStatus
from domain.errors import DomainError, ErrorKind
from domain.goal_record import GOAL_TOOLS
from domain.job_approvals import JobApprovals
from domain.job_messages import (
    MAX_MESSAGES,
    MAX_WAITING_BYTES,
    JobEnded,
    JobStage,
    JobView,
    refused_by_status,
    validate_message,
)
from domain.job_state import Ask, Batch, BatchCall, JobState, TextOnly
from domain.jobs import (
    MAX_RECOVERIES,
    TERMINAL_STATUSES,
    JobEvent,
    JobRecord,
    JobStatus,
    JobWaiting,
    transition,
)
from domain.prompts import PromptFrame, framed_prompt
from domain.redaction import redact_text
from domain.tool_specs import AskedCall
from domain.tools import SandboxMode
from domain.usage import Spent

WARN_AT: Final = 3
BREAK_OFF_AT: Final = 5
EMPTY_LIMIT: Final = 3
# Of messages; who repeats one does so soon.
MAX_KEYS: Final = 100
EMPTY_ANSWER: Final = "empty_reply: the model gave no answer three times in a row"
NO_RESULT: Final = "empty_reply: the steps were used up and the model gave no result"
STEP_LOST: Final = (
    "a step was lost, or did nothing for too long, {count} times; the last was: {why}"
)
_NOTES: Final = {
    TextOnly.LIMIT: job_prompts.LIMIT,
    TextOnly.TOOL_CALLS: job_prompts.TOOL_CALLS,
    TextOnly.REPEATS: job_prompts.BROKEN_OFF,
    TextOnly.EMPTY: job_prompts.LAST_CHANCE,
}
_STEERABLE: Final = frozenset(
    {JobStatus.PENDING, JobStatus.RUNNING, JobStatus.PAUSED, JobStatus.WAITING_APPROVAL}
)


class NextStep(StrEnum):
    """What a job that runs does next."""

    ASK = "ask"
    CALLS = "calls"
    APPROVALS = "approvals"
    END = "end"


class CallEnd(BaseModel):
    """How a call ended; `mark` is equal for equal calls (tool and arguments).

    `executed` says whether it ran: what was refused counts for no limit.
    """

    model_config = ConfigDict(frozen=True)

    call_id: str
    failed: bool
    mark: str
    executed: bool = True


class JobBook:
    """The book of one job.

    Attributes:
        approvals: Its approvals.
    """

    def __init__(self, state: JobState) -> None:
        self._state = state
        if state.record is None:
            state.record = state.start.record.model_copy(update={"description": ""})
        self.approvals = JobApprovals(state)

    # What it is

    @property
    def record(self) -> JobRecord:
        """Its row without the description, which may be long and is in the ledger already."""
        return self._state.record or self._state.start.record

    @property
    def full_record(self) -> JobRecord:
        """Its row as it stands."""
        text = self._state.start.record.description
        return self.record.model_copy(update={"description": text})

    @property
    def status(self) -> JobStatus:
        """Where it stands."""
        return self.record.status

    @property
    def ended(self) -> bool:
        """Whether it came to an end."""
        return self.status in TERMINAL_STATUSES

    def view(self, stage: JobStage) -> JobView:
        """The job as its readers see it."""
        state = self._state
        return JobView(
            record=self.full_record,
            stage=stage,
            messages=len(state.messages),
            tool_calls=state.tool_calls,
            approvals=[item.approval for item in state.approvals],
            warnings=state.warnings,
        )

    def result(self) -> JobEnded:
        """How it ended."""
        state, record = self._state, self.record
        shared = record.model_dump(include=set(JobEnded.model_fields) & set(JobRecord.model_fields))
        return JobEnded(
            job_id=record.id,
            text=record.result or "",
            message_id=state.answer_id,
            model=state.model,
            timed_out=state.timed_out,
            tool_calls=state.tool_calls,
            tool_actions=state.tool_actions,
            elapsed_seconds=state.elapsed_seconds,
            warnings=state.warnings,
            **shared,
        )

    # What people say

    def steer(self, text: object, key: str | None = None) -> None:
        """Keep a message for the next call of the model.

        Args:
            text: The message.
            key: A message with the same key came before: it is not said again.

        Raises:
            DomainError: On `text`; `conflict` on `status` when the job reads nothing more, on
                `text` when too many messages wait, or too long ones, or on `idempotency_key` when
                another text came with the key.
        """
        message, waiting = validate_message(text), self._state.messages
        if key is not None and self._was_said(key, message):
            return
        asked = self._state.asking
        last = asked is not None and asked.text_only is TextOnly.LIMIT
        if self.status not in _STEERABLE or last:
            raise refused_by_status(self.status, "a message")
        if len(waiting) >= MAX_MESSAGES:
            full = f"text: {MAX_MESSAGES} messages wait already; send it again later"
            raise DomainError(ErrorKind.CONFLICT, "text", full)
        if sum(len(one.encode()) for one in [*waiting, message]) > MAX_WAITING_BYTES:
            full = (
                f"text: the messages that wait may have {MAX_WAITING_BYTES} bytes together; "
                "send it again later"
            )
            raise DomainError(ErrorKind.CONFLICT, "text", full)
        waiting.append(message)
        if key is not None:
            said = self._state.said | {_digest(key): _digest(message)}
            self._state.said = dict(list(said.items())[-MAX_KEYS:])
        self._revise()

    def _was_said(self, key: str, message: str) -> bool:
        known = self._state.said.get(_digest(key))
        if known not in {None, _digest(message)}:
            used = "this idempotency_key was used with another text"
            raise DomainError(ErrorKind.CONFLICT, "idempotency_key", used)
        return known is not None

    def want_pause(self) -> None:
        """Pause: at once if it waits, at the next step if it works; again changes nothing.

        Raises:
            DomainError: `conflict` on `status`.
        """
        if self.status == JobStatus.PAUSED:
            return
        if self.status in {JobStatus.RUNNING, JobStatus.STUCK}:
            self._state.wants_pause = True
            self._revise()
        else:
            self.move(JobEvent.PAUSE, waiting_for=None)

    def resume(self) -> None:
        """Go on; where it goes on already this changes nothing.

        Raises:
            DomainError: `conflict` on `status`.
        """
        if self._state.wants_pause:
            self._state.wants_pause = False
            self._revise()
        elif self.status not in _STEERABLE - {JobStatus.PAUSED}:
            self.move(JobEvent.RESUME, waiting_for=JobWaiting.SLOT)

    def cancel(self, reason: str, now: datetime) -> None:
        """End it as cancelled; again changes nothing.

        Raises:
            DomainError: `conflict` on `status`.
        """
        if self.status != JobStatus.CANCELLED:
            told = redact_text(reason)
            self.move(JobEvent.CANCEL, error=told, finished_at=now, waiting_for=None)

    # What it does next

    def next_step(self) -> NextStep:
        """The next step of a job that runs."""
        if self.ended:
            return NextStep.END
        if self._state.batch is None:
            return NextStep.ASK
        return NextStep.CALLS if self.open_calls() else NextStep.APPROVALS

    def start(self, now: datetime) -> None:
        """A slot was granted."""
        started = self.record.started_at or now
        self.move(JobEvent.START, started_at=started, waiting_for=None)

    def pause_now(self, waiting_for: JobWaiting | None = None) -> None:
        """Pause between two steps."""
        self._state.wants_pause = False
        self.move(JobEvent.PAUSE, waiting_for=waiting_for)

    def offered(
        self, names: list[str], read_only: list[str], sandbox_mode: SandboxMode | None
    ) -> None:
        """Note which tools there are, which of them change nothing, and where commands run."""
        self._state.tools, self._state.read_only = names, read_only
        self._note(sandbox_mode=sandbox_mode)

    def wait_for_approvals(self) -> None:
        """Nothing can be done until somebody decides."""
        self.move(JobEvent.NEED_APPROVAL, waiting_for=JobWaiting.APPROVAL)

    def approvals_decided(self) -> None:
        """Everything is decided: wait for a slot again."""
        self.move(JobEvent.DECIDED, waiting_for=JobWaiting.SLOT)

    def wait_for(self, what: JobWaiting | None) -> None:
        """Say what a job waits for whose status stays."""
        self._note(waiting_for=what)

    def stall(self) -> bool:
        """A step was lost; says whether that is news."""
        self.move(JobEvent.STALL)
        news, self._state.stalled = not self._state.stalled, True
        return news

    def recover(self, why: str, now: datetime) -> None:
        """Do the lost step again, or fail when that happened too often."""
        count = self.record.recoveries
        if transition(self.status, JobEvent.RECOVER, count, MAX_RECOVERIES) == JobStatus.FAILED:
            error = STEP_LOST.format(count=count + 1, why=why)
            self._note(status=JobStatus.FAILED, error=error, finished_at=now)
            self._revise()
        else:
            self.move(JobEvent.RECOVER, recoveries=count + 1)

    def fail(self, error: str, now: datetime, *, timed_out: bool = False) -> None:
        """End it as failed."""
        self._state.timed_out = timed_out
        told = redact_text(error)
        self.move(JobEvent.FAIL, error=told, finished_at=now, waiting_for=None)

    def fault(self, error: str, now: datetime) -> None:
        """End it as failed wherever it stands: nothing can be done for it any more."""
        if not self.ended:
            told = redact_text(error)
            self._note(status=JobStatus.FAILED, error=told, finished_at=now, waiting_for=None)
            self._revise()

    # Calls of the model

    def plan_ask(self) -> Ask:
        """The next call of the model; the same one until it is answered."""
        state = self._state
        if state.asking is not None:
            return state.asking
        if self.record.iteration >= self.record.max_iterations:
            state.text_only = TextOnly.LIMIT
        elif state.text_only is None and self.calls_left() == 0:
            state.text_only = TextOnly.TOOL_CALLS
        state.asking = Ask(text_only=state.text_only, taken=len(state.messages))
        return state.asking

    def prompt(self) -> str | None:
        """What is said with the planned call; null: the thread is answered as it stands.

        Where nobody has written the task into the thread before, the first one says it.
        """
        state, asked = self._state, self.plan_ask()
        said: list[str] = []
        if not state.opened:
            task, outside = state.start.record.description, state.start.untrusted
            said.append(framed_prompt(task, PromptFrame(), nonce=state.nonce, untrusted=outside))
        said += [*state.messages[: asked.taken], *state.notes]
        if asked.text_only is not None:
            said.append(_NOTES[asked.text_only])
        return "\n\n".join(said) or None

    def task_told(self) -> None:
        """The task is in the thread, with the texts from outside: no prompt has them again."""
        self._state.opened = True
        self._state.start = self._state.start.model_copy(update={"untrusted": []})

    def mark_texts(self, nonce: str) -> None:
        """Fix what marks texts from outside: a repeated call says the same."""
        self._state.nonce = self._state.nonce or nonce

    def answered(
        self, text: str, message_id: str, model: str, calls: Sequence[AskedCall], now: datetime
    ) -> None:
        """The model answered.

        Args:
            text: Its words; not blank, or there are calls.
            message_id: The answer in the thread.
            model: Who answered.
            calls: What it wants to be called.
            now: The job's clock.
        """
        state = self._state
        asked = self.plan_ask()
        self._heard(asked)
        state.empty = 0
        self._note(iteration=self.record.iteration + 1)
        if calls and asked.text_only is None:
            first = state.tool_calls + 1
            state.tool_calls += len(calls)
            state.batch = Batch(
                message_id=message_id,
                calls=[BatchCall(call=call, sequence=first + i) for i, call in enumerate(calls)],
            )
            return
        if state.messages and asked.text_only is not TextOnly.LIMIT:
            # Somebody spoke while this was written: it is not the last word.
            state.text_only = None
            return
        state.answer_id, state.model = message_id, model
        self.move(
            JobEvent.COMPLETE,
            result=text,
            finished_at=now,
            limit_reached=asked.text_only is TextOnly.LIMIT,
        )

    def empty_answer(self, now: datetime) -> None:
        """The model gave no answer: ask once more, then without tools, then give up."""
        state = self._state
        asked, state.asking = self.plan_ask(), None
        state.empty += 1
        if asked.text_only is not None:
            limits = {TextOnly.LIMIT, TextOnly.TOOL_CALLS}
            self.fail(NO_RESULT if asked.text_only in limits else EMPTY_ANSWER, now)
        elif state.empty >= EMPTY_LIMIT - 1:
            state.notes, state.text_only = [], TextOnly.EMPTY
        else:
            state.notes = [job_prompts.NUDGE]

    def calls_left(self) -> int | None:
        """How many calls of tools the limit leaves, of those that run; null without one."""
        limit = self._state.start.max_tool_calls
        return None if limit is None else max(limit - self._state.executed, 0)

    def _heard(self, asked: Ask) -> None:
        """What was in the prompt is in the thread now."""
        state = self._state
        state.asking, state.notes = None, []
        self.task_told()
        del state.messages[: asked.taken]

    # Calls of tools

    def open_calls(self) -> list[BatchCall]:
        """The calls that can be carried out now: without a result, and not waiting for anybody."""
        batch = self._state.batch
        waiting = {
            item.call_id
            for item in self._state.approvals
            if item.approval.status == ApprovalStatus.PENDING
        }
        return [
            item
            for item in (batch.calls if batch else ())
            if item.failed is None and item.call.id not in waiting
        ]

    def may_run_at_once(self) -> bool:
        """Whether the open calls change nothing, so that their order does not matter."""
        safe = set(self._state.read_only)
        return all(item.call.name in safe for item in self.open_calls())

    def call_ended(self, end: CallEnd) -> None:
        """A call has its result."""
        batch = self._state.batch
        for item in batch.calls if batch else ():
            if item.call.id == end.call_id and item.failed is None:
                item.failed, item.mark = end.failed, end.mark
                self._state.executed += end.executed
                own = item.call.name.startswith(GOAL_TOOLS)
                self._state.tool_actions += end.executed and not own
        if batch and all(item.failed is not None for item in batch.calls):
            self._batch_ended(batch)

    def _batch_ended(self, batch: Batch) -> None:
        state = self._state
        state.batch = None
        marks = "\n".join(sorted(item.mark for item in batch.calls))
        digest = _digest(marks)
        if not all(item.failed for item in batch.calls):
            state.repeated, state.last_batch = 0, ""
            return
        state.repeated = state.repeated + 1 if digest == state.last_batch else 1
        state.last_batch = digest
        if state.repeated >= BREAK_OFF_AT:
            state.text_only = TextOnly.REPEATS
        elif state.repeated == WARN_AT:
            state.notes = [job_prompts.REPEATED]

    # What it costs

    def spent(self, spent: Spent, attempts: int) -> None:
        """Note what all calls of models have cost so far."""
        self._note(**spent.model_dump(), attempts=self.record.attempts + attempts)

    def warn(self, warnings: Sequence[str]) -> None:
        """Keep warnings, each once."""
        self._state.warnings = list(dict.fromkeys([*self._state.warnings, *warnings]))

    # Inside

    def move(self, event: JobEvent, **changes: object) -> None:
        """Let something happen to the job.

        Raises:
            DomainError: `conflict` on `status`.
        """
        status = transition(self.status, event)
        self._note(status=status, **changes)
        self._revise()

    def note_thread(self, thread_id: str) -> None:
        """Say which conversation it works in."""
        self._note(thread_id=thread_id)

    def _note(self, **changes: object) -> None:
        values: Mapping[str, Any] = changes
        self._state.record = self.record.model_copy(update=dict(values))

    def _revise(self) -> None:
        self._note(revision=self.record.revision + 1)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
