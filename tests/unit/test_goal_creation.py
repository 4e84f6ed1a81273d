"""Which creation of a goal is new, which is said again, and which is refused (automation.md §9)."""

from datetime import UTC, datetime

import pytest

from domain.actor import Actor
from domain.errors import DomainError
from domain.goal_messages import CreateGoal
from domain.goal_record import Goal
from domain.goal_view import check_creation, is_repeated, new_state
from domain.scopes import Route, Scope, ScopeKind

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ME = Scope(kind=ScopeKind.USER, id="me")


def creation(goal_id: str, key: str = "", digest: str = "d") -> CreateGoal:
    goal = Goal(
        id=goal_id,
        objective="Tidy up.",
        scope=ME,
        route=Route(receive_id_type="console"),
        creator=Actor(user_id="me"),
        created_at=NOW,
    )
    return CreateGoal(goal=goal, work_scope=ME, create_key=key, create_digest=digest)


@pytest.mark.parametrize(
    ("made", "asked", "deleted", "repeated"),
    [
        (creation("goal_1"), creation("goal_1"), False, True),
        (creation("goal_1"), creation("goal_2"), False, False),
        (creation("goal_1", "k"), creation("goal_2", "k"), False, True),
        (creation("goal_1", "k"), creation("goal_2", "k"), True, False),
        (creation("goal_1", "k"), creation("goal_2", "other"), False, False),
    ],
)
def test_a_creation_is_said_again(
    made: CreateGoal, asked: CreateGoal, deleted: bool, repeated: bool
) -> None:
    state = new_state(made, NOW)
    state.deleted = deleted
    assert is_repeated(state, asked) is repeated


@pytest.mark.parametrize("asked", [creation("goal_1", "k"), creation("goal_2", "k")])
def test_what_is_said_again_is_no_second_goal(asked: CreateGoal) -> None:
    check_creation(new_state(creation("goal_1", "k"), NOW), asked)


@pytest.mark.parametrize(
    ("asked", "field", "says"),
    [
        (creation("goal_2"), "goal", "goal_1"),
        (creation("goal_2", "other"), "goal", "goal_1"),
        (creation("goal_2", "k", "another"), "idempotency_key", "idempotency_key"),
    ],
)
def test_a_second_goal_is_refused(asked: CreateGoal, field: str, says: str) -> None:
    with pytest.raises(DomainError, match=says) as refused:
        check_creation(new_state(creation("goal_1", "k"), NOW), asked)
    assert (refused.value.kind, refused.value.field) == ("conflict", field)
