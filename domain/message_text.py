"""The text of a prompt's messages, their size in characters, and the tool calls in them.

Owns reading messages as providers take them, whatever odd things are in them. Nothing here changes
a message. What to cut is decided in `domain.context` and `domain.compaction`.

Source: chat-policies.md §0, §4.1 and §6.3, after the public package beeper/ai-bridge `pkg/runtime`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeGuard

from domain.messages import Message

CHARS_PER_TOKEN_ESTIMATE: Final = 4
IMAGE_CHAR_ESTIMATE: Final = 8000

PREAMBLE_ROLES: Final = frozenset({"system", "developer"})
_ROLES: Final = PREAMBLE_ROLES | {"user", "assistant", "tool"}
_TOKENS_OF_EMPTY_MESSAGE: Final = 3


class FunctionCall(NamedTuple):
    """A function call of an assistant message: trimmed id, name, and arguments as text."""

    call_id: str
    name: str
    arguments: str


def message_role(msg: Mapping[str, object]) -> str:
    """The role of a message; `""` when it is missing or not known."""
    role = msg.get("role")
    return role if isinstance(role, str) and role in _ROLES else ""


def extract_message_content(msg: Mapping[str, object]) -> tuple[str, str]:
    """The text of a message and its role (chat-policies.md §4.1).

    Args:
        msg: The message.

    Returns:
        The string content, or the texts of the text parts without separator; then the role. Both
        are `""` for a role that is not known.
    """
    role = message_role(msg)
    if not role:
        return "", ""
    content = msg.get("content")
    if isinstance(content, str):
        return content, role
    if _is_list(content):
        return "".join([text for part in content if (text := _part_text(part))]), role
    return "", role


def message_text_length(msg: Mapping[str, object]) -> int:
    """How many characters of text a message has."""
    return len(extract_message_content(msg)[0])


def has_only_text(msg: Mapping[str, object]) -> bool:
    """Whether the content of a message is text alone, or nothing."""
    content = msg.get("content")
    return not _is_list(content) or all(_part_text(part) is not None for part in content)


def estimate_message_chars(msg: Mapping[str, object]) -> int:
    """The size of a message in characters (chat-policies.md §4.1).

    Args:
        msg: The message.

    Returns:
        Its text, 8000 for each image and, for an assistant, the names and arguments of its function
        calls; 0 for a role that is not known.
    """
    role = message_role(msg)
    if not role:
        return 0
    content = msg.get("content")
    size = 0
    if isinstance(content, str):
        size = len(content)
    elif _is_list(content):
        size = sum(map(_part_chars, content))
    if role == "assistant":
        for call in function_calls(msg):
            size += len(call.name) + len(call.arguments)
    return size


def estimate_message_tokens(msg: Mapping[str, object]) -> int:
    """The size of a message in tokens: whole tokens of four characters (chat-policies.md §6.3)."""
    return estimate_message_chars(msg) // CHARS_PER_TOKEN_ESTIMATE


def estimate_prompt_tokens(message_tokens: Sequence[int]) -> int:
    """The size of a prompt in tokens, from that of its messages (chat-policies.md §6.3).

    Args:
        message_tokens: The size of each message.

    Returns:
        The sum, or three for each message when all are empty.
    """
    return sum(message_tokens) or _TOKENS_OF_EMPTY_MESSAGE * len(message_tokens)


def prompt_text_payloads(prompt: Iterable[Message]) -> tuple[list[str], int]:
    """The texts of a prompt (chat-policies.md §4.1).

    Args:
        prompt: The messages.

    Returns:
        The texts that are not empty, in order, and their total length.
    """
    texts = [text for msg in prompt if (text := extract_message_content(msg)[0])]
    return texts, sum(map(len, texts))


def function_calls(msg: Mapping[str, object]) -> Iterator[FunctionCall]:
    """Yield the calls of a message that have a `function`; anything but a string counts as `""`."""
    calls = msg.get("tool_calls")
    if not _is_list(calls):
        return
    for call in calls:
        if _is_mapping(call) and _is_mapping(function := call.get("function")):
            call_id, name, arguments = (
                call.get("id"),
                function.get("name"),
                function.get("arguments"),
            )
            yield FunctionCall(
                call_id.strip() if isinstance(call_id, str) else "",
                name if isinstance(name, str) else "",
                arguments if isinstance(arguments, str) else "",
            )


def result_call_id(msg: Mapping[str, object]) -> str:
    """The trimmed id of the call that a tool message answers, or `""`."""
    call_id = msg.get("tool_call_id")
    return call_id.strip() if isinstance(call_id, str) else ""


def _part_text(part: object) -> str | None:
    """The text of a text part; `None` for any other part."""
    if _is_mapping(part) and part.get("type") == "text":
        text = part.get("text")
        return text if isinstance(text, str) else None
    return None


def _part_chars(part: object) -> int:
    if _is_mapping(part) and part.get("type") == "image_url":
        return IMAGE_CHAR_ESTIMATE
    return len(_part_text(part) or "")


def _is_mapping(value: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)
