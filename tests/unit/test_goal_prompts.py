"""The templates of a goal's rounds: what is refused, what is filled in."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.actor import Actor
from domain.errors import DomainError, ErrorKind
from domain.goal_prompts import (
    CONTINUE_TEMPLATE,
    TIMEOUT_TEMPLATE,
    VARIABLES,
    check_template,
    goal_prompt,
    with_judge_note,
)
from domain.goal_record import Goal
from domain.scopes import Route, Scope, ScopeKind

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
GOAL = Goal(
    id="goal_1",
    objective="Write {{now}} on the wall",
    scope=Scope(kind=ScopeKind.USER, id="me"),
    route=Route(receive_id_type="console"),
    creator=Actor(user_id="me"),
    created_at=NOON - timedelta(minutes=150),
    deadline_at=NOON + timedelta(seconds=30),
)


@pytest.mark.parametrize("template", [CONTINUE_TEMPLATE, TIMEOUT_TEMPLATE, "", "plain {x} }"])
def test_these_are_accepted(template: str) -> None:
    check_template(template, "goal_prompt_continue")


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ objective }} {{budget}}", "unknown variable 'budget'"),
        ("{{}}", "unknown variable ''"),
        ("{{objective", "braces"),
        ("objective}}", "braces"),
        ("{{ {objective} }}", "braces"),
    ],
)
def test_these_are_refused_naming_the_setting_and_the_variables(template: str, says: str) -> None:
    with pytest.raises(DomainError, match=says) as caught:
        check_template(template, "goal_prompt_timeout")
    assert (caught.value.kind, caught.value.field) == (
        ErrorKind.INVALID_FIELD,
        "goal_prompt_timeout",
    )
    assert all(name in str(caught.value) for name in VARIABLES)


def test_every_variable_is_filled_in_once() -> None:
    template = "{{objective}}|{{ now }}|{{deadline}}|{{elapsed}}|{{remaining}}"
    assert goal_prompt(template, GOAL, NOON, "Europe/Berlin").split("|") == [
        "Write {{now}} on the wall",
        "2026-03-01T13:00:00+01:00",
        "2026-03-01T13:00:30+01:00",
        "2h30m",
        "30s",
    ]


def test_without_a_deadline_it_is_not_set() -> None:
    goal = GOAL.model_copy(update={"deadline_at": None, "created_at": None})
    text = goal_prompt("{{deadline}} {{remaining}} {{elapsed}}", goal, NOON, "UTC")
    assert text == "not set not set 0s"


def test_a_refused_claim_is_answered_in_the_prompt() -> None:
    assert with_judge_note("Go on.", "") == "Go on."
    assert with_judge_note("Go on.", "the tests fail").endswith(
        "\n\nThe judge did not agree that the goal is reached: the tests fail"
    )


@pytest.mark.parametrize("blank", ["", " \n"])
def test_a_blank_template_is_the_objective_alone(blank: str) -> None:
    assert goal_prompt(blank, GOAL, NOON, "UTC") == GOAL.objective


@given(st.lists(st.sampled_from(["{{", "}}", "{", "}", " ", "now", "elapsed", "x"]), max_size=12))
def test_what_is_accepted_leaves_no_braces_behind(pieces: list[str]) -> None:
    template = "".join(pieces) + "."
    try:
        check_template(template, "goal_prompt_continue")
    except DomainError:
        return
    text = goal_prompt(template, GOAL, NOON, "UTC")
    assert "{{" not in text
    assert "}}" not in text
