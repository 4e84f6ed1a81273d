"""An actor: the person or service that asks for something.

Owns the value model and the one id by which an actor is known. Who may do what is decided by the
nouns that carry an actor (`domain.routine.can_manage`). Source: automation.md §2.
"""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict


def _blank_for_null(value: object) -> object:
    return "" if value is None else value


# JSON null and an absent name mean the same thing here.
_Name = Annotated[str, BeforeValidator(_blank_for_null)]


class Actor(BaseModel):
    """Somebody by the names the channel knows; at least one of the two ids is needed to act."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    user_id: _Name = ""
    open_id: _Name = ""
    name: _Name = ""


def preferred_id(actor: Actor) -> str:
    """The id an actor is compared by: `user_id` unless blank, else `open_id`; may be empty."""
    return actor.user_id.strip() or actor.open_id.strip()
