"""What a Temporal namespace needs before Tickless can live in it.

Owns registering the search attributes and setting the retention, for `tickless admin setup` and the
dev stack. Source: DESIGN §3 (rule 1 and search attributes).

Invariant: doing it twice changes nothing; what exists with the right type is left alone.
"""

from datetime import timedelta

from pydantic import BaseModel
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, UpdateNamespaceRequest
from temporalio.client import Client

from activities.search_attributes import TYPES
from client.connection import translated
from domain.errors import DomainError, ErrorKind

MIN_RETENTION = timedelta(days=7)

_VALUE_TYPES = {
    "Keyword": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "KeywordList": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
    "Int": IndexedValueType.INDEXED_VALUE_TYPE_INT,
    "Double": IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE,
    "Datetime": IndexedValueType.INDEXED_VALUE_TYPE_DATETIME,
}


class SetupReport(BaseModel):
    """What was done to a namespace."""

    namespace: str
    registered: list[str]
    retention_seconds: int
    retention_changed: bool


async def missing_search_attributes(client: Client) -> list[str]:
    """Names that are not registered in the client's namespace.

    Raises:
        DomainError: `conflict` on the attribute that is registered with another type.
    """
    with translated():
        answer = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace)
        )
    registered = answer.custom_attributes
    for name, wanted in TYPES.items():
        if name in registered and registered[name] != _VALUE_TYPES[wanted]:
            found = IndexedValueType.Name(registered[name])
            raise DomainError(
                ErrorKind.CONFLICT,
                name,
                f"search attribute {name} is registered as {found}, but must be {wanted}; "
                "remove it with `temporal operator search-attribute remove`, then set up again",
            )
    return [name for name in TYPES if name not in registered]


async def retention(client: Client) -> timedelta:
    """How long the namespace keeps closed workflows."""
    with translated():
        answer = await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=client.namespace)
        )
    return answer.config.workflow_execution_retention_ttl.ToTimedelta()


async def setup_namespace(client: Client, wanted_retention: timedelta) -> SetupReport:
    """Register what is missing and lengthen the retention where it is too short.

    Args:
        client: Connection to the namespace.
        wanted_retention: At least seven days; a longer one that exists is kept.

    Raises:
        DomainError: `conflict` on an attribute of another type, `permission_denied`, `unavailable`.
    """
    missing = await missing_search_attributes(client)
    with translated():
        if missing:
            await client.operator_service.add_search_attributes(
                AddSearchAttributesRequest(
                    namespace=client.namespace,
                    search_attributes={name: _VALUE_TYPES[TYPES[name]] for name in missing},
                )
            )
        present = await retention(client)
        target = max(present, wanted_retention, MIN_RETENTION)
        if target != present:
            config = NamespaceConfig()
            config.workflow_execution_retention_ttl.FromTimedelta(target)
            await client.workflow_service.update_namespace(
                UpdateNamespaceRequest(namespace=client.namespace, config=config)
            )
    return SetupReport(
        namespace=client.namespace,
        registered=missing,
        retention_seconds=int(target.total_seconds()),
        retention_changed=target != present,
    )
