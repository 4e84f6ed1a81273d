"""Answers of turns that are on their way while the session goes on.

Owns how long a turn waits until its answer is with its channel, and the order of the answers.
Sending is the activity's. Source: chat-policies.md §3.6, triggers-and-actions.md §9 (Outbox).

Invariants:
    1. Answers go out in the order of their turns.
    2. A channel that refuses keeps nobody waiting who has something to say, but for a few seconds;
       where nobody waits a turn ends with its answer.
    3. At most `MOST` answers are on their way, one of them at work.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from temporalio import workflow

# Most channels take a text within a second.
PATIENCE: Final = timedelta(seconds=3)
MOST: Final = 5

_CHANGE: Final = "2026-11-21-answers-on-their-way"


class Outgoing:
    """The answers of one session that are on their way."""

    def __init__(self, waited_for: Callable[[], bool]) -> None:
        """Begin with none.

        Args:
            waited_for: Whether somebody waits for the turn that runs to end.
        """
        self._waited_for = waited_for
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def is_empty(self) -> bool:
        """Whether nothing is on its way any more."""
        return not self._open()

    def begin(
        self, ending: Callable[[], Awaitable[None]], *, in_order: bool
    ) -> "asyncio.Task[None]":
        """Begin the ending of a turn.

        Args:
            ending: What sends its answer and books it.
            in_order: It has a text, which goes behind those before it.
        """
        others = self._open()
        task = asyncio.create_task(_behind(others if in_order else [], ending))
        self._tasks = [*others, task]
        return task

    async def is_over(self, task: "asyncio.Task[None]") -> bool:
        """Wait for an ending as long as that is right; false when it goes on beside the rest."""
        # Not one condition for both: it would be looked at only after all else that came with the
        # end of the task has had its turn.
        going_on = asyncio.create_task(workflow.wait_condition(self._may_go_on))
        await workflow.wait([task, going_on], return_when=asyncio.FIRST_COMPLETED)
        going_on.cancel()
        if not task.done() and workflow.patched(_CHANGE):
            try:
                await workflow.wait_condition(
                    task.done, timeout=PATIENCE, timeout_summary="an answer is on its way"
                )
            except TimeoutError:
                # Both may come at once, and then it has been booked.
                if not task.done():
                    return False
        await task
        return True

    def _may_go_on(self) -> bool:
        return self._waited_for() and len(self._open()) < MOST

    def _open(self) -> list["asyncio.Task[None]"]:
        return [task for task in self._tasks if not task.done()]


async def _behind(
    others: list["asyncio.Task[None]"], ending: Callable[[], Awaitable[None]]
) -> None:
    if others:
        await workflow.wait(others)
    await ending()
