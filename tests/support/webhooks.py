"""Webhooks for tests: routines that have one, and deliveries as a sender signs them."""

import hashlib
import hmac
from typing import Any

from client.tickless import TicklessClient
from tests.support.harness import Harness

SECRET = "a literal that nobody may find"
ROTATED = "another literal nobody may find"
HOOKS = "/api/webhooks"
# Every routine of these tests takes as many deliveries as come.
OPEN = {"cooldown_seconds": 0, "max_concurrent": 10}


async def hook(tickless: TicklessClient, harness: Harness, **trigger: Any) -> str:
    """A routine with a webhook; its name."""
    name = harness.name()
    body = {
        "prompt": f"Do {name}.",
        "guardrails": OPEN,
        "trigger": {"type": "webhook", "secret": SECRET, **trigger},
        "notify": {"route": {"receive_id_type": "file", "receive_id": ""}},
    }
    await tickless.routines.create(body, name=name)
    return name


def signed(body: bytes, delivery: str = "", secret: str = SECRET) -> dict[str, str]:
    """Headers as GitHub sends them."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {"X-Hub-Signature-256": f"sha256={digest}", "Content-Type": "application/json"}
    return {**headers, "X-GitHub-Delivery": delivery} if delivery else headers
