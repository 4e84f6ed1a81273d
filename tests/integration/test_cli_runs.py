"""`tickless run …`: looking at a run, following it while it speaks, ending it."""

import asyncio
import json
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from domain.runs import run_workflow_id
from tests.support.command import Answer, Screen, command
from tests.support.harness import Harness, until
from tests.support.model_steps import Hang, Reply, unauthorized
from tests.support.worker_process import COMMAND, command_environment


@asynccontextmanager
async def speaking(harness: Harness, text: str = "So far") -> AsyncGenerator[str]:
    """A run whose model has begun to speak and says no more; ended with the context."""
    routine = await harness.routine(Hang(text, chunks=2))
    started = await harness.tickless.runs.trigger(routine)
    try:
        yield started.run_id
    finally:
        await harness.tickless.runs.cancel(started.run_id)


async def test_a_run_in_full_for_people_and_programs(harness: Harness) -> None:
    name = harness.name()
    harness.scripts.on(name, Reply("Two mails need an answer.\nThe rest can wait."))
    flags = ("--prompt", f"Do {name}.", "--context", "nothing-here.md", "--manual")
    await command(harness, "routine", "create", name, *flags, "--deliver", "file")
    view = await harness.run_once(name)

    found = (await command(harness, "run", "get", view.record.id)).json
    assert found["record"]["id"] == view.record.id
    assert found["text"] == "Two mails need an answer.\nThe rest can wait."
    assert "ui_url" in found
    ui = {"TICKLESS_TEMPORAL__UI_URL": "http://127.0.0.1:8233"}
    table = await command(harness, "run", "get", view.record.id, terminal=True, environ=ui)
    assert (table.code, table.err) == (0, "")
    lines = {line.split()[0]: line for line in table.out.splitlines()}
    assert lines["status"].split()[1:] == ["attention"]
    assert "(after " in lines["finished"]
    assert lines["tokens"].endswith("11 in, 7 out")
    assert "no price" in lines["cost"]
    assert "final: sent" in lines["deliveries"]
    assert "nothing-here.md" in lines["warnings"]
    assert lines["ui"].endswith(found["record"]["id"].replace("/", "%2F"))


async def test_what_went_wrong_is_shown(harness: Harness) -> None:
    view = await harness.run_once(await harness.routine(unauthorized()))

    shown = await command(harness, "run", "get", view.record.id, terminal=True)
    waited = await command(harness, "run", "get", view.record.id, "--wait", terminal=True)

    assert shown.code == 0, "to look at a failed run is no failure"
    assert waited.code == 1
    assert "error  " in shown.out
    assert "refused" in shown.out


async def test_tail_shows_the_text_while_the_model_speaks(harness: Harness) -> None:
    screen = Screen(terminal=True)
    async with speaking(harness, "Words before the end") as run:
        tail = asyncio.create_task(command(harness, "run", "tail", run, terminal=True, out=screen))

        async def has_text() -> bool:
            return "Words before the end" in screen.getvalue()

        await until(has_text, "the text so far is on the screen")
        view = await harness.tickless.runs.get(run)
        assert view.record.status == "running"
        await harness.tickless.runs.cancel(run, reason="seen enough")
    answer = await tail

    assert (answer.code, answer.out.count("Words before the end")) == (0, 1)
    assert "seen enough" in answer.out


async def test_tail_writes_each_character_once(harness: Harness) -> None:
    text = "".join(f"line {number}, and äöü 🙂\n" for number in range(40))
    routine = await harness.routine(Reply(text, chunks=60, delay=0.03))
    started = await harness.tickless.runs.trigger(routine)

    answer = await command(harness, "run", "tail", started.run_id, terminal=True)

    assert answer.code == 0
    assert answer.out.startswith(text.strip())
    assert answer.out.count("line 39") == 1
    assert "status" in answer.out
    late = await command(harness, "run", "tail", started.run_id, "--offset", "13", terminal=True)
    assert late.out.startswith(text[13:].strip())


async def test_tail_for_programs_is_a_line_for_each_step(harness: Harness) -> None:
    routine = await harness.routine(Reply("a " * 30, chunks=30, delay=0.03))
    started = await harness.tickless.runs.trigger(routine)

    answer = await command(harness, "run", "tail", started.run_id)

    steps = [json.loads(line) for line in answer.out.splitlines()]
    assert answer.code == 0
    assert "".join(step["text"] for step in steps).strip() == ("a " * 30).strip()
    assert steps[-1]["view"]["record"]["status"] == "attention"


async def test_tail_of_a_failed_run_exits_with_1(harness: Harness) -> None:
    view = await harness.run_once(await harness.routine(unauthorized()))

    answers = [
        await command(harness, "run", "tail", view.record.id, terminal=terminal)
        for terminal in (True, False)
    ]

    assert [answer.code for answer in answers] == [1, 1]


async def test_to_cancel_twice_is_harmless(harness: Harness) -> None:
    async with speaking(harness) as run:
        cancel = ("run", "cancel", run, "--reason", "seen enough")
        answers: list[Answer] = [await command(harness, *cancel) for _ in range(2)]

    records = [answer.json["record"] for answer in answers]
    assert [record["status"] for record in records] == ["cancelled", "cancelled"]
    assert records[0]["reason"] == "seen enough"


async def test_ctrl_c_ends_the_following_and_not_the_run(harness: Harness) -> None:
    async with speaking(harness) as run:
        process = await _start(harness, "run", "tail", run)
        assert process.stdout is not None
        await process.stdout.readexactly(len("So far"))

        assert await _interrupt(process) == (130, b"")
        assert (await harness.tickless.runs.get(run)).record.status == "running"


async def test_ctrl_c_ends_the_waiting_and_not_the_run(harness: Harness) -> None:
    routine = await harness.routine(Hang())
    process = await _start(harness, "routine", "trigger", routine, "--wait")
    assert process.stderr is not None
    told = (await process.stderr.readline()).decode()
    run = told.removeprefix("Waiting for ").partition(";")[0]
    assert run.startswith(f"{routine}/m-")

    assert await _interrupt(process) == (130, b"")
    assert (await harness.tickless.runs.cancel(run)).record.status == "cancelled"


async def _start(harness: Harness, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(*COMMAND, *arguments, "-o", "table"),
        env=command_environment(harness),
        cwd=harness.folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def _interrupt(process: asyncio.subprocess.Process) -> tuple[int | None, bytes]:
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(20):
        _, errors = await process.communicate()
    return process.returncode, errors


async def test_a_run_that_somebody_terminates_is_not_waited_for(harness: Harness) -> None:
    async with speaking(harness) as run:
        waiting = asyncio.create_task(harness.tickless.runs.wait(run))
        await asyncio.sleep(0)
        await harness.client.get_workflow_handle(run_workflow_id(run)).terminate()
        view = await waiting
        assert (view.record.status, view.stage) == ("failed", "ended")
        assert view.record.error == "its workflow was terminated from outside"
