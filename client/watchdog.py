"""The watchdog, as a caller works with it: have it look now, or read what it found last.

Owns these two calls; the rounds are `activities.watchdog`'s. Source: automation.md §11 and §13.
"""

from datetime import timedelta

from temporalio.client import Client, WorkflowFailureError
from ulid import ULID

from activities.maintenance import RunMaintenance
from activities.watchdog import NAME, WatchdogReport
from client.connection import translated
from domain.errors import DomainError, ErrorKind
from domain.identifiers import WATCH_QUEUE, maintenance_id
from domain.maintenance import MaintenanceReport

# A round takes milliseconds; without a worker nobody waits longer than this.
PATIENCE = timedelta(seconds=15)


class WatchdogRound(WatchdogReport):
    """A round of the watchdog, and when it was."""

    at: str


class WatchdogCalls:
    """Library calls for the watchdog; for operators, because it looks at all scopes."""

    def __init__(self, temporal: Client) -> None:
        self._temporal = temporal

    async def once(self) -> WatchdogRound:
        """Look now.

        Raises:
            DomainError: `unavailable` without a worker, or when the round failed.
        """
        workflow_id = f"{maintenance_id(NAME)}-once-{ULID()}"
        with translated():
            try:
                report: MaintenanceReport = await self._temporal.execute_workflow(
                    "Maintenance",
                    RunMaintenance(name=NAME),
                    id=workflow_id,
                    task_queue=WATCH_QUEUE,
                    result_type=MaintenanceReport,
                    execution_timeout=PATIENCE,
                    static_summary="maintenance: watchdog, asked for",
                )
            except WorkflowFailureError as error:
                raise DomainError(
                    ErrorKind.UNAVAILABLE,
                    "worker",
                    f"no worker did the round within {PATIENCE.seconds} s; is one serving "
                    f"{WATCH_QUEUE}?",
                ) from error
        return _round(report)

    async def last(self) -> WatchdogRound | None:
        """What the last scheduled round found; null when there was none yet.

        Raises:
            DomainError: `unavailable` when Temporal is not reachable, or the round failed.
        """
        query = f"WorkflowId STARTS_WITH '{maintenance_id(NAME)}' AND ExecutionStatus = 'Completed'"
        with translated():
            # The newest come first.
            async for execution in self._temporal.list_workflows(query, page_size=1, limit=1):
                handle = self._temporal.get_workflow_handle(
                    execution.id, run_id=execution.run_id, result_type=MaintenanceReport
                )
                return _round(await handle.result())
        return None


def _round(report: MaintenanceReport) -> WatchdogRound:
    if report.error is not None:
        raise DomainError(ErrorKind.UNAVAILABLE, "watchdog", f"the round failed: {report.error}")
    found = WatchdogReport.model_validate(report.result)
    return WatchdogRound(at=report.model_dump(mode="json")["at"], **found.model_dump())
