"""The activity that records a run and delivers its texts: attempts, refusals, silence, kills."""

import asyncio
import io
import json
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import deliveries
from activities.channels import (
    Ambiguous,
    Channel,
    Channels,
    MessageGone,
    Outgoing,
    Refused,
    build_channels,
)
from activities.channels.channel import RETRY_SECONDS
from activities.deliveries import (
    DeliveryActivities,
    FinishRun,
    RunFinished,
)
from activities.delivery_steps import SENDER_DIED
from activities.failures import DELIVERY_REFUSED, STORE_FAILED
from activities.messenger import RETRY_FACTOR, Messenger
from activities.store import Store
from activities.store.outbox import DeliveryFilter
from domain.channels import ConsoleChannel, FileChannel, WebhookChannel
from domain.deliveries import MAX_ATTEMPTS, Delivery, DeliveryStatus, Part
from domain.runs import RunStatus
from domain.scopes import Route
from tests.support.ledger_rows import NOON, RUN_ID, delivery, run_record, thread
from tests.support.receiver import SECRET, Answer, Drop, Hang, Receiver, running_receiver

pytest_plugins = ["tests.support.databases"]

FINAL = f"{RUN_ID}/final"
CONSOLE = Route(receive_id_type="console")
FILE = Route(receive_id_type="file")
WEBHOOK = Route(receive_id_type="webhook", receive_id="team")

DIE_WHILE_SENDING = """
import asyncio, io, os, pathlib, signal, sys
from temporalio.testing import ActivityEnvironment
from activities.channels.console import ConsoleSender
from activities.channels.file import FileSender
from activities.deliveries import DeliveryActivities, FinishRun
from activities.messenger import Messenger
from activities.store import open_store
from domain.deliveries import Part
from domain.scopes import Route
from tests.support.ledger_rows import run_record

def dying(kind, moment):
    class Dying(kind):
        async def send(self, message):
            if moment == "after":
                await super().send(message)
            os.kill(os.getpid(), signal.SIGKILL)
    return Dying

async def main(url, folder, channel, moment):
    channels = {
        "file": dying(FileSender, moment)(pathlib.Path(folder, "deliveries.jsonl")),
        "console": dying(ConsoleSender, moment)(sys.stdout),
    }
    async with await open_store(url) as store:
        activities = DeliveryActivities(store, Messenger(channels, "console"))
        part = Part(part="final", route=Route(receive_id_type=channel), text="Hello")
        request = FinishRun(record=run_record(), parts=[part])
        await ActivityEnvironment().run(activities.finish_run, request)

asyncio.run(main(*sys.argv[1:]))
"""


@dataclass
class Scripted:
    """A channel that fails as told: the one thing that real ones cannot be made to do at will."""

    deduplicates: bool = False
    threads: bool = False
    speaks: bool = False
    retry_seconds: float = 10
    script: list[Exception] = field(default_factory=list)
    sent: list[tuple[str, Route, str]] = field(default_factory=list)
    repeated: list[bool] = field(default_factory=list)
    replies: list[str | None] = field(default_factory=list)

    async def send(self, message: Outgoing) -> str:
        assert message.key == f"{message.run_id}/{message.part}"
        self.repeated.append(message.repeated)
        self.replies.append(message.reply_to)
        if self.script:
            raise self.script.pop(0)
        self.sent.append((message.key, message.route, message.text))
        return f"id of {message.part}"


def activity_of(store: Store, **channels: Channel) -> DeliveryActivities:
    messenger = Messenger(channels, next(iter(channels)), clock=lambda: NOON)
    return DeliveryActivities(store, messenger)


def request(*parts: Part, **fields: Any) -> FinishRun:
    return FinishRun(record=run_record(**fields), parts=list(parts))


def final(route: Route = CONSOLE) -> Part:
    return Part(part="final", route=route, text="Hello")


async def finish(activities: DeliveryActivities, request: FinishRun) -> RunFinished:
    return await ActivityEnvironment().run(activities.finish_run, request)


async def refusal(activities: DeliveryActivities, request: FinishRun) -> ApplicationError:
    """The error with which an attempt of the activity asks for another one."""
    with pytest.raises(ApplicationError) as caught:
        await finish(activities, request)
    assert caught.value.type == DELIVERY_REFUSED
    assert not caught.value.non_retryable
    return caught.value


async def row_of(store: Store, key: str = FINAL) -> Delivery:
    row = await store.outbox.get(key)
    assert row is not None
    return row


def lines_of(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "deliveries.jsonl").read_text()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with running_receiver() as running:
        yield running


@pytest.fixture
def console() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
async def channels(
    tmp_path: Path, receiver: Receiver, console: io.StringIO
) -> AsyncIterator[Channels]:
    """The built-in channels, as a worker has them."""
    webhook = WebhookChannel(
        url=receiver.url, secret=SecretStr(SECRET), timeout_seconds=0.5, retry_seconds=3
    )
    built = build_channels(
        {
            "console": ConsoleChannel(),
            "file": FileChannel(),
            "webhook": webhook,
            "idempotent": webhook.model_copy(update={"deduplicates": True}),
        },
        folder=tmp_path,
        console=console,
    )
    yield built
    await built.close()


@pytest.fixture
def activities(store: Store, channels: Channels) -> DeliveryActivities:
    return DeliveryActivities(store, Messenger(channels, "console", clock=lambda: NOON))


async def test_run_without_texts_is_recorded(store: Store, activities: DeliveryActivities) -> None:
    record = run_record(status=RunStatus.OK, thread_id="thread-1")
    finished = await finish(activities, FinishRun(record=record, thread=thread()))
    assert finished == RunFinished()
    assert await store.runs.get(RUN_ID) == record
    assert await store.threads.get("thread-1") == thread()


async def test_texts_go_out_by_every_channel(
    store: Store,
    activities: DeliveryActivities,
    tmp_path: Path,
    receiver: Receiver,
    console: io.StringIO,
) -> None:
    receiver.script.append(Answer(200, {"id": "m-1"}))
    parts = [
        Part(part="start", route=CONSOLE, text="Off we go"),
        Part(part="final", route=FILE, text="Hello"),
        Part(part="copy", route=WEBHOOK, text="Hello team"),
    ]

    finished = await finish(activities, request(*parts))

    assert [(d.occurrence_id, d.status, d.message_id, d.error) for d in finished.deliveries] == [
        (f"{RUN_ID}/start", DeliveryStatus.SENT, f"{RUN_ID}/start", None),
        (FINAL, DeliveryStatus.SENT, FINAL, None),
        (f"{RUN_ID}/copy", DeliveryStatus.SENT, "m-1", None),
    ]
    assert "Off we go" in console.getvalue()
    assert [line["text"] for line in lines_of(tmp_path)] == ["Hello"]
    (post,) = receiver.contents()
    assert (post["text"], post["target"], post["key"]) == ("Hello team", "team", f"{RUN_ID}/copy")
    assert await row_of(store) == delivery(
        route=FILE,
        text="Hello",
        status=DeliveryStatus.SENT,
        attempts=1,
        message_id=FINAL,
        sent_at=NOON,
    )


async def test_finished_activity_may_run_again(
    activities: DeliveryActivities, receiver: Receiver, console: io.StringIO, tmp_path: Path
) -> None:
    parts = [Part(part=r.receive_id_type, route=r, text="Hi") for r in (CONSOLE, FILE, WEBHOOK)]
    first = await finish(activities, request(*parts))
    assert await finish(activities, request(*parts)) == first
    assert len(receiver.requests) == len(lines_of(tmp_path)) == console.getvalue().count("Hi") == 1


async def test_refusals_are_repeated_four_times(
    store: Store, activities: DeliveryActivities, receiver: Receiver
) -> None:
    receiver.script.extend([Answer(500), Answer(503), Answer(410), Answer(429), Answer(500)])
    wait = timedelta(seconds=3)
    for attempt in range(1, 5):
        error = await refusal(activities, request(final(WEBHOOK)))
        assert error.next_retry_delay == wait * 4 ** (attempt - 1)
        assert "private" not in str(error)
        row = await row_of(store)
        assert (row.status, row.attempts) == (DeliveryStatus.PENDING, attempt)
        assert str(row.error) in error.message
        (progress,) = error.details
        assert progress.deliveries[0].error == row.error

    finished = await finish(activities, request(final(WEBHOOK)))

    assert finished.deliveries[0].status == DeliveryStatus.FAILED
    assert finished.deliveries[0].error == "the receiver answered HTTP 500"
    assert await finish(activities, request(final(WEBHOOK))) == finished
    assert len(receiver.requests) == (await row_of(store)).attempts == 5


def test_all_attempts_happen_within_a_quarter_of_an_hour() -> None:
    waits = [RETRY_SECONDS * RETRY_FACTOR**attempt for attempt in range(MAX_ATTEMPTS - 1)]
    assert sum(waits) < 15 * 60


async def test_refusal_is_forgotten_when_the_text_is_sent(
    store: Store, activities: DeliveryActivities, receiver: Receiver
) -> None:
    receiver.script.append(Answer(500))
    await refusal(activities, request(final(WEBHOOK)))
    await finish(activities, request(final(WEBHOOK)))
    row = await row_of(store)
    assert (row.status, row.attempts, row.error) == (DeliveryStatus.SENT, 2, None)


async def test_refusal_for_good_is_not_repeated(
    activities: DeliveryActivities, tmp_path: Path
) -> None:
    route = Route(receive_id_type="file", receive_id="../elsewhere")
    finished = await finish(activities, request(final(route)))
    assert finished.deliveries[0].status == DeliveryStatus.FAILED
    assert "plain file name" in str(finished.deliveries[0].error)
    assert not (tmp_path.parent / "elsewhere").exists()


async def test_order_of_a_route_is_kept(store: Store) -> None:
    main, other = Scripted(script=[Refused("busy")]), Scripted()
    activities = activity_of(store, main=main, other=other)
    here = Route(receive_id_type="main", receive_id="here")
    there = Route(receive_id_type="main", receive_id="there")
    parts = [
        Part(part="1", route=here, text="a"),
        Part(part="2", route=here, text="b"),
        Part(part="3", route=there, text="c"),
        Part(part="4", route=Route(receive_id_type="other"), text="d"),
    ]

    error = await refusal(activities, request(*parts))

    assert [text for _, _, text in main.sent + other.sent] == ["c", "d"]
    assert error.message == f"{RUN_ID}/1 was not delivered: busy"
    assert (await row_of(store, f"{RUN_ID}/2")).attempts == 0
    await finish(activities, request(*parts))
    assert [text for _, _, text in main.sent] == ["c", "a", "b"]


@pytest.mark.parametrize("failure", [Refused("no", retryable=False), Ambiguous("perhaps")])
async def test_lost_text_does_not_hold_up_the_next(store: Store, failure: Exception) -> None:
    channel = Scripted(script=[failure])
    parts = [Part(part=name, route=CONSOLE, text=name) for name in ("1", "2")]
    await finish(activity_of(store, console=channel), request(*parts))
    assert [text for _, _, text in channel.sent] == ["2"]


async def test_longest_wait_of_several_routes_counts(store: Store) -> None:
    slow = Scripted(retry_seconds=7, script=[Refused("x")] * 3)
    quick = Scripted(retry_seconds=1, script=[Refused("y")])
    activities = activity_of(store, slow=slow, quick=quick)
    parts = [Part(part=n, route=Route(receive_id_type=n), text="a") for n in ("slow", "quick")]
    error = await refusal(activities, request(*parts))
    assert error.next_retry_delay == timedelta(seconds=7)
    assert "quick was not delivered: y" in error.message
    error = await refusal(activities, request(*parts))
    assert error.next_retry_delay == timedelta(seconds=28)


@pytest.mark.parametrize("step", [Hang(), Drop()])
async def test_missing_answer_is_unknown_and_never_repeated(
    store: Store, activities: DeliveryActivities, receiver: Receiver, step: Hang | Drop
) -> None:
    receiver.script.append(step)
    for _ in range(2):
        finished = await finish(activities, request(final(WEBHOOK)))
        assert finished.deliveries[0].status == DeliveryStatus.UNKNOWN
        assert "may have arrived" in str(finished.deliveries[0].error)
    assert len(receiver.requests) == (await row_of(store)).attempts == 1


async def test_missing_answer_is_repeated_where_the_key_is_known(
    store: Store, activities: DeliveryActivities, receiver: Receiver
) -> None:
    receiver.script.append(Drop())
    route = Route(receive_id_type="idempotent")
    error = await refusal(activities, request(final(route)))
    assert error.next_retry_delay == timedelta(seconds=3)
    await finish(activities, request(final(route)))
    assert (await row_of(store)).status == DeliveryStatus.SENT
    assert len({post["key"] for post in receiver.contents()}) == 1
    assert len(receiver.requests) == 2


async def test_answers_that_stay_missing_are_unknown_in_the_end(store: Store) -> None:
    channel = Scripted(deduplicates=True, script=[Ambiguous("silence")] * 9)
    activities = activity_of(store, console=channel)
    for _ in range(4):
        await refusal(activities, request(final()))
    for _ in range(2):
        finished = await finish(activities, request(final()))
        assert finished.deliveries[0].status == DeliveryStatus.UNKNOWN
        assert finished.deliveries[0].error == "silence"
    assert (await row_of(store)).attempts == 5
    assert channel.repeated == [False, True, True, True, True]


async def test_route_without_a_channel_goes_to_the_default(store: Store) -> None:
    default, other = Scripted(), Scripted()
    activities = activity_of(store, default=default, other=other)
    route = Route(receive_id_type="feishu", receive_id="oc_1/2")
    await finish(activities, request(final(route)))
    # The target meant something to the channel that is not there only.
    assert default.sent == [(FINAL, Route(receive_id_type="default"), "Hello")]
    assert (await row_of(store)).route == route


def test_default_must_be_a_channel(tmp_path: Path) -> None:
    channels = build_channels({"file": FileChannel()}, folder=tmp_path, console=io.StringIO())
    with pytest.raises(ValueError, match=r"no channel 'console', only \['file'\]"):
        Messenger(channels, "console")


async def test_row_that_was_settled_by_hand_is_not_sent(
    store: Store, activities: DeliveryActivities, receiver: Receiver
) -> None:
    receiver.script.append(Answer(500))
    await refusal(activities, request(final(WEBHOOK)))
    await store.outbox.settle(FINAL, DeliveryStatus.SUPPRESSED, error="routine deleted")
    finished = await finish(activities, request(final(WEBHOOK)))
    assert finished.deliveries[0].status == DeliveryStatus.SUPPRESSED
    assert len(receiver.requests) == 1


async def test_two_attempts_at_once_send_once(
    store: Store, activities: DeliveryActivities, console: io.StringIO
) -> None:
    await asyncio.gather(
        *(finish(activities, request(final())) for _ in range(5)), return_exceptions=True
    )
    assert console.getvalue().count("Hello") == 1
    assert (await row_of(store)).status == DeliveryStatus.SENT


async def test_other_sender_of_the_next_text_does_not_undo_the_former(store: Store) -> None:
    class Disturbed(Scripted):
        async def send(self, message: Outgoing) -> str:
            if message.key == f"{RUN_ID}/1":
                await store.outbox.begin_attempt(f"{RUN_ID}/2", seen_attempts=0)
            return await super().send(message)

    channel = Disturbed()
    parts = [Part(part=name, route=CONSOLE, text=name) for name in ("1", "2", "3")]
    with pytest.raises(ApplicationError, match=r"another sender is at .*/2'") as caught:
        await finish(activity_of(store, console=channel), request(*parts))
    assert caught.value.type == STORE_FAILED
    assert not caught.value.non_retryable
    assert [text for _, _, text in channel.sent] == ["1"]
    rows = [await row_of(store, f"{RUN_ID}/{number}") for number in (1, 2, 3)]
    assert [(row.status, row.attempts) for row in rows] == [
        (DeliveryStatus.SENT, 1),
        (DeliveryStatus.UNKNOWN, 1),
        (DeliveryStatus.PENDING, 0),
    ]


async def test_fault_of_a_channel_leaves_the_truth(store: Store) -> None:
    channel = Scripted(script=[RuntimeError("a bug")])
    activities = activity_of(store, console=channel)
    with pytest.raises(RuntimeError, match="a bug"):
        await finish(activities, request(final()))
    finished = await finish(activities, request(final()))
    assert finished.deliveries[0].status == DeliveryStatus.UNKNOWN
    assert finished.deliveries[0].error == SENDER_DIED
    assert channel.sent == []


async def test_heart_beats_while_a_channel_is_silent(
    activities: DeliveryActivities, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "BEAT", timedelta(milliseconds=20))
    receiver.script.append(Hang())
    beats: list[str | None] = []
    environment = ActivityEnvironment()
    environment.on_heartbeat = lambda detail: beats.append(detail.occurrence_id)
    await environment.run(activities.finish_run, request(final(WEBHOOK)))
    assert beats.count(FINAL) > 5


async def test_missing_thread_fails_for_good(activities: DeliveryActivities) -> None:
    with pytest.raises(ApplicationError) as caught:
        await finish(activities, request(thread_id="missing"))
    assert caught.value.type == STORE_FAILED
    assert caught.value.non_retryable


async def test_late_activity_does_not_reopen_the_run(
    store: Store, activities: DeliveryActivities
) -> None:
    ended = run_record(status=RunStatus.OK, finished_at=NOON)
    await finish(activities, FinishRun(record=ended))
    await finish(activities, request())
    assert await store.runs.get(RUN_ID) == ended


async def die_while_sending(url: str, folder: Path, channel: str, moment: str) -> str:
    """Run the activity in a process that is killed around the sending; returns what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", DIE_WHILE_SENDING, url, str(folder), channel, moment),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == -signal.SIGKILL
    return output.decode()


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_killed_sender_of_a_file_leaves_one_line(
    store: Store, store_url: str, activities: DeliveryActivities, tmp_path: Path, moment: str
) -> None:
    await die_while_sending(store_url, tmp_path, "file", moment)
    row = await row_of(store)
    assert (row.status, row.attempts, row.error) == (DeliveryStatus.UNKNOWN, 1, None)
    assert (tmp_path / "deliveries.jsonl").exists() == (moment == "after")

    finished = await finish(activities, request(final(FILE)))

    assert finished.deliveries[0].status == DeliveryStatus.SENT
    assert [line["key"] for line in lines_of(tmp_path)] == [FINAL]
    assert (await row_of(store)).attempts == 2


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_killed_sender_of_a_console_leaves_it_unknown(
    store: Store,
    store_url: str,
    activities: DeliveryActivities,
    tmp_path: Path,
    console: io.StringIO,
    moment: str,
) -> None:
    shown = await die_while_sending(store_url, tmp_path, "console", moment)
    assert ("Hello" in shown) == (moment == "after")

    for _ in range(2):
        finished = await finish(activities, request(final()))
        assert finished.deliveries[0].status == DeliveryStatus.UNKNOWN
        assert finished.deliveries[0].error == SENDER_DIED

    assert console.getvalue() == ""
    unknown = DeliveryFilter(status=DeliveryStatus.UNKNOWN)
    assert [row.occurrence_id for row in await store.outbox.listing(unknown, 9)] == [FINAL]


def test_payloads_survive_json() -> None:
    asked = FinishRun(record=run_record(), thread=thread(), parts=[final()])
    assert FinishRun.model_validate_json(asked.model_dump_json()) == asked


class TestReplies:
    """Automation.md §7.6 and §7.8."""

    async def test_goes_under_the_message_where_the_channel_can(self, store: Store) -> None:
        for threads, expected in ((True, "om_1"), (False, None)):
            channel = Scripted(threads=threads)
            part = Part(part=f"final-{threads}", route=CONSOLE, reply_to="om_1", text="Hello")
            finished = await finish(activity_of(store, console=channel), request(part))
            assert channel.replies == [expected]
            (receipt,) = finished.deliveries
            assert (receipt.replyable, receipt.gone) == (threads, False)

    @pytest.mark.parametrize(
        ("error", "gone"), [(MessageGone("gone"), True), (Refused("no threads here"), False)]
    )
    async def test_falls_back_to_the_route_at_once(
        self, store: Store, error: Exception, gone: bool
    ) -> None:
        channel = Scripted(threads=True, script=[error])
        part = Part(part="final", route=CONSOLE, reply_to="om_1", text="Hello")
        finished = await finish(activity_of(store, console=channel), request(part))
        assert channel.replies == ["om_1", None]
        (receipt,) = finished.deliveries
        assert (receipt.status, receipt.message_id) == (DeliveryStatus.SENT, "id of final")
        assert receipt.gone is gone
        assert (await row_of(store)).attempts == 1

    async def test_a_reply_that_may_have_arrived_is_not_sent_to_the_route(
        self, store: Store
    ) -> None:
        channel = Scripted(threads=True, script=[Ambiguous("no answer")])
        part = Part(part="final", route=CONSOLE, reply_to="om_1", text="Hello")
        finished = await finish(activity_of(store, console=channel), request(part))
        assert channel.replies == ["om_1"]
        assert finished.deliveries[0].status == DeliveryStatus.UNKNOWN
