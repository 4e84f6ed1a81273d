"""A gateway for tests: a real HTTP server on a free port, and clients with tokens for it."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from client.gateway import Gateway, running_gateway
from client.gateway.watch import QueueWatch
from client.settings import Settings
from client.tokens import TokenFile
from tests.support.harness import Harness

API = "/api/v1"
SCOPES = ("read", "run", "approve", "admin")


@dataclass
class GatewayUnderTest:
    """A running gateway, its tokens, and HTTP clients that use them."""

    gateway: Gateway
    settings: Settings
    tokens: TokenFile
    secrets: dict[str, str] = field(default_factory=dict)

    def token(self, *scopes: str, **context: str) -> str:
        """A new token with these scopes and this context."""
        name = f"t{len(self.tokens.all())}"
        return self.tokens.create(name, scopes, now=datetime.now(UTC), context=context).token

    def client(self, token: str | None = None, **headers: str) -> httpx.AsyncClient:
        """An HTTP client; with the token of the scope `admin` unless told."""
        given = token if token is not None else self.secrets["admin"]
        authorization = {"Authorization": f"Bearer {given}"} if given else {}
        return httpx.AsyncClient(
            base_url=self.gateway.url,
            headers={**authorization, **{k.replace("_", "-"): v for k, v in headers.items()}},
            timeout=60,
        )


@asynccontextmanager
async def gateway_under_test(
    harness: Harness, folder_name: str = "gateway", watch: QueueWatch | None = None, **gateway: Any
) -> AsyncGenerator[GatewayUnderTest]:
    """A gateway on a harness's server, with a token for each scope."""
    tokens = TokenFile(harness.folder / folder_name / "tokens.json")
    section = harness.settings.gateway.model_copy(
        update={
            "port": 0,
            "tokens_file": tokens.path,
            "requests_per_minute": 100_000,
            **gateway,
        }
    )
    settings = harness.settings.model_copy(update={"gateway": section})
    now = datetime.now(UTC)
    known = {token.name for token in tokens.all()}
    secrets = {
        scope: tokens.create(scope, [scope], now=now).token
        for scope in SCOPES
        if scope not in known
    }
    async with running_gateway(harness.client, settings, {}, watch) as running:
        yield GatewayUnderTest(running, settings, tokens, secrets)


def assert_problem(
    answer: httpx.Response, status: int, kind: str, field: str, *contains: str
) -> Mapping[str, Any]:
    """Check that an answer is a problem in the form of the specification; returns it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    keys = {"type", "title", "status", "detail", "kind", "field", "accepted", "errors"}
    assert set(problem) == keys
    assert problem["type"].endswith(":" + kind)
    assert (problem["status"], problem["kind"], problem["field"]) == (status, kind, field), problem
    missing = [text for text in contains if text not in problem["detail"]]
    assert not missing, problem["detail"]
    return dict(problem)
