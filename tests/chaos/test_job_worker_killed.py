"""A worker is killed in the middle of a job's steps: the job goes on, nothing is done twice."""

from pathlib import Path

import pytest

from domain.jobs import JobStatus
from tests.chaos.stage import staged
from tests.support.harness import until
from tests.support.jobs import calls, said, start_job, tool_texts
from tests.support.model_steps import Hang
from tests.support.worker_process import worker_process

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]


async def test_a_call_that_must_not_be_made_twice_is_unknown(tmp_path: Path) -> None:
    marker = tmp_path / "done.txt"
    command = f'{{"command": "echo once >> {marker}; sleep 60"}}'
    settings = {"TICKLESS_SANDBOX_MODE": "host", "TICKLESS_TOOL_PERMISSIONS__SHELL": "allow"}
    async with staged(tmp_path, **settings) as (_server, harness):
        async with worker_process(harness) as first:
            job = await start_job(harness, calls(("shell", command)), said("I will check."))

            async def begun() -> bool:
                return marker.exists()

            await until(begun, "the command has begun", 60)
            await first.kill()
        async with worker_process(harness):
            ended = await job.result()
            view = await job.view()
        assert (ended.status, ended.text) == (JobStatus.COMPLETED, "I will check.")
        assert marker.read_text() == "once\n"
        assert view.record.recoveries == 1
        bodies = [call.body for call in harness.models.calls if job.mark in str(call.body)]
        assert "unknown" in tool_texts(bodies)[0]


async def test_a_call_of_a_model_is_made_again(tmp_path: Path) -> None:
    async with staged(tmp_path) as (_server, harness):
        async with worker_process(harness) as first:
            job = await start_job(harness, Hang("So", chunks=1), said("So it is."))
            await harness.models.wait_for(
                lambda: any(call.pieces_sent for call in harness.models.calls), 60
            )
            await first.kill()
        async with worker_process(harness):
            ended = await job.result()
            view = await job.view()
        assert (ended.text, ended.iteration) == ("So it is.", 1)
        assert view.record.recoveries == 1


async def test_a_cancel_is_kept_though_the_worker_of_the_step_is_gone(tmp_path: Path) -> None:
    async with staged(tmp_path) as (_server, harness):
        async with worker_process(harness) as first:
            job = await start_job(
                harness, Hang("So", chunks=1), said("It went on."), step_timeout_seconds=3
            )
            await harness.models.wait_for(
                lambda: any(call.pieces_sent for call in harness.models.calls), 60
            )
            await first.kill()
        # It comes back as a time that ran out, not as a cancellation.
        await job.handle.signal("cancel")
        async with worker_process(harness):
            ended = await job.result()
        assert (ended.status, ended.error) == (JobStatus.CANCELLED, "cancelled by user")
        assert len([call for call in harness.models.calls if job.mark in str(call.body)]) == 1
