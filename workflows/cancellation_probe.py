"""Does this server push cancellations to its workers? Found out by doing it once.

Owns the workflow that a worker runs at its start (DESIGN §4). The namespace's capability
`worker_commands` tells only one of the two server flags that pushing needs.
"""

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError
from temporalio.workflow import ActivityCancellationType

PROBE_TIMEOUT = timedelta(seconds=2)


@workflow.defn(name="CancellationProbe")
class CancellationProbe:
    """Starts an activity that never heartbeats, cancels it, and answers whether that arrived."""

    def __init__(self) -> None:
        self._waits = False

    @workflow.run
    async def run(self) -> bool:
        """Whether the cancellation reached the activity before its own time was over."""
        probe = workflow.start_activity(
            "wait_for_cancellation",
            start_to_close_timeout=PROBE_TIMEOUT * 3,
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            result_type=bool,
            summary="wait for a cancellation",
        )
        await workflow.wait_condition(lambda: self._waits)
        probe.cancel()
        try:
            return bool(await probe)
        except ActivityError:
            # It ended as cancelled: the cancellation arrived.
            return True

    @workflow.signal
    def activity_waits(self) -> None:
        """The activity runs, so that a cancellation has somewhere to go."""
        self._waits = True
