"""Sessions through the library: what a program says, hears, sees and changes."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from activities.candidates import MAX_AGE
from activities.entity_updates import EntityUpdates
from client import TicklessClient
from client.connection import connect
from client.context import CallerContext
from client.events import FiredRun
from client.session_watch import SessionProgress
from client.sessions import Sessions
from client.ui_links import UiLinks
from domain.errors import DomainError, ErrorKind
from domain.identifiers import SERVED_QUEUES, session_workflow_id
from domain.session_messages import EditQueue, MessageDecision
from domain.turns import TurnStatus
from tests.support.harness import Harness, running_harness, running_server, until
from tests.support.model_steps import Behaviour, Hang, Reply
from worker.process import running_workers


def as_caller(harness: Harness, **context: str) -> TicklessClient:
    """A client with a context of its own."""
    given = {**harness.settings.context.model_dump(exclude_none=True), **context}
    return TicklessClient(harness.client, CallerContext.model_validate(given))


def chat(harness: Harness, *steps: Behaviour) -> str:
    """The key of a new conversation; a mark, too, by which the model knows its steps."""
    mark = harness.name()
    harness.scripts.on(mark, *steps)
    return mark


async def busy(harness: Harness, *then: Behaviour) -> tuple[str, str]:
    """A conversation whose first answer does not end by itself, and that first message's id."""
    key = chat(harness, Hang("I think", 1), *then)
    sent = await harness.tickless.sessions.send(f"first {key}", key=key)
    assert sent.decision == MessageDecision.RUN_NOW

    async def asked() -> bool:
        return any(key in " ".join(call.texts) for call in harness.models.calls)

    await until(asked, "the model is asked")
    return key, sent.message_id


async def enqueue(harness: Harness, key: str, *ids: str) -> None:
    options = {"mode": "followup", "debounce_ms": 60_000}
    for one in ids:
        body = {"text": f"{one} {key}", "message_id": one, "options": options}
        sent = await harness.tickless.sessions.send(body, key=key)
        assert sent.decision == MessageDecision.ENQUEUE, sent


async def refused(call: Any) -> DomainError:
    with pytest.raises(DomainError) as caught:
        await call
    return caught.value


# ---- saying something


async def test_a_message_is_answered(harness: Harness) -> None:
    key = chat(harness, Reply("Good morning."))
    sessions = harness.tickless.sessions
    sent = await sessions.send(f"Hello {key}", key=f"{key}|message:9")
    assert (sent.decision, sent.duplicate, sent.runs) == (MessageDecision.RUN_NOW, False, [])
    assert (sent.session_key, sent.workflow_id) == (key, session_workflow_id(key))
    assert len(sent.message_id) == 26, "a new ULID"

    answer = await asyncio.wait_for(sessions.wait(sent.message_id, key), 30)

    assert (answer.fate, answer.status, answer.text) == (
        "answered",
        TurnStatus.ANSWERED,
        "Good morning.",
    )
    assert answer.turn_id == sent.turn_id
    view = await sessions.get(key)
    assert (view.scope, view.answered, view.queued) == ("user:me", 1, 0)
    assert await sessions.answer(sent.message_id, key) == answer


async def test_the_same_message_again_is_the_same_message(harness: Harness) -> None:
    key = chat(harness, Reply("Once."))
    body = {"text": f"Hello {key}", "message_id": "m1", "sender_label": "Ann"}
    sessions, elsewhere = harness.tickless.sessions, as_caller(harness).sessions
    first, *others = await asyncio.gather(
        *(one.send(body, key=key) for one in (sessions, elsewhere, sessions))
    )
    again = await elsewhere.send({**body, "sender_label": "Annie"}, key=key)
    assert {one.turn_id for one in (first, *others, again)} == {first.turn_id}
    assert [one.duplicate for one in (first, *others)].count(False) == 1
    assert again.duplicate
    await sessions.wait("m1", key)
    assert (await sessions.get(key)).answered == 1

    error = await refused(sessions.send({**body, "text": "else"}, key=key))
    assert (error.kind, error.field) == (ErrorKind.CONFLICT, "message_id")
    assert (await sessions.get(key)).answered == 1


async def test_it_is_remembered_when_the_session_goes_on_anew(harness: Harness) -> None:
    key = chat(harness, Reply("Once."))
    sessions = harness.tickless.sessions
    body = {"text": f"Hello {key}", "message_id": "m1"}
    first = await sessions.send(body, key=key)
    await sessions.wait("m1", key)
    handle = harness.client.get_workflow_handle(session_workflow_id(key))
    run_id = (await handle.describe()).run_id
    await handle.signal("upgrade")

    async def renewed() -> bool:
        return (await handle.describe()).run_id != run_id

    await until(renewed, "the session continues as new")
    error = await refused(sessions.send({**body, "text": "else"}, key=key))
    assert (error.kind, error.field) == (ErrorKind.CONFLICT, "message_id")
    again = await sessions.send(body, key=key)
    assert (again.turn_id, again.duplicate) == (first.turn_id, True)


async def test_what_a_full_queue_refused_may_come_again(harness: Harness) -> None:
    key = chat(harness, Reply("Hi."), Hang("I think", 1), Reply("Done."))
    sessions = harness.tickless.sessions
    # The settings of the queue are known since the first answer.
    await sessions.wait((await sessions.send(f"Hi {key}", key=key)).message_id, key)
    first = (await sessions.send(f"Hello {key}", key=key)).message_id
    await enqueue(harness, key, "waits")
    options = {"mode": "followup", "cap": 1, "drop": "new", "debounce_ms": 20}
    body = {"text": f"late {key}", "message_id": "late", "options": options}
    for _ in range(2):
        sent = await sessions.send(body, key=key)
        assert (sent.decision, sent.retryable) == (MessageDecision.DROP, True)
        assert sent.refusal is not None
        assert (sent.refusal.kind, sent.refusal.field) == (ErrorKind.RATE_LIMITED, "queue")
    await sessions.edit_queue(key, {"clear": True})
    sent = await sessions.send(body, key=key)
    assert (sent.decision, sent.refusal) == (MessageDecision.ENQUEUE, None)
    await sessions.stop(key)
    assert (await asyncio.wait_for(sessions.wait("late", key), 30)).text == "Done."
    assert (await sessions.answer(first, key)).status == TurnStatus.CANCELLED


async def test_it_reaches_routines_too(harness: Harness) -> None:
    key = harness.name()
    routine = await harness.routine(
        Reply("Noted."), trigger={"type": "event", "pattern": f"deploy {key}"}
    )
    # After the routine: its run has both marks in its prompt, and the first one counts.
    harness.scripts.on(key, Reply("Yes."))
    # As long as a new routine may take to be known: the promise itself, no condition shows it.
    await asyncio.sleep(MAX_AGE.total_seconds())
    body = {"text": f"deploy {key}", "message_id": "d1", "provider": "slack"}
    sessions = harness.tickless.sessions

    sent = await sessions.send(body, key=key)
    again = await sessions.send(body, key=key)
    command = await sessions.send(f"/deploy {key}", key=key)
    echo = await sessions.send({**body, "message_id": "d2", "is_self": True}, key=key)
    own = await sessions.send(
        {**body, "message_id": "d3", "sender_id": "bot", "self_ids": ["bot"]}, key=key
    )

    # Routines of other tests may listen to words such as these too.
    (run,) = (run for run in sent.runs if run.run_id.startswith(routine))
    (repeated,) = (run for run in again.runs if run.run_id.startswith(routine))
    assert (repeated.run_id, repeated.duplicate) == (run.run_id, True)
    assert command.runs == []
    for ignored in (echo, own):
        assert (ignored.decision, ignored.reason) == (MessageDecision.IGNORE, "self_echo")
        assert ignored.runs == []
        error = await refused(sessions.answer(ignored.message_id, key))
        assert error.kind == ErrorKind.NOT_FOUND, "the session never heard of it"
    assert (await harness.tickless.runs.wait(run.run_id)).text == "Noted."
    assert (await sessions.wait("d1", key)).text == "Yes."


async def test_a_message_that_was_taken_is_answered_though_no_routine_can_be_reached(
    harness: Harness, tmp_path: Path
) -> None:
    given = harness.settings.context.model_dump(exclude_none=True)
    context = CallerContext.model_validate(given)
    async with running_server(tmp_path) as gone:
        there = await connect({"target_host": gone.address, "namespace": gone.namespace})
        messages = TicklessClient(there, context).messages
    links = UiLinks("", harness.client.namespace)
    sessions = Sessions(harness.client, EntityUpdates(harness.client), context, messages, links)
    key = chat(harness, Reply("Yes."))
    sent = await sessions.send(f"deploy {key}", key=key)
    (warning,) = sent.warnings
    assert (sent.decision, sent.runs) == (MessageDecision.RUN_NOW, [])
    assert f"message_id {sent.message_id}" in warning
    # Handed in again as it says, it is the same message.
    body = {"text": f"deploy {key}", "message_id": sent.message_id}
    again = await harness.tickless.sessions.send(body, key=key)
    assert (again.duplicate, again.warnings) == (True, [])
    assert (await harness.tickless.sessions.wait(sent.message_id, key)).text == "Yes."


async def test_what_the_session_refuses_fires_nothing(harness: Harness) -> None:
    word = harness.name()
    routine = await harness.routine(
        Reply("Noted."),
        trigger={"type": "event", "pattern": f"deploy {word}"},
        guardrails={"cooldown_seconds": 0},
    )
    await asyncio.sleep(MAX_AGE.total_seconds())
    key, _ = await busy(harness, Reply("Done."))
    await enqueue(harness, key, "waits")
    sessions = harness.tickless.sessions
    options = {"mode": "followup", "cap": 1, "drop": "new", "debounce_ms": 20}
    body = {"text": f"deploy {word} {key}", "message_id": "late", "options": options}

    async def runs() -> int:
        return len(await harness.tickless.routines.runs(routine))

    full = await sessions.send(body, key=key)
    assert full.refusal is not None
    assert full.runs == []
    other = await refused(sessions.send({**body, "message_id": "waits"}, key=key))
    assert (other.kind, other.field) == (ErrorKind.CONFLICT, "message_id")
    assert await runs() == 0

    await sessions.edit_queue(key, {"clear": True})

    async def fired() -> FiredRun:
        # Routines of other tests may listen too.
        found = (await sessions.send(body, key=key)).runs
        (run,) = (run for run in found if run.run_id.startswith(routine))
        return run

    run = await fired()
    assert await fired() == run.model_copy(update={"duplicate": True})
    await harness.tickless.runs.wait(run.run_id)
    assert await runs() == 1
    await sessions.stop(key)


async def test_without_a_worker_it_is_kept(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path) as server,
        running_harness(tmp_path, server, queues=()) as harness,
    ):
        key = chat(harness, Reply("At last."))
        sessions = harness.tickless.sessions
        sent = await sessions.send(f"Anybody? {key}", key=key, message_id="m1")
        assert (sent.decision, sent.message_id, sent.session_key) == (None, "m1", key)
        waiting = asyncio.create_task(sessions.wait("m1", key))
        async with running_workers(harness.client, harness.settings, {}, SERVED_QUEUES):
            answer = await asyncio.wait_for(waiting, 60)
            again = await sessions.send(f"Anybody? {key}", key=key, message_id="m1")
        assert (answer.text, again.duplicate) == ("At last.", True)


# ---- whose it is


async def test_the_context_names_the_session(harness: Harness) -> None:
    word = harness.name()
    named = as_caller(harness, session_key=f" {word}|thread:7|message:1 ")
    assert named.sessions.key() == f"{word}|thread:7"
    plain = as_caller(harness, receive_id=word)
    assert plain.sessions.key() == f"file:{word}"
    sent = await plain.sessions.send("Hello")
    assert sent.session_key == f"file:{word}"
    assert (await plain.sessions.get()).key == f"file:{word}"


async def test_another_scope_finds_nothing(harness: Harness) -> None:
    key, first = await busy(harness)
    stranger = as_caller(harness, actor_user_id="mallory").sessions
    calls = (
        stranger.send("Hello", key=key),
        stranger.get(key),
        stranger.queue(key),
        stranger.edit_queue(key, {"clear": True}),
        stranger.stop(key),
        stranger.answer(first, key),
        stranger.wait(first, key),
        anext(aiter(stranger.watch(key))),
    )
    errors = [await refused(call) for call in calls]
    found = {(error.kind, error.field, error.message) for error in errors}
    assert found == {(ErrorKind.NOT_FOUND, "id", key)}
    nobody = await refused(stranger.get(f"{key}-none"))
    assert (nobody.kind, nobody.field, nobody.message) == ("not_found", "id", f"{key}-none")
    assert (await harness.tickless.sessions.get(key)).turn is not None
    await harness.client.get_workflow_handle(session_workflow_id(key)).terminate("by hand")
    error = await refused(stranger.send("Hello", key=key))
    assert error.kind == ErrorKind.NOT_FOUND, "what was said there is still its user's"
    assert (await refused(harness.tickless.sessions.get(key))).kind == ErrorKind.NOT_FOUND
    assert (await harness.tickless.sessions.send("Hello", key=key)).decision == "run_now"


async def test_a_session_that_no_user_spoke_in_is_that_of_its_key(harness: Harness) -> None:
    key = harness.name()
    owner = as_caller(harness, session_key=key)
    harness.scripts.on(key, Hang("begun", 1))
    body = {"prompt": f"Do {key}.", "trigger": {"type": "manual"}}
    await owner.routines.create(body, name=key)
    started = await owner.runs.trigger(key)

    async def held() -> bool:
        try:
            return (await owner.sessions.get()).holder is not None
        except DomainError:
            return False

    await until(held, "the run has the session")
    view = await owner.sessions.get(key)
    assert (view.scope, view.turn) == (None, None)
    error = await refused(as_caller(harness, actor_user_id="mallory").sessions.get(key))
    assert error.kind == ErrorKind.NOT_FOUND
    stopped = await owner.sessions.stop(reason="enough")
    assert (stopped.stopped, stopped.owner) == ("automation", started.workflow_id)
    assert (await owner.runs.wait(started.run_id)).record.status == "cancelled"
    assert (await owner.sessions.stop()).stopped is None


async def test_pages_of_sessions(harness: Harness) -> None:
    mine = as_caller(harness, actor_user_id=harness.name()).sessions
    keys = [f"{harness.name()}|thread:{n}" for n in range(3)]
    for key in keys:
        await mine.send("Hello", key=key)

    async def listed() -> bool:
        return (await mine.list()).count == 3

    await until(listed, "all are listed")
    first = await mine.list(limit=2)
    second = await mine.list(limit=2, cursor=first.next_cursor)
    found = [view.key for view in (*first.sessions, *second.sessions)]
    assert (found, second.next_cursor) == (keys[::-1], None)


# ---- what waits


async def test_the_queue_is_changed_by_a_person(harness: Harness) -> None:
    key, first = await busy(harness, Reply("Together."), Reply("Alone."))
    sessions = harness.tickless.sessions
    await enqueue(harness, key, "a", "b", "c", "d")
    queue = await sessions.queue(key)
    assert [item.message_id for item in queue.messages] == ["a", "b", "c", "d"]
    assert queue.messages[0].preview == f"a {key}"
    assert queue.turn is not None
    assert queue.turn.message_ids == [first]

    changed = await sessions.edit_queue(
        key, {"order": ["c", "b"], "merge": ["c", "d"], "drop": ["a"], "revision": queue.revision}
    )
    assert [item.message_id for item in changed.messages] == ["c", "b"]
    assert changed.revision > queue.revision
    error = await refused(sessions.edit_queue(key, {"clear": True, "revision": queue.revision}))
    assert (error.kind, error.field) == (ErrorKind.CONFLICT, "revision")
    error = await refused(sessions.edit_queue(key, {"drop": ["b"], "order": ["a"]}))
    assert (error.kind, error.field) == (ErrorKind.INVALID_FIELD, "order")
    assert (await sessions.queue(key)).messages == changed.messages
    assert (await sessions.answer("a", key)).fate == "dropped"
    cleared = await sessions.edit_queue(key, EditQueue(clear=True))
    assert cleared.messages == []
    assert (await sessions.answer("d", key)).fate == "dropped"
    await sessions.stop(key)
    assert (await sessions.wait(first, key)).status == TurnStatus.CANCELLED


# ---- following


async def test_it_is_followed_turn_by_turn(harness: Harness) -> None:
    whole = "One two three four five."
    key = chat(harness, Hang("I think I am", 3), Reply(whole, chunks=5))
    sessions = harness.tickless.sessions
    first = await sessions.send(f"Hello {key}", key=key)
    steps: list[SessionProgress] = []

    async def follow() -> None:
        asked = False
        async for step in sessions.watch(key):
            steps.append(step)
            if not asked and "".join(one.text for one in steps) == "I think I am":
                asked = True
                body = {"text": f"And {key}", "options": {"mode": "interrupt"}}
                await sessions.send(body, key=key)
            if sum(one.answer is not None for one in steps) == 2:
                return

    await asyncio.wait_for(follow(), 30)

    ends = [step.answer for step in steps if step.answer is not None]
    assert [end.status for end in ends] == [TurnStatus.CANCELLED, TurnStatus.ANSWERED]
    assert ends[1].text == whole
    assert (ends[0].turn_id, first.turn_id != ends[1].turn_id) == (first.turn_id, True)
    of_second = [step for step in steps if step.turn_id == ends[1].turn_id]
    assert "".join(step.text for step in of_second) == whole
    place = 0
    for step in of_second:
        if step.text:
            assert step.offset == place
            place += len(step.text)
    assert steps[0].view is not None


async def test_a_reader_comes_back(harness: Harness) -> None:
    text = "One two three four five."
    key = chat(harness, Hang(text, 5))
    sessions = harness.tickless.sessions
    sent = await sessions.send(f"Hello {key}", key=key)

    async def texts(turn: str | None, had: int, wanted: str) -> None:
        found = ""
        async for step in sessions.watch(key, turn_id=turn, offset=had):
            assert step.turn_id == sent.turn_id
            if step.text:
                assert step.offset == len(text) - len(wanted) + len(found)
                found += step.text
            if found == wanted:
                return

    await asyncio.wait_for(texts(None, 0, text), 30)
    await asyncio.wait_for(texts(sent.turn_id, 4, text[4:]), 30)
    # Of another turn he had nothing.
    await asyncio.wait_for(texts(f"{key}/t-0", 4, text), 30)
    await sessions.stop(key)
    await sessions.wait(sent.message_id, key)
    # The turn has ended meanwhile: its end is what was missed.
    late = await anext(aiter(sessions.watch(key, turn_id=sent.turn_id, offset=4)))
    assert late.answer is not None
    assert late.answer.status == TurnStatus.CANCELLED
    # Whoever knows nothing of it is told nothing.
    idle = await anext(aiter(sessions.watch(key)))
    assert (idle.stage, idle.turn_id, idle.text) == ("idle", None, "")


async def test_an_answer_that_begins_anew_is_told_from_its_beginning(harness: Harness) -> None:
    key = chat(harness, Hang("I think I am", 3), Hang("No, I know", 3))
    sessions = harness.tickless.sessions
    sent = await sessions.send(f"Hello {key}", key=key)
    texts: list[tuple[int, str]] = []

    async def follow() -> None:
        async for step in sessions.watch(key):
            assert step.turn_id == sent.turn_id
            if step.text:
                texts.append((step.offset, step.text))
            whole = "".join(text for _, text in texts)
            if whole == "I think I am" and step.text:
                body = {"text": f"And {key}", "options": {"mode": "steer"}}
                assert (await sessions.send(body, key=key)).decision == MessageDecision.STEER
            if whole.endswith("No, I know"):
                return

    await asyncio.wait_for(follow(), 30)
    assert (0, "No") in [(offset, text[:2]) for offset, text in texts]
    await sessions.stop(key)
