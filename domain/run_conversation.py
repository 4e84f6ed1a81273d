"""What a run leaves behind for the next one: the thread it spoke in, the message to reply under.

Owns thread continuity and the source message of a routine. Which thread a run speaks in is decided
when it is admitted; what is sent where is the deliveries'. Source: automation.md §7.5, §7.8, §7.11.

Invariants:
    1. A routine that is `fresh` keeps no thread.
    2. A source message is replaced only when it exists no more.
"""

from domain.actions import FullJobAction
from domain.admission import EndRun
from domain.routine_model import Routine
from domain.runs import RunRecord, RunStatus

# After these the thread holds something worth continuing (automation.md §7.8 and §7.11).
_WORTH_CONTINUING = frozenset({RunStatus.OK, RunStatus.ATTENTION, RunStatus.INTERRUPTED})


def session_of_runs(routine: Routine) -> str:
    """The session that a routine's runs hold while they work; a job works in one of its own."""
    return "" if isinstance(routine.action, FullJobAction) else routine.session_key


def after_run(routine: Routine, ended: EndRun) -> Routine:
    """The routine with what its next run goes on from."""
    changes = _thread(routine, ended.record) | _source_message(routine, ended)
    return routine.model_copy(update=changes)


def _thread(routine: Routine, record: RunRecord) -> dict[str, str]:
    if routine.fresh or record.thread_id is None or record.status not in _WORTH_CONTINUING:
        return {}
    return {"resume_thread_id": record.thread_id}


def _source_message(routine: Routine, ended: EndRun) -> dict[str, str]:
    if ended.message_id is None or ended.record.status not in _WORTH_CONTINUING:
        return {}
    wanted = ended.message_gone or not routine.source_message_id
    return {"source_message_id": ended.message_id} if wanted else {}
