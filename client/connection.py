"""The connection to Temporal, and its faults in words a user can act on.

Owns connecting by settings and the translation of the service's errors. Retrying is nobody's here:
updates go through `activities.entity_updates`, everything else is a read that a user may repeat.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client, RPCTimeoutOrCancelledError
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import PayloadCodec
from temporalio.envconfig import ClientConnectConfig
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode

from domain.errors import DomainError, ErrorKind

NAMESPACE_CHECK_TIMEOUT = timedelta(seconds=5)
# How long a question to a workflow may take; it is answered in milliseconds when a worker runs.
QUERY_TIMEOUT = timedelta(seconds=10)


async def connect(
    config: ClientConnectConfig,
    runtime: Runtime | None = None,
    *,
    check: bool = True,
    codec: PayloadCodec | None = None,
) -> Client:
    """Connect to Temporal.

    Args:
        config: Address, namespace, credentials, as `client.settings.connect_config` gives them.
        runtime: The SDK's runtime, for workers that forward its logs.
        check: Whether to look for the namespace at once.
        codec: Encrypts every payload (`client.codec`); null leaves them in clear.

    Raises:
        DomainError: `unavailable` when nothing answers at the address, `invalid_field` on
            `temporal.namespace` when there is no such namespace.
    """
    try:
        client = await Client.connect(
            **config,
            data_converter=replace(pydantic_data_converter, payload_codec=codec),
            runtime=runtime,
        )
    except (RuntimeError, OSError) as error:
        raise DomainError(
            ErrorKind.UNAVAILABLE,
            "temporal.address",
            f"no Temporal server answers at {config.get('target_host')}: start one with "
            "`tickless dev`, or set TEMPORAL_ADDRESS (or temporal.address) to the one you have",
        ) from error
    if check:
        await check_namespace(client)
    return client


async def check_namespace(client: Client) -> None:
    """Look for the client's namespace.

    Raises:
        DomainError: `invalid_field` on `temporal.namespace`.
    """
    request = DescribeNamespaceRequest(namespace=client.namespace)
    try:
        await client.workflow_service.describe_namespace(request, timeout=NAMESPACE_CHECK_TIMEOUT)
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise translate(error) from error
        raise DomainError(
            ErrorKind.INVALID_FIELD,
            "temporal.namespace",
            f"temporal.namespace {client.namespace!r} does not exist on this server; set "
            "TEMPORAL_NAMESPACE (or temporal.namespace) to one that does, or create it with "
            f"`temporal operator namespace create -n {client.namespace}`",
        ) from error


@contextmanager
def translated(missing: str | None = None) -> Generator[None]:
    """Turn the service's errors into problems.

    Args:
        missing: The id that `not_found` names; null where nothing is looked for.
    """
    try:
        yield
    except RPCError as error:
        raise translate(error, missing) from error
    except RPCTimeoutOrCancelledError as error:
        raise no_answer() from error
    except UnicodeEncodeError as error:
        # Half a surrogate pair in an id: nothing can have that name.
        raise DomainError(ErrorKind.NOT_FOUND, "id", missing or "") from error


def translate(error: RPCError, missing: str | None = None) -> DomainError:
    """What an error of the service means to a user."""
    if error.status == RPCStatusCode.NOT_FOUND and missing is not None:
        return DomainError(ErrorKind.NOT_FOUND, "id", missing)
    if error.status in {RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED}:
        return no_answer()
    if error.status == RPCStatusCode.INVALID_ARGUMENT and "search attribute" in error.message:
        return DomainError(
            ErrorKind.UNAVAILABLE,
            "temporal.search_attributes",
            f"the namespace lacks search attributes ({error.message}); register them with "
            "`tickless admin setup`",
        )
    if error.status == RPCStatusCode.PERMISSION_DENIED:
        return DomainError(
            ErrorKind.PERMISSION_DENIED,
            "temporal.api_key",
            f"Temporal refused the access: {error.message}; check TEMPORAL_API_KEY",
        )
    return DomainError(
        ErrorKind.UNAVAILABLE,
        "temporal",
        f"Temporal did not answer ({error.status.name.lower()}: {error.message}); "
        "nothing is known to have changed, see `tickless doctor`",
    )


def no_answer() -> DomainError:
    """The problem of a workflow that nobody answers for."""
    return DomainError(
        ErrorKind.UNAVAILABLE,
        "worker",
        "no answer in time: is a worker running? Start one with `tickless worker`, "
        "see `tickless doctor`",
    )
