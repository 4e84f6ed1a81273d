"""The tools that need neither files nor commands: message_send, time_now."""

import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from activities.channels import build_channels
from activities.messenger import Messenger
from activities.store import Store, open_store
from activities.tools.builtin import ToolNeeds, builtin_tools
from activities.tools.tool import ToolFailed, permission_of_call
from activities.workspace import Workspace
from domain.channels import ChannelSpec, FileChannel, WebhookChannel
from domain.deliveries import DeliveryStatus
from domain.tool_specs import Permission
from tests.support.receiver import SECRET, Answer, Hang, Receiver, running_receiver
from tests.support.tools import ME, Toolbox

NOW = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
# Those that need a connection to Temporal are tested with one.
WITHOUT_TEMPORAL = {
    "time_now", "file_read", "file_list", "file_search", "file_write", "file_patch", "json_query",
    "memory_search", "memory_write", "http_get", "http_request", "shell", "python_run",
    "message_send",
}  # fmt: skip


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await open_store(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with running_receiver() as running:
        yield running


@pytest.fixture
async def tools(tmp_path: Path, store: Store, receiver: Receiver) -> AsyncIterator[Toolbox]:
    specs: dict[str, ChannelSpec] = {
        "file": FileChannel(),
        "hook": WebhookChannel(url=receiver.url, secret=SecretStr(SECRET), timeout_seconds=0.3),
    }
    channels = build_channels(specs, folder=tmp_path, console=io.StringIO())
    needs = ToolNeeds(
        workspace=Workspace(tmp_path / "workspace"),
        store=store,
        messenger=Messenger(channels, "file"),
        channels=list(specs),
        default_timezone="Europe/Berlin",
        clock=lambda: NOW,
    )
    own = ME.route and ME.route.model_copy(update={"receive_id_type": "file"})
    caller = ME.model_copy(update={"route": own})
    yield Toolbox(builtin_tools(needs), caller)
    await channels.close()


def texts(folder: Path) -> list[str]:
    path = folder / "deliveries.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [str(json.loads(line)["text"]) for line in lines]


def test_every_tool_says_what_it_takes_and_whether_it_asks(tools: Toolbox) -> None:
    assert set(tools.by_name) == WITHOUT_TEMPORAL
    asking = {
        name for name, tool in tools.by_name.items() if tool.spec.permission is Permission.ASK
    }
    assert asking == {"file_write", "file_patch", "http_request", "shell", "python_run"}
    for tool in tools.by_name.values():
        spec = tool.spec
        assert spec.parameters["additionalProperties"] is False, spec.name
        assert len(spec.description) > 20, spec.name
        assert spec.idempotent or not spec.read_only, spec.name
        assert spec.needs_sandbox == (spec.name in {"shell", "python_run"})


async def test_the_time_is_that_of_a_zone(tools: Toolbox) -> None:
    here = json.loads(await tools.call("time_now"))
    assert here == {
        "time": "2026-03-29T03:30:00+02:00",
        "timezone": "Europe/Berlin",
        "weekday": "Sunday",
        "unix": 1774747800,
    }
    there = json.loads(await tools.call("time_now", timezone="Asia/Kolkata"))
    assert there["time"] == "2026-03-29T07:00:00+05:30"
    with pytest.raises(ToolFailed, match="IANA"):
        await tools.call("time_now", timezone="Nowhere")


async def test_a_message_goes_to_the_own_route_once(
    tools: Toolbox, store: Store, tmp_path: Path
) -> None:
    for _ in range(2):
        assert await tools.call("message_send", "a", text="hello") == "sent to file"
    await tools.call("message_send", "b", text="again")
    assert texts(tmp_path) == ["hello", "again"]
    row = await store.outbox.get("tool/a")
    assert row is not None
    assert (row.status, row.scope) == (DeliveryStatus.SENT, "user:me")


@pytest.mark.parametrize(
    ("arguments", "permission"),
    [
        ({}, Permission.ALLOW),
        ({"channel": "file"}, Permission.ALLOW),
        ({"channel": " file "}, Permission.ALLOW),
        ({"channel": "file", "target": "other.jsonl"}, Permission.ASK),
        ({"target": "other.jsonl"}, Permission.ASK),
        ({"channel": "hook"}, Permission.ASK),
        ({"channel": "nowhere"}, Permission.ASK),
    ],
)
def test_every_other_route_asks(
    tools: Toolbox, arguments: dict[str, str], permission: Permission
) -> None:
    own = ME.route and ME.route.model_copy(update={"receive_id_type": "file"})
    caller = ME.model_copy(update={"route": own})
    tool = tools.by_name["message_send"]
    assert permission_of_call(tool, {"text": "x", **arguments}, caller) is permission
    nobody = ME.model_copy(update={"route": None})
    if "channel" in arguments:
        assert permission_of_call(tool, {"text": "x", **arguments}, nobody) is Permission.ASK


async def test_a_channel_that_does_not_exist_is_refused(tools: Toolbox, tmp_path: Path) -> None:
    with pytest.raises(ToolFailed, match="there is no channel 'nowhere'; channels: file, hook"):
        await tools.call("message_send", text="x", channel="nowhere")
    assert texts(tmp_path) == []


async def test_a_message_without_a_route_says_so(tools: Toolbox) -> None:
    caller = ME.model_copy(update={"route": None})
    with pytest.raises(ToolFailed, match="give channel and target"):
        await Toolbox(list(tools.by_name.values()), caller).call("message_send", text="x")


async def test_a_message_that_may_have_arrived_is_not_repeated(
    tools: Toolbox, receiver: Receiver
) -> None:
    receiver.script.append(Hang())
    for _ in range(2):
        with pytest.raises(ToolFailed, match="nobody knows whether the message to hook"):
            await tools.call("message_send", "k", text="x", channel="hook")
    assert len(receiver.requests) == 1


async def test_a_refused_message_says_why(tools: Toolbox, receiver: Receiver) -> None:
    receiver.script.append(Answer(status=403))
    with pytest.raises(ToolFailed, match="was not sent: the receiver answered HTTP 403"):
        await tools.call("message_send", "k", text="x", channel="hook")
