"""The earlier conversation of a thread: as a provider takes it, and as much as a call can take.

Owns the order of calls and their results, what stands for what is missing, and choosing the newest
turns that fit. Shortening what is inside of a message is `domain.context`'s, dropping messages
after an overflow `domain.compaction`'s. Source: DESIGN §4, automation.md §7.5,
triggers-and-actions.md §5.

Invariants:
    1. Every call of an assistant is answered right after it, in the order of the calls, and nothing
       else is: a provider refuses a list in which one is without the other.
    2. Choosing turns loses whole turns only, the oldest first; what is left begins with a user's
       message.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from domain.message_text import estimate_message_tokens, function_calls
from domain.messages import Message
from domain.threads import ThreadMessage

MAX_TURNS: Final = 20
# The rest of the window stays for what the estimate does not see.
HISTORY_SHARE: Final = 0.5

NO_RESULT: Final = (
    "No result is known: the call may or may not have been carried out. Check before you repeat it."
)
# Before what was said unasked: some models refuse two answers in a row, and none to begin with.
UNASKED: Final = "[no message: what follows was said unasked, by a routine]"
# The same of a call that a person has still to agree to, for others who speak meanwhile.
NOT_DECIDED: Final = "Not decided yet: the call waits until a person agrees to it."
# An empty message is refused by some providers.
NO_OUTPUT: Final = "[no output]"


class Said(NamedTuple):
    """A message as a provider takes it, and its sequence in the thread."""

    message: Message
    sequence: int


def conversation(messages: Iterable[ThreadMessage], without_result: str = NO_RESULT) -> list[Said]:
    """What was said in a thread, as a provider takes it.

    Args:
        messages: Messages of a thread, in sequence.
        without_result: What stands for the result of a call that has none.

    Returns:
        What users and models said, each call followed by its result. A result without its call and
        a message without any content are left out; a call without a result gets a text
        that says so. A result is moved up to its call where others have spoken meanwhile.
        `UNASKED` stands before what no model of the thread has said, unless a user's message does.
    """
    stored = list(messages)
    results = _results(stored)
    found: list[Said] = []
    for position, message in enumerate(stored):
        sequence = message.sequence or 0
        if message.role == "assistant" and (calls := _calls(message)):
            spoken: Message = {
                "role": "assistant",
                "content": message.content or None,
                "tool_calls": calls,
            }
            found.append(Said(spoken, sequence))
            for call in calls:
                result = results.get((position, call["id"]))
                found.append(Said(_result(call["id"], result, without_result), sequence))
        elif message.role in {"user", "assistant"} and message.content.strip():
            if _is_unasked(message) and (not found or found[-1].message["role"] == "assistant"):
                found.append(Said({"role": "user", "content": UNASKED}, sequence))
            found.append(Said({"role": message.role, "content": message.content}, sequence))
    return found


def _is_unasked(message: ThreadMessage) -> bool:
    """Whether no model said this in answer to the thread."""
    return message.role == "assistant" and not (message.llm_call_id or message.tool_calls)


def newest_turns(
    history: Sequence[Message], *, limit: int | None = None, room_tokens: float | None = None
) -> int:
    """Where the newest turns begin that a call can take.

    Args:
        history: User, assistant and tool messages, the oldest first.
        limit: The most turns; null is no limit.
        room_tokens: What they may measure in all; null is no limit.

    Returns:
        Position of the first message to keep, which is a user's; the length of the history when
        nothing is.
    """
    begin, turns = len(history), 0
    left = float("inf") if room_tokens is None else room_tokens
    if limit is None and room_tokens is None:
        return 0
    for index in reversed(range(len(history))):
        left -= estimate_message_tokens(history[index])
        if left < 0 or turns == limit:
            break
        if history[index]["role"] == "user":
            begin, turns = index, turns + 1
    return begin


def _calls(message: ThreadMessage) -> list[dict[str, Any]]:
    """The calls of an assistant, without those a result could not be told apart for."""
    spelled = {
        call.call_id: call
        for call in reversed(list(function_calls({"tool_calls": message.tool_calls})))
        if call.call_id and call.name
    }
    return [
        {
            "id": call.call_id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments or "{}"},
        }
        for call in reversed(spelled.values())
    ]


def _results(stored: Sequence[ThreadMessage]) -> dict[tuple[int, str], ThreadMessage]:
    """The results, by the position of the message that called and the call's id."""
    callers: dict[str, int] = {}
    found: dict[tuple[int, str], ThreadMessage] = {}
    for position, message in enumerate(stored):
        if message.role == "assistant":
            callers.update((call["id"], position) for call in _calls(message))
        elif message.role == "tool":
            for answered in message.tool_calls or ():
                call_id = str(answered.get("id") or "").strip()
                if call_id in callers:
                    found[callers.pop(call_id), call_id] = message
    return found


def _result(call_id: str, result: ThreadMessage | None, without_result: str) -> Message:
    text = without_result if result is None else result.content
    return {"role": "tool", "content": text if text.strip() else NO_OUTPUT, "tool_call_id": call_id}
