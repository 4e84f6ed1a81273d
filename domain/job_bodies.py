"""What people ask of jobs and approvals, read from the JSON they send.

Owns these bodies: a message, a cancellation, a decision, an extension. A new job is
`domain.job_create`'s; what the job makes of them is `domain.job_book`'s. Source:
triggers-and-actions.md §6, §8 and §12 rows 23 to 25.
"""

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel, ConfigDict

from domain.approvals import Decision
from domain.fields import FieldReader
from domain.job_approvals import MAX_EXTENDED
from domain.job_messages import MAX_MESSAGE_BYTES, CancelJob
from domain.redaction import redact_text
from domain.routine_fields import read_body

MAX_REASON_CHARS: Final = 200
MAX_DECISION_CHARS: Final = 2_000
MAX_DIGEST_CHARS: Final = 128
MAX_SECONDS: Final = int(MAX_EXTENDED.total_seconds())


class PersonDecision(BaseModel):
    """What a person says to an approval.

    `reason` is told to the model with a denial; `digest` is that of the arguments that were seen;
    `always` allows the later calls of the routine's runs, too.
    """

    model_config = ConfigDict(frozen=True)

    decision: Decision
    reason: str | None = None
    digest: str | None = None
    always: bool = False


def read_message(body: Mapping[str, object]) -> str:
    """Read `{"text"}`: what a job is to know.

    Raises:
        DomainError: The first problem.
    """
    reader = read_body(body)
    reader.refuse_unknown(("text",))
    text = reader.required_text("text", max_bytes=MAX_MESSAGE_BYTES)
    reader.close()
    return text


def read_cancel(body: Mapping[str, object]) -> CancelJob:
    """Read `{"reason"?}`: why a job is to end.

    Raises:
        DomainError: The first problem.
    """
    reader = read_body(body)
    reader.refuse_unknown(("reason",))
    reason = _read_reason(reader, MAX_REASON_CHARS)
    reader.close()
    return CancelJob(reason=reason) if reason else CancelJob()


def read_decision(body: Mapping[str, object]) -> PersonDecision:
    """Read `{"decision", "reason"?, "digest"?, "always"?}`.

    Raises:
        DomainError: The first problem.
    """
    reader = read_body(body)
    accepted = [decision.value for decision in Decision]
    reader.refuse_unknown(tuple(PersonDecision.model_fields))
    word = reader.choice("decision", accepted, "")
    if not word and not reader.problems:
        reader.missing("decision", f"one of {', '.join(accepted)}")
    reason = _read_reason(reader, MAX_DECISION_CHARS)
    digest = reader.text("digest")
    if digest is not None and len(digest) > MAX_DIGEST_CHARS:
        reader.invalid("digest", f"must have at most {MAX_DIGEST_CHARS} characters")
    always = reader.boolean("always", default=False)
    reader.close()
    return PersonDecision(decision=Decision(word), reason=reason, digest=digest, always=always)


def read_extension(body: Mapping[str, object]) -> int:
    """Read `{"seconds"}`: how much longer an approval waits.

    Raises:
        DomainError: The first problem.
    """
    reader = read_body(body)
    reader.refuse_unknown(("seconds",))
    seconds = reader.optional_integer("seconds", 1, MAX_SECONDS)
    if seconds is None and not reader.problems:
        reader.missing("seconds", f"an integer from 1 to {MAX_SECONDS}")
    reader.close()
    return seconds or 0


def _read_reason(reader: FieldReader, longest: int) -> str | None:
    reason = reader.text("reason")
    if reason is not None and len(reason) > longest:
        reader.invalid("reason", f"must have at most {longest} characters")
    # It is kept in the audit, which holds no secrets.
    return reason and redact_text(reason)
