"""One question to the ledger, for those who have a Temporal connection and no store.

Owns nothing but the call: the answer is the activity's whose name the question bears, and the
workflow's result. Source: DESIGN §3 (Lists).
"""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import timeouts
    from domain.identifiers import RUNS_QUEUE
    from domain.ledger_requests import AskLedger, LedgerAnswer


@workflow.defn(name="Ledger")
class Ledger:
    """Workflow `ledger/<ulid>`."""

    @workflow.run
    async def run(self, request: AskLedger) -> LedgerAnswer:
        """Have the question answered; a repair is tried once, because it may have been done."""
        question = request.question
        answer: LedgerAnswer = await workflow.execute_activity(
            question.ask,
            question,
            task_queue=RUNS_QUEUE,
            result_type=LedgerAnswer,
            start_to_close_timeout=timeouts.LEDGER_START_TO_CLOSE,
            retry_policy=timeouts.LEDGER_ONCE if question.REPAIRS else timeouts.LEDGER_RETRY,
            summary=question.ask.replace("_", " "),
        )
        return answer
