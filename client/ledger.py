"""Questions to the ledger, which only workers can open.

Owns asking one and waiting for its answer; the questions are `domain.ledger_requests`'. Source:
DESIGN §3 (Lists).

Invariant: a question that no worker takes up in time is withdrawn: nothing is repaired later.
"""

from datetime import timedelta
from typing import Final, TypeVar

from pydantic import BaseModel
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from ulid import ULID

from activities import search_attributes as attributes
from client.connection import translated
from domain.errors import DomainError, ErrorKind
from domain.identifiers import RUNS_QUEUE, ledger_id
from domain.ledger_requests import AskLedger, LedgerAnswer, LedgerQuestion

PATIENCE: Final = timedelta(seconds=10)
# To send a text again takes as long as its channel does.
REPAIR_PATIENCE: Final = timedelta(seconds=25)

AnswerT = TypeVar("AnswerT", bound=BaseModel)


class LedgerCalls:
    """Asks the ledger; one question is one short workflow."""

    def __init__(self, temporal: Client) -> None:
        self._temporal = temporal

    async def ask(
        self, question: LedgerQuestion, answer: type[AnswerT], *, key: str | None = None
    ) -> AnswerT:
        """Ask, and wait for the answer.

        Args:
            question: What to ask.
            answer: What its answer is.
            key: Makes a repetition the same question, with the answer of the first.

        Raises:
            DomainError: What the ledger says; `unavailable` without a worker.
        """
        workflow_id = ledger_id(key or str(ULID()))
        with translated():
            try:
                found = await self._answer(workflow_id, question)
            except WorkflowFailureError as error:
                raise _nobody_answered(question) from error
        if found.problem is not None:
            raise DomainError.from_problem(found.problem)
        return answer.model_validate(found.answer)

    async def _answer(self, workflow_id: str, question: LedgerQuestion) -> LedgerAnswer:
        patience = REPAIR_PATIENCE if question.REPAIRS else PATIENCE
        # A repair that gave no answer may have been made: the same key does not make it again.
        reuse = (
            WorkflowIDReusePolicy.REJECT_DUPLICATE
            if question.REPAIRS
            else WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY
        )
        try:
            handle = await self._temporal.start_workflow(
                "Ledger",
                AskLedger(question=question),
                id=workflow_id,
                task_queue=RUNS_QUEUE,
                result_type=LedgerAnswer,
                execution_timeout=patience,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=reuse,
                search_attributes=TypedSearchAttributes(
                    [SearchAttributePair(attributes.KIND, "ledger")]
                ),
                static_summary=f"ledger: {question.ask.replace('_', ' ')}",
            )
        except WorkflowAlreadyStartedError:
            handle = self._temporal.get_workflow_handle(workflow_id, result_type=LedgerAnswer)
        found: LedgerAnswer = await handle.result()
        return found


def _nobody_answered(question: LedgerQuestion) -> DomainError:
    done = "look at it before you ask again" if question.REPAIRS else "nothing was changed"
    return DomainError(
        ErrorKind.UNAVAILABLE,
        "worker",
        f"the ledger gave no answer: is a worker serving {RUNS_QUEUE}? Start one with "
        f"`tickless worker`, see `tickless doctor`; {done}",
    )
