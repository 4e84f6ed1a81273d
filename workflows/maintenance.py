"""One execution of a maintenance job, started by its Schedule.

Owns nothing but the call: the job is an activity, its faults are in the report that is the
workflow's result. Source: automation.md §11, DESIGN §3.
"""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import timeouts
    from activities.maintenance import MaintenanceActivities, RunMaintenance
    from domain.maintenance import MaintenanceReport


@workflow.defn(name="Maintenance")
class Maintenance:
    """Workflow `maintenance/<name>-<time>`."""

    @workflow.run
    async def run(self, request: RunMaintenance) -> MaintenanceReport:
        """Do the job once; a worker that dies in it leaves it to the next one."""
        report = await workflow.execute_activity_method(
            MaintenanceActivities.do_maintenance,
            request,
            start_to_close_timeout=timeouts.MAINTENANCE_START_TO_CLOSE,
            retry_policy=timeouts.MAINTENANCE_RETRY,
            summary=request.name,
        )
        outcome = f"failed: {report.error}" if report.error else "done"
        workflow.set_current_details(f"**{report.name}** {outcome}\n\n`{report.result}`")
        return report
