"""`tickless worker` as a user runs it: what keeps it from starting, what it serves, how it ends."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client

from activities.search_attributes import TYPES
from domain.identifiers import ENTITIES_QUEUE, LLM_QUEUE, RUNS_QUEUE, SERVED_QUEUES
from tests.support.harness import Harness, running_harness, running_server, until
from tests.support.model_steps import Reply
from tests.support.worker_process import tickless, worker_process
from worker.temporal_server import DevServer


@pytest.fixture(scope="module")
async def own_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[DevServer]:
    """A server whose queues only the workers of a test serve."""
    async with running_server(tmp_path_factory.mktemp("own-server")) as server:
        yield server


@pytest.fixture(scope="module")
async def desk(
    own_server: DevServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Harness]:
    """A harness without workers."""
    async with running_harness(tmp_path_factory.mktemp("desk"), own_server, queues=()) as harness:
        yield harness


@pytest.mark.parametrize(
    ("arguments", "environ", "code", "field", "says"),
    [
        (["--queues", "llm,nope"], {}, 2, "queues", [*SERVED_QUEUES, "'nope'"]),
        ([], {"TEMPORAL_ADDRESS": "127.0.0.1:1"}, 6, "temporal.address", ["127.0.0.1:1", "dev"]),
        ([], {"TEMPORAL_NAMESPACE": "no"}, 2, "temporal.namespace", ["'no'", "namespace create"]),
        (
            [],
            {"TICKLESS_STORE__URL": "sqlite:////proc/x/ledger.db"},
            2,
            "store.url",
            ["/proc/x", "folder writable"],
        ),
    ],
)
async def test_what_keeps_it_from_starting_is_named(
    desk: Harness,
    arguments: list[str],
    environ: dict[str, str],
    code: int,
    field: str,
    says: list[str],
) -> None:
    ended, out, err = await tickless(desk, "worker", *arguments, environ=environ)

    assert (ended, out) == (code, "")
    assert "Traceback" not in err
    problem = _problem(err)
    assert problem["field"] == field
    assert [text for text in says if text not in problem["detail"]] == []


async def test_a_namespace_that_was_not_set_up_is_refused(tmp_path: Path, desk: Harness) -> None:
    async with running_server(tmp_path, search_attributes={}, namespace="bare") as bare:
        place = {"TEMPORAL_ADDRESS": bare.address, "TEMPORAL_NAMESPACE": "bare"}
        code, _, err = await tickless(desk, "worker", environ=place)
        problem = _problem(err)
        assert (code, problem["field"]) == (6, "temporal.search_attributes")
        assert "tickless admin setup" in problem["detail"]
        assert all(name in problem["detail"] for name in TYPES)

        client = await Client.connect(bare.address, namespace="bare")
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(
                namespace="bare",
                search_attributes={"TicklessKind": IndexedValueType.INDEXED_VALUE_TYPE_INT},
            )
        )
        code, _, err = await tickless(desk, "worker", environ=place)
        problem = _problem(err)
        assert (code, problem["kind"], problem["field"]) == (5, "conflict", "TicklessKind")


async def test_on_sigterm_it_drains_and_another_worker_goes_on(desk: Harness) -> None:
    # Each serves some of the queues, called by their full names or by what follows `tickless-`.
    async with (
        worker_process(desk, "rest", (ENTITIES_QUEUE, RUNS_QUEUE)) as rest,
        worker_process(desk, "models", ("llm",)) as models,
    ):
        routine = await desk.routine(Reply("Said while it drains.", chunks=8, delay=0.15))
        started = await desk.tickless.runs.trigger(routine)
        await until(lambda: _called(desk, 1), "the model is asked")

        # The worker with the model call is told to stop, and the one with the run.
        assert [await models.stop(), await rest.stop()] == [0, 0]
        assert "Draining" in models.text()
        assert "Stopped." in models.text()
        assert "Traceback" not in models.text() + rest.text()

    async with worker_process(desk, "others", (LLM_QUEUE, "entities", RUNS_QUEUE)):
        view = await desk.tickless.runs.wait(started.run_id)
    assert (view.record.status, view.text) == ("attention", "Said while it drains.")
    assert view.record.attempts == 1
    assert len(desk.models.calls) == 1


async def _called(harness: Harness, times: int) -> bool:
    return len(harness.models.calls) == times


def _problem(errors: str) -> Any:
    """The problem at the end of standard error, after what the SDK logged."""
    last = errors.splitlines()[-1]
    assert last.startswith("{"), errors
    return json.loads(last)
