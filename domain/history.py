"""The earlier conversation of a thread, as much of it as a call can take.

Owns choosing the newest turns that fit. What is said in them is `domain.threads`', shortening what
is inside of a message `domain.context`'s. Source: DESIGN §4, automation.md §7.5.

Invariant: what is left begins with a user's message and loses whole turns only, the oldest first.
"""

from collections.abc import Sequence
from typing import Final

from domain.context import limit_history_turns
from domain.message_text import estimate_message_tokens
from domain.messages import Message

MAX_TURNS: Final = 20
# The rest of the window stays for what the estimate does not see.
HISTORY_SHARE: Final = 0.5


def with_history(
    prompt: Sequence[Message],
    history: Sequence[Message],
    *,
    window_tokens: int,
    max_tokens: int,
) -> list[Message]:
    """A prompt with the newest turns of a conversation that fit beside it and its answer.

    Args:
        prompt: A system message and what follows the conversation.
        history: User and assistant messages, the oldest first.
        window_tokens: The model's context window.
        max_tokens: Room for the answer.
    """
    system, *rest = prompt
    taken = max_tokens + sum(map(estimate_message_tokens, prompt))
    room = max(0, window_tokens - taken) * HISTORY_SHARE
    kept = limit_history_turns(history, MAX_TURNS)
    begin = len(kept)
    for index in reversed(range(len(kept))):
        room -= estimate_message_tokens(kept[index])
        if room < 0:
            break
        if kept[index]["role"] == "user":
            begin = index
    return [system, *kept[begin:], *rest]
