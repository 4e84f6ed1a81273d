"""`tickless job …` and `tickless approval …`, and what the library refuses."""

import json
import threading
from pathlib import Path

import pytest

from domain.errors import DomainError
from tests.support.command import command
from tests.support.gateway import API, gateway_under_test
from tests.support.harness import Harness, running_harness, running_server, until
from tests.support.jobs import calls, said
from tests.support.model_steps import Reply

WRITE = ("file_write", '{"path": "cli.txt", "content": "x"}')


async def test_a_job_from_its_creation_to_its_audit(harness: Harness) -> None:
    mark = harness.name()
    harness.scripts.on(mark, calls(("time_now", "{}")), said("It is late."))
    flags = ("--title", "Clock", "--description", f"Do {mark}.", "--max-iterations", "3")
    ended = (await command(harness, "job", "create", *flags, "--wait")).json
    assert (ended["status"], ended["result"]) == ("completed", "It is late.")
    assert ended["description"] == f"Do {mark}."
    listed = (await command(harness, "job", "list", "--status", "completed")).json
    assert ended["id"] in [item["id"] for item in listed["jobs"]]
    called = (await command(harness, "job", "actions", ended["id"])).json
    assert [item["tool"] for item in called["actions"]] == ["time_now"]
    table = await command(harness, "job", "get", ended["id"], terminal=True)
    assert "completed" in table.out
    late = await command(harness, "job", "send", ended["id"], "Hello?")
    assert (late.code, late.problem["kind"], late.problem["field"]) == (5, "conflict", "status")
    assert "completed" in late.problem["detail"]


async def test_a_job_is_paused_steered_and_cancelled(harness: Harness) -> None:
    mark, gate = harness.name(), threading.Event()
    harness.scripts.on(mark, Reply(text="Soon.", gate=gate))
    body = {"title": "T", "description": f"Do {mark}."}
    started = await harness.tickless.jobs.create(body, idempotency_key=mark)
    again = await harness.tickless.jobs.create(body, idempotency_key=mark)
    assert (again.job_id, again.duplicate) == (started.job_id, True)
    with pytest.raises(DomainError) as other:
        await harness.tickless.jobs.create({**body, "title": "U"}, idempotency_key=mark)
    assert other.value.field == "idempotency_key"
    await harness.models.wait_for(lambda: any(mark in str(c.body) for c in harness.models.calls))
    job = started.job_id
    assert (await command(harness, "job", "send", job, "Be quick.")).json["id"] == job
    assert (await command(harness, "job", "pause", job)).json["status"] == "running"
    assert (await command(harness, "job", "resume", job)).json["status"] == "running"
    for _ in range(2):
        assert (await command(harness, "job", "cancel", job)).json["status"] == "cancelled"
    gate.set()


async def test_commands_on_the_host_are_shown_on_every_job(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path) as server,
        running_harness(tmp_path, server, TICKLESS_SANDBOX_MODE="host") as harness,
    ):
        mark, gate = harness.name(), threading.Event()
        harness.scripts.on(mark, Reply(text="Done.", gate=gate))
        created = await harness.tickless.jobs.create({"title": "T", "description": f"Do {mark}."})
        await harness.models.wait_for(lambda: bool(harness.models.calls))
        async with gateway_under_test(harness, "host") as running, running.client() as http:
            for status in ("running", "completed"):
                job = (await command(harness, "job", "get", created.job_id)).json
                assert (job["status"], job["sandbox_mode"]) == (status, "host")
                listed = (await command(harness, "job", "list")).json["jobs"]
                assert [item["sandbox_mode"] for item in listed] == ["host"]
                shown = await command(harness, "job", "get", created.job_id, terminal=True)
                assert "on the worker's machine" in shown.out
                table = await command(harness, "job", "list", terminal=True)
                assert "SANDBOX" in table.out
                answer = await http.get(f"{API}/jobs/{created.job_id}")
                assert answer.json()["sandbox_mode"] == "host"
                gate.set()
                await harness.tickless.jobs.wait(created.job_id)
        checks = (await command(harness, "doctor")).json["checks"]
        (sandbox,) = [check for check in checks if check["check"] == "sandbox"]
        assert sandbox["health"] == "warning"
        assert "worker's machine" in json.dumps(sandbox)


async def test_approvals_are_listed_and_decided(harness: Harness) -> None:
    mark = harness.name()
    harness.scripts.on(mark, calls(WRITE), said("Written."))
    started = await harness.tickless.jobs.create({"title": "W", "description": f"Do {mark}."})

    async def asked() -> bool:
        listed = await harness.tickless.approvals.list(status="pending")
        return started.job_id in [item.job_id for item in listed.approvals]

    await until(asked, "an approval is asked for")
    listed = (await command(harness, "approval", "list", "--status", "pending")).json
    (approval,) = [item for item in listed["approvals"] if item["job_id"] == started.job_id]
    key = approval["id"]
    assert approval["arguments"] == {"path": "cli.txt", "content": "x"}
    longer = (await command(harness, "approval", "extend", key, "3600")).json
    assert longer["expires_at"] > approval["expires_at"]
    wrong = await command(harness, "approval", "approve", key, "--digest", "0")
    assert (wrong.problem["kind"], wrong.problem["field"]) == ("conflict", "digest")
    decided = (await command(harness, "approval", "approve", key)).json
    assert (decided["status"], decided["decided_by"]) == ("approved", "me")
    ended = await harness.tickless.jobs.wait(started.job_id)
    assert (ended.status, ended.result) == ("completed", "Written.")
    assert (await command(harness, "approval", "approve", key)).json["status"] == "consumed"
    late = await command(harness, "approval", "deny", key)
    assert (late.code, late.problem["field"]) == (5, "status")
    assert (await command(harness, "approval", "get", key)).json["status"] == "consumed"


@pytest.mark.parametrize(
    ("arguments", "kind", "field", "code"),
    [
        (("job", "create", "{}"), "missing_field", "title", 2),
        (
            ("job", "create", '{"title":"t","description":"d","promt":1}'),
            "unknown_field",
            "promt",
            2,
        ),
        (
            ("job", "create", '{"title":"t","description":"d","max_iterations":501}'),
            "invalid_field",
            "max_iterations",
            2,
        ),
        (("job", "get", "job_x"), "not_found", "id", 3),
        (("job", "list", "--status", "x"), "invalid_field", "status", 2),
        (("approval", "approve", "approval_x"), "not_found", "id", 3),
        (("approval", "list", "--status", "x"), "invalid_field", "status", 2),
        (("approval", "extend", "approval_x", "soon"), "invalid_field", "seconds", 2),
        (("job", "send", "job_x", " "), "missing_field", "text", 2),
    ],
)
async def test_what_is_refused(
    harness: Harness, arguments: tuple[str, ...], kind: str, field: str, code: int
) -> None:
    answer = await command(harness, *arguments)
    assert (answer.code, answer.problem["kind"], answer.problem["field"]) == (code, kind, field)
