"""What the real API would say about a chat-completions request.

Owns the rules about the list of messages. Does not answer (`model_server`).
"""

from typing import Any

ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})


def request_problem(body: Any) -> str | None:
    """Why the API would refuse this body; null when it would not."""
    if not isinstance(body, dict):
        return "the body is no JSON object"
    if not isinstance(body.get("model"), str) or not body["model"]:
        return "model is missing"
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return "messages is missing or empty"
    return _message_problem(messages) or _tool_problem(messages)


def _message_problem(messages: list[Any]) -> str | None:
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            return f"messages[{index}] is no object"
        if message.get("role") not in ROLES:
            return f"messages[{index}].role is {message.get('role')!r}"
        if not message.get("content") and not message.get("tool_calls"):
            return f"messages[{index}] is empty"
    if all(message["role"] in {"system", "developer"} for message in messages):
        return "there is nothing but instructions"
    return None


def _tool_problem(messages: list[dict[str, Any]]) -> str | None:
    """Every call of an assistant is answered right after it, and nothing else is."""
    open_calls: set[str] = set()
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            if message.get("tool_call_id") not in open_calls:
                return f"messages[{index}] answers no tool call before it"
            open_calls.remove(message["tool_call_id"])
            continue
        if open_calls:
            return f"messages[{index}] comes before the results of {sorted(open_calls)}"
        open_calls = {call["id"] for call in message.get("tool_calls") or ()}
    return f"no results for {sorted(open_calls)}" if open_calls else None
