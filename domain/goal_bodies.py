"""What people ask of a goal, read from the JSON they send.

Owns these bodies and their limits: a new goal, and what may be asked of one that there is. What the
goal makes of them is `domain.goal_book`'s. Source: automation.md §9 and §14 rows 41 to 47.

Invariant: what is accepted here is refused by the goal for its status only.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict

from domain.fields import FieldReader, shown
from domain.goal import GoalEvent, parse_deadline, parse_delay
from domain.goal_judge import MAX_EVIDENCE
from domain.goal_messages import (
    CancelIteration,
    ClaimGoal,
    CompleteGoal,
    DelayGoal,
    ExtendGoal,
    PauseGoal,
    ReportProgress,
    WaitGoal,
)
from domain.goal_record import MAX_OBJECTIVE_BYTES
from domain.goal_state import CompletionClaim
from domain.pushed_triggers import read_system_event
from domain.routine_fields import read_body

MAX_SUMMARY_BYTES: Final = 16_384
MAX_REASON_CHARS: Final = 1_000
MAX_CANCEL_CHARS: Final = 200
# Of what an iteration says by its tools.
MAX_TOLD_CHARS: Final = 4_096
MAX_CALL_CHARS: Final = 512

_EVENT: Final = "source:event_type such as github:issue.closed, where a trailing .* is any type"


class GoalVerb(StrEnum):
    """What can be asked of a goal, as addresses and commands name it."""

    PAUSE = "pause"
    RESUME = "resume"
    COMPLETE = "complete"
    DELAY = "delay"
    WAIT = "wait"
    EXTEND = "extend"
    CANCEL = "cancel"

    @property
    def update(self) -> str:
        """The update of the goal's workflow."""
        return "cancel_iteration" if self is GoalVerb.CANCEL else self.value

    @property
    def event(self) -> GoalEvent | None:
        """What it is in the table of transitions; ending an iteration is not in it."""
        return None if self is GoalVerb.CANCEL else GoalEvent(self.value)


class NewGoal(BaseModel):
    """A goal as somebody asks for it."""

    model_config = ConfigDict(frozen=True)

    objective: str
    deadline_seconds: int


def read_creation(body: Mapping[str, object], default_deadline: str) -> NewGoal:
    """Read `{"objective", "deadline_in"?}`.

    Args:
        body: The JSON object.
        default_deadline: Setting `goal_deadline`.

    Raises:
        DomainError: The first problem; `errors` lists all where there are several.
    """
    reader = read_body(body)
    reader.refuse_unknown(("objective", "deadline_in"))
    objective = reader.required_text("objective", max_bytes=MAX_OBJECTIVE_BYTES)
    given = reader.raw("deadline_in")
    blank = given is None or (isinstance(given, str) and not given.strip())
    seconds = reader.check(lambda: parse_deadline(default_deadline if blank else given))
    reader.close()
    return NewGoal(objective=objective, deadline_seconds=seconds or 0)


def read_request(verb: GoalVerb, body: Mapping[str, object]) -> BaseModel | None:
    """Read what is asked of a goal; null where nothing has to be said.

    Raises:
        DomainError: The first problem; `errors` lists all where there are several.
    """
    reader = read_body(body)
    accepted, read = _READERS[verb]
    reader.refuse_unknown(accepted)
    request = read(reader)
    reader.close()
    return request


def _pause(reader: FieldReader) -> PauseGoal:
    return PauseGoal(now=reader.boolean("now", default=False))


def _resume(_reader: FieldReader) -> None:
    return None


def _complete(reader: FieldReader) -> CompleteGoal:
    summary = reader.text("summary") or ""
    size = len(summary.encode())
    if size > MAX_SUMMARY_BYTES:
        reader.invalid("summary", f"must have at most {MAX_SUMMARY_BYTES} bytes, not {size}")
    return CompleteGoal(summary=summary)


def _delay(reader: FieldReader) -> DelayGoal:
    duration, reason = _rest(reader)
    return DelayGoal(duration=duration, reason=reason)


def _wait(reader: FieldReader) -> WaitGoal:
    event = reader.check(lambda: read_goal_event(reader.raw("event"))) or ""
    duration, reason = _rest(reader)
    return WaitGoal(event=event, duration=duration, reason=reason)


def _extend(reader: FieldReader) -> ExtendGoal:
    before = len(reader.problems)
    deadline_in = reader.raw("deadline_in")
    if deadline_in is None or (isinstance(deadline_in, str) and not deadline_in.strip()):
        reader.missing("deadline_in", "how far from now the deadline is to be, such as 48h")
    else:
        reader.check(lambda: parse_deadline(deadline_in))
    return ExtendGoal(deadline_in=str(deadline_in) if len(reader.problems) == before else "")


def _cancel(reader: FieldReader) -> CancelIteration:
    reason = reader.text("reason")
    if reason is not None and len(reason) > MAX_CANCEL_CHARS:
        reader.invalid("reason", f"must have at most {MAX_CANCEL_CHARS} characters")
    return CancelIteration(reason=reason) if reason else CancelIteration()


def _rest(reader: FieldReader) -> tuple[str, str]:
    """How long a goal is to rest, and why."""
    duration, reason = reader.raw("duration"), reader.raw("reason")
    reader.check(lambda: parse_delay(duration, reason))
    if isinstance(reason, str) and len(reason.strip()) > MAX_REASON_CHARS:
        reader.invalid("reason", f"must have at most {MAX_REASON_CHARS} characters")
    if reader.problems:
        return "", ""
    return str(duration).strip(), str(reason).strip()


def read_claim(claim: ClaimGoal) -> CompletionClaim:
    """Check what an iteration claims, whoever sends it.

    Raises:
        DomainError: `invalid_field` on `summary` or `evidence`.
    """
    reader = FieldReader({}, "")
    if len(claim.summary) > MAX_TOLD_CHARS:
        reader.invalid("summary", f"must have at most {MAX_TOLD_CHARS} characters")
    if len(claim.evidence) > MAX_EVIDENCE:
        reader.invalid("evidence", f"must name at most {MAX_EVIDENCE} calls")
    if any(len(name) > MAX_CALL_CHARS for name in claim.evidence):
        reader.invalid("evidence", f"must be names of at most {MAX_CALL_CHARS} characters")
    reader.close()
    return CompletionClaim.model_validate(claim.model_dump(exclude={"job_id"}))


def read_progress(report: ReportProgress) -> str:
    """Check what an iteration reports, whoever sends it; gives the text.

    Raises:
        DomainError: `missing_field` or `invalid_field` on `text`.
    """
    reader = FieldReader({"text": report.text}, "")
    text = reader.required_text("text", max_chars=MAX_TOLD_CHARS)
    reader.close()
    return text


def read_goal_event(value: object) -> str:
    """Check `source:event_type`; the source is what stands before the first colon.

    Raises:
        DomainError: `missing_field` or `invalid_field` on `event`.
    """
    reader = FieldReader({"event": value}, "")
    text = reader.required_text("event")
    source, _, event_type = text.partition(":")
    parts = FieldReader({"source": source, "event_type": event_type}, "event")
    if text and reader.check(lambda: read_system_event(parts)) is None:
        reader.problems.clear()
        reader.invalid("event", f"must be {_EVENT}; not {shown(value)}")
    reader.close()
    return text


_Reader = Callable[[FieldReader], BaseModel | None]
_READERS: Final[Mapping[GoalVerb, tuple[tuple[str, ...], _Reader]]] = {
    GoalVerb.PAUSE: (("now",), _pause),
    GoalVerb.RESUME: ((), _resume),
    GoalVerb.COMPLETE: (("summary",), _complete),
    GoalVerb.DELAY: (("duration", "reason"), _delay),
    GoalVerb.WAIT: (("event", "duration", "reason"), _wait),
    GoalVerb.EXTEND: (("deadline_in",), _extend),
    GoalVerb.CANCEL: (("reason",), _cancel),
}
