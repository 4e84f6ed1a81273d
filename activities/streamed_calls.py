"""The calls of tools in a stream, put together from their pieces.

Owns the dialects of providers: pieces named by index, whole calls without one, several calls under
the same index. What the calls are worth is `activities.tool_offers`'.

Invariant: pieces of one call stay in the order they came; a piece without index or id belongs to
the newest call.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

from openai.types.chat.chat_completion_chunk import ChoiceDeltaToolCall

from domain.tool_specs import ToolCall


@dataclass(slots=True)
class _Growing:
    """One call so far."""

    index: int | None
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list[str])


class StreamedCalls:
    """The calls a stream has brought so far."""

    def __init__(self) -> None:
        self._calls: list[_Growing] = []

    def read(self, pieces: Iterable[ChoiceDeltaToolCall]) -> None:
        """Take the pieces of one chunk in.

        Raises:
            AttributeError: They are something else; the client does not check what it received.
            TypeError: Likewise.
        """
        for piece in pieces:
            call = self._call_of(piece)
            call.id = call.id or piece.id or ""
            if piece.function is not None:
                call.name = call.name or piece.function.name or ""
                call.arguments.append(piece.function.arguments or "")

    def finished(self) -> Sequence[ToolCall]:
        """The calls that name a tool, in their order."""
        return [
            ToolCall(id=call.id, name=call.name, arguments="".join(call.arguments) or "{}")
            for call in self._calls
            if call.name
        ]

    def _call_of(self, piece: ChoiceDeltaToolCall) -> _Growing:
        # Declared as a number, left out by some servers.
        index = cast("int | None", piece.index)
        for call in reversed(self._calls):
            if index is not None and call.index != index:
                continue
            if not piece.id or not call.id or piece.id == call.id:
                return call
            break
        self._calls.append(_Growing(index))
        return self._calls[-1]
