"""From the settings to the tools of a worker."""

import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from activities.channels import build_channels
from activities.messenger import Messenger
from activities.store import open_store
from client.settings import load_settings
from domain.channels import FileChannel
from domain.errors import DomainError
from domain.tool_specs import Permission
from domain.tools import SandboxMode
from tests.support.harness import Harness
from tests.support.tools import Toolbox
from worker.tool_source import ToolSource, tool_source

# Those of triggers-and-actions.md §7 and §6 that this worker has.
BUILTIN = {
    "time_now", "file_read", "file_list", "file_search", "file_write", "file_patch", "json_query",
    "memory_search", "memory_write", "http_get", "http_request", "shell", "python_run",
    "message_send", "event_emit", "approval_list", "job_list", "job_get", "job_create",
    "job_message", "job_cancel", "routine_list", "routine_runs", "routine_create", "routine_update",
    "routine_delete", "routine_trigger", "goal_get", "goal_progress", "goal_delay", "goal_complete",
}  # fmt: skip


@asynccontextmanager
async def source(
    harness: Harness, folder: Path, environ: Mapping[str, str], **given: Any
) -> AsyncIterator[ToolSource]:
    config = folder / "settings.yaml"
    given["store"] = {"folder": str(folder)}
    given["workspace"] = str(folder / "workspace")
    config.write_text(json.dumps(given), encoding="utf-8")
    settings = load_settings(config, {}).settings
    channels = build_channels({"file": FileChannel()}, folder=folder, console=sys.stdout)
    async with await open_store(f"sqlite:///{folder / 'ledger.db'}") as store:
        messenger = Messenger(channels, "file")
        async with tool_source(harness.client, settings, environ, store, messenger) as found:
            yield found


async def test_a_worker_has_the_builtin_tools(harness: Harness, tmp_path: Path) -> None:
    async with source(harness, tmp_path, {}) as found:
        tools = {item.spec.name: item.spec for item in found.registry.all()}
        assert found.sandbox.mode is SandboxMode.DOCKER
    assert set(tools) >= BUILTIN
    attended = {name for name, spec in tools.items() if spec.attended_only}
    assert {
        "event_emit", "job_create", "routine_create", "routine_update", "routine_delete",
        "routine_trigger",
    } <= attended  # fmt: skip


async def test_a_server_gets_its_secrets_and_its_tools_are_listed(
    harness: Harness, tmp_path: Path
) -> None:
    (tmp_path / "says").write_text("Notes.", encoding="utf-8")
    server = {
        "name": "notes",
        "command": sys.executable,
        "args": ["-m", "tests.support.mcp_server", str(tmp_path / "says")],
        "folder": str(Path(__file__).parents[2]),
        "env": {"KEY": "env:NOTES_KEY"},
    }
    environ = {"NOTES_KEY": "hidden"}
    permissions = {"notes_note": "deny", "shell": "deny"}
    async with source(
        harness, tmp_path, environ, mcp_servers=[server], tool_permissions=permissions
    ) as found:
        listed = {item.name: item for item in found.registry.listing(None)}
        assert listed["notes_note"].permission is Permission.DENY
        assert listed["notes_pid"].permission is Permission.ASK
        box = Toolbox([item.tool for item in found.registry.all()])
        assert "KEY" in (await box.call("notes_environment")).split()


@pytest.mark.parametrize("mode", ["host", "off"])
async def test_the_sandbox_is_the_one_that_is_set(
    harness: Harness, tmp_path: Path, mode: str
) -> None:
    environ = {"PATH": os.environ["PATH"]}
    async with source(harness, tmp_path, environ, sandbox_mode=mode) as found:
        assert found.sandbox.mode == mode
        assert (await found.sandbox.ready()).ok == (mode == "host")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"tool_http_allowed_hosts": ["http://x/"]}, "tool_http_allowed_hosts"),
        (
            {"mcp_servers": [{"name": "x", "command": "x", "env": {"A": "env:NOT_SET"}}]},
            "mcp_servers.0.env.A",
        ),
        ({"mcp_servers": [{"name": "x"}]}, "mcp_servers.0"),
        ({"sandbox_mode": "podman"}, "sandbox_mode"),
        ({"tool_permissions": {"fly": "deny"}}, "tool_permissions"),
    ],
)
async def test_a_setting_that_cannot_work_keeps_the_worker_from_starting(
    harness: Harness, tmp_path: Path, given: dict[str, Any], field: str
) -> None:
    with pytest.raises(DomainError) as refused:
        async with source(harness, tmp_path, {}, **given):
            pass
    assert refused.value.field.startswith(field)
