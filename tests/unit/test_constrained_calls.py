"""Tools in words and JSON, for models that cannot call them."""

import json
from typing import Any

import pytest

from domain.constrained_calls import WantedCall, in_words, read_reply, response_format, tools_text
from domain.messages import Message
from domain.tool_specs import ToolSpec

PARAMETERS: dict[str, Any] = {"type": "object", "properties": {"zone": {"type": "string"}}}
CLOCK = ToolSpec(name="clock", description="Tells\nthe time.", parameters=PARAMETERS)
DICE = ToolSpec(name="dice", description="Rolls a die.")


def test_the_tools_in_words() -> None:
    text = tools_text([CLOCK, DICE])
    first, clock, dice, rule = text.splitlines()
    assert first == "You can use these tools:"
    arguments = '{"type":"object","properties":{"zone":{"type":"string"}}}'
    assert clock == f"- clock: Tells the time. Arguments: {arguments}"
    assert dice.startswith("- dice: Rolls a die. Arguments: {")
    assert '{"answer": "<text>"}' in rule


def test_an_answer_is_a_call_or_a_text() -> None:
    schema = response_format([CLOCK, DICE])["json_schema"]["schema"]
    clock, dice, text = schema["anyOf"]
    assert clock["properties"] == {"name": {"const": "clock"}, "arguments": PARAMETERS}
    assert dice["properties"]["name"] == {"const": "dice"}
    assert text["properties"] == {"answer": {"type": "string"}}
    for shape in (clock, dice, text):
        assert shape["required"] == list(shape["properties"])
        assert shape["additionalProperties"] is False


@pytest.mark.parametrize(
    ("reply", "text", "call"),
    [
        ('{"name": "clock", "arguments": {"zone": "é"}}', "", ("clock", '{"zone":"é"}')),
        ('{"answer": "It is noon."}', "It is noon.", None),
        ('{"answer": 5}', '{"answer": 5}', None),
        ('{"name": "clock"}', '{"name": "clock"}', None),
        ('{"name": "", "arguments": {}}', '{"name": "", "arguments": {}}', None),
        ("[1, 2]", "[1, 2]", None),
        ('{"answer": "cut', '{"answer": "cut', None),
        ("It is noon.", "It is noon.", None),
        ("", "", None),
    ],
)
def test_reading_an_answer(reply: str, text: str, call: tuple[str, str] | None) -> None:
    assert read_reply(reply) == (text, None if call is None else WantedCall(*call))


def test_a_conversation_in_words() -> None:
    calls = [{"id": "a", "type": "function", "function": {"name": "clock", "arguments": ""}}]
    said: list[Message] = [
        {"role": "user", "content": "What time?"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "content": "noon", "tool_call_id": "a"},
        {"role": "assistant", "content": "I look again.", "tool_calls": calls},
        {"role": "tool", "content": "one", "tool_call_id": "gone"},
    ]
    told = in_words(said)
    roles = [message["role"] for message in told]
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    assert json.loads(str(told[1]["content"])) == {"name": "clock", "arguments": {}}
    assert told[2]["content"] == "[result of clock]\nnoon"
    assert str(told[3]["content"]).startswith("I look again.\n{")
    assert told[4]["content"] == "[result of a tool]\none"
    assert all("tool_calls" not in message for message in told)
