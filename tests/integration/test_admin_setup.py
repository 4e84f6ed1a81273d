"""`tickless admin setup`: a bare namespace becomes one that Tickless can live in."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest, UpdateNamespaceRequest
from temporalio.client import Client

from activities.search_attributes import TYPES
from client.connection import connect
from client.setup import retention
from tests.support.command import Answer, run_command
from tests.support.harness import running_server, until
from worker.temporal_server import DevServer

DAY = 86_400


@dataclass
class Bare:
    """A namespace with nothing set up in it."""

    client: Client
    folder: Path

    async def tickless(self, *arguments: str, **options: Any) -> Answer:
        environ = {
            "HOME": str(self.folder),
            "TEMPORAL_ADDRESS": self.client.service_client.config.target_host,
            "TEMPORAL_NAMESPACE": self.client.namespace,
            "TICKLESS_CONTEXT__ACTOR_USER_ID": "me",
            "TICKLESS_CONTEXT__RECEIVE_ID_TYPE": "file",
        }
        return await run_command(environ, *arguments, **options)

    async def attributes(self) -> dict[str, int]:
        answer = await self.client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=self.client.namespace)
        )
        return dict(answer.custom_attributes)

    async def register(self, name: str, kind: "IndexedValueType.ValueType") -> None:
        await self.client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(
                namespace=self.client.namespace, search_attributes={name: kind}
            )
        )


@pytest.fixture(scope="module")
async def bare_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[DevServer]:
    """A server as it comes: no search attributes, no flags."""
    folder = tmp_path_factory.mktemp("bare")
    async with running_server(folder, search_attributes={}, dynamic_config={}) as server:
        yield server


@pytest.fixture
async def bare(bare_server: DevServer, tmp_path: Path) -> Bare:
    """A namespace of the test's own, with the server's usual retention of a day."""
    name = tmp_path.name.replace("_", "-")
    admin = await Client.connect(bare_server.address)
    request = RegisterNamespaceRequest(namespace=name)
    request.workflow_execution_retention_period.FromTimedelta(timedelta(days=1))
    await admin.workflow_service.register_namespace(request)

    async def exists() -> bool:
        try:
            await connect({"target_host": bare_server.address, "namespace": name})
        except Exception:
            return False
        return True

    await until(exists, "the namespace is known to all parts of the server")
    client = await connect({"target_host": bare_server.address, "namespace": name})
    return Bare(client, tmp_path)


async def test_a_bare_namespace_gets_all_it_needs_and_a_second_time_changes_nothing(
    bare: Bare,
) -> None:
    first = (await bare.tickless("admin", "setup")).json

    assert first == {
        "namespace": bare.client.namespace,
        "registered": list(TYPES),
        "retention_seconds": 7 * DAY,
        "retention_changed": True,
    }
    assert set(TYPES) <= set(await bare.attributes())
    assert await retention(bare.client) == timedelta(days=7)

    second = (await bare.tickless("admin", "setup")).json
    assert (second["registered"], second["retention_changed"]) == ([], False)
    shown = await bare.tickless("admin", "setup", terminal=True)
    assert (shown.code, shown.err) == (0, "")
    assert "nothing was missing" in shown.out
    assert "7 days" in shown.out


async def test_commands_say_what_to_do_before_it_and_work_at_once_after_it(bare: Bare) -> None:
    commands = (
        ("routine", "create", "x", "--prompt", "x", "--manual"),
        ("routine", "list"),
    )
    for arguments in commands:
        answer = await bare.tickless(*arguments)
        assert (answer.code, answer.problem["kind"]) == (6, "unavailable")
        assert answer.problem["field"] == "temporal.search_attributes"
        assert "tickless admin setup" in answer.problem["detail"]

    assert (await bare.tickless("admin", "setup")).code == 0

    assert (await bare.tickless("routine", "list")).json["count"] == 0


async def test_a_longer_retention_is_kept_and_a_wanted_one_set(bare: Bare) -> None:
    config = NamespaceConfig()
    config.workflow_execution_retention_ttl.FromTimedelta(timedelta(days=20))
    await bare.client.workflow_service.update_namespace(
        UpdateNamespaceRequest(namespace=bare.client.namespace, config=config)
    )

    async def seconds(*flags: str) -> int:
        return int((await bare.tickless("admin", "setup", *flags)).json["retention_seconds"])

    assert await seconds() == 20 * DAY
    assert await seconds("--retention-days", "30") == 30 * DAY
    assert await seconds() == 30 * DAY
    assert await retention(bare.client) == timedelta(days=30)


async def test_only_what_is_missing_is_registered(bare: Bare) -> None:
    await bare.register("TicklessKind", IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD)
    await bare.register("Theirs", IndexedValueType.INDEXED_VALUE_TYPE_INT)

    done = (await bare.tickless("admin", "setup")).json

    assert set(done["registered"]) == set(TYPES) - {"TicklessKind"}
    assert "Theirs" in await bare.attributes()


async def test_an_attribute_of_another_type_is_a_conflict_and_nothing_is_changed(
    bare: Bare,
) -> None:
    await bare.register("TicklessTokens", IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD)

    answer = await bare.tickless("admin", "setup")

    problem = answer.problem
    assert (answer.code, problem["kind"], problem["field"]) == (5, "conflict", "TicklessTokens")
    assert "must be Int" in problem["detail"]
    assert "search-attribute remove" in problem["detail"]
    assert "TicklessKind" not in await bare.attributes()
    assert await retention(bare.client) == timedelta(days=1)


async def test_without_a_server_or_a_namespace_it_says_so(bare: Bare, tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "TEMPORAL_ADDRESS": "127.0.0.1:1"}
    absent = await run_command(environ, "admin", "setup")
    assert (absent.code, absent.problem["field"]) == (6, "temporal.address")

    environ = {
        "HOME": str(tmp_path),
        "TEMPORAL_ADDRESS": bare.client.service_client.config.target_host,
        "TEMPORAL_NAMESPACE": "nowhere",
    }
    missing = await run_command(environ, "admin", "setup")
    assert (missing.code, missing.problem["field"]) == (2, "temporal.namespace")
    assert "nowhere" in missing.problem["detail"]
