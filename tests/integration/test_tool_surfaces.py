"""Tools and their calls, as the command line and the HTTP API show them."""

import json
from typing import Any

import pytest

from client.context import CallerContext
from client.tickless import TicklessClient
from domain.errors import DomainError, ErrorKind
from domain.run_view import RunView
from tests.support.command import command
from tests.support.gateway import API, assert_problem, gateway_under_test
from tests.support.harness import Harness
from tests.support.model_steps import Reply
from tests.support.tool_runs import asks, run_with


async def run_of_two_calls(harness: Harness) -> RunView:
    """A run that has called a tool rightly, and another wrongly."""
    calls = asks(("time_now", {"timezone": "UTC"}), ("no_such", {"password": "hunter2"}))
    return await run_with(harness, calls, Reply("Noon."))


async def test_tools_are_listed(harness: Harness) -> None:
    found = (await command(harness, "tool", "list")).json["tools"]
    by_name = {item["name"]: item for item in found}
    assert list(by_name) == sorted(by_name)
    assert by_name["time_now"]["permission"] == "allow"
    assert by_name["time_now"]["available"] is True
    assert (by_name["file_write"]["permission"], by_name["file_write"]["source"]) == (
        "ask",
        "builtin",
    )
    table = await command(harness, "tool", "list", terminal=True)
    assert "time_now" in table.out

    async with gateway_under_test(harness, "tools") as running, running.client() as http:
        assert (await http.get(f"{API}/tools")).json() == {"tools": found}


async def test_calls_of_a_run_are_shown(harness: Harness) -> None:
    view = await run_of_two_calls(harness)
    run = view.record.id

    shown = (await command(harness, "run", "get", run, "--actions")).json["actions"]
    assert [(item["tool"], item["status"], item["error"]) for item in shown] == [
        ("time_now", "ok", None),
        ("no_such", "rejected", "unknown_tool"),
    ]
    assert "hunter2" not in json.dumps(shown)
    table = await command(harness, "run", "get", run, "--actions", terminal=True)
    assert '1 time_now {"timezone": "UTC"}: ok in ' in table.out
    assert "no_such" in table.out
    assert "actions" not in (await command(harness, "run", "get", run)).json

    path = f"{API}/runs/{run.replace('/', '%2F')}/actions"
    async with gateway_under_test(harness, "actions") as running, running.client() as http:
        page = (await http.get(path)).json()
        assert (page["actions"], page["more"]) == (shown, False)
        first = (await http.get(path, params={"limit": 1})).json()
        assert (first["actions"], first["more"]) == (shown[:1], True)
        rest = (await http.get(path, params={"after": 1})).json()
        assert rest["actions"] == shown[1:]
        nobody = await http.get(f"{API}/runs/nobody%2Fm-1/actions")
        assert_problem(nobody, 404, "not_found", "id")
        wrong = await http.get(path, params={"limit": 0})
        assert_problem(wrong, 400, "invalid_field", "limit")
    context = CallerContext(actor_user_id="somebody-else", receive_id_type="file")
    other = TicklessClient(harness.client, context)
    with pytest.raises(DomainError) as caught:
        await other.audit.actions(run_id=run)
    assert caught.value.kind is ErrorKind.NOT_FOUND


async def test_a_run_that_called_nothing_has_no_calls(harness: Harness) -> None:
    view = await harness.run_once(await harness.routine(Reply("Hello.")))
    assert (await command(harness, "run", "get", view.record.id, "--actions")).json["actions"] == []


async def test_the_audit_is_exported(harness: Harness) -> None:
    view = await run_of_two_calls(harness)
    answer = await command(harness, "audit", "export")
    rows = [json.loads(line) for line in answer.out.splitlines()]
    assert answer.code == 0
    assert answer.err == f"{len(rows)} rows\n"
    ours = [row for row in rows if view.record.id in {row.get("run_id"), row["id"]}]
    tables = [row["table"] for row in ours]
    assert tables == ["runs", "job_actions", "job_actions", "llm_calls", "llm_calls"]
    assert "hunter2" not in answer.out

    only = await command(harness, "audit", "export", "--table", "runs")
    assert {json.loads(line)["table"] for line in only.out.splitlines()} == {"runs"}
    wrong = await command(harness, "audit", "export", "--table", "secrets")
    assert (wrong.code, wrong.problem["kind"], wrong.problem["field"]) == (
        2,
        "invalid_field",
        "tables",
    )
    assert "job_actions" in wrong.problem["detail"]


async def test_pages_of_an_export_meet(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    await run_of_two_calls(harness)
    whole = [row async for row in harness.tickless.audit.export(["llm_calls"])]
    monkeypatch.setattr("client.audit._PAGE", max(1, len(whole) // 4))
    paged = [row["id"] async for row in harness.tickless.audit.export(["llm_calls"])]
    # Routines of other tests may fire meanwhile.
    assert paged[: len(whole)] == [row["id"] for row in whole]
    assert len(set(paged)) == len(paged) >= 2


async def test_tools_that_do_not_exist_cannot_be_allowed(harness: Harness) -> None:
    name = harness.name()
    body: dict[str, Any] = {"prompt": "x", "trigger": {"type": "manual"}}
    limits = {"guardrails": {"allowed_tools": ["time_now", "time_nwo"]}}
    with pytest.raises(DomainError) as caught:
        await harness.tickless.routines.create(body | limits, name=name)
    error = caught.value
    assert (error.kind, error.field) == (ErrorKind.INVALID_FIELD, "guardrails.allowed_tools")
    assert "'time_nwo'" in error.message
    assert "time_now" in error.accepted
    with pytest.raises(DomainError, match=name):
        await harness.tickless.routines.get(name)

    await harness.tickless.routines.create(body, name=name)
    with pytest.raises(DomainError, match="time_nwo"):
        await harness.tickless.routines.patch(name, limits)
    assert (await harness.tickless.routines.get(name)).routine.guardrails.allowed_tools is None
