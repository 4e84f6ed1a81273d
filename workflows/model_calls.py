"""One model call as a workflow sees it: along the chain of models until one answers.

Owns failing over (DESIGN §4, chat-policies.md §7.3), asking for a shorter conversation after an
overflow (§6.5), and the sum of what the call cost. Which model is next and what an error means is
decided in the activity; waiting between attempts is Temporal's.

Invariants:
    1. Tokens of every attempt on every model are in the sum, also when the call fails in the end.
    2. What a failed model spent of the run's time is not given to the next one.
    3. A call that was told to end is followed by none, also when it failed instead.
    4. One question is compacted at most twice, and again only while that makes it shorter: whether
       it did is seen by the activity, which then says nothing of an overflow any more.
"""

from dataclasses import dataclass, field
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, is_cancelled_exception
from temporalio.workflow import ActivityCancellationType

from workflows.cancellations import raise_if_cancelled

with workflow.unsafe.imports_passed_through():
    from activities import timeouts
    from activities.failures import (
        CONTEXT_OVERFLOW,
        MODEL_FAILOVER,
        application_error_of,
        model_failure_of,
    )
    from activities.models import CallModel, ModelActivities, ModelAnswer
    from domain.identifiers import LLM_QUEUE
    from domain.usage import Spent


@dataclass
class ModelCalls:
    """The calls of one run; keeps what they spent and which models cool down.

    Attributes:
        budget: Time for all of them.
        step_limit: Time for each; null: what is left of the budget.
        numbered: Number of the next call, from 1, where the workflow goes on as a new execution or
            makes a lost call again: what a call has stored is found by its id. Null: Temporal
            numbers them.
        retry: What Temporal does by itself about a lost worker.
        heartbeat: After how long a silent worker is taken for lost.
        latest: The answer that came last, also when nobody waited for it any more: it is stored.
    """

    budget: timedelta
    spent: Spent = field(default_factory=Spent)
    elapsed: timedelta = timedelta()
    cooling: dict[str, float] = field(default_factory=dict[str, float])
    step_limit: timedelta | None = None
    numbered: int | None = None
    retry: RetryPolicy = field(default_factory=lambda: timeouts.MODEL_RETRY)
    heartbeat: timedelta = timeouts.MODEL_HEARTBEAT
    latest: ModelAnswer | None = None

    async def ask(self, request: CallModel, summary: str) -> ModelAnswer:
        """Get an answer from the first model of the chain that gives one.

        Raises:
            ActivityError: No model answered; `model_failure_of` reads why.
        """
        compaction, overflow = request.compaction, request.overflow
        while True:
            request = request.model_copy(update={"compaction": compaction, "overflow": overflow})
            try:
                answer = await self._once(request, summary)
            except ActivityError as error:
                failure = model_failure_of(error)
                if failure is None:
                    if not is_cancelled_exception(error):
                        raise_if_cancelled()
                    raise
                self._count(failure.tokens_in, failure.tokens_out, failure.cost_micros)
                self.elapsed += timedelta(seconds=failure.elapsed_seconds)
                if _is(error, CONTEXT_OVERFLOW) and failure.overflow is not None:
                    raise_if_cancelled()
                    compaction, overflow = compaction + 1, failure.overflow
                    continue
                if not _is(error, MODEL_FAILOVER):
                    raise_if_cancelled()
                    raise
                self.cooling[failure.key] = workflow.time() + failure.cooldown_seconds
                raise_if_cancelled()
                continue
            self._count(answer.tokens_in, answer.tokens_out, answer.cost_micros)
            self.elapsed += timedelta(seconds=answer.elapsed_seconds)
            self.latest = answer
            if answer.tool_calls:
                # No end, but the beginning of more work.
                raise_if_cancelled()
            return answer

    async def _once(self, request: CallModel, summary: str) -> ModelAnswer:
        left = self.budget - self.elapsed
        if self.step_limit is not None:
            left = min(left, self.step_limit)
        remaining = max(left.total_seconds(), 0.001)
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
            heartbeat_timeout=self.heartbeat,
            retry_policy=self.retry,
            activity_id=None if self.numbered is None else f"model-{self.numbered}",
            # The run's record says what was spent, so it waits until the call has said so.
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary=summary,
        )

    def _count(self, tokens_in: int | None, tokens_out: int | None, cost: int | None) -> None:
        if self.numbered is not None:
            self.numbered += 1
        self.spent = self.spent.plus(tokens_in, tokens_out, cost)


def _is(error: ActivityError, kind: str) -> bool:
    cause = application_error_of(error)
    return cause is not None and cause.type == kind
