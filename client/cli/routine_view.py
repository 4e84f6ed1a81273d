"""How the command line shows routines: one, many, their runs, and the next times one fires.

Owns the choice of what a person needs to see and its order. The JSON form is the API's own.
"""

import textwrap
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from client.cli.output import duration, minute, moment, print_fields, print_table, say, styled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from domain.preview import PreviewedOccurrence

SHOWN_FIRES = 5
RUN_COLOURS = {
    "ok": "green",
    "attention": "bold cyan",
    "running": "blue",
    "queued": "blue",
    "failed": "red",
    "timed_out": "red",
}
_NOTE_CHARS = 70
_MINUTE = timedelta(minutes=1)
_COLOURS = {"active": "green", "paused": "yellow", "deleted": "red"}


def show_routine(
    routine: dict[str, Any], warnings: list[str], skipped: dict[str, int] | None = None
) -> None:
    """Print one routine, a field a line; `skipped` counts its refused fires by reason."""
    status = _status(routine)
    print_fields(
        {
            "id": routine["id"],
            "title": routine["title"],
            "status": styled(status, _COLOURS.get(routine["status"], "")),
            "fires": firing(routine),
            "in words": _words(routine),
            "missed times": _catchup(routine),
            "next": _next(routine),
            "runs": _runs(routine),
            "last run": moment(routine["last_run_at"]),
            "last result": routine["last_result"],
            "failures in a row": routine["consecutive_failures"] or None,
            "fires refused": _counts(skipped or {}),
            "fires dropped": routine.get("collapsed") or None,
            "limits": _limits(routine),
            "replies go to": _route(routine),
            "files": routine["action"].get("context_paths"),
            "prompt": routine["prompt"],
            "created": moment(routine["created_at"]),
            "deleted": moment(routine["deleted_at"]),
        }
    )
    for warning in warnings:
        say(f"warning: {warning}")


def show_routines(routines: list[dict[str, Any]]) -> None:
    """Print routines, a line each."""
    print_table(
        ("ID", "STATUS", "FIRES", "NEXT", "RUNS", "LAST RESULT"),
        (
            (
                routine["id"],
                styled(_status(routine), _COLOURS.get(routine["status"], "")),
                firing(routine),
                minute(routine["next_run_at"]),
                _runs(routine),
                _last(routine),
            )
            for routine in routines
        ),
        optional=("RUNS", "LAST RESULT"),
    )


def show_change(routine: dict[str, Any], warnings: list[str]) -> None:
    """Print what a pause, a resumption or a deletion has changed."""
    keys = ("id", "status", "next", "deleted")
    values = (
        routine["id"],
        styled(_status(routine), _COLOURS.get(routine["status"], "")),
        _next(routine),
        moment(routine["deleted_at"]),
    )
    print_fields(dict(zip(keys, values, strict=True)))
    for warning in warnings:
        say(f"warning: {warning}")


def show_fires(routine: dict[str, Any]) -> None:
    """Print the next fires."""
    from domain.preview import PreviewedOccurrence, local_text, preview_schedule
    from domain.timestamps import parse_timestamp
    from domain.zones import load_zone

    schedule = routine["schedule"]
    if schedule is None or not routine["next_run_at"]:
        return
    first = parse_timestamp(routine["next_run_at"], "next_run_at")
    # A next time that was set by hand may be no time of the schedule, which goes on from there.
    begun = preview_schedule(schedule, first - timedelta(seconds=1), 1).occurrences
    local = local_text(first, load_zone(schedule["timezone"]))
    by_hand = PreviewedOccurrence(at=first, local=local)
    head = begun if begun and begun[0].at == first else [by_hand]
    tail = preview_schedule(schedule, first, SHOWN_FIRES, first).occurrences
    say("")
    show_occurrences("NEXT FIRES", schedule["timezone"], [*head, *tail][:SHOWN_FIRES])


def show_occurrences(
    heading: str, timezone: str, occurrences: "Sequence[PreviewedOccurrence]"
) -> None:
    """Print times: in their zone, in UTC, how long until then, and what is odd about them."""
    now = datetime.now(UTC)
    rows = [
        (
            datetime.fromisoformat(item.local).strftime("%a %Y-%m-%d %H:%M:%S"),
            moment(item.at),
            _until(item.at, now),
            item.note.text if item.note else "",
        )
        for item in occurrences
    ]
    columns = (f"{heading} ({timezone})", "UTC", "IN", "NOTE")
    shown = 4 if any(row[3] for row in rows) else 3
    print_table(columns[:shown], (row[:shown] for row in rows))


def show_runs(records: "Sequence[Mapping[str, Any]]") -> None:
    """Print runs, a line each; of a refused one, why and when it would have passed."""
    print_table(
        ("RUN", "STATUS", "FIRED BY", "STARTED", "TOKENS", "NOTE"),
        (
            (
                record["id"],
                styled(record["status"], RUN_COLOURS.get(record["status"], "")),
                record["trigger_type"],
                minute(record["started_at"] or record["occurred_at"]),
                _tokens(record),
                _note(record),
            )
            for record in records
        ),
        optional=("TOKENS", "FIRED BY", "STARTED"),
    )


def firing(routine: dict[str, Any]) -> str:
    """When a routine fires, in one line."""
    schedule = routine["schedule"]
    if schedule is None:
        return "by hand" if routine["trigger"]["type"] == "manual" else routine["trigger"]["type"]
    if schedule["every_seconds"] is not None:
        return f"every {duration(timedelta(seconds=schedule['every_seconds']))}"
    from domain.schedule import Schedule, schedule_text

    return schedule_text(Schedule.model_validate(schedule))


def _words(routine: dict[str, Any]) -> str:
    if routine["schedule"] is None:
        return ""
    from client.schedule_words import schedule_words
    from domain.schedule import Schedule

    return schedule_words(Schedule.model_validate(routine["schedule"]))


def _limits(routine: dict[str, Any]) -> list[str]:
    """The guardrails that are not at their defaults."""
    from domain.guardrails import validate_guardrails
    from domain.triggers import TriggerType

    kind = TriggerType(routine["trigger"]["type"])
    defaults = validate_guardrails(None, kind).model_dump(mode="json")
    return [
        f"{name} {_limit(value)}"
        for name, value in routine["guardrails"].items()
        if value != defaults[name]
    ]


def _limit(value: object) -> str:
    if isinstance(value, dict):
        rate = cast("dict[str, int]", value)
        return f"{rate['max_runs']} in {duration(timedelta(seconds=rate['window_seconds']))}"
    if isinstance(value, list):
        return ", ".join(map(str, cast("list[object]", value))) or "none"
    return "none" if value is None else str(value)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()) if count)


def _tokens(record: "Mapping[str, Any]") -> int | None:
    counts = [record["tokens_in"], record["tokens_out"]]
    return None if counts == [None, None] else sum(count or 0 for count in counts)


def _note(record: "Mapping[str, Any]") -> str:
    if text := record["error"] or record["reason"]:
        again = moment(record.get("retry_at"))
        return f"{text}; again from {again}" if again else str(text)
    return textwrap.shorten(record["summary"] or "", _NOTE_CHARS, placeholder=" …")


def _status(routine: dict[str, Any]) -> str:
    reason = routine["paused_reason"]
    return str(routine["status"]) + (f" ({reason})" if reason else "")


def _last(routine: dict[str, Any]) -> str:
    """How the last run ended; of a good end the time is of no interest in a list."""
    result = str(routine["last_result"] or "")
    return "ok" if result.startswith("ok:") else result


def _runs(routine: dict[str, Any]) -> str:
    limit = routine["max_runs"]
    return str(routine["run_count"]) + (f" of {limit}" if limit else "")


def _next(routine: dict[str, Any]) -> str:
    due = routine["next_run_at"]
    if not due:
        return ""
    until = _until(datetime.fromisoformat(due), datetime.now(UTC))
    return f"{moment(due)} (in {until})" if until else moment(due)


def _until(at: datetime, now: datetime) -> str:
    """How long until then, to the nearest minute: a moment later, 2 h are not yet 1 h 59 min."""
    left = at - now
    if left >= _MINUTE:
        left = round(left / _MINUTE) * _MINUTE
    return duration(left) if at > now else ""


def _catchup(routine: dict[str, Any]) -> str:
    """What becomes of missed times, where it is not the usual `once`."""
    schedule = routine["schedule"]
    return "" if schedule is None or schedule["catchup"] == "once" else str(schedule["catchup"])


def _route(routine: dict[str, Any]) -> str:
    route = routine["notify"]["route"] or routine["route"]
    return ":".join(part for part in (route["receive_id_type"], route["receive_id"]) if part)
