"""What a routine does to runs from outside: start one, see which are gone.

Owns the two activities; admission and outcome go the other way (`activities.entities`).

Invariant: starting the same run twice starts it once, because its id is its workflow id.
"""

from pydantic import BaseModel
from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from activities import search_attributes as attributes
from domain.identifiers import RUNS_QUEUE
from domain.run_start import StartRun
from domain.runs import RunStatus, run_id_of_workflow, run_workflow_id


class StartRunRequest(BaseModel):
    """A run to be started by its routine; `owner` and `scope` are for finding it."""

    workflow_id: str
    start: StartRun
    title: str = ""
    scope: str = ""
    owner: str = ""


class RunIds(BaseModel):
    """Some runs, by id."""

    ids: list[str]


def run_attributes(start: StartRun, scope: str, owner: str) -> TypedSearchAttributes:
    """The search attributes every run is started with."""
    return TypedSearchAttributes(
        [
            SearchAttributePair(attributes.KIND, "run"),
            SearchAttributePair(attributes.ROUTINE, start.routine_id),
            SearchAttributePair(attributes.SCOPE, attributes.capped(scope)),
            SearchAttributePair(attributes.OWNER, attributes.capped(owner)),
            SearchAttributePair(attributes.TRIGGER, start.kind),
            SearchAttributePair(attributes.STATUS, RunStatus.RUNNING),
        ]
    )


async def is_closed(client: Client, run_id: str) -> bool:
    """Whether the workflow of a run is closed; one that never existed counts as closed.

    Raises:
        RPCError: Temporal is not reachable.
    """
    return await is_workflow_closed(client, run_workflow_id(run_id))


async def is_workflow_closed(client: Client, workflow_id: str) -> bool:
    """Whether a workflow is closed; one that never existed counts as closed.

    Raises:
        RPCError: Temporal is not reachable.
    """
    try:
        description = await client.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            return True
        raise
    return description.status not in {
        WorkflowExecutionStatus.RUNNING,
        WorkflowExecutionStatus.CONTINUED_AS_NEW,
    }


class RunActivities:
    """Starts and looks at runs on behalf of routines."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @activity.defn
    async def start_run(self, request: StartRunRequest) -> bool | None:
        """Start a run; one that was started before is left alone; if it has ended answers false.

        Null is what workers answered before there was an answer.
        """
        try:
            await self._client.start_workflow(
                "RoutineRun",
                request.start,
                id=request.workflow_id,
                task_queue=RUNS_QUEUE,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                search_attributes=run_attributes(request.start, request.scope, request.owner),
                static_summary=f"{request.title}: {request.start.kind} run"[:200],
            )
        except WorkflowAlreadyStartedError:
            activity.logger.info("run %s was started before", request.workflow_id)
            # An open one may be what a former attempt of this activity has started.
            run = run_id_of_workflow(request.workflow_id)
            return not await is_closed(self._client, run)
        return True

    @activity.defn
    async def find_closed(self, request: RunIds) -> RunIds:
        """Which of these runs are over, though they have not said so."""
        return RunIds(ids=[item for item in request.ids if await is_closed(self._client, item)])
