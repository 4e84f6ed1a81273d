"""What automation says in a session: kept in its thread, and not heard once a user has it."""

import asyncio
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError

from activities.delivery_steps import GATE_REVOKED
from activities.failures import ENTITY_SILENT
from activities.sessions import SessionHolds
from client import CallerContext, TicklessClient
from domain.deliveries import DeliveryStatus
from domain.history import UNASKED
from domain.identifiers import SERVED_QUEUES, session_workflow_id
from domain.jobs import job_workflow_id
from domain.run_view import RunView
from domain.runs import RunStatus
from domain.session_requests import SessionHold, SessionState
from domain.threads import ThreadMessage
from tests.support.conversations import Conversation, conversation
from tests.support.harness import Harness, running_harness, running_server, until
from tests.support.model_steps import Reply
from tests.support.receiver import SECRET, Answer, running_receiver


def _in_chat(chat: Conversation, channel: str = "file") -> TicklessClient:
    """Somebody who asks in the conversation's session."""
    given = chat.harness.settings.context.model_dump(exclude_none=True)
    said = {"session_key": chat.key, "receive_id_type": channel, "receive_id": "out.jsonl"}
    return TicklessClient(chat.harness.client, CallerContext.model_validate({**given, **said}))


async def _begin(
    chat: Conversation, says: str, channel: str = "file"
) -> tuple[str, TicklessClient]:
    """A run of a routine that speaks in the conversation's session."""
    harness, tickless = chat.harness, _in_chat(chat)
    name = harness.name()
    harness.scripts.on(name, Reply(says))
    body = {
        "prompt": f"Do {name}.",
        "trigger": {"type": "manual"},
        "notify": {"route": {"receive_id_type": channel, "receive_id": "out.jsonl"}},
    }
    await tickless.routines.create(body, name=name)
    return (await tickless.runs.trigger(name)).run_id, tickless


async def _speaks(chat: Conversation, says: str) -> RunView:
    run, tickless = await _begin(chat, says)
    return await tickless.runs.wait(run)


async def _thread(chat: Conversation) -> list[ThreadMessage]:
    async with await chat.store() as store:
        return await store.threads.messages(f"session:user:me/{chat.key}")


async def test_a_user_can_speak_of_what_a_routine_has_said(harness: Harness) -> None:
    chat = conversation(harness, Reply("The second of the two."))
    first = await _speaks(chat, "Rain tomorrow.")
    assert (await _speaks(chat, "ROUTINE_OK")).deliveries == []
    await chat.send("Tomorrow, or today")
    await chat.settled("m1")
    second = await _speaks(chat, "No rain after all.")
    await chat.send("What have you said")
    await chat.settled("m2")

    thread = await _thread(chat)
    assert [message.role for message in thread] == [
        "assistant",
        "user",
        "assistant",
        "assistant",
        "user",
        "assistant",
    ]
    assert [thread[0].id, thread[3].id] == [f"{run.record.id}/final" for run in (first, second)]
    told = [
        (message["role"], message["content"])
        for message in chat.asked()[-1].body["messages"]
        if message["role"] != "system"
    ]
    # Nobody speaks twice in a row, which some models refuse.
    assert [role for role, _ in told] == ["user", "assistant"] * 3 + ["user"]
    assert (told[0][1], told[4][1]) == (UNASKED, UNASKED)
    assert "Rain tomorrow." in told[1][1]
    assert "No rain after all." in told[5][1]


async def test_what_comes_late_is_said_only_while_the_session_is_held(tmp_path: Path) -> None:
    # Queues that nobody else serves.
    async with (
        running_server(tmp_path) as server,
        running_receiver() as hears,
        running_receiver() as waits,
    ):
        hears.script.append(Answer(500))
        waits.script.append(Answer(500))
        settings = {"TICKLESS_START_NOTICES": "false"}
        for name, receiver, seconds in (("HEARS", hears, "13"), ("WAITS", waits, "6")):
            settings |= {
                f"TICKLESS_CHANNELS__{name}__TYPE": "webhook",
                f"TICKLESS_CHANNELS__{name}__URL": receiver.url,
                f"TICKLESS_CHANNELS__{name}__SECRET": SECRET,
                f"TICKLESS_CHANNELS__{name}__RETRY_SECONDS": seconds,
            }
        async with running_harness(
            tmp_path / "tickless", server, queues=SERVED_QUEUES, **settings
        ) as harness:
            taken, kept = (conversation(harness, Reply("To the user.")) for _ in range(2))
            run, tickless = await _begin(taken, "Nobody hears this.", "hears")
            other, _ = await _begin(kept, "Somewhat late.", "waits")
            await hears.arrived.wait()
            await taken.send("Hello")
            assert (await taken.settled("m1")).text == "To the user."
            late, in_time = await asyncio.gather(tickless.runs.wait(run), tickless.runs.wait(other))

            (suppressed,) = late.deliveries
            assert (late.record.status, suppressed.status, suppressed.error) == (
                RunStatus.ATTENTION,
                DeliveryStatus.SUPPRESSED,
                GATE_REVOKED,
            )
            assert len(hears.requests) == 1
            assert "Nobody hears" not in " ".join(one.content for one in await _thread(taken))
            (sent,) = in_time.deliveries
            assert sent.status == DeliveryStatus.SENT
            assert len(waits.requests) == 2
            assert [message.role for message in await _thread(kept)] == ["assistant"]


async def test_a_job_s_result_is_said_though_a_user_comes_first(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server, running_receiver() as hears:
        hears.script += [Answer(500), Answer(500)]
        settings = {
            "TICKLESS_START_NOTICES": "false",
            "TICKLESS_CHANNELS__HEARS__TYPE": "webhook",
            "TICKLESS_CHANNELS__HEARS__URL": hears.url,
            "TICKLESS_CHANNELS__HEARS__SECRET": SECRET,
            # Later than who speaks in a session believes that it still holds it.
            "TICKLESS_CHANNELS__HEARS__RETRY_SECONDS": "6",
        }
        async with running_harness(
            tmp_path / "tickless", server, queues=SERVED_QUEUES, **settings
        ) as harness:
            chats = [conversation(harness, Reply("To the user.")) for _ in range(2)]
            by_hand, by_routine = [_in_chat(chat, "hears") for chat in chats]
            marks = [harness.name() for _ in chats]
            for mark in marks:
                harness.scripts.on(mark, Reply(f"The report of {mark}."))
            asked = {"title": "T", "description": f"Do {marks[0]}."}
            job = (await by_hand.jobs.create(asked)).job_id
            action = {"type": "full_job", "title": "T", "description": f"Do {marks[1]}."}
            body = {"action": action, "trigger": {"type": "manual"}}
            await by_routine.routines.create(body, name=marks[1])
            run = (await by_routine.runs.trigger(marks[1])).run_id

            async def both_were_refused() -> bool:
                return len(hears.requests) == 2

            await until(both_were_refused, "both were refused once")
            for chat in chats:
                # As if it had been taken back long ago.
                await chat.handle.terminate("by hand")
                await chat.send("Hello")
                assert (await chat.settled("m1")).text == "To the user."
            await harness.client.get_workflow_handle(job_workflow_id(job)).result()
            view = await by_routine.runs.wait(run)
            assert [one.status for one in view.deliveries] == [DeliveryStatus.SENT]
            assert len(hears.requests) == 4
            for chat, mark, key in zip(chats, marks, (job, run), strict=True):
                last = (await _thread(chat))[-1]
                assert (last.id, mark in last.content) == (f"{key}/final", True)
                async with await chat.store() as store:
                    row = await store.outbox.get(f"{key}/final")
                assert row is not None
                assert (row.status, row.attempts) == (DeliveryStatus.SENT, 2)


async def test_a_session_is_asked_who_holds_it(harness: Harness) -> None:
    client = harness.client
    holds = SessionHolds(client)
    assert await holds.stands(SessionHold(key="nobody-has-asked-for-it", token="1/a"))
    key = "nobody-serves-it"
    session = await client.start_workflow(
        "Session", SessionState(key=key), id=session_workflow_id(key), task_queue="nobody"
    )
    with pytest.raises(ApplicationError) as silent:
        await holds.stands(SessionHold(key=key, token="1/a"))
    assert silent.value.type == ENTITY_SILENT
    assert not silent.value.non_retryable
    await session.terminate("the test is over")
