"""When an entity goes on as a new execution, and how long it is until a time.

Owns the rule that entities have in common (DESIGN §3 rule 10). Whether one may do so now, with
what it has in its hands, is its own.
"""

from datetime import datetime, timedelta

from temporalio import workflow

MAX_AGE = timedelta(hours=24)


def is_renewal_due() -> bool:
    """Whether the history is long, the execution old, or its worker of a former deployment."""
    info = workflow.info()
    return (
        info.is_continue_as_new_suggested()
        or workflow.now() - info.start_time > MAX_AGE
        or info.is_target_worker_deployment_version_changed()
    )


def time_until(due: datetime) -> timedelta:
    """How long to wait for a time; never nothing, which no timer takes."""
    return max(due - workflow.now(), timedelta(milliseconds=1))
