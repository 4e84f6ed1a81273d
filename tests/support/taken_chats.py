"""A chat that its user takes while a run says the result of its job there.

Owns bringing that about: the run's delivery comes late, and finds that the user has spoken. No
expectations.
"""

import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from unittest.mock import patch

from activities.sessions import SessionHolds
from client.context import CallerContext
from client.runs import RunStarted
from client.tickless import TicklessClient
from domain.run_view import RunStage
from domain.session_requests import SessionHold
from tests.support.conversations import Conversation, conversation
from tests.support.harness import Harness, until
from tests.support.jobs import said
from tests.support.model_steps import Reply


@asynccontextmanager
async def taken_chat(harness: Harness) -> AsyncGenerator[tuple[RunStarted, Conversation]]:
    """A run that waits for a chat again; its user is answered when this ends."""
    gate = threading.Event()
    chat = conversation(harness, Reply("I am here.", gate=gate))

    async def stands(_holds: SessionHolds, _hold: SessionHold) -> bool:
        await chat.send("Hello?")
        return False

    name = harness.name()
    harness.scripts.on(name, said("The report."))
    given = harness.settings.context.model_dump(exclude_none=True)
    context = CallerContext.model_validate({**given, "session_key": chat.key})
    action = {"type": "full_job", "title": "Research", "description": f"Do {name}."}
    tickless = TicklessClient(harness.client, context)
    await tickless.routines.create({"action": action, "trigger": {"type": "manual"}}, name=name)
    with (
        patch("activities.deliveries.comes_late", lambda: True),
        patch.object(SessionHolds, "stands", stands),
    ):
        run = await harness.tickless.runs.trigger(name)

        async def waits_again() -> bool:
            stage = (await harness.tickless.runs.get(run.run_id)).stage
            waiting = (await chat.view()).waiting if chat.sent else 0
            return stage == RunStage.SESSION and waiting == 1

        await until(waits_again, "the run waits for the chat again")
    try:
        yield run, chat
    finally:
        gate.set()
