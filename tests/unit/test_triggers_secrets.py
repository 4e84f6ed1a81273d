"""Secrets of webhooks: their forms, and who sees what of them (triggers-and-actions.md §3)."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest

from domain.errors import DomainError, ErrorKind
from domain.triggers import (
    EventTrigger,
    ManualTrigger,
    WebhookTrigger,
    public_trigger,
    validate_trigger,
)
from domain.webhook_secrets import keep_secret, read_secret, seal_literals

LITERAL = "0123456789abcdef"
ENV = {"env": "HOOK_SECRET"}
FILE = {"file": "/run/secrets/hook"}
SEALED = {"sealed": "v1.abc"}
HIDDEN = {"set": True}


def key(size: int) -> str:
    return "whsec_" + base64.b64encode(bytes(size)).decode()


def trigger_with(secret: object) -> WebhookTrigger:
    return WebhookTrigger.model_validate({"secret": secret, "allow_unsigned": True})


def as_json(secret: object) -> object:
    """A secret that was read, as the JSON of its trigger."""
    return trigger_with(secret).model_dump(mode="json")["secret"]


class TestForms:
    @pytest.mark.parametrize(
        "secret",
        [
            LITERAL,
            "ä" * 16,
            "x" * 512,
            key(24),
            key(64),
            ENV,
            FILE,
            SEALED,
            [LITERAL],
            [ENV, FILE, LITERAL],
            [SEALED, SEALED],
        ],
    )
    def test_a_secret_is_a_literal_a_reference_or_a_few_of_these(self, secret: object) -> None:
        assert as_json(read_secret(secret)) == secret

    @pytest.mark.parametrize(
        ("given", "kept"),
        [
            (f"  {LITERAL}\n", LITERAL),
            ({"env": " NAME "}, {"env": "NAME"}),
            ({"file": " /a/b "}, {"file": "/a/b"}),
        ],
    )
    def test_secrets_are_trimmed(self, given: object, kept: object) -> None:
        assert as_json(read_secret(given)) == kept

    @pytest.mark.parametrize("secret", [None, "", "  "])
    def test_blank_is_none(self, secret: object) -> None:
        assert read_secret(secret) is None

    @pytest.mark.parametrize(
        ("secret", "contains"),
        [
            ("x" * 15, ["16", "512"]),
            (" " + "x" * 15, ["16"]),
            ("x" * 513, ["512"]),
            ("x" * 20 + "\ud800", ["16"]),
            ("whsec_" + "!" * 32, ["base64"]),
            ("whsec_" + "ä" * 32, ["base64"]),
            (key(23), ["base64", "24"]),
            (key(65), ["base64", "64"]),
            (key(24).rstrip("=") + "a", ["base64"]),
            ({"vault": "x"}, ["env", "file"]),
            ({}, ["env", "file"]),
            ({"env": "A", "file": "/b"}, ["env", "file"]),
            ({"env": ""}, ["env"]),
            ({"env": "1A"}, ["env"]),
            ({"env": "A-B"}, ["env"]),
            ({"env": 5}, ["env"]),
            ({"file": "relative"}, ["file"]),
            ({"file": "/a/../b"}, ["file"]),
            ({"file": "/a\0"}, ["file"]),
            ({"file": None}, ["file"]),
            ({"sealed": ""}, ["env", "file"]),
            ({"set": True}, ["env", "file"]),
            (5, ["env", "file"]),
            (True, ["env", "file"]),
            ([], ["1 to 3"]),
            ([ENV] * 4, ["1 to 3"]),
            ([ENV, "short"], ["16"]),
            ([[LITERAL]], ["env", "file"]),
            ([None], ["env", "file"]),
            ([""], ["16"]),
        ],
    )
    def test_any_other_form_is_refused(self, secret: object, contains: list[str]) -> None:
        with pytest.raises(DomainError) as caught:
            read_secret(secret)
        assert (caught.value.kind, caught.value.field) == (
            ErrorKind.INVALID_FIELD,
            "trigger.secret",
        )
        assert all(text in caught.value.message for text in contains)

    @pytest.mark.parametrize(
        "secret", ["hunter2", "whsec_hunter2", ["hunter2"], {"env": "hunter2!"}]
    )
    def test_no_error_quotes_a_secret(self, secret: object) -> None:
        trigger = {"type": "webhook", "secret": secret, "odd": 1}
        with pytest.raises(DomainError) as caught:
            validate_trigger(trigger, datetime(2026, 1, 1, tzinfo=UTC))
        assert "hunter2" not in str(caught.value.to_problem())


class TestPublicForm:
    @pytest.mark.parametrize(
        ("secret", "shown"),
        [
            (None, None),
            (LITERAL, HIDDEN),
            (SEALED, HIDDEN),
            (HIDDEN, HIDDEN),
            (ENV, ENV),
            (FILE, FILE),
            ([LITERAL, ENV, SEALED, FILE], [HIDDEN, ENV, HIDDEN, FILE]),
        ],
    )
    def test_literals_are_hidden_and_references_shown(self, secret: object, shown: object) -> None:
        assert public_trigger(trigger_with(secret)).model_dump(mode="json") == {
            "type": "webhook",
            "path": None,
            "secret": shown,
            "scheme": "auto",
            "allow_unsigned": True,
        }

    def test_other_triggers_have_nothing_to_hide(self) -> None:
        for trigger in (ManualTrigger(), EventTrigger(pattern="x")):
            assert public_trigger(trigger) is trigger

    def test_a_trigger_does_not_print_its_secret(self) -> None:
        assert LITERAL not in f"{trigger_with(LITERAL)!r} {trigger_with([LITERAL])}"


class TestSealing:
    @pytest.mark.parametrize(
        ("secret", "sealed"),
        [
            (None, None),
            (LITERAL, {"sealed": LITERAL[::-1]}),
            (ENV, ENV),
            (SEALED, SEALED),
            ([LITERAL, FILE], [{"sealed": LITERAL[::-1]}, FILE]),
        ],
    )
    def test_every_literal_is_sealed_and_nothing_else(self, secret: object, sealed: object) -> None:
        assert as_json(seal_literals(read_secret(secret), lambda text: text[::-1])) == sealed


class TestKeeping:
    @pytest.mark.parametrize(
        ("given", "stored", "kept"),
        [
            pytest.param(HIDDEN, SEALED, SEALED, id="the stored secret stays"),
            pytest.param(HIDDEN, [SEALED, ENV], [SEALED, ENV], id="the whole list stays"),
            pytest.param(HIDDEN, LITERAL, LITERAL, id="a literal not sealed yet"),
            pytest.param(HIDDEN, None, HIDDEN, id="nothing to keep"),
            pytest.param([HIDDEN, ENV], [SEALED, FILE], [SEALED, ENV], id="by place in a list"),
            pytest.param([HIDDEN, ENV], SEALED, [SEALED, ENV], id="one becomes two"),
            pytest.param([ENV, HIDDEN], SEALED, [ENV, HIDDEN], id="nothing in that place"),
            pytest.param([HIDDEN], None, [HIDDEN], id="nothing at all"),
            pytest.param(ENV, SEALED, ENV, id="another one replaces it"),
            pytest.param(None, SEALED, None, id="null removes it"),
            pytest.param({"set": False}, SEALED, {"set": False}, id="set is true or nothing"),
            pytest.param({"set": 1}, SEALED, {"set": 1}, id="1 is not true"),
            pytest.param({}, SEALED, {}, id="an empty object says nothing"),
        ],
    )
    def test_set_true_keeps_what_is_stored(
        self, given: object, stored: object, kept: object
    ) -> None:
        patch = {"type": "webhook", "secret": given}
        assert keep_secret(patch, trigger_with(stored).secret) == {**patch, "secret": kept}

    def test_a_patch_without_secret_gets_none(self) -> None:
        patch: dict[str, Any] = {"type": "manual"}
        assert keep_secret(patch, LITERAL) == patch
