"""The command line itself: quick to start, helpful, and without tracebacks whatever happens."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from client.cli import problems
from domain.errors import ErrorKind
from tests.support.command import Screen, run_command
from tests.support.processes import ROOT

HEAVY = ("temporalio", "openai", "sqlalchemy", "pydantic", "httpx", "yaml", "rich", "asyncio")
VERBS = {
    "routine": "create get list patch trigger pause resume delete runs preview backfill",
    "token": "create list revoke",
    "event": "emit",
    "run": "get tail cancel",
    "session": "list get send queue tail stop",
    "job": "list create get pause resume cancel send actions",
    "goal": "create get list pause resume complete delay wait extend cancel delete clear",
    "approval": "list get approve deny extend",
    "tool": "list",
    "audit": "export",
    "delivery": "list get resend resolve",
    "config": "show schema",
    "admin": "setup",
}


_COMMANDS = {
    "apply",
    "cost",
    "dev",
    "doctor",
    "export",
    "gateway",
    "pause",
    "resume",
    "watchdog",
    "worker",
}


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys, client.cli\n"
        "if sys.argv[1:]: client.cli.execute(sys.argv[1:])\n"
        f"sys.exit(', '.join(name for name in {HEAVY} if name in sys.modules) or 0)"
    )

    result = python(code, *arguments)

    assert (result.returncode, result.stderr) == (0, "")
    assert bool(result.stdout) == bool(arguments)


async def test_help_names_every_command_and_says_what_it_does() -> None:
    text = (await run_command({}, "--help")).out
    assert text.startswith("Usage: tickless ")
    lines = [line.split(None, 1) for line in text.partition("Commands:")[2].splitlines()]
    told = {words[0]: words[1] for words in lines if words}
    assert set(told) == _COMMANDS | set(VERBS)
    assert all(len(about) > 15 and not about.endswith("...") for about in told.values()), told
    for noun, verbs in VERBS.items():
        text = (await run_command({}, noun, "--help")).out
        assert "..." not in text.partition("Commands:")[2], "a description that was cut"
        for verb in verbs.split():
            answer = await run_command({}, noun, verb, "--help")
            assert answer.code == 0
            assert answer.out.startswith(f"Usage: tickless {noun} {verb} ")


async def test_a_command_without_a_verb_shows_its_verbs_on_a_terminal() -> None:
    answer = await run_command({}, "routine", terminal=True)

    assert (answer.code, answer.out) == (2, "")
    assert all(verb in answer.err for verb in VERBS["routine"].split())


async def test_a_misspelt_option_points_to_the_help_on_a_terminal() -> None:
    answer = await run_command({}, "routine", "list", "--limt", "3", terminal=True)

    assert answer.code == 2
    assert answer.err.splitlines() == [
        "tickless: No such option: --limt (Possible options: --limit)",
        "See: tickless routine list --help",
    ]


async def test_a_problem_is_a_sentence_on_a_terminal(tmp_path: Path) -> None:
    environ = {"TEMPORAL_ADDRESS": "127.0.0.1:1", "HOME": str(tmp_path)}

    answer = await run_command(environ, "routine", "list", terminal=True)

    assert answer.code == 6
    (line,) = answer.err.splitlines()
    assert line.startswith("tickless: unavailable: no Temporal server answers at 127.0.0.1:1: ")
    assert "`tickless dev`" in line


def test_a_fault_of_ours_is_a_sentence_with_a_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    try:
        raise ZeroDivisionError("not foreseen")
    except ZeroDivisionError as error:
        code = problems.report(error)

    assert code == 70
    told = capsys.readouterr().err
    assert "ZeroDivisionError: not foreseen" in told
    assert "Traceback" not in told
    (kept,) = tmp_path.iterdir()
    assert str(kept) in told
    assert "Traceback" in kept.read_text()


def test_control_characters_do_not_reach_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from client.cli.output import print_fields, print_table, printable

    nasty = "a\x1b]0;title\x07b\x9b2Jc\r"
    print_fields({"reply": nasty})
    print_table(("ID", "NOTE"), [("x", nasty)])
    printed = capsys.readouterr().out + printable(nasty)
    assert not set(printed) & set("\x1b\x07\x9b\r")
    assert printed.count("a�]0;title�b�2Jc�") == 3


@pytest.mark.parametrize("width", ["20", "60", "200"])
def test_ids_and_addresses_are_never_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: str
) -> None:
    from client.cli.output import print_fields, print_table

    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    run = "a-name-of-some-length/m-01M7YRKG60VDZ60G231TTHT0JD"
    address = f"http://127.0.0.1:8233/namespaces/default/workflows/{run}"
    print_fields({"run": run, "reply": "many words " * 20, "ui": address})
    row = (run, "ok", "2026-01-01 10:00Z", "many words " * 20)
    print_table(("RUN", "STATUS", "STARTED", "NOTE"), [row], optional=("STARTED",))

    lines = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert sum(run in line for line in lines) == 3
    assert sum(address in line for line in lines) == 1
    assert any("STARTED" in line for line in lines) == (width == "200")
    widest = max(int(width), len(run) + len("  STATUS  ") + 24)
    assert max(len(line) for line in lines if address not in line) <= widest


def test_a_reader_that_has_seen_enough_is_no_fault() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as nobody_reads:
        result = subprocess.run(
            [sys.executable, "-m", "client", "config", "schema"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"]},
            stdout=nobody_reads,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (result.returncode, result.stderr) == (problems.EXIT_PIPE_CLOSED, b"")


async def test_a_terminal_without_umlauts_still_shows_the_answer() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "client", "config", "show", "-o", "json"),
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONIOENCODING": "ascii",
            "TICKLESS_OPENAI_MODEL": "größer",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert b"gr\\xf6\\xdfer" in out


def test_every_kind_of_problem_has_its_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from domain.errors import DomainError

    codes = {kind: problems.report(DomainError(kind, "field", "message")) for kind in ErrorKind}

    assert set(codes.values()) == {2, 3, 4, 5, 6}
    assert codes[ErrorKind.NOT_FOUND] == 3
    assert codes[ErrorKind.PERMISSION_DENIED] == 4
    assert codes[ErrorKind.CONFLICT] == 5
    assert codes[ErrorKind.UNAVAILABLE] == 6
    assert capsys.readouterr().err.count("urn:tickless:problem:") == len(ErrorKind)


def test_a_screen_of_the_tests_is_no_terminal() -> None:
    assert not Screen().isatty()
