"""The texts that are sent to people about a run.

Owns the wording and layout of the final notice and of failure notices (automation.md §9,
triggers-and-actions.md §9). Whether one is sent is `domain.outcome`'s, where to is the routine's.
"""

from collections.abc import Iterable
from datetime import datetime

from domain.admission import NoticeKind, RunDefinition
from domain.deliveries import FINAL_PART, Part
from domain.outcome import classify_reply, should_notify
from domain.redaction import redact_text
from domain.runs import RunRecord, RunStatus
from domain.timestamps import format_timestamp, whole_second
from domain.watchdog import Alert, AlertKind, format_duration

LATE_FROM_SECONDS = 60
TRUNCATED_MARK = "[The answer was cut off by the token limit.]"
FILTERED_MARK = "[The answer was cut off by the provider's content filter.]"


def cut_mark(*, truncated: bool, filtered: bool) -> str:
    """What is said under an answer that is not whole; empty under one that is.

    Args:
        truncated: The token limit cut it.
        filtered: The provider's content filter cut it.
    """
    if filtered:
        return FILTERED_MARK
    return TRUNCATED_MARK if truncated else ""


def final_notice(title: str, record: RunRecord, text: str, *, late_seconds: int) -> str:
    """A run's reply as it is delivered: title and status, the text, then what is worth knowing.

    Args:
        title: The routine's title or name.
        record: The run as it ended.
        text: The model's reply, with its mark if it was cut.
        late_seconds: How long after its nominal time the run began.
    """
    return _assemble(f"{title}: {record.status}", [text.strip()], record, late_seconds)


def start_notice(title: str, record: RunRecord) -> str:
    """What is said when a run begins."""
    return _assemble(f"{title}: started", [], record, 0)


def crowded_notice(title: str, record: RunRecord) -> str:
    """What is said when fires in a row found no free place."""
    why = (
        "Its runs take longer than the time between them: fires are refused because "
        "max_concurrent runs are in progress."
    )
    body = [why, f"See: tickless routine runs {record.routine_id}"]
    return _assemble(f"{title}: fires are being skipped", body, record, 0)


def failure_notice(
    kind: NoticeKind, title: str, record: RunRecord, *, late_seconds: int, failures: int
) -> str:
    """What is said at the first failure of a streak, and when the routine pauses itself."""
    error = redact_text(record.error or record.status)
    if kind == NoticeKind.ROUTINE_PAUSED:
        head = f"{title}: paused after {failures} failures in a row"
        body = [
            f"Last error: {error}",
            f"Resume it with: tickless routine resume {record.routine_id}",
        ]
    else:
        head = f"{title}: {record.status}"
        body = [f"Error: {error}"]
    return _assemble(head, body, record, late_seconds)


def success_notice(title: str, record: RunRecord, *, late_seconds: int) -> str:
    """The short notice of a run that had nothing to say, where the routine asks for one."""
    return _assemble(f"{title}: {RunStatus.OK}", [], record, late_seconds)


def alert_notice(
    alert: Alert, routine_id: str, title: str, since: datetime, *, busy: bool | None = None
) -> str:
    """What the watchdog says of a routine.

    Args:
        alert: What is wrong.
        routine_id: The routine.
        title: Its title or id.
        since: The planned time of what is overdue, or when the stuck run started.
        busy: Whether the session is, for what is overdue; null where there is none.
    """
    at = format_timestamp(whole_second(since))
    if alert.kind == AlertKind.STUCK:
        head = f"{title}: stuck, running for {format_duration(alert.running_for or 0)}"
        body = [f"Started at {at}.", f"End it with: tickless run cancel (routine {routine_id})"]
    else:
        head = f"{title}: overdue by {format_duration(alert.overdue_by or 0)}"
        body = [f"Planned for {at}."]
        if busy is not None:
            body.append("Its session is busy." if busy else "Its session is idle.")
    return "\n".join([head, *body, f"(routine {routine_id})"])


def run_part(definition: RunDefinition, name: str, text: str) -> Part:
    """A text of a run, for where its routine speaks."""
    return Part(part=name, route=definition.route, reply_to=definition.reply_to, text=text)


def final_parts(
    definition: RunDefinition, record: RunRecord, text: str, *, mark: str, late_seconds: int
) -> list[Part]:
    """The reply of a run, where the routine wants it to be said.

    Args:
        definition: The routine's, as it was at admission.
        record: The run as it ended.
        text: The model's reply.
        mark: Said under a reply that is not whole.
        late_seconds: How long after its nominal time the run began.
    """
    if not should_notify(record.status, definition.notify, classify_reply(text).sentinel):
        return []
    if record.status == RunStatus.OK:
        said = success_notice(definition.title, record, late_seconds=late_seconds)
    else:
        whole = f"{text.strip()}\n{mark}" if mark else text
        said = final_notice(definition.title, record, whole, late_seconds=late_seconds)
    return [run_part(definition, FINAL_PART, said)]


def notice_parts(
    kinds: Iterable[NoticeKind],
    definition: RunDefinition,
    record: RunRecord,
    *,
    late_seconds: int = 0,
    failures: int = 0,
) -> list[Part]:
    """The texts to send for notices; a first failure only where the routine wants to hear of it."""
    parts: list[Part] = []
    for kind in kinds:
        if kind == NoticeKind.MAX_CONCURRENT:
            text = crowded_notice(definition.title, record)
        elif kind == NoticeKind.FIRST_FAILURE and not should_notify(
            record.status, definition.notify
        ):
            continue
        else:
            text = failure_notice(
                kind, definition.title, record, late_seconds=late_seconds, failures=failures
            )
        parts.append(run_part(definition, kind, text))
    return parts


def lateness(seconds: int) -> str:
    """`late by 31m`, or nothing up to a minute."""
    if seconds <= LATE_FROM_SECONDS:
        return ""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"late by {hours}h{minutes:02d}m"
    return f"late by {minutes}m" if not rest or minutes >= 10 else f"late by {minutes}m{rest:02d}s"


def cost_text(cost_micros: int | None) -> str:
    """`$0.0123`, or nothing where the cost is not known."""
    return "" if cost_micros is None else f"${cost_micros / 1_000_000:.4f}"


def _assemble(head: str, body: list[str], record: RunRecord, late_seconds: int) -> str:
    times = f"stands for {record.stands_for} missed times" if record.stands_for > 1 else ""
    facts = [lateness(late_seconds), times, cost_text(record.cost_micros), f"run {record.id}"]
    return "\n".join([head, *body, "(" + ", ".join(fact for fact in facts if fact) + ")"])
