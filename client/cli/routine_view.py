"""How the command line shows routines: one, many, and the next times one fires.

Owns the choice of what a person needs to see and its order. The JSON form is the API's own.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from client.cli.output import duration, minute, moment, print_fields, print_table, say, styled

SHOWN_FIRES = 5
_COLOURS = {"active": "green", "paused": "yellow", "deleted": "red"}


def show_routine(routine: dict[str, Any], warnings: list[str]) -> None:
    """Print one routine, a field a line."""
    status = _status(routine)
    print_fields(
        {
            "id": routine["id"],
            "title": routine["title"],
            "status": styled(status, _COLOURS.get(routine["status"], "")),
            "fires": firing(routine),
            "missed times": _catchup(routine),
            "next": _next(routine),
            "runs": _runs(routine),
            "last run": moment(routine["last_run_at"]),
            "last result": routine["last_result"],
            "failures in a row": routine["consecutive_failures"] or None,
            "fires dropped": routine["collapsed"] or None,
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
    """Print the next fires: in the routine's zone, in UTC, and how long until then."""
    from domain.schedule import occurrences
    from domain.timestamps import parse_timestamp
    from domain.zones import load_zone

    schedule = routine["schedule"]
    if schedule is None or routine["status"] != "active":
        return
    created = parse_timestamp(routine["created_at"], "created_at")
    local, now = load_zone(schedule["timezone"]), datetime.now(UTC)
    say("")
    print_table(
        (f"NEXT FIRES ({schedule['timezone']})", "UTC", "IN"),
        (
            (at.astimezone(local).strftime("%a %Y-%m-%d %H:%M:%S"), moment(at), _until(at, now))
            for at in occurrences(created, schedule, SHOWN_FIRES, created)
        ),
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
    return duration(at - now) if at > now else ""


def _catchup(routine: dict[str, Any]) -> str:
    """What becomes of missed times, where it is not the usual `once`."""
    schedule = routine["schedule"]
    return "" if schedule is None or schedule["catchup"] == "once" else str(schedule["catchup"])


def _route(routine: dict[str, Any]) -> str:
    route = routine["notify"]["route"] or routine["route"]
    return ":".join(part for part in (route["receive_id_type"], route["receive_id"]) if part)
