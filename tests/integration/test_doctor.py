"""`tickless doctor`: each thing it looks at, when it is right and when it is not."""

import json
import os
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client

from activities.search_attributes import TYPES
from client.doctor import Finding, Health, examine
from client.settings import load_settings
from domain.identifiers import SERVED_QUEUES
from tests.support.command import command, run_command
from tests.support.harness import Harness, running_server, until
from worker.temporal_server import DevServer

OK, WARNING, FAILED = Health.OK, Health.WARNING, Health.FAILED


@pytest.fixture(scope="module")
async def bare_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[DevServer]:
    """A server as it comes: no search attributes, no flags, nobody who works."""
    folder = tmp_path_factory.mktemp("bare")
    async with running_server(folder, search_attributes={}, dynamic_config={}) as server:
        yield server


async def findings(folder: Path, environ: Mapping[str, str]) -> dict[str, Finding]:
    """What doctor finds, by check, in a folder with nothing but these variables."""
    config = folder / "settings.yaml"
    config.touch()
    settings = load_settings(config, environ).settings
    return {finding.check: finding for finding in await examine(settings, environ)}


async def model_finding(folder: Path, **model: str) -> Finding:
    """What doctor finds of one model; without a server, so the rest is quick."""
    given = {f"TICKLESS_MODELS__0__{key.upper()}": value for key, value in model.items()}
    found = await findings(folder, {"TEMPORAL_ADDRESS": "127.0.0.1:1", **given})
    return found[f"model openai/{model.get('name', 'default')}"]


async def test_where_all_is_right_it_says_so(harness: Harness) -> None:
    async def healthy() -> bool:
        return (await command(harness, "doctor")).code == 0

    await until(healthy, "the workers have asked for work")
    report = (await command(harness, "doctor")).json

    assert report["healthy"] is True
    assert report["target"] == harness.settings.temporal.address
    checks = {check["check"]: check for check in report["checks"]}
    assert list(checks) == [
        "server",
        "namespace",
        "retention",
        "search attributes",
        *(f"worker {queue}" for queue in SERVED_QUEUES),
        "cancellation",
        "store",
        "model openai/first",
        "model openai/second",
        "sandbox",
    ]
    # Whether there is a container engine is this machine's affair.
    sandbox = checks.pop("sandbox")["health"] == "ok"
    assert {check["health"] for check in checks.values()} == {"ok"}
    assert not any(check["advice"] for check in checks.values())
    assert checks["retention"]["found"].endswith("7 days")
    assert checks["cancellation"]["found"] == "pushed to the workers"
    assert "1 serving" in checks["worker tickless-llm"]["found"]
    assert ", schema " in checks["store"]["found"]

    shown = await command(harness, "doctor", terminal=True)
    assert (shown.code, shown.err) == (0, "")
    lines = shown.out.splitlines()
    assert lines[0].split() == ["HEALTH", "CHECK", "FOUND"]
    assert sum(line.startswith("ok ") for line in lines) == len(checks) + sandbox


async def test_a_bare_server_lacks_everything(bare_server: DevServer, tmp_path: Path) -> None:
    environ = {"TEMPORAL_ADDRESS": bare_server.address}

    found = await findings(tmp_path, environ)

    health = {name: finding.health for name, finding in found.items()}
    assert health == {
        "server": OK,
        "namespace": OK,
        "retention": WARNING,
        "search attributes": FAILED,
        **{f"worker {queue}": FAILED for queue in SERVED_QUEUES},
        "cancellation": WARNING,
        "store": OK,
        "model": WARNING,
        "sandbox": found["sandbox"].health,
    }
    assert "1 day" in found["retention"].found
    assert "tickless admin setup" in found["retention"].advice
    assert all(name in found["search attributes"].found for name in TYPES)
    assert "tickless admin setup" in found["search attributes"].advice
    assert found["worker tickless-llm"].found == "0 serving, 0 waiting"
    assert "tickless worker" in found["worker tickless-llm"].advice
    assert "frontend.WorkerCommandsEnabled" in found["cancellation"].advice
    assert "OPENAI_API_KEY" in found["model"].advice

    answer = await run_command({**environ, "HOME": str(tmp_path)}, "doctor")
    assert (answer.code, answer.err) == (1, "")
    assert json.loads(answer.out)["healthy"] is False


async def test_work_that_waits_for_nobody_is_counted(
    bare_server: DevServer, tmp_path: Path
) -> None:
    client = await Client.connect(bare_server.address)
    for number in range(2):
        await client.start_workflow("Any", id=f"w-{number}", task_queue=SERVED_QUEUES[1])

    async def counted() -> bool:
        found = await findings(tmp_path, {"TEMPORAL_ADDRESS": bare_server.address})
        return found[f"worker {SERVED_QUEUES[1]}"].found == "0 serving, 2 waiting"

    await until(counted, "the server has counted what waits")


async def test_an_attribute_of_another_type_is_named(
    bare_server: DevServer, tmp_path: Path
) -> None:
    client = await Client.connect(bare_server.address)
    await client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(
            namespace="default",
            search_attributes={"TicklessDue": IndexedValueType.INDEXED_VALUE_TYPE_TEXT},
        )
    )

    found = (await findings(tmp_path, {"TEMPORAL_ADDRESS": bare_server.address}))[
        "search attributes"
    ]

    assert (found.health, found.found) == (FAILED, "TicklessDue")
    assert "must be Datetime" in found.advice


async def test_without_a_server_nothing_more_is_asked_of_it(tmp_path: Path) -> None:
    found = await findings(tmp_path, {"TEMPORAL_ADDRESS": "127.0.0.1:1"})

    assert list(found) == ["server", "store", "model", "sandbox"]
    assert found["server"].health == FAILED
    assert "tickless dev" in found["server"].advice


async def test_without_its_namespace_nothing_more_is_asked(
    bare_server: DevServer, tmp_path: Path
) -> None:
    environ = {"TEMPORAL_ADDRESS": bare_server.address, "TEMPORAL_NAMESPACE": "nowhere"}

    found = await findings(tmp_path, environ)

    assert list(found) == ["server", "namespace", "store", "model", "sandbox"]
    assert found["server"].health == OK
    assert found["namespace"].health == FAILED
    assert "namespace create -n nowhere" in found["namespace"].advice


@pytest.mark.parametrize(
    ("url", "health", "says"),
    [
        ("sqlite:///{folder}/new/l.db", OK, "not made yet"),
        ("sqlite:///{folder}/settings.yaml/l.db", FAILED, "make the folder writable"),
        ("sqlite:///{folder}/settings.yaml", FAILED, "something else"),
        ("sqlite:///{folder}", FAILED, "not a folder"),
        ("mysql://me:hunter2@host/db", FAILED, "postgresql://"),
        ("postgresql://me:hunter2@127.0.0.1:1/db", FAILED, "check that the server runs"),
        ("env:NOWHERE", FAILED, "NOWHERE"),
    ],
)
async def test_the_store(tmp_path: Path, url: str, health: Health, says: str) -> None:
    (tmp_path / "settings.yaml").write_text("# " + "no database " * 100)
    environ = {
        "TEMPORAL_ADDRESS": "127.0.0.1:1",
        "TICKLESS_STORE__URL": url.format(folder=tmp_path),
    }

    found = (await findings(tmp_path, environ))["store"]

    assert found.health == health
    assert says in found.found + found.advice
    assert "hunter2" not in found.found + found.advice
    assert not (tmp_path / "new").exists(), "nothing is changed by looking"


@pytest.mark.parametrize(
    ("status", "body", "health", "says"),
    [
        (200, {"data": [{"id": "best"}, {"id": "other"}]}, OK, "answers"),
        (200, {"data": [{"id": "other"}]}, WARNING, "it lists other"),
        (200, {"data": [{"id": f"m{n}"} for n in range(20)]}, WARNING, "m7 …"),
        (200, {"data": []}, OK, "answers"),
        (200, {"models": "many"}, OK, "answers"),
        (200, "<html>no list</html>", OK, "answers"),
        (404, {"error": {"message": "no such page"}}, OK, "answers"),
        (401, {"error": {"message": "bad key"}}, FAILED, "check models.0.api_key"),
        (403, {}, FAILED, "check models.0.api_key"),
        (500, {}, FAILED, "answers 500"),
    ],
)
async def test_the_model(
    httpserver: HTTPServer, tmp_path: Path, status: int, body: Any, health: Health, says: str
) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    httpserver.expect_oneshot_request(
        "/v1/models", headers={"Authorization": "Bearer sk-test"}
    ).respond_with_data(text, status, content_type="application/json")

    found = await model_finding(
        tmp_path, name="best", base_url=httpserver.url_for("/v1"), api_key="sk-test"
    )

    httpserver.check_assertions()
    assert found.health == health
    assert says in found.found + found.advice
    assert "sk-test" not in found.found + found.advice


@pytest.mark.parametrize("base", ["http://127.0.0.1:1/v1", "http://me:hunter2@127.0.0.1:1/v1", "x"])
async def test_a_model_that_cannot_be_reached(tmp_path: Path, base: str) -> None:
    found = await model_finding(tmp_path, base_url=base)

    assert (found.health, "check models.0.base_url" in found.advice) == (FAILED, True)
    assert "hunter2" not in found.found + found.advice


async def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    found = await model_finding(tmp_path, base_url="http://127.0.0.1:1/v1", api_key="env:NOWHERE")

    assert found.health == FAILED
    assert "NOWHERE" in found.advice


async def test_weights_of_ones_own(tmp_path: Path) -> None:
    weights = tmp_path / "model.gguf"
    environ = {"TEMPORAL_ADDRESS": "127.0.0.1:1", "TICKLESS_LOCAL_MODEL__GGUF": str(weights)}

    assert (await findings(tmp_path, environ))["model"].health == FAILED
    weights.touch()
    assert (await findings(tmp_path, environ))["model"].health == OK


@pytest.mark.parametrize(
    ("given", "health", "words"),
    [
        ({"SANDBOX_MODE": "off"}, OK, "do not exist"),
        ({"SANDBOX_MODE": "host"}, WARNING, "on the worker's machine"),
        ({"SANDBOX__ENGINE": "/nowhere/docker"}, WARNING, "cannot be reached"),
        ({"SANDBOX__ENGINE": "true", "SANDBOX__IMAGE": "alpine"}, OK, "containers of alpine"),
    ],
)
async def test_it_tells_how_commands_are_kept_apart(
    tmp_path: Path, given: dict[str, str], health: Health, words: str
) -> None:
    environ = {f"TICKLESS_{name}": value for name, value in given.items()}
    environ |= {"TEMPORAL_ADDRESS": "127.0.0.1:1", "PATH": os.environ["PATH"]}
    found = (await findings(tmp_path, environ))["sandbox"]
    assert found.health == health
    assert words in found.found
