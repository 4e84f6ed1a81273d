"""The structure of a prompt: its preamble, the blocks after it, and results that lost their call.

Owns what belongs together in a prompt and the pass that drops blocks from the front. Which limits
hold is decided in `domain.context` and `domain.compaction`. Positions are used throughout, not
identities: the same message object may stand in a prompt twice.

Invariants:
    1. A call and its results are in one block, and a block goes as a whole.
    2. The preamble, the last block and the last user message are never dropped.
    3. No pass leaves a tool result whose call is gone.

Source: chat-policies.md §0 and §6.2, after the public package beeper/ai-bridge `pkg/runtime`.
"""

from collections.abc import Sequence

from domain.message_text import PREAMBLE_ROLES, function_calls, message_role, result_call_id
from domain.messages import Message


def preamble_length(prompt: Sequence[Message]) -> int:
    """How many messages at the start of a prompt are `system` or `developer`."""
    for index, msg in enumerate(prompt):
        if message_role(msg) not in PREAMBLE_ROLES:
            return index
    return len(prompt)


def orphan_positions(prompt: Sequence[Message], gone: frozenset[int] = frozenset()) -> set[int]:
    """Apply the orphan rule (chat-policies.md §6.2).

    Args:
        prompt: The messages.
        gone: Positions of messages that count as removed already.

    Returns:
        Positions of the tool results whose call is not open before them, among those that are left.
    """
    orphans: set[int] = set()
    open_calls: set[str] = set()
    for index, msg in enumerate(prompt):
        if index in gone:
            continue
        role = message_role(msg)
        if role == "assistant":
            open_calls.update(call.call_id for call in function_calls(msg) if call.call_id)
        elif role == "tool":
            call_id = result_call_id(msg)
            if call_id in open_calls:
                open_calls.discard(call_id)
            else:
                orphans.add(index)
    return orphans


def split_blocks(prompt: Sequence[Message]) -> list[range]:
    """Find the blocks after the preamble, as ranges of positions (chat-policies.md §6.2)."""
    starts: list[int] = []
    previous = ""
    for index in range(preamble_length(prompt), len(prompt)):
        role = message_role(prompt[index])
        if role != "tool" or previous not in ("assistant", "tool"):
            starts.append(index)
        previous = role
    return [range(*span) for span in zip(starts, [*starts[1:], len(prompt)], strict=False)]


def droppable_positions(
    prompt: Sequence[Message],
    sizes: Sequence[int],
    limit: int,
    protected_from: int | None = None,
) -> frozenset[int]:
    """Run a dropping pass: drop blocks from the oldest on until the rest fits (§6.2).

    Args:
        prompt: The messages.
        sizes: The size of each message; 0 for what does not count.
        limit: The most that the sizes of the rest may sum up to.
        protected_from: Position of the first message that must stay; by default position protects
            nothing.

    Returns:
        Positions of the messages to drop, and of the tool results that lose their call by it.
    """
    end = len(prompt) if protected_from is None else protected_from
    last_user = max(
        (index for index, msg in enumerate(prompt) if message_role(msg) == "user"), default=-1
    )
    total = sum(sizes)
    gone: set[int] = set()
    for block in split_blocks(prompt)[:-1]:
        if total <= limit or block.stop > end:
            break
        if last_user not in block:
            gone.update(block)
            total -= sum(sizes[block.start : block.stop])
    if not gone:
        return frozenset()
    return frozenset(gone | orphan_positions(prompt, frozenset(gone)))
