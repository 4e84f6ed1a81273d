"""Who sees a routine or goal (`Scope`), and where its messages go (`Route`).

Owns the two value models and their text forms. Their rules (what may be blank, who may change what)
belong to the nouns that carry them. Source: automation.md §1 and §2.
"""

from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict


class ScopeKind(StrEnum):
    """What a scope stands for."""

    USER = "user"
    CHAT = "chat"


class Scope(BaseModel):
    """The user or chat that owns an object; an actor sees only the objects of its scopes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ScopeKind
    id: str

    @property
    def text(self) -> str:
        """`user:me`: the form of the search attribute `TicklessScope`."""
        return f"{self.kind}:{self.id}"

    @classmethod
    def of_text(cls, text: str) -> Self:
        """The scope of such a text.

        Raises:
            ValueError: It does not begin with a kind.
        """
        kind, _, name = text.partition(":")
        return cls(kind=ScopeKind(kind), id=name)


class Route(BaseModel):
    """A channel by name (setting `channels`) and that channel's target.

    `receive_id` may be empty for `console` and `file`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    receive_id_type: str
    receive_id: str = ""

    @property
    def text(self) -> str:
        """`webhook:alerts`, or the channel alone where there is no target."""
        return (
            f"{self.receive_id_type}:{self.receive_id}" if self.receive_id else self.receive_id_type
        )
