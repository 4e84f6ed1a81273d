"""Messages and prompts for the tests of context and compaction."""

from typing import Any, cast

from hypothesis import strategies as st

from domain.messages import Message


def system(text: str = "S") -> Message:
    return {"role": "system", "content": text}


def developer(text: str = "D") -> Message:
    return {"role": "developer", "content": text}


def user(text: str = "u") -> Message:
    return {"role": "user", "content": text}


def assistant(text: str | None = "a") -> Message:
    return {"role": "assistant", "content": text}


def call(*ids: str, name: str = "f", arguments: str = "{}") -> Message:
    """An assistant message that calls a function once for each id."""
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
            for call_id in ids
        ],
    }


def result(call_id: str, text: str = "r") -> Message:
    return {"role": "tool", "content": text, "tool_call_id": call_id}


def parts(*contents: dict[str, Any], role: str = "user", **more: str) -> Message:
    """A message whose content is a list of parts."""
    return cast("Message", {"role": role, "content": list(contents), **more})


def text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


IMAGE: dict[str, Any] = {"type": "image_url", "image_url": {"url": "data:x"}}


def raw(**fields: object) -> Message:
    """A message as it should not be."""
    return cast("Message", fields)


def roles(prompt: list[Message]) -> str:
    """The first letters of the roles: S, D, U, A, T."""
    return "".join(msg["role"][0].upper() for msg in prompt)


IDS = ("c1", "c2", "c3", " c1 ", "")
sizes = st.integers(0, 60) | st.sampled_from([300, 1500, 6000])
messages = st.one_of(
    st.builds(lambda size: user("u" * size), sizes),
    st.builds(lambda size: assistant("a" * size), sizes),
    st.builds(lambda ids: call(*ids), st.lists(st.sampled_from(IDS), max_size=3)),
    st.builds(lambda call_id, size: result(call_id, "r" * size), st.sampled_from(IDS), sizes),
    st.builds(
        lambda size: parts(text_part("p" * size), IMAGE, role="tool", tool_call_id="c1"), sizes
    ),
    st.builds(lambda size: parts(text_part("p" * size), role="tool", tool_call_id="c2"), sizes),
    st.sampled_from([system("s" * 50), developer(), assistant(None), raw(role="other"), raw()]),
)
prompts = st.builds(
    lambda head, tail: [system(f"{number}") for number in range(head)] + tail,
    st.integers(0, 2),
    st.lists(messages, max_size=14),
)


def call_ids(msg: Message) -> list[str]:
    return [str(item["id"]).strip() for item in msg.get("tool_calls", [])]


def orphans(prompt: list[Message]) -> list[Message]:
    """The tool results of a prompt whose call is not open before them."""
    open_calls: set[str] = set()
    lost: list[Message] = []
    for msg in prompt:
        if msg.get("role") == "assistant":
            open_calls |= set(call_ids(msg)) - {""}
        elif msg.get("role") == "tool":
            call_id = msg["tool_call_id"].strip()
            if call_id not in open_calls:
                lost.append(msg)
            open_calls -= {call_id}
    return lost


def chars(prompt: list[Message]) -> int:
    """The characters of all texts, however they are written."""
    total = 0
    for msg in prompt:
        content = msg.get("content")
        if isinstance(content, str):
            total += len(content)
        elif content:
            total += sum(len(part.get("text", "")) for part in content)
    return total
