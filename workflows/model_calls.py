"""One model call as a workflow sees it: along the chain of models until one answers.

Owns failing over (DESIGN §4, chat-policies.md §7.3) and the sum of what the call cost. Which model
is next and what an error means is decided in the activity; waiting between attempts is Temporal's.

Invariants:
    1. Tokens of every attempt on every model are in the sum, also when the call fails in the end.
    2. What a failed model spent of the run's time is not given to the next one.
"""

from dataclasses import dataclass, field
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError
from temporalio.workflow import ActivityCancellationType

with workflow.unsafe.imports_passed_through():
    from activities import timeouts
    from activities.failures import MODEL_FAILOVER, application_error_of, model_failure_of
    from activities.models import CallModel, ModelActivities, ModelAnswer
    from domain.identifiers import LLM_QUEUE
    from domain.usage import Spent


@dataclass
class ModelCalls:
    """The calls of one run; keeps what they spent and which models cool down."""

    budget: timedelta
    spent: Spent = field(default_factory=Spent)
    elapsed: timedelta = timedelta()
    cooling: dict[str, float] = field(default_factory=dict[str, float])

    async def ask(self, request: CallModel, summary: str) -> ModelAnswer:
        """Get an answer from the first model of the chain that gives one.

        Raises:
            ActivityError: No model answered; `model_failure_of` reads why.
        """
        while True:
            try:
                answer = await self._once(request, summary)
            except ActivityError as error:
                failure = model_failure_of(error)
                if failure is None:
                    raise
                self._count(failure.tokens_in, failure.tokens_out, failure.cost_micros)
                self.elapsed += timedelta(seconds=failure.elapsed_seconds)
                if not _is_failover(error):
                    raise
                self.cooling[failure.key] = workflow.time() + failure.cooldown_seconds
                continue
            self._count(answer.tokens_in, answer.tokens_out, answer.cost_micros)
            self.elapsed += timedelta(seconds=answer.elapsed_seconds)
            return answer

    async def _once(self, request: CallModel, summary: str) -> ModelAnswer:
        remaining = max((self.budget - self.elapsed).total_seconds(), 0.001)
        now = workflow.time()
        return await workflow.execute_activity_method(
            ModelActivities.call_model,
            request.model_copy(
                update={
                    "timeout_seconds": remaining,
                    "cooling": [key for key, until in self.cooling.items() if until > now],
                }
            ),
            task_queue=LLM_QUEUE,
            start_to_close_timeout=timedelta(seconds=remaining) + timeouts.MODEL_GRACE,
            heartbeat_timeout=timeouts.MODEL_HEARTBEAT,
            retry_policy=timeouts.MODEL_RETRY,
            # The run's record says what was spent, so it waits until the call has said so.
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary=summary,
        )

    def _count(self, tokens_in: int | None, tokens_out: int | None, cost: int | None) -> None:
        self.spent = self.spent.plus(tokens_in, tokens_out, cost)


def _is_failover(error: ActivityError) -> bool:
    cause = application_error_of(error)
    return cause is not None and cause.type == MODEL_FAILOVER
