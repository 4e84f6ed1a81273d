"""A deployment whose payloads are encrypted, and how its operator still reads them."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from google.protobuf import json_format
from pydantic import SecretStr
from temporalio.api.common.v1 import Payloads

from client.codec import payload_codec
from client.connection import connect
from client.settings import Settings, connect_config
from client.tickless import TicklessClient
from domain.identifiers import SERVED_QUEUES, routine_workflow_id
from tests.support.gateway import GatewayUnderTest, assert_problem, gateway_under_test
from tests.support.harness import Harness, running_harness, running_server
from worker.process import running_workers

KEY = base64.b64encode(b"k" * 32).decode()
UI = "http://127.0.0.1:8233"


@pytest.fixture
def settings(harness: Harness) -> Settings:
    temporal = harness.settings.temporal.model_copy(update={"ui_url": UI})
    changes = {"codec_key": SecretStr(KEY), "temporal": temporal}
    return harness.settings.model_copy(update=changes)


@pytest.fixture
async def gateway(harness: Harness, settings: Settings) -> AsyncIterator[GatewayUnderTest]:
    changed = Harness(**{**vars(harness), "settings": settings})
    async with gateway_under_test(changed, "gateway-codec") as running:
        yield running


async def test_nothing_in_clear_reaches_the_server(tmp_path: Path) -> None:
    database = tmp_path / "temporal.db"
    async with (
        running_server(tmp_path, db_file=database) as server,
        running_harness(tmp_path, server, queues=()) as harness,
    ):
        settings = harness.settings.model_copy(update={"codec_key": SecretStr(KEY)})
        client = await connect(
            connect_config(settings.temporal, {}), codec=payload_codec(settings, {})
        )
        tickless = TicklessClient.of_settings(client, settings, {})
        async with running_workers(client, settings, {}, SERVED_QUEUES):
            body = {"prompt": "Words of a user.", "trigger": {"type": "manual"}, "title": "Titled"}
            await tickless.routines.create(body, name="coded")
            started = await tickless.runs.trigger("coded")
            view = await tickless.runs.wait(started.run_id)
            assert view.record.status == "ok"
            routine = (await tickless.routines.get("coded")).routine
            assert (routine.prompt, routine.title) == ("Words of a user.", "Titled")
        history = await client.get_workflow_handle(routine_workflow_id("coded")).fetch_history()
        start = history.events[0].workflow_execution_started_event_attributes.input
        assert start.payloads[0].metadata["encoding"] == b"binary/encrypted"
        # The operator's way to read it.
        async with (
            gateway_under_test(
                Harness(**{**vars(harness), "settings": settings, "client": client})
            ) as gateway,
            gateway.client("") as ui,
        ):
            sent = json_format.MessageToJson(start)
            answer = await ui.post("/codec/decode", content=sent)
        decoded = json_format.Parse(answer.text, Payloads())
        assert b"Words of a user." in decoded.payloads[0].data
    files = list(tmp_path.glob("temporal.db*"))  # noqa: ASYNC240 - all is over
    assert database in files
    assert not any(b"Words of a user" in path.read_bytes() for path in files)


async def test_who_may_decode(gateway: GatewayUnderTest) -> None:
    data = "Ildob2V2ZXIgcmVhZHMgdGhpcyI="
    body = f'{{"payloads": [{{"metadata": {{"encoding": "anNvbi9wbGFpbg=="}}, "data": "{data}"}}]}}'
    async with gateway.client("") as http:
        encoded = await http.post("/codec/encode", content=body, headers={"Origin": UI})
        assert encoded.status_code == 200, encoded.text
        assert encoded.headers["access-control-allow-origin"] == UI
        assert data not in encoded.text
        decoded = await http.post("/codec/decode", content=encoded.content)
        assert json_format.Parse(decoded.text, Payloads()) == json_format.Parse(body, Payloads())
        preflight = await http.options("/codec/decode", headers={"Origin": UI})
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-origin"] == UI
        allowed = preflight.headers["access-control-allow-headers"]
        assert {"x-namespace", "authorization", "content-type"} <= set(allowed.split(", "))

        foreign = {"Origin": "http://evil.example"}
        refused = await http.post("/codec/decode", content=encoded.content, headers=foreign)
        assert_problem(refused, 403, "permission_denied", "origin")
        for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
            proxied = {header: "203.0.113.1"}
            answer = await http.post("/codec/decode", content=encoded.content, headers=proxied)
            assert_problem(answer, 401, "unauthenticated", "authorization")
    proxied = {"X-Forwarded-For": "203.0.113.1"}
    for scope, status in (("read", 403), ("run", 403), ("admin", 200)):
        async with gateway.client(gateway.secrets[scope]) as http:
            answer = await http.post("/codec/decode", content=encoded.content, headers=proxied)
        assert answer.status_code == status, answer.text


async def test_bad_payloads_are_told(gateway: GatewayUnderTest) -> None:
    key = base64.b64encode(b"binary/encrypted").decode()
    unknown = f'{{"payloads": [{{"metadata": {{"encoding": "{key}"}}, "data": "MQ=="}}]}}'
    async with gateway.client("") as http:
        for body in ("", "{", "[]", '{"payloads": 1}', '{"other": []}', b"\xff"):
            answer = await http.post("/codec/decode", content=body)
            assert_problem(answer, 400, "invalid_field", "body", "payloads")
        answer = await http.post("/codec/decode", content=unknown)
        assert_problem(answer, 400, "invalid_field", "payloads", "codec_key")
        answer = await http.post("/codec/decode", content=b"x" * (8 * 1_048_576 + 1))
        assert_problem(answer, 413, "payload_too_large", "body")
        assert (await http.get("/codec/decode")).status_code == 405


async def test_without_a_key_there_is_no_codec(harness: Harness) -> None:
    async with gateway_under_test(harness, "no-codec") as running:
        http: httpx.AsyncClient
        async with running.client("") as http:
            for operation in ("encode", "decode"):
                answer = await http.post(f"/codec/{operation}", content='{"payloads": []}')
                assert_problem(answer, 404, "not_found", "codec_key")
