"""Redaction: what is a secret, wherever it stands, and what is none."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.redaction import (
    MAX_DEPTH,
    PLACEHOLDER,
    REASON_CHARS,
    is_sensitive_key,
    redact,
    redact_reason,
    redact_text,
)

R = PLACEHOLDER
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----"

SENSITIVE = (
    "password PASSWORD dbPassword db_password2 passwd pwd passphrase secret secrets clientSecret "
    "client-secret token authToken x.token1 authorization Authorization cookie Set-Cookie cookies "
    "credential credentials apikey ApiKey APIKey API_KEY apisecret jwt bearer private_key "
    "access-key signingKey encryption.key session_key authKey ssh_key sessionId session_id "
    "access_tokens refreshTokens auth_tokens session_tokens api_tokens id_tokens bearer_tokens "
    "csrfTokens MYPRIVATEKEY myaccesskey access_key_id pass_word private__key oauth2Token api_1_key"
)
PLAIN = (
    "query key monkey id tokens max_tokens max_token min_token num_token total_token token_count "
    "tokenCounts token_limit secret_limits password_policy password_length token_type tokenUsage "
    "token_used token_budget token_max token_min token_total token_expiry token_expires "
    "secret_size author keyAccess public_key api_keys sessions passwords _ 42"
)


@pytest.mark.parametrize("key", SENSITIVE.split())
def test_a_key_that_names_a_secret_is_sensitive(key: str) -> None:
    assert is_sensitive_key(key)


@pytest.mark.parametrize("key", [*PLAIN.split(), ""])
def test_a_key_that_counts_or_names_something_else_is_not(key: str) -> None:
    assert not is_sensitive_key(key)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"a\n{PEM}\nb", f"a\n{R}\nb"),
        (f"{PEM} and {PEM}.", f"{R} and {R}."),
        ("x -----BEGIN PRIVATE KEY-----\nMIIE and no end", f"x {R}"),
        ("-----BEGIN PGP PRIVATE KEY BLOCK-----\\nAA\\n-----END PGP PRIVATE KEY BLOCK-----", R),
        ("-----BEGIN PUBLIC KEY-----\nMIIE", "-----BEGIN PUBLIC KEY-----\nMIIE"),
        (
            "GET /\r\nAuthorization: Basic YTpi\r\nHost: x",
            f"GET /\r\nAuthorization: {R}\r\nHost: x",
        ),
        ("cookie:sid=1; theme=dark\nnext", f"cookie:{R}\nnext"),
        ("Set-Cookie: sid=1; Path=/", f"Set-Cookie: {R}"),
        ('Proxy-Authorization: Digest username="a"', f"Proxy-Authorization: {R}"),
        (
            "curl -H 'Authorization: Basic YTpi' https://x",
            f"curl -H 'Authorization: {R}' https://x",
        ),
        ('"Cookie: a=1', f'"Cookie: {R}'),
        ("Authorization:\nHost: x", "Authorization:\nHost: x"),
        ('{"password": "hunter2", "a": 1}', f'{{"password": "{R}", "a": 1}}'),
        ('{"password":"a\\"b\\\\"}', f'{{"password":"{R}"}}'),
        ("{'api_key': 'x', 'b': 'y'}", f"{{'api_key': '{R}', 'b': 'y'}}"),
        ('{"API Key": "x y"}', f'{{"API Key": "{R}"}}'),
        ('{"pin token":\n  "x"}', f'{{"pin token":\n  "{R}"}}'),
        (
            '"{\\"token\\": \\"a\\\\\\"b\\", \\"c\\": 1}"',
            f'"{{\\"token\\": \\"{R}\\", \\"c\\": 1}}"',
        ),
        ('{"token": 12345, "n": 1}', f'{{"token": "{R}", "n": 1}}'),
        ('{"secrets": ["a", ["b"]], "n": 1}', f'{{"secrets": "{R}", "n": 1}}'),
        ('{"credentials": {"user": "u"', f'{{"credentials": "{R}"'),
        ('{"token": null, "secret": true}', '{"token": null, "secret": true}'),
        ('{"token": ""}', '{"token": ""}'),
        ('{"max_tokens": 5, "token_count": "7"}', '{"max_tokens": 5, "token_count": "7"}'),
        ('token": "x"', f'token": "{R}"'),
        ("API_KEY=abc HOME=/root", f"API_KEY={R} HOME=/root"),
        ("?api_key=abc&page=2", f"?api_key={R}&page=2"),
        ("password=a,b;c;user=x", f"password={R};user=x"),
        ("f(token=abc, n=1)", f"f(token={R}, n=1)"),
        ('export TOKEN="a b" X=1', f'export TOKEN="{R}" X=1'),
        ("TOKEN='never closed\n", f"TOKEN='{R}"),
        ("c['password'] = 'x'", f"c['password'] = '{R}'"),
        ("'password' => 'x'", f"'password' => '{R}'"),
        ("aws_secret_access_key = wJalr7XU/bPx\nn = 1", f"aws_secret_access_key = {R}\nn = 1"),
        ("password: hunter2\nuser: me", f"password: {R}\nuser: me"),
        ("token: str\nself.token = token\n", "token: str\nself.token = token\n"),
        ("password=\nnext", "password=\nnext"),
        ("token=)", "token=)"),
        ("token:token:1abcdef", "token:token:1abcdef"),
        ("pages=2 author=me max_tokens=5", "pages=2 author=me max_tokens=5"),
        ("postgres://me:p@ss@host/db", f"postgres://me:{R}@host/db"),
        ("redis://:pass@host", f"redis://:{R}@host"),
        ("https://me@host:80/a@b", "https://me@host:80/a@b"),
        ("https://host:8080/x?a=b", "https://host:8080/x?a=b"),
        ("Bearer abcdefgh.x", f"Bearer {R}"),
        ("bearer abcdefg1", f"bearer {R}"),
        ("Bearer short", "Bearer short"),
        ("a bearer certificate", "a bearer certificate"),
        (f"see {JWT}, then", f"see {R}, then"),
        (f"x.{JWT}.", f"x.{R}."),
        ("eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.", f"{R}."),
        ("eyJustAWord and eyJ.", "eyJustAWord and eyJ."),
        ("eyJa..b", f"{R}"),
        ("sk-abcdefghijklmnop!", f"{R}!"),
        ("task-abcdefghijklmnop", "task-abcdefghijklmnop"),
        ("sk-short", "sk-short"),
        ("a\\nsk-abcdefghijklmnop\\n", f"a\\n{R}\\n"),
        ("\\tBearer abcdefgh.x", f"\\tBearer {R}"),
        ('{"a": "x\\ncookie: a=1"}', f'{{"a": "x\\ncookie: {R}'),
        ("x\\npassphrase=abc", f"x\\npassphrase={R}"),
        ("x\\nnumber=abc \\token=abc", f"x\\nnumber=abc \\token={R}"),
        ("npassphrase=abc", "npassphrase=abc"),
        ("AKIAIOSFODNN7EXAMPLE ASIAIOSFODNN7EXAMPLE", f"{R} {R}"),
        ("ghp_" + "a" * 36, R),
        ("github_pat_" + "a" * 22, R),
        ("xoxb-1234567890-abc", R),
        ("xapp-1-A12345678", R),
        ("AIza" + "a" * 35, R),
        ("whsec_" + "A" * 32, R),
    ],
)
def test_a_secret_in_a_text_is_masked_and_the_rest_stays(text: str, masked: str) -> None:
    assert redact_text(text) == masked
    assert redact_text(masked) == masked


def test_a_reason_is_masked_and_cut() -> None:
    told = redact_reason(f"password=hunter2hunter2 {'because ' * 100}")
    assert told.startswith(f"password={PLACEHOLDER} because")
    assert len(told) == REASON_CHARS
    assert redact_reason("enough") == "enough"


def test_objects_and_lists_are_walked() -> None:
    value = {
        "api_key": {"id": 1},
        "token": 5,
        "password": None,
        "secret": False,
        "list": ["Bearer abcdefgh", {"pwd": ["x"]}, 3, True, None],
        "sk-abcdefghijklmnop": 1,
    }
    assert redact(value) == {
        "api_key": R,
        "token": R,
        "password": None,
        "secret": False,
        "list": [f"Bearer {R}", {"pwd": R}, 3, True, None],
        R: 1,
    }


def test_what_is_declared_is_masked_whatever_it_holds_and_never_added() -> None:
    value = {"pin": None, "card": {"number": 4, "name": "n"}, "number": 5, "in": [{"pin": True}]}
    assert redact(value, ["pin", "card.number", "missing"]) == {
        "pin": R,
        "card": {"number": R, "name": "n"},
        "number": 5,
        "in": [{"pin": R}],
    }
    assert redact({"a": [{"b": 1}, {"b": 2}]}, ["a.b"]) == {"a": [{"b": R}, {"b": R}]}
    assert redact({"x": {"a": {"b": 1}}}, ["a.b"]) == {"x": {"a": {"b": 1}}}


def nested(levels: int) -> object:
    value: object = "x"
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


def test_deeper_than_32_levels_is_masked() -> None:
    assert redact(nested(MAX_DEPTH)) == nested(MAX_DEPTH)
    assert R in json.dumps(redact(nested(MAX_DEPTH + 1)))
    assert '"x"' not in json.dumps(redact(nested(MAX_DEPTH + 1)))


PIECES = st.sampled_from(
    [
        "password",
        "token",
        "max",
        "_",
        "=",
        ":",
        " ",
        "\n",
        '"',
        "'",
        "\\",
        "]",
        "[",
        "{",
        "}",
        ",",
        ";",
        "&",
        "@",
        "://",
        "Bearer ",
        "sk-aaaaaaaaaaaaaaaa",
        "AKIAAAAAAAAAAAAAAAAA",
        JWT,
        "eyJ",
        ".",
        R,
        "-----BEGIN PRIVATE KEY-----",
        "-----END PRIVATE KEY-----",
        "Cookie:",
        "x",
        "1",
        "abcdefgh1",
        "-",
    ]
)
TEXTS = st.lists(PIECES, max_size=14).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_masking_a_text_twice_is_masking_it_once(text: str) -> None:
    once = redact_text(text)
    assert redact_text(once) == once


@settings(max_examples=100, deadline=None)
@given(JSON, st.lists(TEXTS, max_size=2))
def test_redacting_twice_is_redacting_once(value: object, sensitive: list[str]) -> None:
    once = redact(value, sensitive)
    assert redact(once, sensitive) == once


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "=",
        ":",
        " ",
        "\\",
        '"',
        "token=",
        "token:",
        'token="',
        "'token':",
        '"token": [',
        "eyJ",
        "eyJ.",
        "sk-",
        "://",
        "://u:p@",
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY-----",
        "cookie:",
        '"cookie:\n',
        "'cookie:\n\"",
        "Bearer ",
        "token : ",
        "token = a",
        "password=a;",
        "A",
        "Aa",
        "_",
        '\\"token',
        "\\'token\\\":",
        "token=>",
        "a.",
        "x-",
        "[",
        '"password":1',
        "\n",
    ],
)
def test_masking_takes_time_in_proportion_to_the_text(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    started = time.perf_counter()
    redact_text(text)
    assert time.perf_counter() - started < 3


def test_a_name_that_holds_a_secret_is_judged_before_and_after_masking() -> None:
    once = redact({"max_Cookie: abc": 0})
    assert once == {"max_Cookie: [REDACTED]": "[REDACTED]"}
    assert redact(once) == once
