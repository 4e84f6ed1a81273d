"""One connected command: settings, connection, client, and an event loop around it.

Owns how a command gets its `TicklessClient`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

if TYPE_CHECKING:
    from client.tickless import TicklessClient

T = TypeVar("T")


def connected(context: typer.Context, use: "Callable[[TicklessClient], Awaitable[T]]") -> T:
    """Connect as the settings say, and run one coroutine with the client.

    Raises:
        DomainError: What is wrong with the settings, the connection, or the request.
    """
    from client.tickless import TicklessClient

    async def session() -> T:
        async with TicklessClient.open(config_file(context)) as tickless:
            return await use(tickless)

    return asyncio.run(session())


def config_file(context: typer.Context) -> Path | None:
    """The settings file that was named before the command."""
    found = context.find_root().obj
    return found if isinstance(found, Path) else None
