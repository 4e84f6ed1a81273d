"""One attempt of a model activity: its ids, its clock, what it adds to the thread.

Owns the names of everything an activity writes. The row of a request is `activities.call_records`'.
Source: triggers-and-actions.md §5 and §10.

Invariant: all attempts of an activity write the same messages, but each its own row of
`llm_calls`; also when the activity is made again under its id, because it was lost.
"""

import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from temporalio import activity

from activities.live_text import spent_before
from domain.threads import ThreadMessage
from domain.tool_specs import ToolCall

_TRAILING_NUMBER = re.compile(r"\d+$")


class Attempt:
    """The attempt that runs now, inside of an activity.

    Attributes:
        prefix: Beginning of the ids of everything this activity writes.
        number: Number of the attempt, from 1.
    """

    def __init__(self, owner: str | None = None, recovery: int = 0) -> None:
        """Look at the activity that runs.

        Args:
            owner: Beginning of all ids, one within which no activity id comes twice; else that is
                the workflow's.
            recovery: How many activities of this id were lost before; their attempts are numbered
                from 1, too.
        """
        info = activity.info()
        self.prefix = f"{owner or info.workflow_id}/{info.activity_id}/"
        self.number = info.attempt
        self._activity_id = info.activity_id
        self._recovery = recovery
        self._spent_before = spent_before(info.heartbeat_details)
        self._started = time.monotonic()

    @property
    def call_id(self) -> str:
        """Key of the attempt's row in `llm_calls`."""
        again = f"r{self._recovery}." if self._recovery else ""
        return f"{self.prefix}{again}{self.number}"

    @property
    def is_first(self) -> bool:
        """Whether no other can have left a row before."""
        return self.number == 1 and not self._recovery

    @property
    def prompt_id(self) -> str:
        """Key of the user's message, the same for all attempts."""
        return f"{self.prefix}prompt"

    @property
    def answer_id(self) -> str:
        """Key of the answer, the same for all attempts."""
        return f"{self.prefix}answer"

    @property
    def sequence(self) -> int:
        """Place among the calls of the workflow: Temporal numbers its activities."""
        number = _TRAILING_NUMBER.search(self._activity_id)
        return int(number.group()) if number else 1

    def said(
        self, thread_id: str, prompt: str | None, answer: str, calls: Sequence[ToolCall]
    ) -> list[ThreadMessage]:
        """What the attempt adds to its thread: the prompt, if there is one, and the answer.

        Of the prompt only what the author wrote is kept: files and fixed texts belong to one call,
        and would be repeated in every later one of the conversation.
        """
        now = datetime.now(UTC)
        asked = ThreadMessage(
            id=self.prompt_id,
            thread_id=thread_id,
            role="user",
            content=prompt or "",
            created_at=now,
        )
        answered = ThreadMessage(
            id=self.answer_id,
            thread_id=thread_id,
            role="assistant",
            content=answer,
            tool_calls=[_stored(call) for call in calls] or None,
            llm_call_id=self.call_id,
            created_at=now,
        )
        return [answered] if prompt is None else [asked, answered]

    def spent_seconds(self) -> float:
        """Time spent in this and all former attempts."""
        return self._spent_before + time.monotonic() - self._started


def _stored(call: ToolCall) -> dict[str, object]:
    """A call as it is kept, and as providers take it."""
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}
