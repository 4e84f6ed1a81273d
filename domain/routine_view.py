"""A routine as markdown, for the Temporal UI.

Owns the current details of the routine's workflow. Source: DESIGN §1.
"""

from urllib.parse import quote

from domain.identifiers import schedule_id
from domain.routine import Routine, RoutineStatus
from domain.routine_state import RoutineState
from domain.runs import run_workflow_id
from domain.schedule import schedule_text
from domain.timestamps import format_timestamp


def routine_details(state: RoutineState, namespace: str) -> str:
    """What a person needs to know of a routine: what it does, when, how it went, what runs now.

    Links are relative to the Temporal UI, whose address a workflow cannot know.
    """
    routine = state.routine
    base = f"/namespaces/{namespace}"
    lines = [
        f"**{routine.title or routine.id}** is *{_status(routine)}*",
        "",
        f"- Fires: {_firing(routine)}",
        f"- Runs: {routine.run_count}"
        + (f" of {routine.max_runs}" if routine.max_runs else "")
        + f", {routine.consecutive_failures} failures in a row",
        f"- Last result: {routine.last_result or 'none yet'}",
    ]
    if state.skipped:
        refused = ", ".join(f"{reason} {count}" for reason, count in sorted(state.skipped.items()))
        lines.append(f"- Fires refused: {refused}")
    lines += [
        f"- Now: [{run.record.status} {run_id}]"
        f"({base}/workflows/{quote(run_workflow_id(run_id), safe='')})"
        for run_id, run in state.open_runs.items()
    ]
    lines += ["", "> " + (routine.prompt or "").strip()[:300].replace("\n", "\n> ")]
    if routine.schedule is not None:
        link = f"{base}/schedules/{quote(schedule_id(routine.id), safe='')}"
        lines += ["", f"[Its Schedule]({link})"]
    return "\n".join(lines)


def _status(routine: Routine) -> str:
    if routine.status == RoutineStatus.PAUSED and routine.paused_reason:
        return f"{routine.status} ({routine.paused_reason})"
    return str(routine.status)


def _firing(routine: Routine) -> str:
    schedule = routine.schedule
    if schedule is None:
        return f"by {routine.trigger.type}"
    what = f"`{schedule_text(schedule)}`"
    due = routine.next_run_at
    return what + (f", next {format_timestamp(due)}" if due else ", no next time")
