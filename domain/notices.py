"""The texts that are sent to people about a run.

Owns the wording and layout of the final notice and of failure notices (automation.md §9,
triggers-and-actions.md §9). Whether one is sent is `domain.outcome`'s, where to is the routine's.
"""

from domain.admission import NoticeKind
from domain.runs import RunRecord, RunStatus

LATE_FROM_SECONDS = 60
TRUNCATED_MARK = "[The answer was cut off by the token limit.]"


def final_notice(
    title: str, record: RunRecord, text: str, *, late_seconds: int, truncated: bool = False
) -> str:
    """A run's reply as it is delivered: title and status, the text, then what is worth knowing.

    Args:
        title: The routine's title or name.
        record: The run as it ended.
        text: The model's reply.
        late_seconds: How long after its nominal time the run began.
        truncated: Whether the reply was cut by the token limit.
    """
    body = [text.strip()]
    if truncated:
        body.append(TRUNCATED_MARK)
    return _assemble(f"{title}: {record.status}", body, record, late_seconds)


def failure_notice(
    kind: NoticeKind, title: str, record: RunRecord, *, late_seconds: int, failures: int
) -> str:
    """What is said at the first failure of a streak, and when the routine pauses itself."""
    error = record.error or record.status
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
