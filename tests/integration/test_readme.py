"""What the README tells a reader to type works as it stands there."""

import re
import shlex
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.command import command, run_command
from tests.support.goals import rests
from tests.support.harness import Harness, running_harness, running_server, until
from tests.support.jobs import calls, said
from tests.support.model_steps import Reply

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/goals.md")
# These serve until they are stopped, need a run that will come, or a cluster of one's own; each has
# tests elsewhere.
ELSEWHERE = ("dev", "worker", "run tail", "session tail", "admin", "gateway", "doctor", "token")


def _blocks(language: str, page: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def _commands(page: str) -> list[list[str]]:
    """Every `tickless …` of the shell blocks, in order, continued lines joined."""
    text = "\n".join(_blocks("sh", page)).replace("\\\n", " ").replace(" && ", "\n")
    lines = text.splitlines()
    found = [shlex.split(line, comments=True) for line in lines if line.startswith("tickless ")]
    return [words[1:] for words in found if not " ".join(words[1:]).startswith(ELSEWHERE)]


async def _known(reader: Harness, word: str) -> str:
    """What the reader would type in place of an id of the README: that of what there is now."""
    if word.startswith("job_01"):
        return (await reader.tickless.jobs.list()).jobs[0].id
    if not word.startswith("approval_01"):
        return word

    async def waits() -> bool:
        return (await reader.tickless.approvals.list(status="pending")).count == 1

    await until(waits, "an approval is asked for")
    return (await reader.tickless.approvals.list(status="pending")).approvals[0].id


@pytest.fixture
async def reader(tmp_path: Path) -> AsyncIterator[Harness]:
    """A server of its own: nobody else has such names, and `apply --prune` finds no other's."""
    async with running_server(tmp_path) as server, running_harness(tmp_path, server) as running:
        yield running


@pytest.mark.parametrize("page", PAGES)
async def test_its_commands_work_in_order(reader: Harness, tmp_path: Path, page: str) -> None:
    """Files go to a folder of the test."""
    reader.scripts.on("Go through the checklist", *[Reply("Water the ferns.")] * 5)
    # Whoever types has time to say something before the last answer is there.
    writing = ("file_write", '{"path": "summary.md", "content": "Ferns."}')
    told_it = threading.Event()
    reader.scripts.on("write what matters", calls(writing), Reply("Done.", gate=told_it), said("."))
    for goal in ("Every plant", "Every link"):
        reader.scripts.on(goal, *[rests(), said("It rests.")] * 10)
    told: list[str] = []
    assert len(_commands(page)) > 9
    for words in _commands(page):
        names = [word.replace("routines/", f"{tmp_path}/routines/") for word in words]
        answer = await command(reader, *[await _known(reader, word) for word in names])
        if words[:2] == ["job", "send"]:
            told_it.set()
        if answer.code != 0:
            told.append(f"tickless {shlex.join(words)}: exit {answer.code}: {answer.err}")
    assert told == []


@pytest.mark.parametrize("code", _blocks("python", "README.md"))
async def test_its_python_works(
    harness: Harness, code: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.scripts.on("Say hello", Reply("Hello from the model."))
    for key, value in harness.environ.items():
        monkeypatch.setenv(key, value)
    body = code.replace("asyncio.run(main())", "")
    names: dict[str, object] = {}
    exec(compile(body, "README.md", "exec"), names)
    await names["main"]()  # type: ignore[operator]  # the block defines it
    assert "Hello from the model." in capsys.readouterr().out


async def test_the_commands_it_leaves_to_others_exist() -> None:
    text = (await run_command({}, "--help")).out
    assert all(f"  {words.split()[0]} " in text for words in ("dev", "worker", "doctor", "admin"))
