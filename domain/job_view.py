"""What a person reads of a job in the Temporal UI.

Owns the text form of `JobView`. Source: DESIGN §1 (three ways in).
"""

from urllib.parse import quote

from domain.approvals import ApprovalStatus
from domain.job_messages import JobView
from domain.notices import cost_text
from domain.runs import run_workflow_id
from domain.tools import SandboxMode


def job_details(view: JobView, namespace: str) -> str:
    """The current details of a job's workflow: what it does, waits for, and has cost.

    Links are relative to the Temporal UI, whose address a workflow cannot know.
    """
    record = view.record
    lines = [
        f"**{record.title}** is *{view.stage}*, status `{record.status}`",
        "",
        f"- Step {record.iteration} of {record.max_iterations}, {view.tool_calls} tool calls",
        f"- Spent so far: {_spent(view)}",
    ]
    if record.recoveries:
        lines.append(f"- Steps that were lost and done again: {record.recoveries}")
    if record.sandbox_mode == SandboxMode.HOST:
        lines.append("- Commands of tools run on the worker's host (`sandbox_mode: host`)")
    if view.messages:
        lines.append(f"- Messages that wait: {view.messages}")
    lines += [
        f"- Waits for an approval of `{one.tool}`: `{one.id}`"
        for one in view.approvals
        if one.status == ApprovalStatus.PENDING
    ]
    if record.error:
        lines.append(f"- Error: {record.error}")
    if record.result:
        lines += ["", "> " + record.result[:500].replace("\n", "\n> ")]
    if record.run_id:
        run = quote(run_workflow_id(record.run_id), safe="")
        lines += ["", f"[Run {record.run_id}](/namespaces/{namespace}/workflows/{run})"]
    return "\n".join(lines)


def _spent(view: JobView) -> str:
    record = view.record
    if (record.tokens_in, record.tokens_out) == (None, None):
        return "nothing known"
    text = f"{record.tokens_in or 0} tokens in, {record.tokens_out or 0} out"
    return f"{text}, {cost_text(record.cost_micros) or 'cost unknown'}"
