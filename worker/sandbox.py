"""The sandbox in which workflow code runs.

Owns what is passed through it. Only our workflow modules are loaded anew for each workflow: they
hold the state machines; everything they call is pure or only a signature. Passing pydantic and our
models through saves 10 ms for each run, and several libraries do not load inside at all.
"""

from temporalio.worker import UnsandboxedWorkflowRunner, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

PASSED_THROUGH = (
    "activities",
    "domain",
    "croniter",
    "httpx",
    "openai",
    "pydantic",
    "pydantic_core",
    "re2",
    "sqlalchemy",
    "structlog",
    "tzdata",
    "ulid",
    # What workflow classes call of their own package: no state, no clock, so nothing to isolate.
    "workflows.completion_hook",
    "workflows.delivering",
    "workflows.entity_calls",
    "workflows.goal_judge",
    "workflows.goal_telling",
    "workflows.handlers",
    "workflows.job_hold",
    "workflows.job_slot",
    "workflows.job_steps",
    "workflows.job_telling",
    "workflows.lease_rounds",
    "workflows.model_calls",
    "workflows.parking",
    "workflows.session_books",
    "workflows.turns",
    "workflows.ulids",
)


def workflow_runner(*, sandboxed: bool) -> WorkflowRunner:
    """The runner of a worker.

    Args:
        sandboxed: Find what would not replay at the price of about 15 ms of CPU a run. The tests
            and the recorded histories run so; a worker need not find again what they did not.
    """
    if not sandboxed:
        return UnsandboxedWorkflowRunner()
    restrictions = SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH)
    return SandboxedWorkflowRunner(restrictions=restrictions)
