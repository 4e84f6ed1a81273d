"""What is wrong with a deployment, and what to do about it.

Owns the checks of `tickless doctor` and their order. Each looks at one thing and says what was
found and, when it is not right, the next step. Source: DESIGN §3.

Invariants:
    1. A check that cannot look is failed, never skipped; but what lives in a server or a namespace
       that is not there is not asked for.
    2. Nothing is changed by looking.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeTaskQueueRequest,
    GetSystemInfoRequest,
)
from temporalio.client import Client

from activities.store import StoreError, check_store
from client.connection import check_namespace, connect, translated
from client.findings import Finding, Health, failed, ok, warning
from client.model_checks import examine_local_model, examine_model
from client.settings import Settings, connect_config, resolve_secret, without_password
from client.setup import MIN_RETENTION, missing_search_attributes, retention
from client.tool_checks import examine_sandbox
from domain.errors import DomainError
from domain.identifiers import (
    ENTITIES_QUEUE,
    LLM_QUEUE,
    RUNS_QUEUE,
    TOOLS_QUEUE,
    WATCH_QUEUE,
)

# The server remembers pollers for minutes; one that lives asks again within about one.
POLLER_AGE = timedelta(seconds=90)

_QUEUE_TYPES = {
    ENTITIES_QUEUE: TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    RUNS_QUEUE: TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    LLM_QUEUE: TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
    TOOLS_QUEUE: TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
    WATCH_QUEUE: TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
}

__all__ = ["Finding", "Health", "examine"]


async def examine(settings: Settings, environ: Mapping[str, str]) -> list[Finding]:
    """Look at server, namespace, workers, store, models and sandbox.

    Args:
        settings: All settings.
        environ: Where `env:` references are looked up.

    Returns:
        One finding a check, in the order in which they depend on each other.
    """
    findings = await _temporal(settings, environ)
    findings.append(await _check("store", lambda: _store(settings, environ)))
    if not settings.models:
        findings.append(examine_local_model(settings))
    for index, spec in enumerate(settings.models):
        look = _bound(examine_model, index, spec, environ)
        findings.append(await _check(f"model {spec.key}", look))
    findings.append(await _check("sandbox", lambda: examine_sandbox(settings, environ)))
    return findings


async def _temporal(settings: Settings, environ: Mapping[str, str]) -> list[Finding]:
    address = settings.temporal.target
    try:
        client = await connect(connect_config(settings.temporal, environ), check=False)
    except DomainError as error:
        return [failed("server", address, error.message)]
    findings = [await _check("server", lambda: _server(client, address))]
    if findings[-1].health == Health.OK:
        findings.append(await _check("namespace", lambda: _namespace(client)))
    if findings[-1].health != Health.OK:
        return findings
    checks: dict[str, Callable[[], Awaitable[Finding]]] = {
        "retention": lambda: _retention(client),
        "search attributes": lambda: _search_attributes(client),
        **{f"worker {queue}": _bound(_pollers, client, queue) for queue in _QUEUE_TYPES},
        "cancellation": lambda: _cancellation(client),
    }
    findings += await asyncio.gather(*(_check(name, look) for name, look in checks.items()))
    return findings


async def _check(name: str, look: Callable[[], Awaitable[Finding]]) -> Finding:
    try:
        with translated():
            return await look()
    except DomainError as error:
        return failed(name, error.field, error.message)


def _bound(
    look: Callable[..., Awaitable[Finding]], *given: object
) -> Callable[[], Awaitable[Finding]]:
    return lambda: look(*given)


async def _server(client: Client, address: str) -> Finding:
    info = await client.workflow_service.get_system_info(GetSystemInfoRequest())
    return ok("server", f"{address}, version {info.server_version}")


async def _namespace(client: Client) -> Finding:
    await check_namespace(client)
    return ok("namespace", client.namespace)


async def _retention(client: Client) -> Finding:
    kept = await retention(client)
    days = kept.total_seconds() / 86_400
    found = f"closed workflows are kept for {days:g} day{'' if days == 1 else 's'}"
    if kept >= MIN_RETENTION:
        return ok("retention", found)
    return warning(
        "retention",
        found,
        "a redelivery after that starts a second run: run `tickless admin setup`",
    )


async def _search_attributes(client: Client) -> Finding:
    missing = await missing_search_attributes(client)
    if not missing:
        return ok("search attributes", "all registered")
    return failed(
        "search attributes",
        f"missing: {', '.join(missing)}",
        "register them with `tickless admin setup`",
    )


async def _pollers(client: Client, queue: str) -> Finding:
    answer = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=queue),
            task_queue_type=_QUEUE_TYPES[queue],
            report_stats=True,
        )
    )
    since = datetime.now(UTC) - POLLER_AGE
    serving = {poller.identity for poller in answer.pollers if _last_seen(poller) > since}
    found = f"{len(serving)} serving, {answer.stats.approximate_backlog_count} waiting"
    if serving:
        return ok(f"worker {queue}", found)
    return failed(
        f"worker {queue}",
        found,
        f"nothing serves this queue: start `tickless worker` (or --queues {queue})",
    )


def _last_seen(poller: PollerInfo) -> datetime:
    return poller.last_access_time.ToDatetime(tzinfo=UTC)


async def _cancellation(client: Client) -> Finding:
    answer = await client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace=client.namespace)
    )
    if answer.namespace_info.capabilities.worker_commands:
        return ok("cancellation", "pushed to the workers")
    return warning(
        "cancellation",
        "answers to heartbeats, every 200 ms",
        "set frontend.WorkerCommandsEnabled and system.enableCancelActivityWorkerCommand on the "
        "server for faster cancellation and less load",
    )


async def _store(settings: Settings, environ: Mapping[str, str]) -> Finding:
    url = resolve_secret(settings.store.url, environ, "store.url")
    try:
        return ok("store", await check_store(url))
    except StoreError as error:
        return failed("store", without_password(url), str(error))
