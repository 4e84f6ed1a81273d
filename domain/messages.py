"""The message of a prompt, in the chat-completion shape that providers take.

Source: chat-policies.md §0.
"""

from typing import Any, Literal, NotRequired, TypedDict

Role = Literal["system", "developer", "user", "assistant", "tool"]


class Message(TypedDict):
    """One message; `content` is a text, a list of parts, or null (an assistant's calls alone)."""

    role: Role
    content: str | list[dict[str, Any]] | None
    tool_calls: NotRequired[list[dict[str, Any]]]
    tool_call_id: NotRequired[str]
    name: NotRequired[str]
