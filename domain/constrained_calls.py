"""Tools for models that cannot call them: described in words, called by an answer in JSON.

Owns the words, the schema an answer has to follow, and reading it. Whether a model needs this is
its setting `tool_calls` (`domain.model_chain`). Source: DESIGN §4; measured on a model of 0.5
billion parameters, which gets no native call right and all constrained ones.

Invariant: what cannot be read as a call is the answer, word for word: nothing a model said is lost.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeGuard

from domain.message_text import FunctionCall, extract_message_content, function_calls
from domain.messages import Message
from domain.tool_specs import ToolSpec

_RULE: Final = (
    'To use a tool answer only {"name": "<tool>", "arguments": {…}}. '
    'To answer the user answer only {"answer": "<text>"}.'
)


class WantedCall(NamedTuple):
    """A call that an answer asks for: the tool, and its arguments as JSON text."""

    name: str
    arguments: str


def tools_text(tools: Iterable[ToolSpec]) -> str:
    """The tools in words, as a system message."""
    lines = [f"- {tool.name}: {_in_one_line(tool)}" for tool in tools]
    return "\n".join(["You can use these tools:", *lines, _RULE])


def response_format(tools: Iterable[ToolSpec]) -> dict[str, Any]:
    """What an answer has to look like: a call of one of the tools, or a text."""
    calls = [
        _object({"name": {"const": tool.name}, "arguments": dict(tool.parameters)})
        for tool in tools
    ]
    schema = {"anyOf": [*calls, _object({"answer": {"type": "string"}})]}
    return {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}


def read_reply(text: str) -> tuple[str, WantedCall | None]:
    """Read an answer.

    Returns:
        The text, and the call; one of them is empty.
    """
    try:
        reply = json.loads(text)
    except ValueError:
        return text, None
    if not _is_mapping(reply):
        return text, None
    name, arguments, answer = reply.get("name"), reply.get("arguments"), reply.get("answer")
    if isinstance(name, str) and name and _is_mapping(arguments):
        return "", WantedCall(name, _compact(arguments))
    return (answer, None) if isinstance(answer, str) else (text, None)


def in_words(messages: Sequence[Message]) -> list[Message]:
    """A conversation with its calls and results as plain messages, one for one."""
    names: dict[str, str] = {}
    told: list[Message] = []
    for message in messages:
        text = extract_message_content(message)[0]
        if message["role"] == "tool":
            name = names.get(message.get("tool_call_id", ""), "a tool")
            told.append({"role": "user", "content": f"[result of {name}]\n{text}"})
        elif calls := list(function_calls(message)):
            names.update((call.call_id, call.name) for call in calls)
            spoken = [text] if text else []
            spoken += [_call_in_words(call) for call in calls]
            told.append({"role": "assistant", "content": "\n".join(spoken)})
        else:
            told.append(message)
    return told


def _in_one_line(tool: ToolSpec) -> str:
    return f"{' '.join(tool.description.split())} Arguments: {_compact(tool.parameters)}"


def _call_in_words(call: FunctionCall) -> str:
    return f'{{"name": {json.dumps(call.name)}, "arguments": {call.arguments or "{}"}}}'


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _compact(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _is_mapping(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, dict)
