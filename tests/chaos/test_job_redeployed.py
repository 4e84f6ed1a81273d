"""A redeploy while a person is asked: new workers go on where the old ones were."""

from pathlib import Path

import pytest
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from domain.approvals import Approval
from domain.job_messages import DecideApproval
from domain.jobs import JobStatus
from tests.chaos.stage import ledger, staged
from tests.support.harness import Harness, until
from tests.support.jobs import calls, said, start_job, tool_texts
from tests.support.worker_process import worker_process
from worker.sandbox import workflow_runner
from workflows.job import Job

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

WRITE = ("file_write", '{"path": "late.txt", "content": "agreed"}')


async def row(harness: Harness, approval_id: str) -> Approval:
    async with ledger(harness) as store:
        found = await store.approvals.get(approval_id)
    assert found is not None
    return found


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
async def test_an_open_approval_outlives_a_redeploy(tmp_path: Path, killed: bool) -> None:
    async with staged(tmp_path) as (_server, harness):
        async with worker_process(harness) as first:
            job = await start_job(harness, calls(WRITE, ("time_now", "{}")), said("Written."))
            view = await job.reaches(JobStatus.WAITING_APPROVAL)
            (asked,) = view.approvals

            async def written() -> bool:
                async with ledger(harness) as store:
                    return await store.approvals.get(asked.id) is not None

            await until(written, "the approval is written")
            await (first.kill() if killed else first.stop())

        # What the new code makes of the history so far.
        replayer = Replayer(
            workflows=[Job],
            data_converter=pydantic_data_converter,
            workflow_runner=workflow_runner(sandboxed=True),
        )
        await replayer.replay_workflow(await job.handle.fetch_history())

        async with worker_process(harness, name="second"):
            # Nobody waits: what was agreed is kept, the rest is the job's.
            again = await job.view()
            assert (again.record.status, again.approvals) == (
                JobStatus.WAITING_APPROVAL,
                view.approvals,
            )
            decide = DecideApproval(
                approval_id=asked.id, decision="approve", digest=asked.digest, decided_by="ann"
            )
            await job.handle.execute_update(Job.decide_approval, decide)
            ended = await job.result()
            record = (await job.view()).record
        assert (ended.status, ended.text) == (JobStatus.COMPLETED, "Written.")
        assert (record.recoveries, ended.iteration, ended.tool_calls) == (0, 2, 2)
        kept = await row(harness, asked.id)
        assert (kept.status, kept.decided_by) == ("consumed", "ann")
        bodies = [call.body for call in harness.models.calls if job.mark in str(call.body)]
        assert len(bodies) == 2
        assert "output of file_write" in tool_texts(bodies)[0]
        found = list((harness.folder / "workspace").rglob("late.txt"))
        assert [path.read_text() for path in found] == ["agreed"]
        # One person was asked, once.
        notices = harness.deliveries.read_text(encoding="utf-8").splitlines()
        assert sum(f"{asked.id}/requested" in line for line in notices) == 1
