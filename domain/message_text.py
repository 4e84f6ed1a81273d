"""The text of a prompt's messages, their size in characters, and the tool calls in them.

Owns reading messages as providers take them, whatever odd things are in them. Nothing here changes
a message. What to cut is decided in `domain.context` and `domain.compaction`.

Source: chat-policies.md §0, §4.1 and §6.3, after the public package beeper/ai-bridge `pkg/runtime`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, cast

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


def message_role(msg: Message) -> str:
    """The role of a message; `""` when it is missing or not known."""
    fields = _fields(msg)
    role = fields.get("role")
    return role if isinstance(role, str) and role in _ROLES else ""


def extract_message_content(msg: Message) -> tuple[str, str]:
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
    fields = _fields(msg)
    content = fields.get("content")
    if isinstance(content, str):
        return content, role
    return "".join([text for part in _items(content) if (text := _part_text(part))]), role


def message_text_length(msg: Message) -> int:
    """How many characters of text a message has."""
    return len(extract_message_content(msg)[0])


def has_only_text(msg: Message) -> bool:
    """Whether the content of a message is text alone, or nothing."""
    fields = _fields(msg)
    return all(_part_text(part) is not None for part in _items(fields.get("content")))


def estimate_message_chars(msg: Message) -> int:
    """The size of a message in characters (chat-policies.md §4.1).

    Args:
        msg: The message.

    Returns:
        Its text, 8000 for each image and, for an assistant, the names and arguments of its function
        calls; 0 for a role that is not known.
    """
    role = message_role(msg)
    size = 0
    if role:
        content = _fields(msg).get("content")
        if isinstance(content, str):
            size = len(content)
        for part in _items(content):
            is_image = _fields(part).get("type") == "image_url"
            size += IMAGE_CHAR_ESTIMATE if is_image else len(_part_text(part) or "")
    if role == "assistant":
        for call in function_calls(msg):
            size += len(call.name) + len(call.arguments)
    return size


def estimate_message_tokens(msg: Message) -> int:
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


def function_calls(msg: Message) -> Iterator[FunctionCall]:
    """Yield the calls of a message that have a `function`; anything but a string counts as `""`."""
    fields = _fields(msg)
    for item in _items(fields.get("tool_calls")):
        call = _fields(item)
        function = call.get("function")
        if isinstance(function, dict):
            named = _fields(cast("object", function))
            yield FunctionCall(
                _text(call.get("id")).strip(),
                _text(named.get("name")),
                _text(named.get("arguments")),
            )


def result_call_id(msg: Message) -> str:
    """The trimmed id of the call that a tool message answers, or `""`."""
    fields = _fields(msg)
    return _text(fields.get("tool_call_id")).strip()


def _part_text(part: object) -> str | None:
    """The text of a text part; `None` for any other part."""
    fields = _fields(part)
    text = fields.get("text")
    return text if fields.get("type") == "text" and isinstance(text, str) else None


def _items(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _fields(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
