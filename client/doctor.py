"""What is wrong with a deployment, and what to do about it.

Owns the checks of `tickless doctor`. Each looks at one thing and says what was found and, when it
is not right, the next step; a check that cannot look is failed, never skipped. Source: DESIGN §3.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from enum import StrEnum

import httpx
from pydantic import BaseModel, SecretStr
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeTaskQueueRequest,
    GetSystemInfoRequest,
)
from temporalio.client import Client

from activities.store import StoreError, check_store
from client.connection import check_namespace, connect, translated
from client.settings import Settings, connect_config, resolve_secret, without_password
from client.setup import MIN_RETENTION, missing_search_attributes, retention
from domain.errors import DomainError
from domain.identifiers import ENTITIES_QUEUE, LLM_QUEUE, RUNS_QUEUE
from domain.model_chain import ModelSpec

MODEL_TIMEOUT = timedelta(seconds=10)
OPENAI_URL = "https://api.openai.com/v1"

_QUEUE_TYPES = {
    ENTITIES_QUEUE: TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    RUNS_QUEUE: TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    LLM_QUEUE: TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
}


class Health(StrEnum):
    """How a check ended; a warning leaves things working."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Finding(BaseModel):
    """What one check found, and what to do when it is not right."""

    check: str
    health: Health
    found: str
    advice: str = ""


async def examine(settings: Settings, environ: Mapping[str, str]) -> list[Finding]:
    """Look at server, namespace, workers, store and models.

    Returns:
        One finding a check, in the order in which they depend on each other; without a server,
        those of Temporal end with the first.
    """
    findings = await _examine_temporal(settings, environ)
    findings.append(await _check("store", lambda: _store(settings, environ)))
    findings += await _models(settings, environ)
    return findings


async def _examine_temporal(settings: Settings, environ: Mapping[str, str]) -> list[Finding]:
    address = settings.temporal.target
    try:
        client = await connect(connect_config(settings.temporal, environ), check=False)
    except DomainError as error:
        return [Finding(check="server", health=Health.FAILED, found=address, advice=error.message)]
    checks: dict[str, Callable[[], Awaitable[Finding]]] = {
        "server": lambda: _server(client, address),
        "namespace": lambda: _namespace(client),
        "retention": lambda: _retention(client),
        "search attributes": lambda: _search_attributes(client),
        **{f"worker {queue}": _pollers_of(client, queue) for queue in _QUEUE_TYPES},
        "cancellation": lambda: _cancellation(client),
    }
    return list(await asyncio.gather(*(_check(name, look) for name, look in checks.items())))


async def _check(name: str, look: Callable[[], Awaitable[Finding]]) -> Finding:
    try:
        with translated():
            return await look()
    except DomainError as error:
        return Finding(check=name, health=Health.FAILED, found=error.field, advice=error.message)


async def _server(client: Client, address: str) -> Finding:
    info = await client.workflow_service.get_system_info(GetSystemInfoRequest())
    return Finding(check="server", health=Health.OK, found=f"{address}, {info.server_version}")


async def _namespace(client: Client) -> Finding:
    await check_namespace(client)
    return Finding(check="namespace", health=Health.OK, found=client.namespace)


async def _retention(client: Client) -> Finding:
    kept = await retention(client)
    found = f"closed workflows are kept {kept.total_seconds() / 86_400:g} days"
    if kept >= MIN_RETENTION:
        return Finding(check="retention", health=Health.OK, found=found)
    return Finding(
        check="retention",
        health=Health.WARNING,
        found=found,
        advice="a redelivery after that starts a second run: run `tickless admin setup`",
    )


async def _search_attributes(client: Client) -> Finding:
    missing = await missing_search_attributes(client)
    if not missing:
        return Finding(check="search attributes", health=Health.OK, found="all registered")
    return Finding(
        check="search attributes",
        health=Health.FAILED,
        found=f"missing: {', '.join(missing)}",
        advice="register them with `tickless admin setup`",
    )


def _pollers_of(client: Client, queue: str) -> Callable[[], Awaitable[Finding]]:
    async def look() -> Finding:
        answer = await client.workflow_service.describe_task_queue(
            DescribeTaskQueueRequest(
                namespace=client.namespace,
                task_queue=TaskQueue(name=queue),
                task_queue_type=_QUEUE_TYPES[queue],
                report_stats=True,
            )
        )
        waiting = answer.stats.approximate_backlog_count
        found = f"{len({poller.identity for poller in answer.pollers})} serving, {waiting} waiting"
        if answer.pollers:
            return Finding(check=f"worker {queue}", health=Health.OK, found=found)
        short = queue.removeprefix("tickless-")
        return Finding(
            check=f"worker {queue}",
            health=Health.FAILED,
            found=found,
            advice=f"nothing serves this queue: start `tickless worker` (or --queues {short})",
        )

    return look


async def _cancellation(client: Client) -> Finding:
    answer = await client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace=client.namespace)
    )
    if answer.namespace_info.capabilities.worker_commands:
        return Finding(check="cancellation", health=Health.OK, found="pushed to the workers")
    return Finding(
        check="cancellation",
        health=Health.WARNING,
        found="answers to heartbeats, every 200 ms",
        advice="set frontend.WorkerCommandsEnabled and system.enableCancelActivityWorkerCommand on "
        "the server for faster cancellation and less load",
    )


async def _store(settings: Settings, environ: Mapping[str, str]) -> Finding:
    url = resolve_secret(settings.store.url, environ, "store.url")
    try:
        found = await check_store(url)
    except StoreError as error:
        return Finding(
            check="store", health=Health.FAILED, found=without_password(url), advice=str(error)
        )
    return Finding(check="store", health=Health.OK, found=found)


async def _models(settings: Settings, environ: Mapping[str, str]) -> list[Finding]:
    if not settings.models:
        local = settings.local_model.gguf
        if local is None:
            return [
                Finding(
                    check="model",
                    health=Health.WARNING,
                    found="the small local model",
                    advice="it gets facts wrong: set OPENAI_API_KEY, TICKLESS_MODELS__0__BASE_URL, "
                    "or local_model.gguf for a better one",
                )
            ]
        exists = local.is_file()
        return [
            Finding(
                check="model",
                health=Health.OK if exists else Health.FAILED,
                found=str(local),
                advice="" if exists else "local_model.gguf names no file",
            )
        ]
    return [
        await _check(f"model {spec.key}", _model(index, spec, environ))
        for index, spec in enumerate(settings.models)
    ]


def _model(
    index: int, spec: ModelSpec, environ: Mapping[str, str]
) -> Callable[[], Awaitable[Finding]]:
    async def look() -> Finding:
        base = (spec.base_url or OPENAI_URL).rstrip("/")
        key = _key(index, spec, environ)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        name = f"model {spec.key}"
        try:
            async with httpx.AsyncClient(timeout=MODEL_TIMEOUT.total_seconds()) as http:
                answer = await http.get(f"{base}/models", headers=headers)
        except httpx.HTTPError as error:
            return Finding(
                check=name,
                health=Health.FAILED,
                found=base,
                advice=f"no answer ({type(error).__name__}): check models.{index}.base_url",
            )
        if answer.status_code in {401, 403}:
            return Finding(
                check=name,
                health=Health.FAILED,
                found=f"{base} answered {answer.status_code}",
                advice=f"check models.{index}.api_key",
            )
        return Finding(check=name, health=Health.OK, found=f"{base} answers")

    return look


def _key(index: int, spec: ModelSpec, environ: Mapping[str, str]) -> str | None:
    given: SecretStr | None = spec.api_key
    return resolve_secret(given, environ, f"models.{index}.api_key") if given else None
