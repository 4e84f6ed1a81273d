"""Who asks, and in which conversation (automation.md §10, §13, §14 rows 34 and 35)."""

import pytest
from pydantic import ValidationError

from client.context import CallerContext
from domain.actor import Actor
from domain.routine_requests import Asker
from domain.scopes import Route, Scope, ScopeKind
from tests.support.routines import assert_refused, refusal


def context(**fields: str) -> CallerContext:
    return CallerContext.model_validate(fields)


class TestActor:
    @pytest.mark.parametrize(
        ("fields", "actor"),
        [
            ({"actor_user_id": " u1 "}, Actor(user_id="u1")),
            ({"actor_open_id": "ou_1"}, Actor(open_id="ou_1")),
            (
                {"actor_user_id": "u1", "actor_open_id": "ou_1"},
                Actor(user_id="u1", open_id="ou_1"),
            ),
        ],
    )
    def test_one_id_is_enough(self, fields: dict[str, str], actor: Actor) -> None:
        assert context(**fields).actor() == actor

    @pytest.mark.parametrize("blank", ["", "  "])
    def test_without_one_nobody_asks(self, blank: str) -> None:
        error = refusal(lambda: context(actor_user_id=blank, actor_open_id=blank).actor())
        assert_refused(error, "missing_field", "actor", "actor_user_id", "actor_open_id")
        assert error.accepted == ["actor_user_id", "actor_open_id"]


class TestRoute:
    @pytest.mark.parametrize("channel", ["console", "file"])
    def test_some_channels_need_no_target(self, channel: str) -> None:
        assert context(receive_id_type=channel).route() == Route(receive_id_type=channel)

    def test_others_do(self) -> None:
        made = context(receive_id_type=" chat_id ", receive_id=" oc_x ")
        assert made.route() == Route(receive_id_type="chat_id", receive_id="oc_x")

    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"receive_id_type": "chat_id"},
            {"receive_id_type": "chat_id", "receive_id": " "},
            {"receive_id": "oc_x"},
        ],
    )
    def test_a_route_that_is_not_whole(self, fields: dict[str, str]) -> None:
        error = refusal(lambda: context(**fields).route())
        assert_refused(error, "missing_field", "receive_id", "receive_id", "console", "file")


class TestScope:
    @pytest.mark.parametrize("chat_type", ["group", " Group "])
    def test_a_group_shares_the_objects_of_its_chat(self, chat_type: str) -> None:
        made = context(
            chat_type=chat_type, receive_id_type="chat_id", receive_id="oc_x", actor_user_id="u1"
        )
        assert made.scope() == Scope(kind=ScopeKind.CHAT, id="chat_id:oc_x")

    @pytest.mark.parametrize("chat_type", ["", "p2p"])
    def test_anywhere_else_they_are_the_users(self, chat_type: str) -> None:
        made = context(chat_type=chat_type, actor_user_id="u1", actor_open_id="ou_1")
        assert made.scope() == Scope(kind=ScopeKind.USER, id="u1")

    def test_a_group_without_a_target(self) -> None:
        error = refusal(lambda: context(chat_type="group", actor_user_id="u1").scope())
        assert_refused(error, "missing_field", "receive_id")

    def test_the_workflow_checks_both(self) -> None:
        made = context(actor_open_id="ou_1")
        scope = Scope(kind=ScopeKind.USER, id="ou_1")
        assert made.asker() == Asker(actor_id="ou_1", scope=scope)


def test_a_misspelt_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="actor_id"):
        context(actor_id="u1")
