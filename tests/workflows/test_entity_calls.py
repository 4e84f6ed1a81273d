"""An entity that is slow: what a workflow made of it then, it makes of it again on replay."""

import asyncio
from pathlib import Path

import pytest
from temporalio import activity, workflow
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from activities.failures import ENTITY_SILENT
from activities.slots import SlotActivities
from domain.identifiers import RUNS_QUEUE
from domain.lease_queue_state import LeaseAnswer, LeaseDecision, RequestLease
from domain.slots import JOB_SLOTS, RequestSlot
from tests.support.own_workers import serving, unserved
from workflows.entity_calls import ask_entity

SILENT, SLOW = "says that it did not answer", "does not answer in time"


@workflow.defn(name="Asks")
class Asks:
    """Asks for a slot."""

    @workflow.run
    async def run(self, request: RequestSlot) -> str | None:
        return (await ask_entity(SlotActivities.request_slot, request, "ask")).token


class Busy:
    """Slots that answer to the normal activity only."""

    def __init__(self, how: str) -> None:
        self._how = how
        self.asked: list[bool] = []

    @activity.defn(name="request_slot")
    async def request_slot(self, _request: RequestSlot) -> LeaseAnswer:
        is_local = activity.info().is_local
        self.asked.append(is_local)
        if not is_local:
            return LeaseAnswer(decision=LeaseDecision.GRANTED, token="slot")
        if self._how == SLOW:
            await asyncio.Event().wait()
        raise ApplicationError("busy", type=ENTITY_SILENT)


@pytest.mark.parametrize("how", [SILENT, SLOW])
async def test_the_normal_activity_asks_again_and_replay_agrees(tmp_path: Path, how: str) -> None:
    busy = Busy(how)
    lease = RequestLease(owner="job/j", request_id="job/j:1", lease_seconds=60)
    async with (
        unserved(tmp_path) as harness,
        serving(harness.client, RUNS_QUEUE, busy.request_slot, workflows=[Asks]),
    ):
        asks = await harness.client.start_workflow(
            Asks.run, RequestSlot(name=JOB_SLOTS, lease=lease), id="asks", task_queue=RUNS_QUEUE
        )
        assert await asks.result() == "slot"
        history = await asks.fetch_history()
    assert busy.asked == [True, True, False]
    await Replayer(
        workflows=[Asks],
        data_converter=pydantic_data_converter,
        workflow_runner=UnsandboxedWorkflowRunner(),
    ).replay_workflow(history)
