"""Jobs for tests: started as the library starts them, with a scripted model and builtin tools.

Owns the shortest ways to start one and to wait for what it does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from temporalio.client import WorkflowHandle
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from ulid import ULID

from activities import search_attributes as attributes
from domain.identifiers import RUNS_QUEUE
from domain.job_messages import JobEnded, JobView, StartJob
from domain.job_state import JobState
from domain.jobs import JobRecord, JobStatus, job_session_key, job_workflow_id
from domain.scopes import Route, Scope, ScopeKind
from tests.support.harness import Harness, until
from tests.support.model_steps import Behaviour, Reply, ToolCall
from workflows.job import Job

ME = Scope(kind=ScopeKind.USER, id="me")


@dataclass
class StartedJob:
    """A job that runs."""

    id: str
    handle: WorkflowHandle[Any, JobEnded]
    mark: str

    async def result(self) -> JobEnded:
        return await self.handle.result()

    async def view(self) -> JobView:
        return await self.handle.query(Job.view)

    async def reaches(self, status: JobStatus, seconds: float = 30) -> JobView:
        """Wait until it stands so."""

        async def holds() -> bool:
            return (await self.view()).record.status == status

        await until(holds, f"job {self.id} is {status}", seconds)
        return await self.view()


async def start_job(
    harness: Harness,
    *steps: Behaviour,
    max_iterations: int = 25,
    description: str = "",
    user_id: str = "me",
    **start: Any,
) -> StartedJob:
    """Start a job whose model does these steps."""
    mark = harness.name()
    harness.scripts.on(mark, *steps)
    job_id = f"job_{ULID()}"
    state = JobState(
        start=StartJob(
            record=JobRecord(
                id=job_id,
                title="Test",
                description=f"Do {mark}.{description}",
                max_iterations=max_iterations,
                session_key=job_session_key(job_id),
                user_id=user_id,
                scope=ME.text,
                created_at=datetime.now(UTC),
            ),
            scope=ME,
            route=Route(receive_id_type="file"),
            step_heartbeat_seconds=harness.settings.job_step_heartbeat_seconds,
            **start,
        )
    )
    handle = await harness.client.start_workflow(
        Job.run,
        state,
        id=job_workflow_id(job_id),
        task_queue=RUNS_QUEUE,
        search_attributes=TypedSearchAttributes(
            [
                SearchAttributePair(attributes.KIND, "job"),
                SearchAttributePair(attributes.SCOPE, ME.text),
                SearchAttributePair(attributes.STATUS, JobStatus.PENDING),
            ]
        ),
    )
    return StartedJob(job_id, handle, mark)


def calls(*wanted: tuple[str, str]) -> Reply:
    """An answer that asks for calls: pairs of a tool and its arguments as JSON text."""
    return Reply(
        text="",
        chunks=0,
        finish_reason="tool_calls",
        tool_calls=tuple(
            ToolCall(name, arguments, f"call_{index}")
            for index, (name, arguments) in enumerate(wanted)
        ),
    )


def said(text: str) -> Reply:
    """An answer in words."""
    return Reply(text=text, chunks=1)


def tool_texts(bodies: Sequence[dict[str, Any]]) -> list[str]:
    """What the model was last told by tools."""
    return [str(m["content"]) for m in bodies[-1]["messages"] if m["role"] == "tool"]
