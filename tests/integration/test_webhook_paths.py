"""Which routine has a path: only what has changed is read, and nothing stale is kept."""

import pytest

import client.webhook_paths
from client.tickless import TicklessClient
from client.webhook_paths import WebhookPaths
from tests.support.harness import Harness, until

UNSIGNED = {"type": "webhook", "allow_unsigned": True}


async def hook(tickless: TicklessClient, name: str, **trigger: object) -> None:
    body = {"prompt": "Do it.", "trigger": {**UNSIGNED, **trigger}}
    await tickless.routines.create(body, name=name)


async def test_changes_are_seen_without_reading_all_webhooks(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = WebhookPaths(harness.client)
    first, second, path = harness.name(), harness.name(), harness.name()
    await hook(harness.tickless, first)
    assert await paths.find(first) is not None, "all of them are read once"
    # From here on a list of all webhooks is an error of the server.
    monkeypatch.setattr(client.webhook_paths, "_QUERY", "no query")
    assert await paths.find(path, fresh=True) is None
    # Claims are settled among all claims; what is tested here is who looks them up.
    monkeypatch.undo()
    await hook(harness.tickless, second, path=path)
    monkeypatch.setattr(client.webhook_paths, "_QUERY", "no query")

    async def status(of: str) -> str | None:
        found = await paths.find(of)
        return found.status if found else None

    async def shows(of: str, wanted: str | None, what: str) -> None:
        async def holds() -> bool:
            return await status(of) == wanted

        await until(holds, what, seconds=4)

    await shows(path, "active", "a new one")
    assert not paths.is_known(second), "once a path is set the id does not work"
    await harness.tickless.routines.pause(second)
    await shows(path, "paused", "a paused one")
    await harness.tickless.routines.delete(second, purge=True)
    await shows(path, None, "a purged one is gone")
    await harness.tickless.routines.patch(first, {"trigger": {"type": "manual"}})
    await shows(first, None, "another type")


async def test_all_are_read_again_now_and_then(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = WebhookPaths(harness.client)
    gone, stays = harness.name(), harness.name()
    await hook(harness.tickless, gone)
    await hook(harness.tickless, stays)
    assert await paths.find(gone) is not None
    # As if the routine could not say that it changed.
    monkeypatch.setattr(client.webhook_paths, "changes_query", lambda _: "WorkflowId = 'none'")
    await harness.tickless.routines.delete(gone, purge=True)
    still = await paths.find(gone, fresh=True)
    assert still is not None
    assert still.status == "active"
    monkeypatch.setattr(client.webhook_paths, "READ_AGAIN", -client.webhook_paths.READ_AGAIN)

    async def is_gone() -> bool:
        return await paths.find(gone, fresh=True) is None

    await until(is_gone, "read again", seconds=4)
    assert await paths.find(stays) is not None
