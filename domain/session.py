"""A session key: which conversation it names, and which two keys name the same one.

Owns taking keys apart: `base` or `base|thread:<id>`, either with an optional `|message:<id>`. Who
holds a session is `domain.lease_queue`'s. Source: automation.md §8 and §10.

Invariants:
    1. The message part and parts of other names never matter for gating.
    2. A key without a base names no conversation and conflicts with none.
    3. Two threads of a chat, or a thread and the plain chat, never block each other.
"""

from typing import Final

_PART: Final = "|"
_THREAD: Final = "|thread:"
_MESSAGE: Final = "|message:"


def visibility_key(key: str) -> str:
    """The base: what stands before the first `|`."""
    return key.partition(_PART)[0].strip()


def without_message(key: str) -> str:
    """The key without its message: what stands before `|message:`."""
    return key.partition(_MESSAGE)[0].strip()


def thread_scope(key: str) -> str:
    """`|thread:<id>`, or an empty text for the plain chat."""
    thread = key.partition(_THREAD)[2].partition(_PART)[0].strip()
    return _THREAD + thread if thread else ""


def gate_key(key: str) -> str:
    """What all keys of one conversation have in common: base and thread; empty without a base."""
    base = visibility_key(key)
    return base + thread_scope(key) if base else ""


def conflicts(a: str, b: str) -> bool:
    """Whether two keys name the same conversation, so that only one of them may speak."""
    base = visibility_key(a)
    return base != "" and (base, thread_scope(a)) == (visibility_key(b), thread_scope(b))


def plain_chat_id(scope_id: str) -> str:
    """The id as the channel knows it, of a scope's id or a session key.

    Args:
        scope_id: `<receive_id_type>:<receive_id>`, with or without further parts; an id that names
            no type is itself the answer.
    """
    base = visibility_key(scope_id)
    return base.partition(":")[2].strip() if ":" in base else base
