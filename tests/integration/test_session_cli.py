"""`tickless session …` as a user types it, against real sessions."""

import asyncio
import json

from domain.session_messages import MessageDecision
from tests.support.command import Screen, command
from tests.support.harness import Harness, until
from tests.support.model_steps import Behaviour, Hang, Reply, unauthorized


def chat(harness: Harness, *steps: Behaviour) -> str:
    mark = harness.name()
    harness.scripts.on(mark, *steps)
    return mark


async def busy(harness: Harness, *then: Behaviour) -> str:
    """A conversation whose first answer does not end by itself."""
    key = chat(harness, Hang("I think", 1), *then)
    body = {"text": f"first {key}", "message_id": "first"}
    sent = await harness.tickless.sessions.send(body, key=key)
    assert sent.decision == MessageDecision.RUN_NOW

    async def asked() -> bool:
        return any(key in " ".join(call.texts) for call in harness.models.calls)

    await until(asked, "the model is asked")
    return key


async def test_say_something_and_wait(harness: Harness) -> None:
    key = chat(harness, Reply("Good morning."))
    say = ("session", "send", key, f"Hello {key}", "--message-id", "m1", "--wait")
    found = (await command(harness, *say)).json
    assert (found["message_id"], found["decision"]) == ("m1", "run_now")
    assert (found["answer"]["fate"], found["answer"]["text"]) == ("answered", "Good morning.")

    shown = await command(harness, *say, terminal=True)
    assert (shown.code, shown.out) == (0, "Good morning.\n")
    assert "Waiting for m1" in shown.err
    told = await command(harness, *say[:-1], terminal=True)
    assert "same as" in told.out
    assert "tickless session tail" in told.err
    other = await command(harness, "session", "send", key, "else", "--message-id", "m1")
    assert (other.code, other.problem["field"]) == (5, "message_id")

    view = (await command(harness, "session", "get", key)).json
    assert (view["key"], view["answered"], view["scope"]) == (key, 1, "user:me")
    page = await command(harness, "session", "get", key, terminal=True)
    assert "Good morning." in page.out
    assert "idle" in page.out


async def test_what_is_piped_is_said(harness: Harness) -> None:
    key = chat(harness, Reply("Read."))
    piped = await command(
        harness, "session", "send", key, "--wait", "-o", "table", stdin=f"A long text\n{key}\n"
    )
    assert (piped.code, piped.out) == (0, "Read.\n")
    assert f"A long text\n{key}" in harness.models.calls[-1].texts[-1]
    body = json.dumps({"text": f"As JSON {key}", "message_id": "j1", "sender_label": "Ann"})
    sent = await command(harness, "session", "send", key, "--json", "-", stdin=body)
    assert sent.json["message_id"] == "j1"
    both = await command(harness, "session", "send", key, "text", "--json", "-", stdin=body)
    assert (both.code, both.problem["field"]) == (2, "body")


async def test_an_answer_that_fails_is_told(harness: Harness) -> None:
    key = chat(harness, unauthorized())
    say = ("session", "send", key, f"Hello {key}", "--wait", "--message-id", "m1")
    failed = await command(harness, *say)
    assert failed.code == 1
    assert json.loads(failed.out)["answer"]["fate"] == "failed"
    shown = await command(harness, *say, terminal=True)
    assert (shown.code, shown.out) == (1, "")
    assert "[failed:" in shown.err


async def test_the_queue_is_shown_and_changed(harness: Harness) -> None:
    key = await busy(harness)
    empty = await command(harness, "session", "queue", key, terminal=True)
    assert (empty.out, "No message waits." in empty.err) == ("", True)
    for one in ("a", "b", "c", "d"):
        waits = await command(
            harness,
            *("session", "send", key, f"{one} for {key}", "--message-id", one),
            *("--mode", "followup", "--debounce-ms", "60000", "--cap", "9", "--drop", "new"),
        )
        assert waits.json["decision"] == "enqueue"
    shown = await command(harness, "session", "queue", key, terminal=True)
    assert f"a for {key}" in shown.out
    queue = ("session", "queue", key)
    revision = (await command(harness, *queue)).json["revision"]
    changed = await command(
        harness,
        *queue,
        *("--order", "c, b", "--merge", "c,d", "--drop", "a", "--revision", str(revision)),
    )
    assert [item["message_id"] for item in changed.json["messages"]] == ["c", "b"]
    late = await command(harness, *queue, "--clear", "--revision", str(revision))
    assert (late.code, late.problem["field"]) == (5, "revision")
    kept = await command(harness, *queue, "--mode", "steer", "--drop-policy", "old")
    assert len(kept.json["messages"]) == 2
    steered = await command(harness, "session", "send", key, f"Faster, {key}")
    assert steered.json["decision"] == "steer"
    cleared = await command(harness, *queue, "--json", "-", stdin='{"clear": true}')
    assert cleared.json["messages"] == []

    stopped = await command(harness, "session", "stop", key, "--reason", "enough", terminal=True)
    assert "Stopped: turn" in stopped.err
    await harness.tickless.sessions.wait("first", key)
    nothing = await command(harness, "session", "stop", key, terminal=True)
    assert "nothing was changed" in nothing.err
    assert (await command(harness, "session", "stop", key)).json["stopped"] is None


async def test_a_full_queue_is_not_available_now(harness: Harness) -> None:
    key = chat(harness, Reply("Hi."), Hang("I think", 1))
    hello = ("session", "send", key, f"Hello {key}", "--wait")
    assert (await command(harness, *hello)).code == 0
    full = ("--mode", "followup", "--cap", "1", "--drop", "new", "--debounce-ms", "60000")
    await command(harness, "session", "send", key, f"one {key}")
    await command(harness, "session", "send", key, f"two {key}", *full)
    refused = await command(harness, "session", "send", key, f"three {key}", *full)
    assert (refused.code, refused.problem["kind"]) == (6, "rate_limited")
    await harness.tickless.sessions.stop(key)


async def test_the_list(harness: Harness) -> None:
    mine = {"TICKLESS_CONTEXT__ACTOR_USER_ID": harness.name()}
    none = await command(harness, "session", "list", terminal=True, environ=mine)
    assert (none.code, "No sessions" in none.err) == (0, True)
    keys = [harness.name() for _ in range(2)]
    for key in keys:
        await command(harness, "session", "send", key, "Hello", environ=mine)

    async def listed() -> bool:
        answer = await command(harness, "session", "list", environ=mine)
        return len(answer.json["sessions"]) == 2

    await until(listed, "both are listed")
    page = await command(harness, "session", "list", "--limit", "1", terminal=True, environ=mine)
    assert keys[1] in page.out
    assert "--cursor" in page.err
    stranger = await command(harness, "session", "get", keys[0])
    assert (stranger.code, stranger.problem["field"], stranger.problem["detail"]) == (
        3,
        "id",
        keys[0],
    )


async def test_it_is_followed(harness: Harness) -> None:
    text = "Line one.\nLine two."
    key = await busy(harness, Reply(text, chunks=3))
    screen = Screen(terminal=True)
    tailing = asyncio.create_task(
        command(harness, "session", "tail", key, "--turns", "2", terminal=True, out=screen)
    )

    async def follows() -> bool:
        return "I think" in screen.getvalue()

    await until(follows, "what is written is shown")
    body = {"text": f"And {key}", "options": {"mode": "interrupt"}}
    await harness.tickless.sessions.send(body, key=key)
    shown = await asyncio.wait_for(tailing, 30)
    assert (shown.code, shown.out) == (0, f"I think\n{text}\n")
    assert "[waiting for the model]" in shown.err
    assert "[cancelled:" in shown.err
    assert "[answered:" in shown.err

    key = await busy(harness)
    begun = Screen()
    tailing = asyncio.create_task(
        command(harness, "session", "tail", key, "--turns", "1", out=begun)
    )

    async def looks() -> bool:
        return "view" in begun.getvalue()

    await until(looks, "it has looked")
    await harness.tickless.sessions.stop(key)
    lines = [json.loads(line) for line in (await asyncio.wait_for(tailing, 30)).out.splitlines()]
    assert "view" in lines[0]
    assert lines[-1]["answer"]["status"] == "cancelled"


async def test_the_own_session(harness: Harness) -> None:
    own = {"TICKLESS_CONTEXT__SESSION_KEY": harness.name()}
    key = own["TICKLESS_CONTEXT__SESSION_KEY"]
    assert (await command(harness, "session", "send", key, "Hello", environ=own)).code == 0
    assert (await command(harness, "session", "get", environ=own)).json["key"] == key
    assert (await command(harness, "session", "queue", environ=own)).code == 0
