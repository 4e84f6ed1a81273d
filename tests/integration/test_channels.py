"""The built-in channels, with real streams, real files and a real receiver of webhooks."""

import asyncio
import io
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from activities.channels import (
    Ambiguous,
    Channel,
    Channels,
    MessageGone,
    Outgoing,
    Refused,
    build_channels,
    file,
)
from activities.channels.console import ConsoleSender
from activities.channels.file import FileSender
from activities.channels.webhook import WebhookSender
from activities.file_locks import locked
from domain.channels import ConsoleChannel, FileChannel, WebhookChannel
from domain.scopes import Route
from tests.support.receiver import (
    SECRET,
    Answer,
    Drop,
    Hang,
    Receiver,
    Step,
    Trickle,
    running_receiver,
)

RUN_ID = "morning-brief/s-2026-03-01T09:00:00Z"
KEY = f"{RUN_ID}/final"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

WRITE_FOR_EVER = """
import asyncio, itertools, pathlib, sys
from activities.channels import Outgoing
from activities.channels.file import FileSender
from domain.scopes import Route

async def main(path):
    sender = FileSender(pathlib.Path(path))
    for number in itertools.count():
        run = f"a/m-{number}"
        route = Route(receive_id_type="file")
        await sender.send(
            Outgoing(key=f"{run}/final", route=route, text="x" * 20000, run_id=run, part="final")
        )
        print(number, flush=True)

asyncio.run(main(sys.argv[1]))
"""


async def send(
    channel: Channel,
    text: str = "Hello",
    target: str = "",
    key: str = KEY,
    *,
    repeated: bool = False,
    reply_to: str | None = None,
) -> str:
    """Send one text of the run."""
    run_id, _, part = key.rpartition("/")
    route = Route(receive_id_type="any", receive_id=target)
    message = Outgoing(
        key=key,
        route=route,
        text=text,
        run_id=run_id,
        part=part,
        repeated=repeated,
        reply_to=reply_to,
    )
    return await channel.send(message)


class TestConsole:
    async def test_text_is_one_readable_block(self) -> None:
        stream = io.StringIO()
        assert await send(ConsoleSender(stream), "Line one\nline two \u2713\n") == KEY
        assert stream.getvalue() == f"--- {RUN_ID} final\nLine one\nline two \u2713\n\n"

    async def test_target_is_shown(self) -> None:
        stream = io.StringIO()
        await send(ConsoleSender(stream), target="me")
        assert stream.getvalue().startswith(f"--- {RUN_ID} final to me\n")

    async def test_text_cannot_steer_the_terminal(self) -> None:
        stream = io.StringIO()
        await send(ConsoleSender(stream), "a\x1b[2J\x07\r\x9bb\tc")
        assert "\na[2Jb\tc\n" in stream.getvalue()

    async def test_stream_that_cannot_show_a_character_shows_another(self) -> None:
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding="ascii")
        await send(ConsoleSender(stream), "caf\u00e9")
        assert b"caf?" in raw.getvalue()

    async def test_blocks_of_many_senders_do_not_mix(self) -> None:
        stream = io.StringIO()
        console = ConsoleSender(stream)
        await asyncio.gather(*(send(console, str(number) * 50) for number in range(10)))
        blocks = stream.getvalue().strip().split("\n\n")
        assert sorted(block.split("\n")[1] for block in blocks) == [str(n) * 50 for n in range(10)]

    async def test_closed_console_refuses(self) -> None:
        stream = io.StringIO()
        stream.close()
        with pytest.raises(Refused, match="closed"):
            await send(ConsoleSender(stream))

    async def test_broken_pipe_is_ambiguous(self) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        stream = os.fdopen(writing, "w")
        with pytest.raises(Ambiguous, match="Broken pipe"):
            await send(ConsoleSender(stream))
        with pytest.raises(BrokenPipeError):
            stream.close()

    def test_console_cannot_tell_a_repeated_key(self) -> None:
        assert not ConsoleSender(io.StringIO()).deduplicates


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The lines of a file, which must all be whole."""
    data = path.read_bytes()
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


@contextmanager
def room_for(size_bytes: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def bytes_read() -> int:
    """What this process has read from files, whether from the disk or from memory."""
    counters = Path("/proc/self/io").read_text(encoding="ascii")
    return int(counters.partition("rchar:")[2].split()[0])


class TestFile:
    async def test_text_is_one_line(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "deliveries.jsonl"
        sender = FileSender(path, clock=lambda: NOON)
        assert await send(sender, "Line one\nline \u2713") == KEY
        assert lines_of(path) == [
            {
                "key": KEY,
                "run_id": RUN_ID,
                "part": "final",
                "route": "any",
                "reply_to": None,
                "text": "Line one\nline \u2713",
                "sent_at": "2026-03-01T12:00:00Z",
            }
        ]

    async def test_key_is_written_once(self, tmp_path: Path) -> None:
        path = tmp_path / "d.jsonl"
        for sender in (FileSender(path), FileSender(path)):
            await send(sender, f'mentions "{KEY}/other"', key="a/m-1/final", repeated=True)
            await send(sender, f'mentions "{KEY}"', repeated=True)
            await send(sender, "again", repeated=True)
        assert [line["key"] for line in lines_of(path)] == ["a/m-1/final", KEY]
        assert FileSender(path).deduplicates

    async def test_many_writers_at_once(self, tmp_path: Path) -> None:
        path = tmp_path / "d.jsonl"
        keys = [f"a/m-{number}/final" for number in range(20)]
        await asyncio.gather(*(send(FileSender(path), key=key, repeated=True) for key in keys * 3))
        assert sorted(line["key"] for line in lines_of(path)) == sorted(keys)

    @pytest.mark.parametrize("left", [b"{", b'{"key": "x/m-1/fi', b'{"key": "x", "te\xff'])
    async def test_torn_line_is_removed(self, tmp_path: Path, left: bytes) -> None:
        path = tmp_path / "d.jsonl"
        await send(FileSender(path), key="a/m-1/final")
        path.write_bytes(path.read_bytes() + left)
        await send(FileSender(path))
        assert [line["key"] for line in lines_of(path)] == ["a/m-1/final", KEY]

    async def test_own_torn_line_is_written_again(self, tmp_path: Path) -> None:
        path = tmp_path / "d.jsonl"
        await send(FileSender(path))
        path.write_bytes(path.read_bytes()[:-5])
        await send(FileSender(path), repeated=True)
        assert [line["key"] for line in lines_of(path)] == [KEY]

    async def test_last_line_that_only_lacks_its_end_is_kept(self, tmp_path: Path) -> None:
        path = tmp_path / "d.jsonl"
        path.write_text('{"key": "a"}')
        await send(FileSender(path))
        await send(FileSender(path), key="a", repeated=True)
        assert [line["key"] for line in lines_of(path)] == ["a", KEY]

    async def test_lines_of_somebody_else_are_kept(self, tmp_path: Path) -> None:
        path = tmp_path / "d.jsonl"
        path.write_text(f'{{"note": "{KEY}"}}\n["{KEY}"]\nnot json\n')
        await send(FileSender(path), repeated=True)
        assert path.read_text().count("\n") == 4

    async def test_target_names_a_neighbour(self, tmp_path: Path) -> None:
        sender = FileSender(tmp_path / "d.jsonl")
        await send(sender, target="alerts.jsonl")
        await send(sender)
        assert len(lines_of(tmp_path / "alerts.jsonl")) == len(lines_of(tmp_path / "d.jsonl")) == 1

    @pytest.mark.parametrize(
        "target", ["..", ".", "../x", "a/b", "/etc/passwd", "a\\b", "a\0b", "a\nb", "./x"]
    )
    async def test_target_cannot_leave_the_folder(self, tmp_path: Path, target: str) -> None:
        with pytest.raises(Refused, match="plain file name") as caught:
            await send(FileSender(tmp_path / "in" / "d.jsonl"), target=target)
        assert not caught.value.retryable
        assert os.listdir(tmp_path) == []

    async def test_file_of_something_else_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "tickless.db").write_bytes(b"SQLite format 3\0")
        with pytest.raises(Refused, match="something else") as caught:
            await send(FileSender(tmp_path / "d.jsonl"), target="tickless.db")
        assert not caught.value.retryable
        assert (tmp_path / "tickless.db").read_bytes() == b"SQLite format 3\0"

    async def test_folder_in_the_way_refuses(self, tmp_path: Path) -> None:
        (tmp_path / "d.jsonl").mkdir()
        with pytest.raises(Refused, match="Is a directory") as caught:
            await send(FileSender(tmp_path / "d.jsonl"))
        assert caught.value.retryable

    async def test_file_that_stays_locked_refuses(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(file, "PATIENCE", timedelta(milliseconds=50))
        path = tmp_path / "d.jsonl"
        with (
            path.open("ab") as other,
            locked(other, timedelta(seconds=5)),
            pytest.raises(Refused, match="locked"),
        ):
            await send(FileSender(path))
        await send(FileSender(path))
        assert len(lines_of(path)) == 1

    async def test_first_attempt_costs_the_same_however_long_the_file_is(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "d.jsonl"
        await send(FileSender(path))
        text = "x" * 100_000
        with path.open("ab") as long:
            for number in range(500):
                long.write(json.dumps({"key": f"a/m-{number}/final", "text": text}).encode())
                long.write(b"\n")
        size = path.stat().st_size

        before = bytes_read()
        await send(FileSender(path), key="b/m-1/final")
        assert bytes_read() - before < 100_000 < size

        before = bytes_read()
        await send(FileSender(path), repeated=True)
        await send(FileSender(path), key="a/m-499/final", repeated=True)
        assert bytes_read() - before > size  # the last of them is found at the very end
        keys = [line["key"] for line in lines_of(path)]
        assert keys == [KEY, *(f"a/m-{number}/final" for number in range(500)), "b/m-1/final"]

    async def test_long_torn_line_is_removed(self, tmp_path: Path) -> None:
        path = tmp_path / "d.jsonl"
        await send(FileSender(path), key="a/m-1/final")
        path.write_bytes(path.read_bytes() + b'{"key": "x", "text": "' + b"x" * 1_000_000)
        await send(FileSender(path))
        assert [line["key"] for line in lines_of(path)] == ["a/m-1/final", KEY]

    async def test_full_disk_is_ambiguous_and_mended(self, tmp_path: Path) -> None:
        path = tmp_path / "d.jsonl"
        with room_for(100), pytest.raises(Ambiguous, match="File too large"):
            await send(FileSender(path), "x" * 200)
        assert path.stat().st_size == 100
        await send(FileSender(path), "x" * 200, repeated=True)
        assert [line["key"] for line in lines_of(path)] == [KEY]

    async def test_writer_that_is_killed_leaves_no_half_line(self, tmp_path: Path) -> None:
        path = tmp_path / "d.jsonl"
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITE_FOR_EVER, str(path), stdout=asyncio.subprocess.PIPE
        )
        assert writer.stdout is not None
        for _ in range(5):
            await writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        await writer.communicate()
        await send(FileSender(path))
        keys = [line["key"] for line in lines_of(path)]
        assert keys == [f"a/m-{number}/final" for number in range(len(keys) - 1)] + [KEY]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with running_receiver() as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as opened:
        yield opened


def webhook(client: httpx.AsyncClient, url: str, **fields: Any) -> WebhookSender:
    spec = WebhookChannel(url=url, secret=SecretStr(SECRET), **{"timeout_seconds": 5, **fields})
    return WebhookSender(spec, client)


class TestWebhook:
    async def test_post_is_signed(self, client: httpx.AsyncClient, receiver: Receiver) -> None:
        assert await send(webhook(client, receiver.url), "caf\u00e9 \u2713", target="team") == KEY
        assert receiver.contents() == [
            {
                "key": KEY,
                "run_id": RUN_ID,
                "part": "final",
                "text": "caf\u00e9 \u2713",
                "target": "team",
                "reply_to": None,
                "audio_as_voice": False,
            }
        ]
        (request,) = receiver.requests
        assert (request.method, request.path) == ("POST", "/hooks/alerts?token=private")
        assert request.headers["webhook-id"] == KEY
        assert request.headers["content-type"] == "application/json"

    @pytest.mark.parametrize(
        ("answer", "message_id"),
        [
            (Answer(200, {"id": "m-1"}), "m-1"),
            (Answer(201, {"id": "m-1"}, (("webhook-id", "h-1"),)), "h-1"),
            (Answer(202, "", (("x-message-id", "h-2"),)), "h-2"),
            (Answer(204), KEY),
            (Answer(200, {"id": 7}), KEY),
            (Answer(200, {"id": ""}), KEY),
            (Answer(200, {"id": "x" * 201}), KEY),
            (Answer(200, {"id": "a\nb"}), KEY),
            (Answer(200, ["id"]), KEY),
            (Answer(200, "<html>"), KEY),
            (Answer(200, {"id": "m-1", "more": "x" * 70_000}), KEY),
            (Drop(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"), KEY),
            (Trickle(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n"), KEY),
        ],
    )
    async def test_accepted_text_gets_an_id(
        self, client: httpx.AsyncClient, receiver: Receiver, answer: Step, message_id: str
    ) -> None:
        receiver.script.append(answer)
        assert await send(webhook(client, receiver.url, timeout_seconds=0.5)) == message_id

    @pytest.mark.parametrize(
        ("status", "reply_to", "error"),
        [(410, "om_1", MessageGone), (410, None, Refused), (404, "om_1", Refused)],
    )
    async def test_only_gone_says_that_the_message_to_reply_to_is(
        self,
        client: httpx.AsyncClient,
        receiver: Receiver,
        status: int,
        reply_to: str | None,
        error: type[Refused],
    ) -> None:
        receiver.script.append(Answer(status))
        with pytest.raises(Refused) as caught:
            await send(webhook(client, receiver.url), reply_to=reply_to)
        assert type(caught.value) is error
        assert receiver.contents()[0]["reply_to"] == reply_to

    @pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 410, 429, 500, 503])
    async def test_every_other_answer_is_a_refusal(
        self, client: httpx.AsyncClient, receiver: Receiver, status: int
    ) -> None:
        receiver.script.append(Answer(status, "private page", (("location", receiver.url),)))
        with pytest.raises(Refused, match=f"HTTP {status}") as caught:
            await send(webhook(client, receiver.url))
        assert caught.value.retryable
        assert "private" not in str(caught.value)
        assert len(receiver.requests) == 1

    @pytest.mark.parametrize("status", [502, 504])
    async def test_what_a_proxy_says_is_ambiguous(
        self, client: httpx.AsyncClient, receiver: Receiver, status: int
    ) -> None:
        receiver.script.append(Answer(status, "private page"))
        with pytest.raises(Ambiguous, match=f"HTTP {status}; the text may have arrived") as caught:
            await send(webhook(client, receiver.url))
        assert "private" not in str(caught.value)

    @pytest.mark.parametrize(
        "step",
        [Hang(), Drop(), Drop(b"HTTP/1.1 200"), Drop(b"nonsense\r\n\r\n"), Trickle(b"HTTP/1.1")],
    )
    async def test_missing_answer_is_ambiguous(
        self, client: httpx.AsyncClient, receiver: Receiver, step: Step
    ) -> None:
        receiver.script.append(step)
        with pytest.raises(Ambiguous, match="may have arrived") as caught:
            await send(webhook(client, receiver.url, timeout_seconds=0.3))
        assert "private" not in str(caught.value)
        assert len(receiver.requests) == 1

    async def test_nobody_listening_is_a_refusal(
        self, client: httpx.AsyncClient, unused_tcp_port: int
    ) -> None:
        url = f"http://127.0.0.1:{unused_tcp_port}/?token=private"
        with pytest.raises(Refused, match="cannot be reached") as caught:
            await send(webhook(client, url))
        assert "private" not in str(caught.value)

    async def test_unknown_host_is_a_refusal(self, client: httpx.AsyncClient) -> None:
        with pytest.raises(Refused, match="cannot be reached"):
            await send(webhook(client, "http://nowhere.invalid/"))

    async def test_failed_handshake_is_a_refusal(self, client: httpx.AsyncClient) -> None:
        async def speak_no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(speak_no_tls, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(Refused, match="ConnectError"):
                await send(webhook(client, f"https://127.0.0.1:{port}/"))

    async def test_handshake_that_hangs_is_a_refusal(self, client: httpx.AsyncClient) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            with pytest.raises(Refused, match="ConnectTimeout"):
                await send(webhook(client, f"https://127.0.0.1:{port}/", timeout_seconds=0.2))

    @pytest.mark.parametrize(
        ("url", "key"),
        [("http://127.0.0.1:port/", KEY), ("http://127.0.0.1:1/", "caf\u00e9/m-1/final")],
    )
    async def test_request_that_cannot_be_made_is_final(
        self, client: httpx.AsyncClient, url: str, key: str
    ) -> None:
        with pytest.raises(Refused, match="not valid") as caught:
            await send(webhook(client, url), key=key)
        assert not caught.value.retryable

    async def test_each_text_has_a_connection_of_its_own(
        self, client: httpx.AsyncClient, receiver: Receiver
    ) -> None:
        sender = webhook(client, receiver.url)
        for _ in range(3):
            await send(sender)
        assert [item.headers["connection"] for item in receiver.requests] == ["close"] * 3

    async def test_cancelled_send_breaks_off(
        self, client: httpx.AsyncClient, receiver: Receiver
    ) -> None:
        receiver.script.append(Hang())
        sending = asyncio.create_task(send(webhook(client, receiver.url)))
        await receiver.arrived.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


async def test_channels_are_built_from_their_descriptions(
    tmp_path: Path, receiver: Receiver
) -> None:
    stream = io.StringIO()
    channels = build_channels(
        {
            "console": ConsoleChannel(),
            "log": FileChannel(path="out/log.jsonl"),
            "alerts": WebhookChannel(
                url=receiver.url, secret=SecretStr(SECRET), retry_seconds=3, deduplicates=True
            ),
        },
        folder=tmp_path,
        console=stream,
    )
    assert sorted(channels) == ["alerts", "console", "log"]
    assert len(channels) == 3
    for channel in channels.values():
        await send(channel)
    assert KEY.rpartition("/")[0] in stream.getvalue()
    assert len(lines_of(tmp_path / "out" / "log.jsonl")) == len(receiver.contents()) == 1
    assert {name: channel.deduplicates for name, channel in channels.items()} == {
        "console": False,
        "log": True,
        "alerts": True,
    }
    assert {name: channel.retry_seconds for name, channel in channels.items()} == {
        "console": 10,
        "log": 10,
        "alerts": 3,
    }
    await channels.close()
    await Channels({}).close()


@pytest.mark.parametrize("secret", ["whsec_not base64!", "whsec_", "hunter2hunter2hunter2!"])
def test_bad_secret_is_refused_without_being_shown(tmp_path: Path, secret: str) -> None:
    spec = WebhookChannel(url="http://127.0.0.1:1/", secret=SecretStr(secret))
    with pytest.raises(ValueError, match=r"channels\.alerts\.secret: .* base64") as caught:
        build_channels({"alerts": spec}, folder=tmp_path, console=io.StringIO())
    assert "hunter2" not in str(caught.value)
    assert "not base64" not in str(caught.value)
