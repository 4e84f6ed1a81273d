"""Calls of a job whose arguments or outputs are long: what is cut says so, and nothing is lost."""

import json

from activities.store import open_store
from domain.approvals import arguments_text
from domain.jobs import JobStatus
from tests.support.command import command
from tests.support.harness import Harness
from tests.support.jobs import calls, said, start_job, tool_texts

LONG = json.dumps({"a": "word " * 18_000})


async def test_what_is_too_long_to_be_shown_says_so_and_is_kept(harness: Harness) -> None:
    query = {"expression": "a", "json": LONG}
    job = await start_job(
        harness, calls(("json_query", json.dumps(query)), ("time_now", "{}")), said("Long.")
    )
    assert (await job.result()).status == JobStatus.COMPLETED
    page = await harness.tickless.audit.actions(job_id=job.id)
    long, short = page.actions
    assert (long.status, long.arguments) == (
        "ok",
        {"[cut]": "the arguments are too long to be shown here"},
    )
    assert (short.tool, short.arguments) == ("time_now", {})
    # Of the output the middle is left out, and the model is told.
    assert long.truncated
    assert long.original_bytes == len(json.dumps("word " * 18_000))
    assert "bytes omitted ...]" in (long.output or "")
    bodies = [call.body for call in harness.models.calls if job.mark in str(call.body)]
    told = tool_texts(bodies)[0]
    assert "bytes omitted ...]" in told
    assert len(told) < 66_000
    async with await open_store(harness.environ["TICKLESS_STORE__URL"]) as store:
        (kept, _) = await store.actions.of_job(job.id)
    assert kept.arguments == query
    printed = await command(harness, "job", "actions", job.id, terminal=True)
    assert '1 json_query {"[cut]": ' in printed.err
    # The long text is in no event of the job.
    history = await job.handle.fetch_history()
    assert max(event.ByteSize() for event in history.events) < 16_000


async def test_an_approval_of_many_small_arguments_says_how_long_they_are(harness: Harness) -> None:
    headers = {f"x-{number}-{'n' * 90}": "v" * 40 for number in range(30)}
    post = {"method": "POST", "url": "https://example.com/", "headers": headers}
    job = await start_job(harness, calls(("http_request", json.dumps(post))), said("Not sent."))
    view = await job.reaches(JobStatus.WAITING_APPROVAL)
    asked = view.approvals[0]
    (notice,) = [line for line in harness.deliveries.read_text().splitlines() if asked.id in line]
    text = json.loads(notice)["text"]
    assert f'"[cut]": "{len(json.dumps(post))} bytes of JSON"' in text
    assert f"[cut: the arguments have {len(arguments_text(post))} characters" in text
    shown = await harness.tickless.approvals.get(asked.id)
    assert shown.arguments == post
    await harness.tickless.approvals.decide(asked.id, "deny", reason="too many")
    assert (await job.result()).text == "Not sent."
