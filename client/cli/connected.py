"""One connected command: settings, connection, client, and an event loop around it.

Owns how a command gets its `TicklessClient`.
"""

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
    import asyncio

    from client.tickless import TicklessClient
    from domain.errors import DomainError

    async def session() -> T:
        # The SDK leaves an error behind in a future beside the one it raises; it is told once.
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        try:
            async with TicklessClient.open(config_file(context)) as tickless:
                return await use(tickless)
        except DomainError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                # Ctrl-C: the SDK told the cancellation as an error of its own.
                raise asyncio.CancelledError from None
            raise

    return asyncio.run(session())


def config_file(context: typer.Context) -> Path | None:
    """The settings file that was named before the command."""
    found = context.find_root().obj
    return found if isinstance(found, Path) else None
