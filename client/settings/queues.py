"""Settings section `queues`: the task queues and their slots in one worker process.

Owns names and sizes. Why there are five queues is told in DESIGN §3.

Invariant: no two queues share a name; entities would starve behind the runs that wait for them.
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from client.settings.sections import Count, Name, Section
from domain.identifiers import (
    ENTITIES_QUEUE,
    LLM_QUEUE,
    RUNS_QUEUE,
    TOOLS_QUEUE,
    WATCH_QUEUE,
)


class WorkflowQueueSettings(Section):
    """A queue that serves workflows and their short activities."""

    name: Name = Field(description="Name of the task queue.")
    workflow_tasks: Count = Field(default=100, description="Workflow tasks handled at a time.")
    activities: Count = Field(default=100, description="Activities run at a time.")
    local_activities: Count = Field(default=100, description="Local activities run at a time.")


class LlmQueueSettings(Section):
    """The queue of model calls; `max_concurrent_runs` says how many run at a time."""

    name: Name = Field(default=LLM_QUEUE, description="Name of the task queue.")
    rate_per_second: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="Model calls started per second, over all workers; null is no limit.",
    )


class ToolsQueueSettings(Section):
    """The queue of tool calls, which other hosts may serve."""

    name: Name = Field(default=TOOLS_QUEUE, description="Name of the task queue.")
    activities: Count = Field(default=20, description="Tool calls run at a time.")


class EntitiesQueueSettings(WorkflowQueueSettings):
    """Routines, sessions, slots and control."""

    name: Name = Field(default=ENTITIES_QUEUE, description="Name of the task queue.")


class RunsQueueSettings(WorkflowQueueSettings):
    """Runs, jobs and goals."""

    name: Name = Field(default=RUNS_QUEUE, description="Name of the task queue.")


class WatchQueueSettings(WorkflowQueueSettings):
    """Maintenance."""

    name: Name = Field(default=WATCH_QUEUE, description="Name of the task queue.")
    workflow_tasks: Count = Field(default=5, description="Workflow tasks handled at a time.")
    activities: Count = Field(default=5, description="Activities run at a time.")
    local_activities: Count = Field(default=5, description="Local activities run at a time.")


class QueuesSettings(Section):
    """The task queues and the slots of one worker process for each."""

    entities: EntitiesQueueSettings = Field(
        default=EntitiesQueueSettings(), description="Routines, sessions, slots and control."
    )
    runs: RunsQueueSettings = Field(
        default=RunsQueueSettings(), description="Runs, jobs and goals with their short activities."
    )
    llm: LlmQueueSettings = Field(default=LlmQueueSettings(), description="Model calls.")
    tools: ToolsQueueSettings = Field(default=ToolsQueueSettings(), description="Tool calls.")
    watch: WatchQueueSettings = Field(default=WatchQueueSettings(), description="Maintenance.")

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        queues = (self.entities, self.runs, self.llm, self.tools, self.watch)
        names = [queue.name for queue in queues]
        if len(set(names)) < len(names):
            raise ValueError(f"must have five different names, not {', '.join(names)}")
        return self
