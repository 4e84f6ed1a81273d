"""Jobs and approvals over HTTP: start, wait, steer, decide, list; and what is refused."""

import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.gateway import API, GatewayUnderTest, assert_problem, gateway_under_test
from tests.support.harness import Harness, until
from tests.support.jobs import calls, said
from tests.support.model_steps import Behaviour, Reply

JOBS, APPROVALS = f"{API}/jobs", f"{API}/approvals"


@pytest.fixture(scope="module")
async def gateway(harness: Harness) -> AsyncIterator[GatewayUnderTest]:
    async with gateway_under_test(harness, "gateway-jobs") as running:
        yield running


@pytest.fixture
async def http(gateway: GatewayUnderTest, harness: Harness) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an actor of its own, so that nobody else's jobs are listed."""
    async with gateway.client(X_Tickless_Actor_User_Id=harness.name()) as client:
        yield client


def job_body(harness: Harness, *steps: Behaviour) -> dict[str, Any]:
    mark = harness.name()
    harness.scripts.on(mark, *steps)
    return {"title": "T", "description": f"Do {mark}."}


def write(harness: Harness) -> tuple[str, str]:
    """A call that asks, to a file that nobody else writes."""
    return ("file_write", f'{{"path": "{harness.name()}.txt", "content": "x"}}')


async def asked(http: httpx.AsyncClient, url: str) -> str:
    """The address of the approval that a job waits for."""
    job: dict[str, Any] = {}

    async def waits() -> bool:
        job.update((await http.get(url)).json())
        return bool(job["status"] == "waiting_approval")

    await until(waits, "it waits for an approval")
    (approval,) = job["approvals"]
    return f"{APPROVALS}/{approval}"


async def test_a_job_with_an_approval(http: httpx.AsyncClient, harness: Harness) -> None:
    body = job_body(harness, calls(write(harness)), said("Written."))
    key = {"Idempotency-Key": harness.name()}
    accepted = await http.post(JOBS, json=body, headers=key)
    assert accepted.status_code == 202, accepted.text
    started = accepted.json()
    url = started["status_url"]
    assert url == accepted.headers["location"] == f"{JOBS}/{started['job_id']}"
    assert (started["workflow_id"], started["duplicate"]) == (f"job/{started['job_id']}", False)
    again = (await http.post(JOBS, json=body, headers=key)).json()
    assert (again["job_id"], again["duplicate"]) == (started["job_id"], True)
    other = await http.post(JOBS, json={**body, "title": "U"}, headers=key)
    assert_problem(other, 409, "conflict", "idempotency_key")
    address = await asked(http, url)

    listed = (await http.get(APPROVALS, params={"status": "pending"})).json()
    (approval,) = listed["approvals"]
    assert (address, approval["job_id"]) == (f"{APPROVALS}/{approval['id']}", started["job_id"])
    job = (await http.get(url)).json()
    assert (job["stage"], job["waiting_for"]) == ("waiting for an approval", "approval")
    bad = await http.post(f"{address}/decision", json={"decision": "maybe"})
    assert_problem(bad, 400, "invalid_field", "decision", "approve", "deny")
    wrong = {"decision": "approve", "digest": "0"}
    refused = await http.post(f"{address}/decision", json=wrong)
    assert_problem(refused, 409, "conflict", "digest", "digest")
    long = await http.post(f"{address}/extend", json={"seconds": 2_592_000})
    assert_problem(long, 400, "invalid_field", "seconds", "30 days")
    longer = (await http.post(f"{address}/extend", json={"seconds": 60})).json()
    # Told as the job has it, however far the ledger is.
    assert (await http.get(address)).json()["expires_at"] == longer["expires_at"]
    assert longer["expires_at"] > approval["expires_at"]

    yes = {"decision": "approve", "digest": approval["digest"], "reason": "go on"}
    decided = await http.post(f"{address}/decision", json=yes)
    assert decided.status_code == 200, decided.text
    assert (decided.json()["status"], decided.json()["reason"]) == ("approved", "go on")
    assert (await http.get(APPROVALS, params={"status": "pending"})).json()["count"] == 0
    ended = (await http.get(url, params={"wait": "30s"})).json()
    assert (ended["status"], ended["result"], ended["stage"]) == ("completed", "Written.", "ended")
    assert (await http.post(f"{address}/decision", json=yes)).json()["status"] == "consumed"
    no = await http.post(f"{address}/decision", json={"decision": "deny"})
    assert_problem(no, 409, "conflict", "status", "consumed")
    late = await http.post(f"{address}/decision", json={**yes, "digest": "0"})
    assert_problem(late, 409, "conflict", "digest", "digest")
    actions = (await http.get(f"{url}/actions")).json()["actions"]
    assert [(item["tool"], item["status"], item["approval_id"]) for item in actions] == [
        ("file_write", "ok", approval["id"])
    ]


async def test_a_denied_call_is_told_to_the_model(
    http: httpx.AsyncClient, harness: Harness
) -> None:
    body = job_body(harness, calls(write(harness)), said("Then not."))
    url = (await http.post(JOBS, json=body)).json()["status_url"]
    address = await asked(http, url)
    no = {"decision": "deny", "reason": "not today"}
    assert (await http.post(f"{address}/decision", json=no)).json()["status"] == "denied"
    assert (await http.get(url, params={"wait": "30s"})).json()["result"] == "Then not."
    assert (await http.post(f"{address}/decision", json={"decision": "deny"})).json()[
        "reason"
    ] == "not today"
    last = [c.body for c in harness.models.calls if body["description"] in str(c.body)][-1]
    assert "denied: not today" in str(last["messages"])
    always = {"decision": "approve", "always": True}
    assert_problem(
        await http.post(f"{address}/decision", json=always), 409, "conflict", "status", "denied"
    )


async def test_a_job_is_steered_and_ended(http: httpx.AsyncClient, harness: Harness) -> None:
    gate = threading.Event()
    body = job_body(harness, Reply(text="Soon.", gate=gate), said("Quick."))
    url = (await http.post(JOBS, json=body)).json()["status_url"]
    job_id = url.rpartition("/")[2]

    async def listed() -> bool:
        jobs = (await http.get(JOBS, params={"status": "running"})).json()["jobs"]
        return [job["id"] for job in jobs] == [job_id]

    await until(listed, "it is listed as running")
    await harness.models.wait_for(
        lambda: any(body["description"] in str(call.body) for call in harness.models.calls)
    )
    assert (await http.post(f"{url}/pause")).status_code == 200
    assert (await http.post(f"{url}/resume", json={})).json()["status"] == "running"
    key = {"Idempotency-Key": "one"}
    for _ in range(2):
        told = await http.post(f"{url}/messages", json={"text": "Be quick."}, headers=key)
        assert (told.status_code, told.json()["messages"]) == (202, 1)
    other = await http.post(f"{url}/messages", json={"text": "Take your time."}, headers=key)
    assert_problem(other, 409, "conflict", "idempotency_key", "another text")
    gate.set()
    assert (await http.get(url, params={"wait": "30s"})).json()["result"] == "Quick."
    for verb, sent in (("pause", {}), ("resume", {}), ("cancel", {}), ("messages", {"text": "x"})):
        late = await http.post(f"{url}/{verb}", json=sent)
        assert_problem(late, 409, "conflict", "status", "completed")

    body = job_body(harness, calls(write(harness)))
    second = (await http.post(JOBS, json=body)).json()["status_url"]
    address = await asked(http, second)
    ended = (await http.post(f"{second}/cancel", json={"reason": "enough"})).json()
    assert (ended["status"], ended["error"]) == ("cancelled", "enough")
    assert (await http.get(second)).json() == ended
    assert (await http.post(f"{second}/cancel")).json()["status"] == "cancelled"
    assert (await http.get(address)).json()["status"] == "stale"
    late = await http.post(f"{address}/decision", json={"decision": "approve"})
    assert_problem(late, 409, "conflict", "status", "stale")
    assert_problem(
        await http.post(f"{address}/extend", json={"seconds": 1}), 409, "conflict", "status"
    )


async def test_a_job_that_somebody_terminated(http: httpx.AsyncClient, harness: Harness) -> None:
    url = (await http.post(JOBS, json=job_body(harness, calls(write(harness))))).json()[
        "status_url"
    ]
    address = await asked(http, url)
    await harness.client.get_workflow_handle(f"job/{url.rpartition('/')[2]}").terminate()
    ended = (await http.get(url, params={"wait": "30s"})).json()
    assert (ended["status"], ended["error"][:4]) == ("failed", "lost")
    assert (await http.get(address)).json()["status"] == "stale"
    (listed,) = (await http.get(JOBS)).json()["jobs"]
    assert listed["status"] == "failed"
    late = await http.post(f"{url}/pause")
    assert_problem(late, 409, "conflict", "status", "failed")


async def test_lists_are_of_one_scope_and_have_pages(
    gateway: GatewayUnderTest, http: httpx.AsyncClient, harness: Harness
) -> None:
    ends = [job_body(harness, said(f"Done {number}.")) for number in range(3)]
    waits = job_body(harness, calls(write(harness)), said("Done."))
    started = [
        (await http.post(JOBS, json=body, params={"wait": "30s"})).json() for body in ends[:2]
    ]
    assert [job["job"]["result"] for job in started] == ["Done 0.", "Done 1."]
    started.append((await http.post(JOBS, json=waits)).json())
    started.append((await http.post(JOBS, json=ends[2])).json())
    ids = [job["job_id"] for job in started]
    # Right after the answer: the new ones are open and maybe not in the ledger yet.
    first = (await http.get(JOBS, params={"limit": 3})).json()
    assert [job["id"] for job in first["jobs"]] == ids[:0:-1]
    second = (await http.get(JOBS, params={"limit": 3, "cursor": first["next_cursor"]})).json()
    assert ([job["id"] for job in second["jobs"]], second["next_cursor"]) == (ids[:1], None)
    address = await asked(http, started[2]["status_url"])
    async with gateway.client() as stranger:
        for url in (started[2]["status_url"], address):
            problem = assert_problem(await stranger.get(url), 404, "not_found", "id")
            assert problem["detail"] == url.rpartition("/")[2]
        for verb, body in (("cancel", {}), ("messages", {"text": "x"}), ("pause", {})):
            answer = await stranger.post(f"{started[2]['status_url']}/{verb}", json=body)
            assert_problem(answer, 404, "not_found", "id")
        answer = await stranger.post(f"{address}/decision", json={"decision": "deny"})
        assert_problem(answer, 404, "not_found", "id")
        assert_problem(
            await stranger.get(f"{started[2]['status_url']}/actions"), 404, "not_found", "id"
        )
        listed = (await stranger.get(JOBS, params={"limit": 200})).json()["jobs"]
        assert not set(ids) & {job["id"] for job in listed}
    assert (await http.get(address)).json()["status"] == "pending"
    await http.post(f"{started[2]['status_url']}/cancel")


async def test_scopes_of_tokens(gateway: GatewayUnderTest, harness: Harness) -> None:
    async with gateway.client(gateway.secrets["run"]) as runner:
        url = (await runner.post(JOBS, json=job_body(harness, calls(write(harness))))).json()[
            "status_url"
        ]
        for where in (JOBS, url, f"{url}/actions", APPROVALS):
            assert_problem(await runner.get(where), 403, "permission_denied", "scope", "read")
        waits = await runner.post(JOBS, json=job_body(harness), params={"wait": "1s"})
        assert_problem(waits, 403, "permission_denied", "scope", "read")
    async with gateway.client(gateway.secrets["read"]) as reader:
        address = await asked(reader, url)
        for refused in (
            await reader.post(JOBS, json={}),
            await reader.post(f"{url}/pause"),
            await reader.post(f"{url}/messages", json={"text": "x"}),
        ):
            assert_problem(refused, 403, "permission_denied", "scope", "run")
    yes = {"decision": "approve"}
    for scope in ("read", "run"):
        async with gateway.client(gateway.secrets[scope]) as other:
            for verb, body in (("decision", yes), ("extend", {"seconds": 1})):
                refused = await other.post(f"{address}/{verb}", json=body)
                assert_problem(refused, 403, "permission_denied", "scope", "approve")
    async with gateway.client(gateway.secrets["approve"]) as approver:
        decided = await approver.post(f"{address}/decision", json=yes)
        assert decided.json()["status"] == "approved"


@pytest.mark.parametrize(
    ("path", "body", "kind", "field", "words"),
    [
        (JOBS, {}, "missing_field", "title", ()),
        (
            JOBS,
            {"title": "t", "description": "d", "max_iterations": 501},
            "invalid_field",
            "max_iterations",
            ("500",),
        ),
        (
            JOBS,
            {"title": "t", "description": "d", "guardrails": {"allowed_tools": ["no_such"]}},
            "invalid_field",
            "guardrails.allowed_tools",
            ("no_such",),
        ),
        (f"{APPROVALS}/approval_x/decision", {}, "missing_field", "decision", ("approve",)),
        (f"{APPROVALS}/approval_x/decision", {"say": 1}, "unknown_field", "say", ("decision",)),
        (f"{APPROVALS}/approval_x/extend", {"seconds": "1"}, "invalid_field", "seconds", ()),
        (f"{JOBS}/job_x/messages", {}, "missing_field", "text", ()),
        (f"{JOBS}/job_x/cancel", {"reason": 5}, "invalid_field", "reason", ()),
        (f"{JOBS}/job_x/pause", {"now": True}, "unknown_field", "now", ()),
    ],
)
async def test_what_is_wrong_with_a_body(
    http: httpx.AsyncClient,
    path: str,
    body: dict[str, Any],
    kind: str,
    field: str,
    words: tuple[str, ...],
) -> None:
    assert_problem(await http.post(path, json=body), 400, kind, field, *words)


async def test_what_there_is_not(http: httpx.AsyncClient) -> None:
    for path in (f"{JOBS}/job_x", f"{JOBS}/nothing", f"{APPROVALS}/approval_x", f"{APPROVALS}/x"):
        problem = assert_problem(await http.get(path), 404, "not_found", "id")
        assert problem["detail"] == path.rpartition("/")[2]
    yes = {"decision": "approve"}
    answer = await http.post(f"{APPROVALS}/approval_x/decision", json=yes)
    assert_problem(answer, 404, "not_found", "id")
    for path in (JOBS, APPROVALS):
        bad = await http.get(path, params={"status": "x"})
        assert_problem(bad, 400, "invalid_field", "status", "pending")
        bad = await http.get(path, params={"limit": 0})
        assert_problem(bad, 400, "invalid_field", "limit", "200")
    assert_problem(await http.get(JOBS, params={"cursor": "?"}), 400, "invalid_field", "cursor")
