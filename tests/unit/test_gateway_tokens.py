"""Tokens: made, checked, revoked, and kept in a file that several processes change."""

import json
import multiprocessing
import os
import re
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from client.tokens import (
    PREFIX,
    Token,
    TokenFile,
    TokenScope,
    ensure_token_in_file,
    parse_lifetime,
)
from tests.support.routines import assert_refused, refusal

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "state" / "tokens.json")


def test_a_token_is_told_once_and_kept_as_a_digest(tokens: TokenFile) -> None:
    made = tokens.create("ci", ["run", "read"], now=NOW)
    assert re.fullmatch(PREFIX + r"[0-9a-f]{12}_[A-Za-z0-9_-]{43}", made.token)
    assert made.scopes == [TokenScope.READ, TokenScope.RUN]
    text = tokens.path.read_text()
    assert made.token.rpartition("_")[2] not in text
    assert stat.S_IMODE(tokens.path.stat().st_mode) == 0o600
    (kept,) = tokens.all()
    assert kept.model_dump() == made.model_dump(exclude={"token"})
    assert tokens.check(made.token, NOW) == kept


def test_two_secrets_are_never_the_same(tokens: TokenFile) -> None:
    made = [tokens.create(f"t{i}", ["read"], now=NOW) for i in range(5)]
    assert len({token.token for token in made}) == len({token.id for token in made}) == 5
    for token in made:
        found = tokens.check(token.token, NOW)
        assert found is not None
        assert found.id == token.id


@pytest.mark.parametrize("change", ["", "x", PREFIX, "id", "secret", "prefix", "upper", "\udc80"])
def test_another_secret_is_nobody(tokens: TokenFile, change: str) -> None:
    made, other = (tokens.create(name, ["read"], now=NOW) for name in ("a", "b"))
    wrong = {
        "id": made.token.replace(made.id, other.id),
        "secret": made.token[:-2] + "~~",
        "prefix": made.token.removeprefix(PREFIX),
        "upper": made.token.upper(),
    }.get(change, change)
    assert tokens.check(wrong, NOW) is None


@pytest.mark.parametrize("scope", TokenScope)
def test_scopes_allow_what_they_say_and_admin_all(scope: TokenScope) -> None:
    token = Token(id="a", name="a", scopes=[scope], created_at=NOW)
    allowed = {needed for needed in TokenScope if token.allows(needed)}
    assert allowed == (set(TokenScope) if scope == TokenScope.ADMIN else {scope})


def test_a_token_expires_to_the_second(tokens: TokenFile) -> None:
    made = tokens.create("short", ["read"], now=NOW, lifetime=timedelta(hours=1))
    assert made.expires_at == NOW + timedelta(hours=1)
    assert tokens.check(made.token, NOW + timedelta(minutes=59)) is not None
    assert tokens.check(made.token, NOW + timedelta(hours=1)) is None
    assert [token.name for token in tokens.all()] == ["short"]
    # Its name is free again, and the expired one is gone.
    again = tokens.create("short", ["read"], now=NOW + timedelta(hours=2))
    assert [token.id for token in tokens.all()] == [again.id]


def test_a_token_is_revoked_by_id_or_name(tokens: TokenFile) -> None:
    first, second = (tokens.create(name, ["read"], now=NOW) for name in ("a", "b"))
    assert tokens.revoke(first.id).name == "a"
    assert tokens.revoke("b").id == second.id
    assert tokens.all() == []
    assert tokens.check(first.token, NOW) is None
    error = refusal(lambda: tokens.revoke("a"))
    assert_refused(error, "not_found", "id", "a")


def test_a_change_by_another_process_is_noticed(tokens: TokenFile) -> None:
    reader = TokenFile(tokens.path)
    assert reader.all() == []
    made = tokens.create("a", ["read"], now=NOW)
    assert reader.check(made.token, NOW) is not None
    tokens.revoke("a")
    assert reader.check(made.token, NOW) is None


def test_a_token_can_be_bound(tokens: TokenFile) -> None:
    made = tokens.create("a", ["read"], now=NOW, context={"actor_user_id": " al ", "chat_type": ""})
    found = tokens.check(made.token, NOW)
    assert found is not None
    assert found.context == {"actor_user_id": "al"}


@pytest.mark.parametrize(
    ("name", "scopes", "context", "kind", "field", "contains"),
    [
        ("", ["read"], {}, "missing_field", "name", "name"),
        ("a b", ["read"], {}, "invalid_field", "name", "63"),
        ("x" * 64, ["read"], {}, "invalid_field", "name", "63"),
        ("a", [], {}, "missing_field", "scope", "approve"),
        ("a", [" "], {}, "missing_field", "scope", "admin"),
        ("a", ["read", "write"], {}, "invalid_field", "scope", "write"),
        ("a", ["read"], {"actor": "x"}, "unknown_field", "context.actor", "actor_user_id"),
        ("taken", ["read"], {}, "conflict", "name", "taken"),
    ],
)
def test_bad_tokens(
    tokens: TokenFile,
    name: str,
    scopes: list[str],
    context: dict[str, str],
    kind: str,
    field: str,
    contains: str,
) -> None:
    tokens.create("taken", ["read"], now=NOW)
    before = tokens.path.read_bytes()
    error = refusal(lambda: tokens.create(name, scopes, now=NOW, context=context))
    assert_refused(error, kind, field, contains)
    assert tokens.path.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("12h", 43_200), (" 30d ", 2_592_000)]
)
def test_lifetimes(text: str, seconds: int) -> None:
    assert parse_lifetime(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "30", "0d", "-1d", "1.5h", "1w", "d", "36501d", "9" * 40])
def test_bad_lifetimes(text: str) -> None:
    assert_refused(refusal(lambda: parse_lifetime(text)), "invalid_field", "expires", "30d")


# ---- the file


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1, "tokens": [{}]}', '{"x": 1}'])
def test_a_damaged_file_admits_nobody_and_is_kept(tokens: TokenFile, text: str) -> None:
    made = tokens.create("a", ["read"], now=NOW)
    tokens.path.write_text(text)
    for call in (
        lambda: tokens.check(made.token, NOW),
        lambda: tokens.create("b", ["read"], now=NOW),
        tokens.all,
    ):
        assert_refused(refusal(call), "unavailable", "gateway.tokens_file", "damaged")
    assert tokens.path.read_text() == text


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_admits_nobody(tokens: TokenFile, mode: int) -> None:
    made = tokens.create("a", ["read"], now=NOW)
    tokens.path.chmod(mode)
    error = refusal(lambda: tokens.check(made.token, NOW))
    assert_refused(error, "unavailable", "gateway.tokens_file", "chmod 600")
    tokens.path.chmod(0o644)
    assert tokens.check(made.token, NOW) is not None


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    tokens = TokenFile(tmp_path / "file" / "tokens.json")
    error = refusal(lambda: tokens.create("a", ["read"], now=NOW))
    assert_refused(error, "unavailable", "gateway.tokens_file", "cannot")


def _make(path: str, worker: int) -> None:
    for index in range(10):
        TokenFile(Path(path)).create(f"w{worker}-{index}", ["read"], now=NOW)


def test_processes_that_make_tokens_at_the_same_time_lose_none(tokens: TokenFile) -> None:
    context = multiprocessing.get_context("spawn")
    makers = [context.Process(target=_make, args=(str(tokens.path), n)) for n in range(3)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join(60)
        assert maker.exitcode == 0
    assert len(tokens.all()) == 30
    assert sorted(os.listdir(tokens.path.parent)) == ["tokens.json", "tokens.json.lock"]


# ---- the token of one machine


def test_the_token_of_this_machine_is_made_once(tokens: TokenFile, tmp_path: Path) -> None:
    file = tmp_path / "state" / "token"
    secret = ensure_token_in_file(tokens, file, "dev", NOW)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == secret + "\n"
    found = tokens.check(secret, NOW)
    assert found is not None
    assert found.allows(TokenScope.ADMIN)
    assert ensure_token_in_file(tokens, file, "dev", NOW) == secret


def test_the_token_of_this_machine_is_made_again_when_it_is_lost(
    tokens: TokenFile, tmp_path: Path
) -> None:
    file = tmp_path / "state" / "token"
    first = ensure_token_in_file(tokens, file, "dev", NOW)
    file.unlink()
    second = ensure_token_in_file(tokens, file, "dev", NOW)
    assert tokens.check(first, NOW) is None
    tokens.revoke("dev")
    third = ensure_token_in_file(tokens, file, "dev", NOW)
    assert len({first, second, third}) == 3
    assert [token.name for token in tokens.all()] == ["dev"]
    assert json.loads(tokens.path.read_text())["version"] == 1
