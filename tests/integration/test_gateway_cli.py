"""`tickless gateway` and `tickless token …` as users run them."""

import asyncio
import json
import re
import signal
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from client.tokens import PREFIX
from tests.support.command import command
from tests.support.harness import Harness
from tests.support.processes import ROOT
from tests.support.worker_process import COMMAND, command_environment, tickless

API = "/api/v1"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {
        "TICKLESS_GATEWAY__TOKENS_FILE": str(tmp_path / "tokens.json"),
        "TICKLESS_GATEWAY__PORT": "0",
    }


# ---- tokens


async def test_a_token_from_its_making_to_its_end(
    harness: Harness, environ: dict[str, str], tmp_path: Path
) -> None:
    code, out, err = await tickless(
        harness,
        *("token", "create", "ci", "--scope", "run,read", "--expires", "30d"),
        *("--bind", "actor-user-id=alice"),
        environ=environ,
    )
    assert (code, err) == (0, "")
    made = json.loads(out)
    assert made["token"].startswith(PREFIX)
    assert made["scopes"] == ["read", "run"]
    assert made["context"] == {"actor_user_id": "alice"}
    assert stat.S_IMODE((tmp_path / "tokens.json").stat().st_mode) == 0o600

    code, out, _ = await tickless(harness, "token", "list", environ=environ)
    assert code == 0
    (listed,) = json.loads(out)["tokens"]
    assert listed == {key: value for key, value in made.items() if key != "token"}
    code, out, _ = await tickless(harness, "token", "revoke", "ci", environ=environ)
    assert (code, json.loads(out)["revoked"]["id"]) == (0, made["id"])
    code, out, err = await tickless(harness, "token", "revoke", "ci", environ=environ)
    assert (code, out) == (3, "")
    assert json.loads(err)["kind"] == "not_found"


async def test_on_a_terminal_the_secret_is_on_a_line_of_its_own(
    harness: Harness, environ: dict[str, str]
) -> None:
    answer = await command(
        harness, "token", "create", "phone", "--scope", "admin", terminal=True, environ=environ
    )
    assert answer.code == 0, answer
    assert re.search(rf"^token +{PREFIX}\S+$", answer.out, re.MULTILINE)
    assert "only now" in answer.err
    assert "never" in answer.out
    listed = await command(harness, "token", "list", terminal=True, environ=environ)
    assert "phone" in listed.out
    assert PREFIX not in listed.out


@pytest.mark.parametrize(
    ("arguments", "code", "kind", "field"),
    [
        (["create", "ci"], 2, "missing_field", "scope"),
        (["create", "ci", "--scope", "write"], 2, "invalid_field", "scope"),
        (["create", "c i", "--scope", "read"], 2, "invalid_field", "name"),
        (["create", "ci", "--scope", "read", "--expires", "soon"], 2, "invalid_field", "expires"),
        (["create", "ci", "--scope", "read", "--bind", "x"], 2, "invalid_field", "bind"),
        (["create", "ci", "--scope", "read", "--bind", "x=1"], 2, "unknown_field", "context.x"),
        (["revoke", "nobody"], 3, "not_found", "id"),
    ],
)
async def test_bad_commands(
    harness: Harness,
    environ: dict[str, str],
    arguments: list[str],
    code: int,
    kind: str,
    field: str,
) -> None:
    answer = await command(harness, "token", *arguments, environ=environ)
    assert answer.code == code
    assert (answer.problem["kind"], answer.problem["field"]) == (kind, field)


# ---- the gateway


@pytest.fixture
async def process(
    harness: Harness, environ: dict[str, str], tmp_path: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command in a process of its own; its log goes to a file."""
    with (tmp_path / "gateway.log").open("wb") as log:
        child = await asyncio.create_subprocess_exec(
            *(*COMMAND, "gateway"),
            env={**command_environment(harness), **environ},
            cwd=ROOT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def _url(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(60):
        line = (await process.stdout.readline()).decode()
    match = re.match(r"Serving HTTP at (http://127\.0\.0\.1:\d+), for ", line)
    assert match, line
    return match[1]


async def test_it_serves_and_ends_in_order(
    harness: Harness,
    environ: dict[str, str],
    process: asyncio.subprocess.Process,
    tmp_path: Path,
) -> None:
    url = await _url(process)
    code, out, err = await tickless(
        harness, "token", "create", "me", "--scope", "read,run", environ=environ
    )
    assert code == 0, err
    headers = {"Authorization": f"Bearer {json.loads(out)['token']}"}
    name = harness.name()
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as http:
        assert (await http.get("/healthz")).status_code == 200
        body = {"id": name, "prompt": f"Do {name}.", "trigger": {"type": "manual"}}
        assert (await http.post(f"{API}/routines", json=body)).status_code == 201
        started = await http.post(f"{API}/routines/{name}/trigger?wait=30s")
        assert started.json()["run"]["record"]["status"] == "ok", started.text
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            rest, _ = await process.communicate()
    assert process.returncode == 0
    assert rest.decode().splitlines()[-1] == "Stopped."
    log = (tmp_path / "gateway.log").read_text()
    assert "Traceback" not in log
    assert PREFIX not in log + rest.decode()


async def test_without_tokens_it_says_how_to_make_one(
    process: asyncio.subprocess.Process,
) -> None:
    url = await _url(process)
    assert process.stdout is not None
    assert b"tickless token create" in await process.stdout.readline()
    async with httpx.AsyncClient(base_url=url) as http:
        assert (await http.get(f"{API}/routines")).status_code == 401


@pytest.mark.parametrize(
    ("variables", "code", "kind", "field"),
    [
        ({"TICKLESS_GATEWAY__HOST": "0.0.0.0"}, 2, "missing_field", "gateway.tokens_file"),
        ({"TEMPORAL_ADDRESS": "127.0.0.1:1"}, 6, "unavailable", "temporal.address"),
        ({"TICKLESS_GATEWAY__ALERT_URL": "env:NOWHERE"}, 2, "missing_field", "gateway.alert_url"),
        ({"TICKLESS_GATEWAY__REQUESTS_PER_MINUTE": "0"}, 2, "invalid_field", "requests_per_minute"),
    ],
)
async def test_what_keeps_it_from_starting(
    harness: Harness,
    environ: dict[str, str],
    variables: dict[str, str],
    code: int,
    kind: str,
    field: str,
) -> None:
    ended, out, err = await tickless(harness, "gateway", environ={**environ, **variables})
    assert (ended, out) == (code, ""), err
    problem = json.loads(err)
    assert problem["kind"] == kind
    assert problem["field"].endswith(field)


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid"])
async def test_an_address_that_is_not_ours(
    harness: Harness, environ: dict[str, str], host: str
) -> None:
    made = await command(harness, "token", "create", "a", "--scope", "read", environ=environ)
    assert made.code == 0
    environ = {**environ, "TICKLESS_GATEWAY__HOST": host}
    ended, out, err = await tickless(harness, "gateway", environ=environ)
    assert (ended, out) == (2, ""), err
    assert json.loads(err)["field"] == "gateway.host"


def test_the_commands_load_nothing_heavy() -> None:
    import subprocess

    code = (
        "import sys, client.cli.gateway\n"
        "heavy = ('fastapi', 'uvicorn', 'prometheus_client', 'temporalio', 'pydantic')\n"
        "sys.exit(', '.join(name for name in heavy if name in sys.modules) or 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
