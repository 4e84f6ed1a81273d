"""Webhooks through outages, what is left of their secrets, and their flags."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus

from client.sealing import KEY_FILE, create_key_file
from tests.support.gateway import API, assert_problem, gateway_under_test
from tests.support.harness import Harness, running_harness, running_server
from tests.support.webhooks import HOOKS, OPEN, ROTATED, SECRET, hook, signed
from tests.support.worker_process import tickless as tickless_command

# Outages and secrets


async def test_accepted_without_a_worker_and_run_when_one_is_back(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        overrides: Any = {"TICKLESS_WEBHOOKS_ENABLED": "true"}
        create_key_file(tmp_path / KEY_FILE)
        async with running_harness(tmp_path, server, **overrides) as harness:
            name = await hook(harness.tickless, harness)
        async with (
            running_harness(tmp_path, server, queues=(), **overrides) as harness,
            gateway_under_test(harness) as gateway,
            gateway.client("") as sender,
        ):
            headers = signed(b"{}", "alone")
            answer = await sender.post(f"{HOOKS}/{name}", content=b"{}", headers=headers)
            assert answer.status_code == 202, answer.text
            run = answer.json()["run_id"]
        async with running_harness(tmp_path, server, **overrides) as harness:
            assert (await harness.tickless.runs.wait(run)).record.status == "ok"
            client = harness.client
    # The server is gone.
    gone = Harness(**{**vars(harness), "client": client})
    async with gateway_under_test(gone) as gateway, gateway.client("") as sender:
        answer = await sender.post(f"{HOOKS}/{name}", content=b"{}", headers=headers)
    assert_problem(answer, 503, "unavailable", "temporal")
    assert answer.headers["retry-after"] == "5"


async def test_no_literal_is_anywhere_behind_the_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    database = tmp_path / "temporal.db"
    async with (
        running_server(tmp_path, db_file=database) as server,
        running_harness(tmp_path, server, TICKLESS_WEBHOOKS_ENABLED="true") as harness,
    ):
        create_key_file(tmp_path / KEY_FILE)
        seen: list[str] = []
        async with gateway_under_test(harness) as gateway, gateway.client() as admin:
            trigger: dict[str, Any] = {"type": "webhook", "secret": SECRET}
            body = {"id": "hidden", "prompt": "Do it.", "trigger": trigger, "guardrails": OPEN}
            key = {"Idempotency-Key": "k"}
            for answer in (
                await admin.post(f"{API}/routines", json=body, headers=key),
                await admin.post(f"{API}/routines", json=body, headers=key),
            ):
                assert answer.status_code == 201, answer.text
                seen.append(answer.text)
            trigger["secret"] = [{"set": True}, ROTATED]
            patched = await admin.patch(f"{API}/routines/hidden", json={"trigger": trigger})
            assert patched.status_code == 200, patched.text
            misspelt = {"trigger": {**trigger, "secrets": SECRET}}
            refused = await admin.patch(f"{API}/routines/hidden", json=misspelt)
            assert_problem(refused, 400, "unknown_field", "trigger.secrets")
            short = {"trigger": {"type": "webhook", "secret": SECRET[:15]}}
            refused = await admin.patch(f"{API}/routines/hidden", json=short)
            assert_problem(refused, 400, "invalid_field", "trigger.secret", "16")
            sealed = {"trigger": {"type": "webhook", "secret": {"sealed": "v1.a.b"}}}
            refused = await admin.patch(f"{API}/routines/hidden", json=sealed)
            assert_problem(refused, 400, "invalid_field", "trigger.secret")
            answers = [
                await admin.post(
                    f"{HOOKS}/hidden", content=b"{}", headers=signed(b"{}", f"id-{n}", secret)
                )
                for n, secret in enumerate((SECRET, ROTATED, "wrong" * 5))
            ]
            assert [answer.status_code for answer in answers[:2]] == [202, 202]
            assert answers[2].status_code == 401
            for answer in answers[:2]:
                await harness.tickless.runs.wait(answer.json()["run_id"])
            listed = await admin.get(f"{API}/routines")
            got = await admin.get(f"{API}/routines/hidden")
            seen += [patched.text, refused.text, listed.text, got.text]
        executions = [item async for item in harness.client.list_workflows("")]
        assert {item.status for item in executions} >= {
            WorkflowExecutionStatus.RUNNING,
            WorkflowExecutionStatus.COMPLETED,
        }
        for item in executions:
            handle = harness.client.get_workflow_handle(item.id, run_id=item.run_id)
            history = await handle.fetch_history()
            seen.append("".join(str(event) for event in history.events))
            seen.append(str(await item.memo()) + str(item.typed_search_attributes))
        assert any("sealed" in text for text in seen)
    out, err = capfd.readouterr()
    seen += [out, err, caplog.text]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]  # noqa: ASYNC240 - all is over
    assert database in files
    found = "\n".join(seen).encode() + b"\n".join(path.read_bytes() for path in files)
    for literal in (SECRET, ROTATED, SECRET[:15]):
        for form in (literal.encode(), base64.b64encode(literal.encode()).rstrip(b"=")[:-1]):
            assert form not in found, literal


# The command line


async def test_the_flags_of_a_webhook(harness: Harness) -> None:
    name = harness.name()
    flags = ("--webhook", f"cli-{name}", "--secret", "env:WEBHOOK_SECRET_A", "--scheme", "github")
    code, out, err = await tickless_command(
        harness, "routine", "create", name, "--prompt", "x", *flags, "-o", "json"
    )
    assert code == 0, err
    assert json.loads(out)["routine"]["trigger"] == {
        "type": "webhook",
        "path": f"cli-{name}",
        "secret": {"env": "WEBHOOK_SECRET_A"},
        "scheme": "github",
        "allow_unsigned": False,
    }
    code, _, err = await tickless_command(
        harness, "routine", "patch", name, "--webhook", "-", "--allow-unsigned"
    )
    assert code == 0, err
    trigger = (await harness.tickless.routines.get(name)).routine.trigger.model_dump()
    assert (trigger["path"], trigger["secret"], trigger["allow_unsigned"]) == (None, None, True)
    literal = ("--webhook", "-", "--secret", SECRET)
    code, _, err = await tickless_command(harness, "routine", "patch", name, *literal)
    assert (code, "sealing_key" in err, SECRET in err) == (2, True, False)
