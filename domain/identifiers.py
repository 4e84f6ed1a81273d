"""The names other systems see: workflow ids, task queues, workflow and message names.

Owns every id that DESIGN §3 fixes, so that none is spelled twice. A run's own id is in
`domain.runs`.
"""

from typing import Final

ROUTINE_PREFIX: Final = "routine/"
SCHEDULE_PREFIX: Final = "routine-schedule/"
SESSION_PREFIX: Final = "session/"
MAINTENANCE_PREFIX: Final = "maintenance/"
LEDGER_PREFIX: Final = "ledger/"
CONTROL_ID: Final = "control"

ENTITIES_QUEUE: Final = "tickless-entities"
RUNS_QUEUE: Final = "tickless"
LLM_QUEUE: Final = "tickless-llm"
TOOLS_QUEUE: Final = "tickless-tools"
WATCH_QUEUE: Final = "tickless-watch"

SERVED_QUEUES: Final = (ENTITIES_QUEUE, RUNS_QUEUE, LLM_QUEUE, TOOLS_QUEUE, WATCH_QUEUE)


def routine_workflow_id(routine_id: str) -> str:
    """`routine/<id>`."""
    return ROUTINE_PREFIX + routine_id


def schedule_id(routine_id: str) -> str:
    """`routine-schedule/<id>`: the Temporal Schedule that a routine owns."""
    return SCHEDULE_PREFIX + routine_id


def session_workflow_id(gate_key: str) -> str:
    """`session/<key>`; keys that conflict have the same one (`domain.session.gate_key`)."""
    return SESSION_PREFIX + gate_key


def maintenance_id(name: str) -> str:
    """`maintenance/<name>`: a system job's Schedule, and what its workflow ids begin with."""
    return MAINTENANCE_PREFIX + name


def ledger_id(suffix: str) -> str:
    """`ledger/<ULID>`: one question to the ledger."""
    return LEDGER_PREFIX + suffix


def scheduled_run_prefix(routine_id: str) -> str:
    """The workflow id given to a Schedule; the server appends `-<nominal time>`."""
    return f"routine-run/{routine_id}/s"
