"""From descriptions of channels to channels.

Owns which class serves which description, and the HTTP client that the webhooks share.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from activities.channels.channel import Channel
from activities.channels.console import ConsoleSender
from activities.channels.file import FileSender
from domain.channels import ChannelSpec, ConsoleChannel, FileChannel, WebhookChannel

if TYPE_CHECKING:
    import httpx


class Channels(Mapping[str, Channel]):
    """The channels by name; closed when nothing is sent any more."""

    def __init__(
        self, by_name: Mapping[str, Channel], client: "httpx.AsyncClient | None" = None
    ) -> None:
        self._by_name = dict(by_name)
        self._client = client

    def __getitem__(self, name: str) -> Channel:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()


def build_channels(specs: Mapping[str, ChannelSpec], *, folder: Path, console: TextIO) -> Channels:
    """Make the channels of a worker.

    Args:
        specs: Descriptions by name, secrets resolved.
        folder: Where the files of file channels are.
        console: Where console channels write.

    Raises:
        ValueError: A secret is not of the right form; names the channel.
    """
    client = None
    by_name: dict[str, Channel] = {}
    for name, spec in specs.items():
        match spec:
            case ConsoleChannel():
                by_name[name] = ConsoleSender(console)
            case FileChannel():
                by_name[name] = FileSender(folder / spec.path)
            case WebhookChannel():
                client = client or _http_client()
                by_name[name] = _webhook(name, spec, client)
    return Channels(by_name, client)


def _http_client() -> "httpx.AsyncClient":
    # Here, and not above: every client of Tickless imports this package for its models, only
    # workers with a webhook need HTTP.
    import httpx

    # Settings come from `client.settings`, not from variables that httpx knows.
    return httpx.AsyncClient(trust_env=False)


def _webhook(name: str, spec: WebhookChannel, client: "httpx.AsyncClient") -> Channel:
    from activities.channels.webhook import WebhookSender

    try:
        return WebhookSender(spec, client)
    except ValueError as error:
        raise ValueError(f"channels.{name}.secret: {error}") from None
