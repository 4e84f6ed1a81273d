"""Why something was ended, as senders of plain messages say it: what is written on is masked."""

from activities.store import open_store
from domain.identifiers import CONTROL_ID
from domain.job_messages import CancelJob
from domain.redaction import PLACEHOLDER, REASON_CHARS
from domain.run_messages import CancelRun
from domain.runs import run_workflow_id
from domain.session_messages import StopSession
from tests.support.conversations import conversation
from tests.support.harness import Harness
from tests.support.jobs import start_job
from tests.support.model_steps import Hang
from tests.support.secret_corpus import CORPUS, leaks
from workflows.control import Control, PauseAll

SECRET = next(item for item in CORPUS if "\n" not in item.text and len(item.text) < 100)
REASON = f"{SECRET.text} {'because ' * 100}"


def assert_masked(reason: str | None, *everything: object) -> None:
    assert reason is not None
    assert PLACEHOLDER in reason
    assert len(reason) == REASON_CHARS
    assert [leaks(str(item)) for item in (reason, *everything)] == [[]] * (1 + len(everything))


async def test_of_a_run(harness: Harness) -> None:
    routine = await harness.routine(Hang("half", 1))
    started = await harness.tickless.runs.trigger(routine)
    await harness.models.wait_for(lambda: any(routine in str(c.body) for c in harness.models.calls))
    run = harness.client.get_workflow_handle(run_workflow_id(started.run_id))
    await run.signal("cancel", CancelRun(reason=REASON))
    view = await harness.tickless.runs.wait(started.run_id)
    async with await open_store(harness.environ["TICKLESS_STORE__URL"]) as store:
        row = await store.runs.get(started.run_id)
    assert_masked(view.record.reason, view, row)


async def test_of_a_job(harness: Harness) -> None:
    job = await start_job(harness, Hang("half", 1))
    await harness.models.wait_for(
        lambda: any(job.mark in str(c.body) for c in harness.models.calls)
    )
    await job.handle.signal("cancel", CancelJob(reason=REASON))
    ended = await job.result()
    async with await open_store(harness.environ["TICKLESS_STORE__URL"]) as store:
        row = await store.jobs.get(ended.job_id)
    assert_masked(ended.error, ended, row)


async def test_of_a_turn(harness: Harness) -> None:
    chat = conversation(harness, Hang("half", 1))
    await chat.send("First")
    await harness.models.wait_for(lambda: len(chat.asked()) == 1)
    await chat.handle.signal("stop", StopSession(reason=REASON))
    answer = await chat.settled("m1")
    await chat.idle()
    (turn,) = await chat.turns()
    assert_masked(turn.error, answer, turn, await chat.view())


async def test_of_a_pause_of_everything(harness: Harness) -> None:
    await harness.tickless.system.resume_all()
    control = harness.client.get_workflow_handle(CONTROL_ID)
    reason = REASON[:REASON_CHARS]
    try:
        pause = await control.execute_update(Control.pause_all, PauseAll(reason=reason))
        memo = await (await control.describe()).memo()
    finally:
        await harness.tickless.system.resume_all()
    assert PLACEHOLDER in pause.reason
    assert leaks(f"{pause} {memo}") == []
