"""Actors (automation.md §2)."""

import pytest

from domain.actor import Actor, preferred_id


@pytest.mark.parametrize(
    ("actor", "expected"),
    [
        ({"user_id": "u", "open_id": "o"}, "u"),
        ({"user_id": " u "}, "u"),
        ({"user_id": "  ", "open_id": " o "}, "o"),
        ({"user_id": None, "open_id": "o"}, "o"),
        ({"open_id": "o", "name": "Olga"}, "o"),
        ({"name": "Olga"}, ""),
        ({}, ""),
    ],
)
def test_the_preferred_id_is_the_user_id_unless_blank(
    actor: dict[str, str | None], expected: str
) -> None:
    assert preferred_id(Actor.model_validate(actor)) == expected
