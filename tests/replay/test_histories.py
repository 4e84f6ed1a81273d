"""Every recorded history replays with the code as it is: old workflows survive a redeploy."""

import json
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from worker.sandbox import workflow_runner
from workflows.cancellation_probe import CancellationProbe
from workflows.control import Control
from workflows.goal import GoalWorkflow
from workflows.job import Job
from workflows.ledger import Ledger
from workflows.maintenance import Maintenance
from workflows.routine import RoutineWorkflow
from workflows.routine_run import RoutineRun
from workflows.session import Session
from workflows.slots import Slots

WORKFLOWS = [
    CancellationProbe,
    Control,
    GoalWorkflow,
    Job,
    Ledger,
    Maintenance,
    RoutineRun,
    RoutineWorkflow,
    Session,
    Slots,
]
HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.json"))


def _document(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def _started_type(path: Path) -> str:
    attributes = _document(path)["history"]["events"][0]["workflowExecutionStartedEventAttributes"]
    return str(attributes["workflowType"]["name"])


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_history_replays(path: Path) -> None:
    document = _document(path)
    history = WorkflowHistory.from_json(document["workflow_id"], document["history"])
    replayer = Replayer(
        workflows=WORKFLOWS,
        data_converter=pydantic_data_converter,
        workflow_runner=workflow_runner(sandboxed=True),
    )
    await replayer.replay_workflow(history)


def test_every_workflow_has_a_history() -> None:
    recorded = {_started_type(path) for path in HISTORIES}
    assert recorded == {
        "CancellationProbe",
        "Control",
        "Goal",
        "Job",
        "Ledger",
        "Maintenance",
        "Routine",
        "RoutineRun",
        "Session",
        "Slots",
    }
