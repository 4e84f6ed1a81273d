"""The tools of one call, as its model can be offered them, and the calls it makes of them.

Owns the difference between models that call tools by the API's own fields and those that answer
with constrained JSON, and the ids of calls. What tools are is `domain.tool_specs`', running them
`activities.tools`'. Source: DESIGN §4, triggers-and-actions.md §5 and §7.

Invariants:
    1. Ids of calls are unique in a thread: a provider that numbers its calls anew in each answer
       would make a later call look like an earlier one that was carried out.
    2. Nothing that was not offered is called.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from activities.completions import Completion
from domain.constrained_calls import in_words, read_reply, response_format, tools_text
from domain.messages import Message
from domain.model_chain import ModelSpec, ToolCallStyle
from domain.tool_specs import ToolCall, ToolSpec

# One answer asks for a handful; what a broken model asks for without end is not carried out.
MAX_CALLS: Final = 64
MAX_NAME_CHARS: Final = 64
# Providers that make up ids at random take more characters; shorter ones are counted.
RANDOM_ID_CHARS: Final = 16
# Some providers take back only ids of exactly nine letters and digits.
_ID_CHARS: Final = 9


@dataclass(frozen=True, slots=True)
class ToolOffer:
    """Tools on offer; none is an offer too."""

    tools: Sequence[ToolSpec] = ()
    style: ToolCallStyle = ToolCallStyle.NATIVE

    @classmethod
    def of(cls, tools: Sequence[ToolSpec], spec: ModelSpec) -> "ToolOffer":
        """The tools as a model can be offered them."""
        return cls(tools, spec.tool_calls)

    @property
    def constrained(self) -> bool:
        """Whether answers come as JSON."""
        return bool(self.tools) and self.style is ToolCallStyle.CONSTRAINED

    def instructions(self) -> list[Message]:
        """System messages that the model needs."""
        return [{"role": "system", "content": tools_text(self.tools)}] if self.constrained else []

    def spoken(self, messages: Sequence[Message]) -> list[Message]:
        """A conversation as the model can be told it."""
        told = self.style is ToolCallStyle.CONSTRAINED
        return in_words(messages) if told else list(messages)

    def options(self) -> dict[str, Any]:
        """Fields of the request."""
        if not self.tools:
            return {}
        if self.constrained:
            return {"response_format": response_format(self.tools)}
        return {"tools": [_described(tool) for tool in self.tools]}

    def read(self, completion: Completion) -> Completion:
        """An answer with the calls that are in it."""
        if not self.tools:
            return replace(completion, tool_calls=())
        if not self.constrained:
            return replace(completion, tool_calls=completion.tool_calls[:MAX_CALLS])
        text, wanted = read_reply(completion.text)
        calls = (
            ()
            if wanted is None
            else (ToolCall(id="", name=wanted.name, arguments=wanted.arguments),)
        )
        return replace(completion, text=text, tool_calls=calls)


def told_apart(
    calls: Sequence[ToolCall], known: Collection[str], seed: str, *, forgotten: bool = False
) -> list[ToolCall]:
    """The calls with ids that no other call of the thread has.

    Args:
        calls: The calls of one answer.
        known: Ids of the calls before it.
        seed: What makes up new ids; the same for every attempt.
        forgotten: There were more calls before it, whose ids are not in `known`.
    """
    taken = set(known)
    found: list[ToolCall] = []
    for place, call in enumerate(calls):
        call_id = call.id.strip()
        counted = forgotten and len(call_id) < RANDOM_ID_CHARS
        if not call_id or counted or call_id in taken:
            call_id = _made_up(f"{seed}/{place}")
        taken.add(call_id)
        name = call.name[:MAX_NAME_CHARS]
        found.append(ToolCall(id=call_id, name=name, arguments=call.arguments))
    return found


def _made_up(seed: str) -> str:
    return hashlib.sha256(seed.encode()).hexdigest()[:_ID_CHARS]


def _described(tool: ToolSpec) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
    }
    return {"type": "function", "function": function}
