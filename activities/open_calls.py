"""The calls that nobody ends any more: those of a run, a turn or a job that has ended without them.

Owns what becomes of them in the ledger, in the transaction that ends their owner: rows that say
`started` though no attempt is left to find them, and arguments that only the end of a call would
have masked. Source: triggers-and-actions.md §7 and §10.

Invariants:
    1. A call that is still under way somewhere keeps what is written here: a row that ended is not
       changed.
    2. Only what its owner has said is masked, in however many owners' thread it stands.
    3. An owner that ended with an answer has no such calls: nothing is looked for.
"""

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from activities.tools.calls import action_id, result_id
from domain.jobs import JobRecord, JobStatus, job_workflow_id
from domain.message_text import FunctionCall, function_calls
from domain.redaction import redact, redact_text
from domain.runs import RunRecord, RunStatus
from domain.turns import TurnRecord, TurnStatus

if TYPE_CHECKING:
    from activities.store import Ledger

_RUN_WITHOUT_ANSWER: Final = frozenset({RunStatus.FAILED, RunStatus.TIMED_OUT, RunStatus.CANCELLED})
_TURN_WITHOUT_ANSWER: Final = frozenset({TurnStatus.FAILED, TurnStatus.CANCELLED})
_JOB_WITHOUT_ANSWER: Final = frozenset({JobStatus.FAILED, JobStatus.CANCELLED})


def close_run_calls(ledger: "Ledger", record: RunRecord, now: datetime) -> None:
    """Settle the calls of a run that ended without an answer; those of its job are the job's.

    Raises:
        StoreError: The database failed.
    """
    if record.status in _RUN_WITHOUT_ANSWER:
        ledger.actions.close_of_run(record.id, now)
        _mask_unended(ledger, record.workflow_id)


def close_turn_calls(ledger: "Ledger", record: TurnRecord, now: datetime) -> None:
    """Settle the calls of a turn that ended without an answer.

    Raises:
        StoreError: The database failed.
    """
    if record.status in _TURN_WITHOUT_ANSWER:
        ledger.actions.close_of_turn(record.id, now)
        _mask_unended(ledger, record.id)


def close_job_calls(ledger: "Ledger", record: JobRecord, now: datetime) -> None:
    """Settle the calls of a job that ended without an answer.

    Raises:
        StoreError: The database failed.
    """
    if record.status in _JOB_WITHOUT_ANSWER:
        ledger.actions.close_of_job(record.id, now)
        _mask_unended(ledger, job_workflow_id(record.id))


def _mask_unended(ledger: "Ledger", owner: str) -> None:
    """Mask the calls without a result in the last answer of an owner: it has no others."""
    answer = ledger.threads.newest_answer(f"{owner}/")
    if answer is None:
        return
    for call in function_calls({"tool_calls": answer.tool_calls}):
        key = action_id(answer.id, call.call_id)
        if ledger.threads.message(result_id(key)) is not None:
            continue
        row = ledger.actions.get(key)
        shown = _shown(call, row.arguments if row else {})
        if shown != call.arguments:
            ledger.threads.mask_call(answer.id, call.call_id, shown)


def _shown(call: FunctionCall, masked: dict[str, Any]) -> str:
    """The arguments as they may stay; what its tool declares sensitive is known from its row."""
    try:
        given = json.loads(call.arguments)
        shown = masked or redact(given)
    except (ValueError, RecursionError):
        return redact_text(call.arguments)
    return redact_text(call.arguments if given == shown else json.dumps(shown, ensure_ascii=False))
