"""No secret gets through a job: its calls, its approvals and their notices, its failure, its end.

The corpus and what is looked at are those of `test_redaction_corpus`; every secret of it stands in
a call that a person is asked about. What a person has agreed to is done with the real arguments.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from domain.approvals import Approval
from domain.jobs import JobStatus
from domain.slots import JOB_SLOTS, slots_workflow_id
from tests.support.command import command
from tests.support.harness import Harness
from tests.support.jobs import StartedJob, calls, said, start_job, tool_texts
from tests.support.model_steps import Refusal, error_body
from tests.support.secret_corpus import CORPUS, leaks
from tests.workflows.test_redaction_corpus import logged, payloads_of, rows_of

SECRETS = "\n".join(item.text for item in CORPUS)
REASON = "\n".join(item.text for item in CORPUS[::40])
READ = ("file_search", '{"pattern": ".", "glob": "secrets.txt"}')


def write(path: str, content: str = SECRETS) -> tuple[str, str]:
    """A call that a person is asked about."""
    return "file_write", json.dumps({"path": path, "content": content})


async def asked(job: StartedJob) -> Sequence[Approval]:
    """The approvals a job waits for, when it does."""
    return (await job.reaches(JobStatus.WAITING_APPROVAL)).approvals


async def shown(harness: Harness, approval: Approval) -> str:
    """Everything a person is shown of an approval, and what stands in its list."""
    get, listed = ("approval", "get", approval.id), ("approval", "list", "--limit", "200")
    answers = [
        await command(harness, *get, terminal=True),
        await command(harness, *get),
        await command(harness, *listed),
    ]
    assert [answer.code for answer in answers] == [0] * 3
    return "\n".join(answer.out + answer.err for answer in answers)


async def test_a_whole_job_shows_none_of_them(harness: Harness) -> None:
    name = harness.name()
    for folder in (harness.folder / "workspace").glob("scopes/*"):
        (folder / "secrets.txt").write_text(SECRETS, encoding="utf-8")
    broken = Refusal(400, error_body(f"bad request: {SECRETS[:3000]}"))
    with logged() as log:
        job = await start_job(
            harness,
            calls(write(f"{name}.txt"), write(f"{name}-denied.txt"), READ),
            said("Nothing to see."),
        )
        agreed, refused = await asked(job)
        seen = await shown(harness, agreed) + await shown(harness, refused)
        for approval, decision in ((agreed, "approve"), (refused, "deny")):
            await harness.tickless.approvals.decide(approval.id, decision, reason=REASON)
        ended = await job.result()
        left = await start_job(harness, calls(write(f"{name}-left.txt")), said("Never."))
        (waits,) = await asked(left)
        await harness.tickless.jobs.cancel(left.id, reason=REASON[:150])
        await left.result()
        seen += await shown(harness, waits)
        failed = await start_job(harness, broken)
        failure = await failed.result()
        for one in (job, left, failed):
            for words in (("job", "get", one.id), ("job", "actions", one.id)):
                seen += (await command(harness, *words)).out

    # It was a job with all of them, and a person had something to read.
    assert (ended.status, ended.text) == (JobStatus.COMPLETED, "Nothing to see.")
    assert (failure.status, "bad request" in (failure.error or "")) == (JobStatus.FAILED, True)
    assert [path.read_text() for path in _written(harness, name)] == [SECRETS]
    bodies = [call.body for call in harness.models.calls if job.mark in str(call.body)]
    texts = tool_texts(bodies)
    assert [text.split(" ")[0] for text in texts] == ["[output", "error", "[output"]
    assert "denied: " in texts[1]
    assert "[REDACTED]" in texts[1]
    assert all(seen.count(approval.id) > 1 for approval in (agreed, refused, waits))
    assert seen.count("[REDACTED]") > 300
    delivered = harness.deliveries.read_text(encoding="utf-8")
    assert f"approve {agreed.id}" in delivered
    assert f"{failed.id}/failure" in delivered

    assert leaks(seen) == []
    # The model wrote the calls itself; in what it is sent afterwards they are masked.
    assert leaks(json.dumps(bodies[1:])) == []
    assert leaks(delivered) == []
    for workflow in (*(one.handle.id for one in (job, left, failed)), slots_workflow_id(JOB_SLOTS)):
        handle = harness.client.get_workflow_handle(workflow)
        told = payloads_of((await handle.fetch_history()).to_json())
        assert leaks(told) == [], workflow
    assert leaks(rows_of(harness.folder / "ledger.db")) == []
    assert leaks(log.getvalue()) == []
    assert agreed.id in log.getvalue() or job.id in log.getvalue()


def _written(harness: Harness, name: str) -> list[Path]:
    return list((harness.folder / "workspace").rglob(f"{name}*.txt"))
