"""Sealing: what is opened by whom, which keys are taken, and what may never leave in clear."""

import base64
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from client.sealing import (
    KEY_FILE,
    Keyring,
    NotOpened,
    Sealing,
    create_key_file,
    key_id_of,
    parse_keys,
)
from client.settings import Settings
from client.settings.sections import StoreSettings
from client.webhook_secrets import NO_SETTINGS, WebhookSecrets, ensure_key
from domain.trigger_models import EnvSecret, FileSecret, HiddenSecret, SealedSecret, Secret
from tests.support.routines import assert_refused, refusal

OLD, NEW = b"o" * 32, b"n" * 32
LITERAL = "a literal of 24 letters."


def sealing(*keys: bytes) -> Sealing:
    return Sealing(lambda: Keyring(keys) if keys else None)


@given(st.text(max_size=600))
def test_what_is_sealed_opens_for_its_owner_only(literal: str) -> None:
    one = sealing(NEW)
    sealed = one.seal(literal, "mine")
    assert one.open(sealed, "mine") == literal
    with pytest.raises(NotOpened):
        one.open(sealed, "yours")


def test_the_same_literal_is_never_sealed_alike() -> None:
    one = sealing(NEW)
    assert len({one.seal(LITERAL, "mine") for _ in range(100)}) == 100


def test_rotation_the_first_seals_and_all_open() -> None:
    old = sealing(OLD).seal(LITERAL, "mine")
    both = sealing(NEW, OLD)
    assert both.open(old, "mine") == LITERAL
    assert both.seal(LITERAL, "mine").split(".")[1] == key_id_of(NEW)
    for gone in (sealing(NEW), sealing()):
        with pytest.raises(NotOpened):
            gone.open(old, "mine")


def test_what_was_changed_does_not_open() -> None:
    one = sealing(NEW)
    sealed = one.seal(LITERAL, "mine")
    version, key_id, text = sealed.split(".")
    other = "A" if text[20] != "A" else "B"
    for wrong in (
        "",
        "v1",
        f"v2.{key_id}.{text}",
        f"{version}.00000000.{text}",
        f"{version}.{key_id}.{text[:20]}{other}{text[21:]}",
        f"{version}.{key_id}.AA",
        f"{version}.{key_id}.A",
    ):
        with pytest.raises(NotOpened):
            one.open(wrong, "mine")


def test_without_a_key_a_literal_is_refused() -> None:
    none = sealing()
    assert not none.available
    assert sealing(NEW).available
    error = refusal(lambda: none.seal(LITERAL, "mine"))
    assert_refused(error, "invalid_field", "trigger.secret", "sealing_key", "env", "file")
    assert LITERAL not in str(error)


def test_a_fingerprint_tells_equal_literals_of_one_owner() -> None:
    one = sealing(NEW)
    assert one.fingerprint(LITERAL, "mine") == one.fingerprint(LITERAL, "mine")
    others = {
        one.fingerprint(LITERAL, "yours"),
        one.fingerprint(LITERAL + "x", "mine"),
        sealing(OLD).fingerprint(LITERAL, "mine"),
    }
    assert len(others) == 3
    assert one.fingerprint(LITERAL, "mine") not in others


def test_no_key_is_shown() -> None:
    assert "n" * 32 not in repr(Keyring([NEW]))
    assert "KEY" not in repr(WebhookSecrets(sealing(NEW), {"KEY": "v"}))


def test_forms_of_keys() -> None:
    texts = [
        base64.b64encode(NEW).decode(),
        base64.urlsafe_b64encode(b"\xff" * 32).decode(),
        OLD.hex(),
    ]
    keyring = parse_keys(f" {texts[0]},\n{texts[1]}\r\n{texts[2]}\n", "sealing_key")
    assert list(keyring.keys) == [NEW, b"\xff" * 32, OLD]
    for wrong in ("", " ", "short", base64.b64encode(b"x" * 31).decode(), f"{OLD.hex()} bad", "é"):
        error = refusal(lambda wrong=wrong: parse_keys(wrong, "sealing_key"))  # type: ignore[misc]
        assert_refused(error, "invalid_field", "sealing_key", "32", "base64")
        assert not wrong.strip() or wrong not in error.message
    assert_refused(
        refusal(lambda: parse_keys(f"{OLD.hex()} " * 9, "codec_key")), "invalid_field", "codec_key"
    )


def test_the_key_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / KEY_FILE
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: create_key_file(path), range(8)))
    assert sorted(made) == [False] * 7 + [True]
    key = path.read_text()
    assert len(parse_keys(key, "sealing_key").keys) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert create_key_file(path) is False
    assert path.read_text() == key
    assert os.listdir(path.parent) == [KEY_FILE]
    blocked = tmp_path / "file"
    blocked.write_text("")
    error = refusal(lambda: create_key_file(blocked / KEY_FILE))
    assert_refused(error, "unavailable", "sealing_key", "cannot write")


# Bodies


def secrets(tmp_path: Path, *, operator: bool = True, **changes: Any) -> WebhookSecrets:
    settings = Settings(store=StoreSettings(folder=tmp_path), secrets_dir=tmp_path / "s", **changes)
    ensure_key(settings)
    environ = {"WEBHOOK_SECRET_A": LITERAL, "OTHER": "x", "KEYS": OLD.hex(), "WEBHOOK_SECRET_B": ""}
    return WebhookSecrets.of_settings(settings, environ, operator=operator)


def body(secret: object, **trigger: object) -> dict[str, Any]:
    return {"prompt": "p", "trigger": {"type": "webhook", "secret": secret, **trigger}}


def test_every_literal_of_a_body_is_sealed(tmp_path: Path) -> None:
    rules = secrets(tmp_path)
    given = body([LITERAL, {"set": True}, {"env": "WEBHOOK_SECRET_A"}])
    first, kept, named = rules.sealed_body(given, "mine")["trigger"]["secret"]
    assert rules.sealing.open(first["sealed"], "mine") == LITERAL
    assert (kept, named) == ({"set": True}, {"env": "WEBHOOK_SECRET_A"})
    assert given["trigger"]["secret"][0] == LITERAL
    assert LITERAL not in str(rules.comparable_body(given, "mine"))
    assert rules.comparable_body(given, "mine") == rules.comparable_body(given, "mine")
    other = body([LITERAL + "!", {"set": True}, {"env": "WEBHOOK_SECRET_A"}])
    assert rules.comparable_body(given, "mine") != rules.comparable_body(other, "mine")
    unsigned = body(" ", allow_unsigned=True)
    assert rules.sealed_body(unsigned, "mine")["trigger"]["secret"] is None
    assert rules.comparable_body(unsigned, "mine") == unsigned
    for plain in ({"title": "x"}, {"trigger": None}, {"trigger": {"type": "manual"}}):
        assert rules.sealed_body(plain, "mine") == plain == rules.comparable_body(plain, "mine")


@pytest.mark.parametrize(
    ("secret", "contains"),
    [
        (LITERAL[:15], ["16"]),
        ({"sealed": "v1.00000000.AAAA"}, ["sealed"]),
        ({"env": "OTHER"}, ["WEBHOOK_SECRET_", "secret_env_prefix"]),
        ({"file": "/etc/hostname"}, ["secrets_dir"]),
        ([LITERAL] * 4, ["1 to 3"]),
        ({"vault": "x"}, ["env", "file"]),
        (7, ["env", "file"]),
    ],
)
def test_what_no_caller_may_give(tmp_path: Path, secret: object, contains: list[str]) -> None:
    error = refusal(lambda: secrets(tmp_path).sealed_body(body(secret), "mine"))
    assert_refused(error, "invalid_field", "trigger.secret", *contains)
    assert LITERAL not in error.message


def test_a_misspelt_key_is_refused_before_it_travels(tmp_path: Path) -> None:
    rules = secrets(tmp_path)
    for trigger in (
        {"type": " Webhook ", "secrets": LITERAL},
        {"type": "webhook", "secret": {"set": True}, "secret ": LITERAL},
        {"type": "cron", "schedule": "@daily", "secret": LITERAL},
    ):
        error = refusal(lambda trigger=trigger: rules.sealed_body({"trigger": trigger}, "m"))  # type: ignore[misc]
        assert error.kind == "unknown_field"
        assert LITERAL not in error.message


def test_references_are_the_operators(tmp_path: Path) -> None:
    rules = secrets(tmp_path, operator=False)
    for reference in ({"env": "WEBHOOK_SECRET_A"}, {"file": str(tmp_path / "s" / "a")}):
        error = refusal(lambda reference=reference: rules.sealed_body(body(reference), "m"))  # type: ignore[misc]
        assert_refused(error, "permission_denied", "trigger.secret", "operator")
    assert rules.sealed_body(body(LITERAL), "m")
    file = {"file": str(tmp_path / "s" / "a")}
    assert secrets(tmp_path).sealed_body(body(file), "m")["trigger"]["secret"] == file


def test_keys_from_the_settings_or_the_folder(tmp_path: Path) -> None:
    named = secrets(tmp_path, sealing_key=SecretStr("env:KEYS"))
    assert named.sealing.seal(LITERAL, "m").split(".")[1] == key_id_of(OLD)
    assert not (tmp_path / KEY_FILE).exists()
    empty = WebhookSecrets.of_settings(Settings(store=StoreSettings(folder=tmp_path)), {})
    assert not empty.sealing.available
    (tmp_path / KEY_FILE).write_bytes(b"\xff\xfe")
    broken = WebhookSecrets.of_settings(Settings(store=StoreSettings(folder=tmp_path)), {})
    assert_refused(
        refusal(lambda: broken.sealing.seal(LITERAL, "m")), "invalid_field", "sealing_key"
    )
    assert not NO_SETTINGS.sealing.available


# Resolving


def test_what_is_behind_a_secret(tmp_path: Path) -> None:
    rules = secrets(tmp_path)
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / "good").write_text(LITERAL + "\n", encoding="utf-8")
    sealed = SealedSecret(sealed=rules.sealing.seal(LITERAL, "mine"))
    file = FileSecret(file=str(folder / "good"))
    found = rules.resolve([sealed, EnvSecret(env="WEBHOOK_SECRET_A"), file, LITERAL], "mine")
    assert (list(found.texts), list(found.unreachable)) == ([LITERAL] * 4, [])


def test_what_cannot_be_had_is_told_without_its_value(tmp_path: Path) -> None:
    rules = secrets(tmp_path)
    folder = tmp_path / "s"
    folder.mkdir()
    (tmp_path / "outside").write_text(LITERAL)
    (folder / "link").symlink_to(tmp_path / "outside")
    (folder / "empty").write_text("\n")
    (folder / "large").write_text("x" * 5_000)
    (folder / "bytes").write_bytes(b"\xff\xfe")
    names = ("link", "empty", "large", "bytes", "missing", "../outside")
    asked: list[Secret] = [
        *(FileSecret(file=str(folder / name)) for name in names),
        EnvSecret(env="OTHER"),
        EnvSecret(env="WEBHOOK_SECRET_B"),
        EnvSecret(env="WEBHOOK_SECRET_NONE"),
        SealedSecret(sealed=rules.sealing.seal(LITERAL, "yours")),
        HiddenSecret(set=True),
    ]
    found = rules.resolve(asked, "mine")
    assert (list(found.texts), len(found.unreachable)) == ([], len(asked))
    assert LITERAL not in " ".join(found.unreachable)
    assert NO_SETTINGS.resolve([FileSecret(file=str(folder / "empty"))], "m").texts == []
