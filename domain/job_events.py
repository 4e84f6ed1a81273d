"""What is told of a job: events that routines may listen to, and notices to people.

Owns which step of a job is which event and its payload, and the wording of the notices. Who hears
of an event is `domain.listener_index`'s. Source: triggers-and-actions.md §2, §6, §8 and §9.

Invariants:
    1. The same step of the same job is the same event, and the same notice has the same part.
    2. Notices hold masked arguments only, and say when that is not all of them.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from domain.approvals import Approval, arguments_text
from domain.deliveries import Part
from domain.emissions import EmittedEvent
from domain.job_approvals import ApprovalNews
from domain.job_messages import StartJob
from domain.jobs import JobRecord, JobStatus, job_workflow_id
from domain.outcome import classify_reply
from domain.redaction import redact_text
from domain.run_events import SOURCE
from domain.timestamps import format_timestamp, whole_second
from domain.trigger_matching import HOP_LIMIT

JOB_STARTED: Final = "job.started"
JOB_STUCK: Final = "job.stuck"
_ENDS: Final = {JobStatus.COMPLETED: "job.completed", JobStatus.FAILED: "job.failed"}
_APPROVAL_EVENTS: Final = {
    ApprovalNews.REQUESTED: "approval.requested",
    ApprovalNews.EXPIRED: "approval.expired",
}
_ARGUMENT_CHARS: Final = 1500


def job_event(event_type: str, record: JobRecord, hop: int) -> list[EmittedEvent]:
    """One step of a job as an event; nothing beyond the hop limit."""
    return _events(event_type, record.id, record, hop, str(record.status), record.error)


def event_of_end(record: JobRecord, hop: int) -> list[EmittedEvent]:
    """What the end of a job tells; one that was cancelled has neither completed nor failed."""
    event_type = _ENDS.get(record.status)
    return job_event(event_type, record, hop) if event_type else []


def events_of_news(
    news: Sequence[tuple[Approval, ApprovalNews]], record: JobRecord, hop: int
) -> list[EmittedEvent]:
    """What is told when approvals are asked for, or run out."""
    return [
        event
        for approval, what in news
        if what in _APPROVAL_EVENTS
        for event in _events(
            _APPROVAL_EVENTS[what], approval.id, record, hop, str(approval.status), approval.tool
        )
    ]


def events_of_decisions(
    approvals: Sequence[Approval], record: JobRecord, hop: int
) -> list[EmittedEvent]:
    """What is told when people decided."""
    return [
        event
        for approval in approvals
        for event in _events(
            "approval.decided",
            approval.id,
            record,
            hop,
            str(approval.status),
            approval.reason or approval.tool,
        )
    ]


def approval_parts(
    news: Sequence[tuple[Approval, ApprovalNews]],
    start: StartJob,
    reminded: Mapping[str, int],
    sizes: Mapping[str, int],
) -> list[Part]:
    """The notices about approvals.

    Args:
        news: What there is to tell.
        start: The job.
        reminded: Which reminder it is, by approval id.
        sizes: How many characters the arguments have when nothing is cut, by approval id.
    """
    parts: list[Part] = []
    for approval, what in news:
        number = f"-{reminded.get(approval.id, 0)}" if what == ApprovalNews.REMINDER else ""
        parts.append(
            Part(
                part=f"{approval.id}/{what}{number}",
                route=start.route,
                text=_approval_text(approval, what, start.record.title, sizes.get(approval.id, 0)),
            )
        )
    return parts


def stuck_part(record: JobRecord, start: StartJob) -> Part:
    """The notice that a job had to begin a step anew; one for each job."""
    text = f"{record.title}: a step of the job was lost and is done again.\nJob {record.id}"
    return Part(part="stuck", route=start.route, text=text)


def end_part(record: JobRecord, start: StartJob) -> Part | None:
    """What a job says at its end that nobody waits for; null where it has nothing to say."""
    if record.status == JobStatus.COMPLETED:
        reply = classify_reply(record.result)
        if reply.text is None:
            return None
        mark = "\n\n[All steps were used up; this is the result so far.]"
        text = f"{record.title}\n\n{reply.text}{mark if record.limit_reached else ''}"
        return Part(part="final", route=start.route, text=f"{text}\n\nJob {record.id}")
    if record.status == JobStatus.FAILED:
        error = redact_text(record.error or "unknown")
        text = f"{record.title}: the job failed.\n\n{error}\n\nJob {record.id}"
        return Part(part="failure", route=start.route, text=text)
    return None


def _approval_text(approval: Approval, what: ApprovalNews, title: str, size: int) -> str:
    until = format_timestamp(whole_second(approval.expires_at))
    if what == ApprovalNews.EXPIRED:
        return f"{title}: nobody decided on {approval.tool} in time; it is denied.\n{approval.id}"
    if what == ApprovalNews.REQUESTED:
        first = f"wants to call {approval.tool}:\n{_shown_arguments(approval, size)}\n"
    else:
        first = f"still waits to call {approval.tool}.\nShow: tickless approval get {approval.id}"
    return (
        f"{title} {first}\n"
        f"Approve: tickless approval approve {approval.id}\n"
        f"Deny: tickless approval deny {approval.id}\n"
        f"Without an answer it is denied at {until}."
    )


def _shown_arguments(approval: Approval, size: int) -> str:
    """The arguments, and where all of them are when these are cut."""
    whole = arguments_text(approval.arguments)
    shown = whole[:_ARGUMENT_CHARS]
    if max(size, len(whole)) == len(shown):
        return shown
    return (
        f"{shown}\n[cut: the arguments have {max(size, len(whole))} characters. "
        f"All of them: tickless approval get {approval.id}]"
    )


def _events(
    event_type: str, key: str, record: JobRecord, hop: int, status: str, reason: str | None
) -> list[EmittedEvent]:
    if hop > HOP_LIMIT:
        return []
    payload: dict[str, object] = {
        "job_id": record.id,
        "run_id": record.run_id,
        "routine_id": record.routine_id,
        "goal_id": record.goal_id,
        "workflow_id": job_workflow_id(record.id),
        "title": record.title,
        "status": status,
        "reason": reason,
    }
    if key != record.id:
        payload["approval_id"] = key
    return [
        EmittedEvent(
            id=f"{event_type} {key}",
            source=SOURCE,
            event_type=event_type,
            payload=payload,
            hop=hop + 1,
            about=record.routine_id,
        )
    ]
