"""A channel that refuses, and the user who goes on talking (real server, real HTTP)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from activities.turns import TURN_ATTEMPTS
from client.context import CallerContext
from client.tickless import TicklessClient
from domain.identifiers import SERVED_QUEUES
from domain.inbound_records import MessageFate
from domain.queueing import QueueMode
from domain.scopes import Route
from domain.session_messages import QueueOptions
from domain.turns import TurnStatus
from tests.support.conversations import Conversation, conversation
from tests.support.harness import Harness, running_harness, running_server, until
from tests.support.model_steps import Reply
from tests.support.receiver import SECRET, Answer, Receiver, running_receiver

EACH = QueueOptions(mode=QueueMode.FOLLOWUP, debounce_ms=0)


@asynccontextmanager
async def _hook(folder: Path, seconds: str) -> AsyncIterator[tuple[Harness, Receiver]]:
    """A harness whose channel `hook` tries again after so many seconds, then four times as many."""
    async with running_server(folder) as server, running_receiver() as receiver:
        settings = {
            "TICKLESS_CHANNELS__HOOK__TYPE": "webhook",
            "TICKLESS_CHANNELS__HOOK__URL": receiver.url,
            "TICKLESS_CHANNELS__HOOK__SECRET": SECRET,
            "TICKLESS_CHANNELS__HOOK__RETRY_SECONDS": seconds,
        }
        async with running_harness(
            folder / "tickless", server, queues=SERVED_QUEUES, **settings
        ) as harness:
            yield harness, receiver


async def _say(chat: Conversation, *texts: str) -> None:
    route = Route(receive_id_type="hook", receive_id="team")
    for text in texts:
        await chat.send(text, route=route, options=EACH)


async def test_a_user_is_answered_while_a_channel_refuses(tmp_path: Path) -> None:
    async with _hook(tmp_path, "8") as (harness, receiver):
        receiver.script.append(Answer(500))
        chat = conversation(harness, Reply("One."), Reply("Two."), Reply("Three."))
        await _say(chat, "First", "Second", "Third")
        await harness.models.wait_for(lambda: len(chat.asked()) == 2)
        # Nothing was tried again yet.
        assert [body["text"] for body in receiver.contents()] == ["One."]
        first = await chat.answer("m1")
        assert (first.status, first.text) == (TurnStatus.ANSWERED, "One.")
        for message_id in ("m1", "m2", "m3"):
            assert (await chat.settled(message_id)).status == TurnStatus.ANSWERED
        await chat.idle()
        # Nothing overtakes.
        texts = [body["text"] for body in receiver.contents()]
        assert texts == ["One.", "One.", "Two.", "Three."]
        assert {turn.status for turn in await chat.turns()} == {TurnStatus.ANSWERED}
        assert (await chat.view()).answered == 3


async def test_an_answer_that_is_refused_for_good_is_a_failed_turn_after_all(
    tmp_path: Path,
) -> None:
    async with _hook(tmp_path, "1.5") as (harness, receiver):
        receiver.script.extend([Answer(500)] * 3)
        chat = conversation(harness, Reply("One."), Reply("Two."))
        await _say(chat, "First", "Second")
        await harness.models.wait_for(lambda: len(chat.asked()) == 2)
        assert (await chat.answer("m1")).status == TurnStatus.ANSWERED
        # While it is on its way the session does not continue as new.
        before = (await chat.handle.describe()).run_id
        await chat.handle.signal("upgrade")

        async def renewed() -> bool:
            return (await chat.handle.describe()).run_id != before

        await until(renewed, "the session continues as new")
        first, second = await asyncio.gather(chat.settled("m1"), chat.settled("m2"))
        assert (first.status, first.fate, first.text) == (
            TurnStatus.FAILED,
            MessageFate.FAILED,
            "",
        )
        assert "could not be delivered" in (first.error or "")
        assert (second.status, second.text) == (TurnStatus.ANSWERED, "Two.")
        view = await chat.view()
        assert view.answered == 1
        assert await chat.fates() == {"m1": MessageFate.FAILED, "m2": MessageFate.ANSWERED}
        assert [turn.status for turn in await chat.turns()] == [
            TurnStatus.FAILED,
            TurnStatus.ANSWERED,
        ]
        assert len(receiver.requests) == 4


async def test_a_user_is_answered_though_a_renewal_waits_for_a_channel(tmp_path: Path) -> None:
    async with _hook(tmp_path, "12") as (harness, receiver):
        receiver.script.append(Answer(500))
        chat = conversation(harness, Reply("One."), Reply("Two."), Reply("Three."))
        await _say(chat, "First", "Second")
        await harness.models.wait_for(lambda: len(chat.asked()) == 2)
        before = (await chat.handle.describe()).run_id
        await chat.handle.signal("upgrade")
        await _say(chat, "Third")
        await harness.models.wait_for(lambda: len(chat.asked()) == 3)
        # What is on its way was not tried again yet.
        assert [body["text"] for body in receiver.contents()] == ["One."]
        for message_id in ("m1", "m2", "m3"):
            assert (await chat.settled(message_id)).status == TurnStatus.ANSWERED

        async def renewed() -> bool:
            return (await chat.handle.describe()).run_id != before

        await until(renewed, "the session continues as new")
        texts = [body["text"] for body in receiver.contents()]
        assert texts == ["One.", "One.", "Two.", "Three."]


async def test_a_receiver_is_told_what_is_to_be_spoken(tmp_path: Path) -> None:
    async with _hook(tmp_path, "1") as (harness, receiver):
        chat = conversation(
            harness, Reply("[[audio_as_voice]] Good night."), Reply("[[audio_as_voice]]")
        )
        await _say(chat, "Sing", "Again")
        await chat.settled("m2")
        spoken, notice = receiver.contents()
        assert (spoken["text"], spoken["audio_as_voice"]) == ("Good night.", True)
        assert (notice["part"], notice["audio_as_voice"]) == ("failure", False)
        # What the channel could do as the model wanted is not warned of.
        assert [turn.warnings for turn in await chat.turns()] == [[], []]


async def test_what_is_sent_again_is_sent_as_it_was_meant(tmp_path: Path) -> None:
    async with _hook(tmp_path, "0.01") as (harness, receiver):
        # Each attempt is one under the message, then one as a plain text.
        receiver.script.extend([Answer(500)] * 2 * TURN_ATTEMPTS)
        chat = conversation(harness, Reply("[[reply_to_current]][[audio_as_voice]] Good night."))
        await _say(chat, "Sing")
        failed = await chat.settled("m1")
        assert failed.status == TurnStatus.FAILED
        caller = TicklessClient(harness.client, CallerContext(actor_user_id="me"))
        (lost,) = (await caller.deliveries.list(status="failed")).deliveries

        again = await caller.deliveries.resend(lost.occurrence_id)
        assert (again.occurrence_id, again.status) == (f"{lost.occurrence_id}/resend-1", "sent")
        first, *_, last = receiver.contents()
        meant = ("Good night.", "m1", True)
        assert (first["text"], first["reply_to"], first["audio_as_voice"]) == meant
        assert (last["text"], last["reply_to"], last["audio_as_voice"]) == meant
        assert last["key"] == again.occurrence_id
