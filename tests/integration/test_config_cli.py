"""`tickless config` as a user runs it: a process of its own, its exit code, what it prints."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROGRAM = "from client.cli import main; main()"
SECRET = "sk-0123456789abcdef"


def _environ(home: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """Nothing of this machine but where Python is; a home folder of its own."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(home), **extra}


def _run(
    folder: Path, *arguments: str, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=folder,
        env=_environ(folder, environ or {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with settings that hold secrets and brackets."""
    (tmp_path / "temporal-dev.yaml").write_text(
        "failure_limit: 5\n"
        "openai_model: '[bold]x[/bold]'\n"
        f"models: [{{name: a, api_key: {SECRET}}}]\n"
        f"store: {{url: 'postgresql+psycopg://u:{SECRET}@h/d'}}\n"
    )
    return tmp_path


def test_json_where_no_terminal_is(folder: Path) -> None:
    result = _run(folder, "config", "show", environ={"TICKLESS_LOG__LEVEL": "debug"})
    assert (result.returncode, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert found["failure_limit"] == 5
    assert found["log"]["level"] == "debug"
    assert found["models"][0]["api_key"] == "**********"
    assert found["store"]["url"] == "postgresql+psycopg://u:**********@h/d"
    assert found["workspace"] == str(folder / ".tickless/workspace")
    assert SECRET not in result.stdout


def test_origins_in_json_and_yaml(folder: Path) -> None:
    environ = {"TICKLESS_LOG__LEVEL": "debug"}
    result = _run(folder, "config", "show", "--origin", environ=environ)
    found = json.loads(result.stdout)
    assert found["failure_limit"] == {"value": 5, "origin": "file temporal-dev.yaml:1"}
    assert found["log.level"] == {"value": "debug", "origin": "env TICKLESS_LOG__LEVEL"}
    assert found["gateway.port"]["origin"] == "default"
    printed = _run(folder, "config", "show", "--origin", "-o", "yaml", environ=environ).stdout
    assert yaml.safe_load(printed) == found
    assert SECRET not in printed


def test_yaml_can_be_read_back_as_settings(folder: Path) -> None:
    printed = _run(folder, "config", "show", "-o", "yaml")
    assert printed.returncode == 0
    (folder / "again.yaml").write_text(printed.stdout)
    again = _run(folder, "--config", "again.yaml", "config", "show", "-o", "yaml")
    assert again.stdout == printed.stdout


def test_a_table_when_asked_for(folder: Path) -> None:
    environ = {"COLUMNS": "200"}
    plain = _run(folder, "config", "show", "-o", "table", environ=environ).stdout
    assert "Origin" not in plain
    assert "[bold]x[/bold]" in plain
    with_origin = _run(folder, "config", "show", "-o", "table", "--origin", environ=environ).stdout
    line = next(line for line in with_origin.splitlines() if line.startswith("failure_limit"))
    assert line.split() == ["failure_limit", "5", "file", "temporal-dev.yaml:1"]
    assert SECRET not in with_origin


def test_a_table_on_a_terminal(folder: Path) -> None:
    ours, theirs = pty.openpty()
    environ = _environ(folder, {"TERM": "dumb", "COLUMNS": "200"})
    command = [sys.executable, "-c", PROGRAM, "config", "show"]
    with (
        os.fdopen(ours, "rb", buffering=0) as screen,
        subprocess.Popen(command, cwd=folder, env=environ, stdout=theirs) as process,
    ):
        os.close(theirs)
        printed = b""
        # Reading a terminal whose other end is closed is an error on Linux.
        while True:
            try:
                printed += screen.read(4096)
            except OSError:
                break
    assert process.returncode == 0
    lines = printed.decode().splitlines()
    assert lines[0].split() == ["Setting", "Value"]
    assert any(line.split() == ["failure_limit", "5"] for line in lines)


def test_the_schema_is_json_with_descriptions(tmp_path: Path) -> None:
    result = _run(tmp_path, "config", "schema")
    assert result.returncode == 0
    schema = json.loads(result.stdout)
    assert schema["properties"]["run_timeout_seconds"]["exclusiveMinimum"] == 0
    assert schema["properties"]["run_timeout_seconds"]["description"]


@pytest.mark.parametrize(
    ("arguments", "environ", "kind", "field"),
    [
        (["--config", "none.yaml"], {}, "invalid_field", "config"),
        ([], {"TICKLESS_CONFIG": "none.yaml"}, "invalid_field", "config"),
        ([], {"TICKLESS_RUN_TIMEOUT_SECONDS": "0"}, "invalid_field", "run_timeout_seconds"),
        ([], {"TICKLESS_RUN_TIMOUT": "1"}, "unknown_field", "run_timout"),
    ],
)
def test_bad_settings_are_a_problem_with_exit_code_2(
    folder: Path, arguments: list[str], environ: dict[str, str], kind: str, field: str
) -> None:
    result = _run(folder, *arguments, "config", "show", environ=environ)
    assert (result.returncode, result.stdout) == (2, "")
    problem = json.loads(result.stderr)
    assert (problem["kind"], problem["field"], problem["status"]) == (kind, field, 400)


def test_an_unknown_form_is_refused_by_name(folder: Path) -> None:
    result = _run(folder, "config", "show", "-o", "xml")
    assert result.returncode == 2
    assert "xml" in result.stderr


@pytest.mark.parametrize(
    ("text", "environ", "target", "origin"),
    [
        ("", {}, "profile:1", "profile default of Temporal"),
        ("temporal: {address: file:1}", {}, "file:1", "file temporal-dev.yaml:1"),
        ("", {"TEMPORAL_ADDRESS": "variable:1"}, "variable:1", "env TEMPORAL_ADDRESS"),
        (
            "",
            {"TICKLESS_TEMPORAL__ADDRESS": "ours:1"},
            "ours:1",
            "env TICKLESS_TEMPORAL__ADDRESS",
        ),
    ],
)
def test_the_default_profile_counts_where_nothing_names_an_address(
    tmp_path: Path, text: str, environ: dict[str, str], target: str, origin: str
) -> None:
    profiles = tmp_path / ".config/temporalio/temporal.toml"
    profiles.parent.mkdir(parents=True)
    profiles.write_text(f'[profile.default]\naddress = "profile:1"\napi_key = "{SECRET}"\n')
    (tmp_path / "temporal-dev.yaml").write_text(text)
    result = _run(tmp_path, "config", "show", "--origin", environ=environ)
    found = json.loads(result.stdout)
    assert found["temporal.address"] == {"value": target, "origin": origin}
    # The key goes with the profile's own server, or with a variable of Temporal's, as its tools do.
    is_sent = found["temporal.api_key"]["value"] is not None
    assert is_sent == ("profile" in origin or "TEMPORAL_ADDRESS" in environ)


def test_importing_the_command_loads_neither_pydantic_nor_yaml() -> None:
    code = (
        "import sys, importlib.util as u;"
        "import client.cli.config;"
        "print([m for m in ('pydantic', 'yaml', 'rich.table', 'temporalio') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.stdout.strip() == "[]", result.stderr
