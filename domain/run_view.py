"""What a person is shown of a run: by the query `view`, and as markdown in the Temporal UI.

Owns the view model and its text form. Source: DESIGN §1 (three ways in) and §9 of
triggers-and-actions.md.
"""

from enum import StrEnum
from urllib.parse import quote

from pydantic import AwareDatetime, BaseModel, ConfigDict

from domain.deliveries import DeliveryStatus
from domain.identifiers import routine_workflow_id
from domain.notices import cost_text, lateness
from domain.runs import RunRecord


class RunStage(StrEnum):
    """The step a run is at, in words a person reads."""

    ADMISSION = "asking for admission"
    QUEUED = "waiting for the run before it"
    SESSION = "waiting for its session"
    MODEL = "waiting for the model"
    JOB = "waiting for its job"
    SYSTEM_PAUSED = "everything is paused"
    DELIVERY = "delivering"
    OUTCOME = "reporting its outcome"
    ENDED = "ended"


class DeliveryView(BaseModel):
    """One delivery of a run; its status is a separate matter from the run's."""

    model_config = ConfigDict(frozen=True)

    occurrence_id: str
    status: DeliveryStatus
    message_id: str | None = None
    error: str | None = None


class RunView(BaseModel):
    """Everything known of a run; also the result of its workflow.

    `text` is the whole reply, `retry_at` when a refused fire would have passed.
    """

    model_config = ConfigDict(frozen=True)

    record: RunRecord
    title: str = ""
    stage: RunStage
    late_seconds: int = 0
    retry_at: AwareDatetime | None = None
    text: str = ""
    model: str | None = None
    deliveries: list[DeliveryView] = []


def run_details(view: RunView, namespace: str) -> str:
    """The current details of a run's workflow: what it does, what it waits for, what it has cost.

    Links are relative to the Temporal UI, whose address a workflow cannot know.
    """
    record = view.record
    routine = quote(routine_workflow_id(record.routine_id), safe="")
    lines = [
        f"**{view.title or record.routine_id}** is *{view.stage}*, status `{record.status}`",
        "",
        f"- Fired by {record.trigger_type}"
        + (f" ({record.trigger_detail})" if record.trigger_detail else "")
        + (f", {late}" if (late := lateness(view.late_seconds)) else ""),
        f"- Spent so far: {_spent(record)}",
    ]
    if record.reason:
        lines.append(f"- Reason: {record.reason}")
    if record.error:
        lines.append(f"- Error: {record.error}")
    if view.deliveries:
        lines.append("- Deliveries: " + ", ".join(_delivery(item) for item in view.deliveries))
    if record.summary:
        lines += ["", "> " + record.summary.replace("\n", "\n> ")]
    lines += ["", f"[Routine {record.routine_id}](/namespaces/{namespace}/workflows/{routine})"]
    return "\n".join(lines)


def _spent(record: RunRecord) -> str:
    tokens = (record.tokens_in, record.tokens_out)
    if tokens == (None, None):
        return "nothing known"
    text = f"{record.tokens_in or 0} tokens in, {record.tokens_out or 0} out"
    cost = cost_text(record.cost_micros)
    return f"{text}, {cost}" if cost else f"{text}, cost unknown"


def _delivery(item: DeliveryView) -> str:
    part = item.occurrence_id.rpartition("/")[2]
    return f"{part} {item.status}" + (f" ({item.error})" if item.error else "")
